#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""A swap preserves state that only the driver has: the sequence numbers of GRE in both directions, from the in-tree
modules to iptnl, to a newer build, and back; and the interface index of fallback devices, except on the way back, with
a note.

    n0
    g0 gre seq, e0 gretap seq key 2, x0 erspan II session 3       u0 192.0.2.1, a tun device: the test is 192.0.2.2
"""

import re
import subprocess

import exchange
from exchange import AnotherBuild, begin_in_tree, expect_said, expect_status, output, remove_modules, whose
from ksft import NetNs, check, expect, ksft_run
from pkt import gre, ip
from wire import Tun

FALLBACKS = ("tunl0", "gre0", "gretap0", "erspan0")
SENT = {"g0": (6,), "e0": (4, 2), "x0": (5, 3)}         # packets to send and, except for gre, the key


def numbers_sent(wire):
    """-> the sequence numbers of all sent packets"""
    found = []
    while True:
        packet = wire.recv()
        if packet is None:
            return found
        header = packet[20:]
        flags = int.from_bytes(header[:2], "big")
        at = 4 + 4 * bool(flags & 0x8000) + 4 * bool(flags & 0x2000)
        found.append(int.from_bytes(header[at:at + 4], "big"))


def send(n0, device, count):
    """Send packets through a device."""
    n0.run("python3", "-c", """
import socket, sys
s = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, 0)
for _ in range(int(sys.argv[2])):
    s.sendto(bytes.fromhex(sys.argv[3]), (sys.argv[1], 0x0800, 0, 0, b"\\xff" * 6 if sys.argv[1] != "g0" else b""))
""", device, str(count), "4500001400000000400159e1cb007101cb007102")


def indexes(n0):
    return {name: int(output(n0, "cat", "/sys/class/net/%s/ifindex" % name)) for name in FALLBACKS}


class Expected:
    """The next sequence numbers of each tunnel"""

    def __init__(self, n0, wire):
        self.n0, self.wire = n0, wire
        self.out, self.into = {name: 0 for name in SENT}, 0

    def check_continues(self, name):
        for device, (count, *_) in SENT.items():
            send(self.n0, device, count)
            expect("%s: %s sends on" % (name, device), list(range(self.out[device], self.out[device] + count)),
                   numbers_sent(self.wire))
            self.out[device] += count
        before = self.counts()
        if self.into:
            self.receive(self.into - 1)
        expect("%s: g0 still refuses the number before" % name, [int(self.into > 0), 0], self.since(before))
        self.receive(self.into)
        expect("%s: and takes the next one" % name, [int(self.into > 0), 1], self.since(before))
        self.into += 1

    def receive(self, number):
        self.wire.send(ip("192.0.2.2", "192.0.2.1") / gre(seq=number) / ip("203.0.113.2", "203.0.113.1"))

    def counts(self):
        return [self.n0.stat("g0", "rx_fifo_errors"), self.n0.stat("g0", "rx_packets")]

    def since(self, before):
        return [now - then for now, then in zip(self.counts(), before)]


def main():
    begin_in_tree()
    exchange.ksft.modprobe("tun")
    try:
        with NetNs() as n0:
            run(n0)
    finally:
        remove_modules()


def run(n0):
    with n0.enter:
        wire = Tun("u0", "192.0.2.1/24")
    n0.ip("link add g0 type gre local 192.0.2.1 remote 192.0.2.2 seq",
          "link add e0 type gretap local 192.0.2.1 remote 192.0.2.2 seq key 2",
          "link add x0 type erspan local 192.0.2.1 remote 192.0.2.2 seq key 3 erspan_ver 1",
          "link set g0 up", "link set e0 up", "link set x0 up", "link set tunl0 up")
    expected, index = Expected(n0, wire), indexes(n0)
    expected.check_continues("in-tree")
    expect_status("swap", 0, "swap")
    expected.check_continues("swapped")
    expect("swapped: the fallback devices have their indexes", index, indexes(n0))
    moved()
    with AnotherBuild():
        expect_status("swap, to a newer build", 0, "swap")
        expected.check_continues("upgraded")
        expect("upgraded: the fallback devices have their indexes", index, indexes(n0))
    expect_status("restore", 0, "restore")
    expect_said("restore: tells that tunl0's index changes", "tunl0 in %s gets another interface index" % n0.name)
    expected.check_continues("restored")
    expect("restored: in-tree", ["in-tree"], whose())
    check("restored: ip_tunnel_core is gone", not exchange.ksft.is_loaded("ip_tunnel_core"))
    refused()


def moved():
    """A tunnel that moves to another namespace has not gone."""
    with NetNs() as n1, NetNs() as n2:
        n1.ip("link add d9 type dummy", "link set d9 up", "addr add 192.0.2.1/24 dev d9",
              "link add g9 type gre local 192.0.2.1 remote 192.0.2.9 seq", "link set g9 up")
        send(n1, "g9", 1)
        n1.run("sh", "-c", "echo record >/proc/driver/iptnl")
        n1.ip(f"link set g9 netns {n2.name}")
        expect("moved: nothing is recorded", "", output(n1, "cat", "/proc/driver/iptnl"))
        n2.ip(f"link set g9 netns {n1.name}")
        index = output(n1, "cat", "/sys/class/net/g9/ifindex").strip()
        n1.ip("link del g9")
        expect("deleted: its numbers are", f"seq {index} 0 1", output(n1, "cat", "/proc/driver/iptnl").strip())
        n1.run("sh", "-c", "echo forget >/proc/driver/iptnl")


def refused():
    """Invalid lines, and missing permission, for /proc/driver/iptnl"""
    exchange.ksft.modprobe("ip_tunnel_core")
    for line in ("", "nonsense", "seq 1", "seq 0 1 1", "seq 99999 1 1", "index tunl0 -1", "index tunl0", "x" * 200):
        try:
            exchange.ksft.write("/proc/driver/iptnl", line)
            check("'%.20s' is refused" % line, not line)        # an empty write is no line
        except OSError:
            check("'%.20s' is refused" % line, True)
    done = subprocess.run(["setpriv", "--reuid", "65534", "--clear-groups", "cat", "/proc/driver/iptnl"],
                          capture_output=True, text=True, check=False)
    check("an ordinary user cannot read it", done.returncode and re.search("denied|permitted", done.stderr))
    exchange.ksft.rmmod("ip_tunnel_core")


ksft_run(main)
