#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""A packet costs the same with many tunnels as with one, however addresses and keys
of these are chosen. Only the ratio of two times of one boot is looked at.

       the test (192.0.2.x)
          | u0               | u1, tun devices
       one: 192.0.2.1     many: 192.0.2.1
           tunnels that differ in remote and key, in the key, or in the local address alone
"""
import os
import statistics
import time

from ksft import NetNs, SLOW, diag, differs, expect, ksft_run, modprobe, need_modules
from pkt import gre, ip
from wire import Tun, case, run_ip, sysctl

MANY = 1000 if SLOW == 1 else 200
PACKETS, TIMES = 100, 31
LIMIT = 2               # as long with all of them as with one


def host(net, number):
    return f"{net}.{number >> 8}.{number & 255}"


def number_of(address):
    return int.from_bytes(bytes(map(int, address.split("."))), "big")


# What the tunnels are: options of number n, and a packet for it
def remote_and_key(n):
    """key and remote differ in the same bits, so that one cancels the other out"""
    remote = host("198.18", n)
    key = number_of(remote)
    return f"type gre local 192.0.2.1 remote {remote} key {key}", ip(remote, "192.0.2.1") / gre(key=key) / ip()


def local_only(n):
    local = host("198.19", n)
    return f"type ipip local {local}", ip("192.0.2.2", local, 4) / ip()


def key_only(n):
    return f"type gre key {n + 1}", ip("192.0.2.2", "192.0.2.1") / gre(key=n + 1) / ip()


def add(make, numbers):
    run_ip(*(line for n in numbers for line in (f"link add x{n} {make(n)[0]}", f"link set x{n} up")))


def duration(wire, packet):
    """of some packets to the first of the tunnels"""
    begin = time.perf_counter()
    for _ in range(PACKETS):
        wire.send(packet)
    return time.perf_counter() - begin


def populate(ns, name, make, count):
    """-> the wire of a namespace with so many tunnels"""
    with ns.inside():
        sysctl(net__ipv4__icmp_ratemask=0)
        wire = Tun(name, "192.0.2.1/24")
        run_ip("route add local 198.19.0.0/16 dev lo")
        add(make, range(count))
    return wire


def the_same(name, make):
    """The two times of a pair are next to each other, and a busy machine is slow for both."""
    with NetNs() as one, NetNs() as many:
        alone, among = populate(one, "u0", make, 1), populate(many, "u1", make, MANY)
        packet = make(0)[1].bytes()
        ratio = statistics.median(duration(among, packet) / duration(alone, packet) for _ in range(TIMES))
        diag(f"{name}: {ratio:.2f} times as long among {MANY}")
        with differs("looks at one after the other"):
            expect(f"{name}: a packet takes as long among {MANY} as alone", True, ratio < LIMIT)
        with many.inside():
            case(f"{name}: it is the first one's", "x0 rx_bytes=20 rx_packets=1", among, packet)
            case(f"{name}: and this is the last one's", f"x{MANY - 1} rx_bytes=20 rx_packets=1", among,
                 make(MANY - 1)[1])
        while Tun.all:
            os.close(Tun.all.pop().fd)


def main():
    need_modules("ipip", "ip_gre")
    modprobe("tun")
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    the_same("gre, remote and key", remote_and_key)
    the_same("gre, key alone", key_only)
    the_same("ipip, local alone", local_only)


ksft_run(main)
