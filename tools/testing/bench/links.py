# SPDX-License-Identifier: GPL-2.0-only
"""Create, change, dump and delete many tunnels with rtnetlink in the current namespace."""

import os
import socket
import struct
import time

NEWLINK, DELLINK, GETLINK = 16, 17, 18
REQUEST, ACK, DUMP, EXCL, CREATE = 1, 4, 0x300, 0x200, 0x400
IFNAME, LINKINFO, GROUP = 3, 18, 27
BATCH = 200                     # messages per send
LOCAL = "203.0.113.1"
REMOTES = struct.unpack("!I", socket.inet_aton("10.64.0.0"))[0]
ONE_REMOTE = struct.unpack("!I", socket.inet_aton("203.0.113.2"))[0]
GRE_KEY = 0x2000

# Kind, remote and key of the i-th tunnel of a shape
SHAPES = {
    "remotes": ("ipip", lambda i: REMOTES + i, None),
    "remote-key": ("gre", lambda i: REMOTES + i, lambda i: i),
    "any-key": ("gre", lambda i: 0, lambda i: i),
    "one-remote": ("gre", lambda i: ONE_REMOTE, lambda i: i),
    "gre-remotes": ("gre", lambda i: REMOTES + i, None),
}


def attribute(number, data):
    return struct.pack("=HH", len(data) + 4, number) + data + bytes(-len(data) % 4)


def message(kind, flags, body):
    return struct.pack("=IHHII", 16 + len(body), kind, flags, 0, 0) + body


def link(*attributes):
    return struct.pack("=BxHiII", 0, 0, 0, 0, 0) + b"".join(attributes)


def tunnel(shape, i, ttl=0):
    """-> attributes of the tunnel"""
    kind, remote, key = SHAPES[shape]
    address = struct.pack("!I", remote(i))
    local = socket.inet_aton(LOCAL)
    if kind == "ipip":
        data = attribute(2, local) + attribute(3, address) + attribute(4, bytes([ttl]))
    else:
        data = attribute(6, local) + attribute(7, address) + attribute(8, bytes([ttl]))
        if key:
            flags, number = struct.pack("!H", GRE_KEY), struct.pack("!I", key(i))
            data += attribute(2, flags) + attribute(3, flags) + attribute(4, number) + attribute(5, number)
    return attribute(LINKINFO, attribute(1, kind.encode() + b"\0") + attribute(2, data))


def name(i):
    return attribute(IFNAME, b"t%d\0" % i)


class Links:
    """A netlink socket in the namespace where it is created"""

    def __init__(self):
        self.socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
        self.socket.setsockopt(socket.SOL_SOCKET, 32, 1 << 22)  # SO_SNDBUFFORCE
        self.socket.setsockopt(socket.SOL_SOCKET, 33, 1 << 22)  # SO_RCVBUFFORCE

    def send(self, messages):
        """Send requests in batches, wait for the acks, and raise an error if one failed."""
        batch = []
        for one in messages:
            batch.append(one)
            if len(batch) == BATCH:
                self.flush(batch)
                batch = []
        if batch:
            self.flush(batch)

    def flush(self, batch):
        self.socket.send(b"".join(batch))
        try:
            answer = self.socket.recv(65536, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return
        error = struct.unpack_from("=i", answer, 16)[0]
        raise SystemExit(f"bench: netlink: {os.strerror(-error)}")

    def create(self, shape, first, end, group=0):
        self.send(message(NEWLINK, REQUEST | CREATE | EXCL,
                          link(name(i), attribute(GROUP, struct.pack("=I", group)), tunnel(shape, i)))
                  for i in range(first, end))

    def change(self, shape, first, end):
        self.send(message(NEWLINK, REQUEST, link(name(i), tunnel(shape, i, 64))) for i in range(first, end))

    def delete(self, first, end):
        self.send(message(DELLINK, REQUEST, link(name(i))) for i in range(first, end))

    def delete_group(self, group):
        self.send([message(DELLINK, REQUEST, link(attribute(GROUP, struct.pack("=I", group))))])

    def dump(self):
        """-> number of links"""
        self.socket.send(message(GETLINK, REQUEST | DUMP, link()))
        count = 0
        while True:
            answer = self.socket.recv(1 << 18)
            at = 0
            while at < len(answer):
                length, kind = struct.unpack_from("=IH", answer, at)
                if kind == 3:               # NLMSG_DONE
                    return count
                count += kind == NEWLINK
                at += -(-length // 4) * 4

    def close(self):
        self.socket.close()


# ---------------------------------------------------------------- time and memory

def idle():
    """-> idle time of the CPU in nanoseconds, which are not instructions"""
    with open("/proc/stat", encoding="ascii") as file:
        fields = file.readline().split()
    return (int(fields[4]) + int(fields[5])) * 1000000000 // os.sysconf("SC_CLK_TCK")


def settle():
    """Wait until background work has ended: the CPU is idle for half a second."""
    for _ in range(600):
        before = idle()
        time.sleep(0.5)
        if idle() - before >= 480000000:
            return
    raise SystemExit("bench: the kernel does not come to rest")


def spent(work, *words):
    """-> instructions, including background work afterwards"""
    settle()
    start, slept = time.monotonic_ns(), idle()
    work(*words)
    settle()
    return time.monotonic_ns() - start - (idle() - slept)


def spent_here(work, *words):
    """-> instructions of this process, for work that mostly waits: idle time is not known exactly enough."""
    settle()
    start = time.process_time_ns()
    work(*words)
    return time.process_time_ns() - start


def set_aside():
    """-> bytes in the per-CPU page lists, which are free but not in MemFree"""
    with open("/proc/zoneinfo", encoding="ascii") as file:
        return sum(int(line.split()[1]) for line in file if line.split()[0] == "count:") * os.sysconf("SC_PAGE_SIZE")


def memory():
    """-> bytes in use, in slabs, and per CPU"""
    with open("/proc/sys/vm/drop_caches", "w", encoding="ascii") as file:
        file.write("3")
    settle()
    with open("/proc/meminfo", encoding="ascii") as file:
        values = {line.split(":")[0]: int(line.split()[1]) * 1024 for line in file}
    return {"used": values["MemTotal"] - values["MemFree"] - set_aside(), "slab": values["Slab"],
            "percpu": values["Percpu"]}
