# SPDX-License-Identifier: GPL-2.0-only
"""Allocations that fail, by the kernel's fault injection (Documentation/fault-injection): in a debug kernel only"""
import contextlib
import os
import socket
import struct

from hostile import DEBUGFS, mount_debugfs
from ksft import MODULES, write

FAULTS = "failslab", "fail_page_alloc"
NEAR = 9                        # callers between an allocator and the modules
EVERYWHERE = (1 << 64) - 1
NLMSG_ERROR, NETLINK_EXT_ACK, SOL_NETLINK = 2, 11, 270


def prepare():
    """Every allocation can fail, also those that may sleep."""
    mount_debugfs()
    for what in FAULTS:
        write(f"{DEBUGFS}/{what}/ignore-gfp-wait", "N")
        write(f"{DEBUGFS}/{what}/verbose", 0)
    write(f"{DEBUGFS}/fail_page_alloc/min-order", 0)
    # What only keeps account of references, and says so where it has no memory
    for name, value in zip(("reject-start", "reject-end"), function("ref_tracker_alloc")):
        for what in FAULTS:
            write(f"{DEBUGFS}/{what}/stacktrace-depth", NEAR)
            write(f"{DEBUGFS}/{what}/{name}", value)
    # Copies from and to user space are no allocations: no address is in this range.
    for name, value in (("stacktrace-depth", 1), ("require-start", 1), ("require-end", 2)):
        write(f"{DEBUGFS}/fail_usercopy/{name}", value)


def function(name):
    """-> first address of a function of the kernel, and of the next one; 0 and 0 if it has none of that name"""
    with open("/proc/kallsyms") as file:
        symbols = sorted((int(line.split()[0], 16), line.split()[2]) for line in file if "[" not in line)
    starts = [address for address, symbol in symbols if symbol == name]
    if not starts:
        return 0, 0
    return starts[0], min(address for address, _ in symbols if address > starts[0])


class Nth:
    """One allocation fails of what this thread asks the kernel for."""

    def __init__(self):
        self.fd = os.open("/proc/thread-self/fail-nth", os.O_RDWR)

    def fails(self, nth, ask):
        """Call ask(), of which the Nth allocation fails. -> whether there was one, errno or 0"""
        error = 0
        os.pwrite(self.fd, b"%d" % nth, 0)
        try:
            ask()
        except OSError as refusal:
            error = refusal.errno
        left = int(os.pread(self.fd, 16, 0))
        os.pwrite(self.fd, b"0", 0)
        return not left, error


class Netlink:
    """A request of one system call -> its error, None if that is not known"""

    def __init__(self):
        self.sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)
        self.sock.bind((0, 0))
        self.sock.setsockopt(SOL_NETLINK, NETLINK_EXT_ACK, 1)
        self.sock.setblocking(False)

    def call(self, message):
        self.sock.send(message)

    def answer(self):
        """-> the error that the last answer tells, None if there is none: it needs memory itself"""
        error = None
        while True:
            try:
                data = self.sock.recv(1 << 16)
            except BlockingIOError:
                return error
            except OSError:             # ENOBUFS: an answer is lost
                continue
            kind = struct.unpack_from("=H", data, 4)[0]
            error = -struct.unpack_from("=i", data, 16)[0] if kind == NLMSG_ERROR else error


def link_message(kind, index, flags, change, attributes):
    """RTM_DELLINK and the like"""
    body = struct.pack("=BxHiII", 0, 0, index, flags, change) + attributes
    return struct.pack("=IHHII", 16 + len(body), kind, 5, 1, 0) + body


@contextlib.contextmanager
def modules_only():
    """Only allocations fail that the modules ask for, or the kernel's functions that they call to this end: a filter
    looks for the modules' addresses among the innermost callers."""
    start, end = addresses()
    for what in FAULTS:
        for name, value in (("require-start", start), ("require-end", end)):
            write(f"{DEBUGFS}/{what}/{name}", value)
    try:
        yield
    finally:
        for what in FAULTS:
            write(f"{DEBUGFS}/{what}/require-start", 0)
            write(f"{DEBUGFS}/{what}/require-end", EVERYWHERE)


def one_fails(ask, interval):
    """Call ask(), during which one of so many allocations fails, also in softirqs that it causes. -> whether one did"""
    for name, value in (("interval", interval), ("times", 1), ("probability", 100)):
        write(f"{DEBUGFS}/failslab/{name}", value)
    try:
        ask()
    except OSError:
        pass
    finally:
        write(f"{DEBUGFS}/failslab/probability", 0)
    with open(f"{DEBUGFS}/failslab/times") as file:
        return int(file.read()) == 0


def addresses():
    """-> first and last address of the modules; others may be in between"""
    with open("/proc/modules") as file:
        lines = [line.split() for line in file]
    ours = [(int(line[5], 16), int(line[1])) for line in lines if line[0] in MODULES]
    return min(start for start, _ in ours), max(start + size for start, size in ours)
