# SPDX-License-Identifier: GPL-2.0-only
"""Large transfers between two namespaces, and the size of the packets that
they travel in; beside wire.py."""

import contextlib
import os
import threading

import xfer
from ksft import check
from wire import IN_TREE, expect, expect_whole, sysctl

__all__ = ["Bulk", "MAC", "errors", "long_queue", "mean"]

MAC = "02:00:00:00:aa:01", "02:00:00:00:aa:02"
# TCP makes smaller packets of what flows slowly, as on a busy machine, never single ones.
SUPER = 1515


@contextlib.contextmanager
def long_queue(length=20000):
    """of the machine's processors, where segments wait that no offload has put
    together; to be used in the first namespace"""
    path = "/proc/sys/net/core/netdev_max_backlog"
    with open(path) as file:
        old = file.read()
    sysctl(net__core__netdev_max_backlog=length)
    try:
        yield
    finally:
        sysctl(net__core__netdev_max_backlog=old)


def mean(moved, way):
    """-> the mean size of packets, of counters that moved"""
    counts = dict(c.split("=") for c in moved.split())
    return int(counts.get(f"{way}_bytes", 0)) // \
        max(int(counts.get(f"{way}_packets", 0)), 1)


def errors(*moved):
    """-> of counters that moved, those that count anything but packets and bytes"""
    return [c for m in moved for c in m.split() if "_packets" not in c and "_bytes" not in c]


class Bulk:
    """Transfers from the first of two namespaces to the second."""

    def __init__(self, *ends):
        self.ends = ends
        if IN_TREE:
            # What fails need not take long, nor tell how in the receiver's thread.
            xfer.TIMEOUT = 4
            threading.excepthook = lambda _: None
        # One CPU, so that nothing overtakes, and no guess that it did.
        os.sched_setaffinity(0, {0})
        for end in ends:
            with end.enter:
                sysctl(net__ipv4__tcp_early_retrans=0)

    def transfer(self, name, address, sizes, count=32):
        """TCP and UDP, all of it once and none of it wrong, without an error
        counted; sizes: [(end, device, "rx" or "tx", of more than one segment
        or not)]"""
        ends = self.ends

        def trouble():
            return [ends[0].snmp("Tcp", "RetransSegs")] + [
                end.snmp(what, "InCsumErrors") for end in ends
                for what in ("Tcp", "Udp")]

        before = [end.counters.read() for end in ends]
        old = trouble()
        expect(f"{name}: it arrives", None, xfer.transfer(ends[0].name, ends[1].name, address, count, 65536))
        expect_whole(f"{name}: nothing twice, no wrong checksum", old, trouble())
        moved = {(end, dev): end.moved(before[ends.index(end)], dev)
                 for end, dev, _, _ in sizes}
        expect(f"{name}: no errors", [], errors(*moved.values()))
        for end, dev, way, big in sizes:
            size = mean(moved[end, dev], way)
            text = "GSO packets" if big else "single packets"
            check(f"{name}: {text}, n{ends.index(end) + 1}'s {dev} {way}", big == (size > SUPER),
                  f"mean size: {size} bytes")
