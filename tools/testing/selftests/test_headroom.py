#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""How much room a tunnel asks for in front of its packets does not grow without
end: not with tunnels that lead into each other, nor with each change.

       the test (192.0.2.x)
          | u0, a tun device
       n0: 192.0.2.1
           t1, t2  tunnels, also by way of each other
"""
import os
import socket
import subprocess

import bpf
from ether import frame
from ksft import NetNs, diag, expect, ksft_run, modprobe, need_modules, write
from pkt import ip
from wire import COUNTERS, ETH_P_IP, Tun, one_processor, run_ip

TRACING = "/sys/kernel/tracing/"
LARGEST = 512           # no tunnel needs more
PACKETS = 100
KINDS = ("ipip", "gre", "gre key 5 csum", "gretap")
ENDS = "local 192.0.2.1 remote 192.0.2.2"


class Room:
    """Reads needed_headroom of a device where its counters are read, by a kprobe."""

    def __init__(self):
        if not os.path.exists(TRACING + "trace"):
            subprocess.run(["mount", "-t", "tracefs", "tracefs", TRACING], check=False)
        self.there = os.path.exists(TRACING + "kprobe_events") and os.path.exists("/sys/kernel/btf/vmlinux")

    @staticmethod
    def probe(text):
        """a line more for kprobe_events, which cannot seek"""
        file = os.open(TRACING + "kprobe_events", os.O_WRONLY | os.O_APPEND)
        os.write(file, text.encode())
        os.close(file)

    def __enter__(self):
        if self.there:
            member = bpf.btf_offset("net_device", "needed_headroom")
            index = bpf.btf_offset("net_device", "ifindex")
            self.probe(f"p:iptnl/room dev_get_stats room=+{member}($arg1):u16 dev=+{index}($arg1):s32\n")
            write(TRACING + "events/iptnl/room/enable", "1")
        else:
            diag("this kernel has no kprobes or types: only the packets are sent")
        return self

    def __exit__(self, *_):
        if self.there:
            write(TRACING + "events/iptnl/room/enable", "0")
            self.probe("-:iptnl/room\n")

    def of(self, dev):
        """-> bytes, or None where they cannot be seen"""
        if not self.there:
            return None
        write(TRACING + "trace", "")
        COUNTERS.read()
        with open(TRACING + "trace") as file:
            found = [line for line in file if line.rstrip().endswith(f" dev={socket.if_nametoindex(dev)}")]
        return int(found[-1].split(" room=")[1].split()[0])


def some_packets(u0, kind, *devices):
    data = (frame(ip()) if kind == "gretap" else ip()).bytes()
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as sock, one_processor():
        for _ in range(PACKETS):
            for dev in devices:
                sock.sendto(data, (dev, ETH_P_IP))
            u0.drain()


def at_most(name, room, *devices):
    got = [room.of(dev) for dev in devices]
    expect(f"{name}: no more than {LARGEST} bytes", [], [size for size in got if (size or 0) > LARGEST])


def each_other(u0, room, kind):
    """Each packet of one is one of the other, whose room is a part of its own."""
    run_ip(f"link add t1 type {kind} local 192.0.2.1 remote 203.0.113.1", "link set t1 up",
           f"link add t2 type {kind} local 192.0.2.1 remote 203.0.113.2", "link set t2 up",
           "route add 203.0.113.1 dev t2", "route add 203.0.113.2 dev t1")
    for turn in range(4):
        some_packets(u0, kind, "t1", "t2")
        run_ip(*(f"link set t{n} type {kind} local 192.0.2.1 remote 203.0.113.{n} ttl {turn + 1}" for n in (1, 2)))
    at_most(f"{kind}, two that lead to each other", room, "t1", "t2")
    run_ip("link del t1", "link del t2")


def there_and_back(u0, room, kind):
    """changed a hundred times, with packets in between"""
    mac = ["link set t1 address 02:00:00:00:00:09"] * (kind == "gretap")
    options = "ttl 9 encap fou encap-sport auto encap-dport 5555"
    run_ip(f"link add t1 type {kind} {ENDS} ttl 9", *mac, "link set t1 up")
    some_packets(u0, kind, "t1")
    before = room.of("t1")
    for _ in range(10):
        run_ip(*[f"link set t1 type {kind} {ENDS} {options}", f"link set t1 type {kind} {ENDS} ttl 9 encap none"] * 5)
        some_packets(u0, kind, "t1")
    diag(f"{kind}: {before} bytes at first, {room.of('t1')} after a hundred changes")
    at_most(f"{kind}, a hundred changes", room, "t1")
    expect(f"{kind}, a hundred changes: as many bytes as before them", before, room.of("t1"))
    run_ip("link del t1")


def main():
    need_modules("ipip", "ip_gre")
    modprobe("tun", "fou")
    with NetNs() as n0, n0.inside(), Room() as room:
        u0 = Tun("u0", "192.0.2.1/24")
        for kind in KINDS:
            each_other(u0, room, kind)
            there_and_back(u0, room, kind)


ksft_run(main)
