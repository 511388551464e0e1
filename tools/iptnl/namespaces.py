# SPDX-License-Identifier: GPL-2.0-only
"""Find all network namespaces: of processes and threads, mounts, open files and sockets."""

import contextlib
import ctypes
import fcntl
import os
import re
import socket

CLONE_NEWNET = 0x40000000
SYS_PIDFD_GETFD = 438           # the same number on every architecture
SIOCGSKNS = 0x894c
INIT_NETNS = "/proc/2/ns/net"   # kthreadd is always in the initial one
INIT_USER, INIT_PID = 0xeffffffd, 0xeffffffc    # inodes of the initial namespaces
libc = ctypes.CDLL(None, use_errno=True)


class Namespace:
    """A network namespace: open file, identity (device, inode), names"""

    def __init__(self, fd, name):
        status = os.fstat(fd)
        self.fd, self.ident, self.names = fd, (status.st_dev, status.st_ino), [name]

    @property
    def title(self):
        return self.names[0]


def enter(fd):
    if libc.setns(fd, CLONE_NEWNET):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def unshare():
    """Move to a new network namespace."""
    if libc.unshare(CLONE_NEWNET):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


@contextlib.contextmanager
def inside(fd):
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        enter(fd)
        yield
    finally:
        enter(home)
        os.close(home)


def inode(path):
    return os.stat(path).st_ino


def is_initial(kind, expected):
    try:
        return inode("/proc/self/ns/" + kind) == expected
    except OSError:
        return False


def listing(path):
    try:
        return os.listdir(path)
    except OSError:
        return []


def unescape(path):
    return re.sub(r"\\([0-7]{3})", lambda m: chr(int(m[1], 8)), path)


def printable(text):
    """-> a name that anybody can choose, without what a terminal acts on"""
    return "".join(char if char.isprintable() else "?" for char in text)


def mounted_netns(pid):
    """Yield the paths where a mount namespace has network namespaces mounted."""
    try:
        with open("/proc/%s/mountinfo" % pid, errors="surrogateescape", newline="\n") as lines:
            for line in lines:
                field = line.split(" ")
                if field[3].startswith("net:["):
                    yield unescape(field[4])
    except OSError:
        return


def socket_namespace(pidfd, number):
    """-> file descriptor of the network namespace of another process's socket"""
    copy = libc.syscall(SYS_PIDFD_GETFD, pidfd, int(number), 0)
    if copy < 0:
        raise OSError(ctypes.get_errno(), "pidfd_getfd")
    try:
        fd = fcntl.ioctl(copy, SIOCGSKNS)
        os.set_inheritable(fd, False)
        return fd
    finally:
        os.close(copy)


class Search:
    """Collects namespaces in found, and those that could not be opened in failures."""

    def __init__(self):
        self.found, self.failures, self.mounts_seen = {}, [], set()

    def known(self, path):
        try:
            status = os.stat(path)
        except OSError:
            return True                         # deleted meanwhile
        return (status.st_dev, status.st_ino) in self.found

    def add_fd(self, fd, name):
        one = Namespace(fd, name)
        if one.ident in self.found:
            os.close(fd)
        else:
            self.found[one.ident] = one

    def add_path(self, path, name):
        if self.known(path):
            return
        try:
            self.add_fd(os.open(path, os.O_RDONLY | os.O_CLOEXEC), name)
        except OSError as error:
            if os.path.exists(path):
                self.failures.append((name, error.strerror))

    def add_process(self, pid):
        base = "/proc/" + pid
        try:
            with open(base + "/comm", errors="replace", newline="\n") as file:
                comm = printable(file.read()[:-1])
            mounts = os.stat(base + "/ns/mnt").st_ino
        except OSError:
            return
        name = "process %s (%s)" % (pid, comm)
        for thread in listing(base + "/task"):
            self.add_path("%s/task/%s/ns/net" % (base, thread), name)
        if mounts not in self.mounts_seen:
            self.mounts_seen.add(mounts)
            for path in mounted_netns(pid):
                short = re.sub(r"^(/var)?/run/netns/", "", path)
                self.add_path("%s/root%s" % (base, path), short)
        self.add_files(pid, base, comm)

    def add_files(self, pid, base, comm):
        pidfd = None
        for number in listing(base + "/fd"):
            path = "%s/fd/%s" % (base, number)
            try:
                target = os.readlink(path)
                if target.startswith("net:["):
                    self.add_path(path, "file %s of process %s (%s)" % (number, pid, comm))
                elif target.startswith("socket:["):
                    pidfd = os.pidfd_open(int(pid)) if pidfd is None else pidfd
                    self.add_fd(socket_namespace(pidfd, number), "socket %s of process %s (%s)" % (number, pid, comm))
            except OSError:
                continue
        if pidfd is not None:
            os.close(pidfd)


def find():
    """-> (namespaces, initial one first; [(name, error)] of those that cannot be opened)"""
    search = Search()
    search.add_path(INIT_NETNS, "host")
    for name in sorted(listing("/run/netns")):
        if os.path.realpath("/run/netns/" + name) and is_netns("/run/netns/" + name):
            search.add_path("/run/netns/" + name, name)
    me = str(os.getpid())
    for pid in sorted((p for p in listing("/proc") if p.isdigit()), key=int):
        if pid != me:
            search.add_process(pid)
    return list(search.found.values()), search.failures


def is_netns(path):
    """Return true for a network namespace, false for an unused mount point."""
    try:
        return os.stat(path).st_dev == os.stat("/proc/self/ns/net").st_dev
    except OSError:
        return False


def address_text(family, value):
    """-> an IPv4 or IPv6 address as text"""
    return socket.inet_ntop(family, value)
