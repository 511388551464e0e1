#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Tunnels and their namespaces come and go while packets arrive; modules are reloaded and a processor is offline now
and then. Nothing hangs or stays, and at the end a packet is delivered as at the beginning.

    outside: a process sends without end
       | v0
       | u0, 192.0.2.1, with RPS on all processors
    a namespace at a time
       c0 to c7  tunnels of every kind: made, changed, moved to "outside" and back; half of them deleted, the others go
                 with the namespace

IPTNL_NAMESPACES=N so many (default 20). With one processor, none is ever offline.
"""
import os
import socket

from hostile import processor
from ksft import NetNs, diag, expect, ksft_run, modprobe, need_modules, no_reference_left, remove_modules
from pkt import eth, gre, ip, raw, udp
from wire import COUNTERS, ETH_P_IP, Tun, case, run_ip, until

NAMESPACES = int(os.environ.get("IPTNL_NAMESPACES", "20"))
RELOAD, OFFLINE = 7, 5          # once in so many namespaces
ENDS = "local 192.0.2.1 remote 192.0.2.2"
ERSPAN = "seq key 7 erspan_ver 1 erspan 5"
KINDS = [f"ipip {ENDS}", f"gre {ENDS}", f"gre {ENDS} key 7 csum seq", f"gretap {ENDS} key 2", f"erspan {ENDS} {ERSPAN}",
         "ipip external", "gre external", "ipip local 192.0.2.1 remote 192.0.2.3 encap fou encap-dport 5555"]
CHANGES = {"c0": f"ipip {ENDS} ttl 9", "c1": f"gre {ENDS} csum seq", "c2": f"gre {ENDS} key 7",
           "c3": f"gretap {ENDS} key 2 csum", "c4": f"erspan {ENDS} {ERSPAN} ttl 9", "c6": "gre external ttl 9",
           "c7": "ipip local 192.0.2.1 remote 192.0.2.4 encap fou encap-dport 5555"}
MOVED = "c0", "c1", "c3"
MAC = "02:00:00:00:00:01"
FROM = "192.0.2.2", "192.0.2.1"
INNER = ip() / udp() / raw(64)
PACKETS = [ip(*FROM) / INNER, ip(*FROM) / gre() / INNER, ip(*FROM) / gre(key=7, csum=True, seq=1) / INNER,
           ip(*FROM) / gre(key=2) / eth() / INNER, ip("192.0.2.9", "192.0.2.1") / gre(key=5) / INNER,
           ip("192.0.2.3", "192.0.2.1") / udp(7000, 5555) / INNER]


def keep_branches(ns):
    """What switches branches of the kernel's code (static keys) is there all the time: QEMU without KVM may run an int3
    of the switching after its handler has gone, on the other processor."""
    ns.ip("fou add port 5554 ipproto 4")
    ns.rps("lo", range(os.cpu_count()))


def flood():
    """by v0, whenever there is one"""
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, 0)
    data, mac = [packet.bytes() for packet in PACKETS], bytes.fromhex(MAC.replace(":", ""))
    while True:
        try:
            for packet in data:
                sock.sendto(packet, ("v0", ETH_P_IP, 0, 0, mac))
        except OSError:
            os.sched_yield()


def received():
    """-> packets that the tunnels have received so far, altogether"""
    at = COUNTERS.NAMES.index("rx_packets")
    return sum(values[at] for name, values in COUNTERS.read().items() if name[0] == "c")


def cycle(outside, number):
    """-> whether packets came in meanwhile"""
    with NetNs() as ns, ns.inside():
        outside.ip(f"link add v0 type veth peer name u0 address {MAC} netns {ns.name}", "link set v0 up")
        run_ip("addr add 192.0.2.1/24 dev u0", "link set u0 up", "fou add port 5555 ipproto 4")
        ns.rps("u0", range(os.cpu_count()))
        run_ip(*(f"link add c{n} type {words}" for n, words in enumerate(KINDS)),
               *(f"link set c{n} up" for n in range(len(KINDS))))
        before = received()
        arrived = until(True, lambda: received() > before)
        if number % OFFLINE == 0:
            processor(1, False)
        run_ip(*(f"link change {dev} type {words}" for dev, words in CHANGES.items()))
        run_ip(*(f"link set {dev} netns {outside.name}" for dev in MOVED))
        outside.ip(*(line for dev in MOVED for line in (f"link set {dev} up", f"link set {dev} netns {ns.name}")))
        run_ip(*(f"link set {dev} up" for dev in MOVED))
        if number % RELOAD == 0:
            remove_modules()
            modprobe("ipip", "ip_gre")
        else:
            run_ip(*(f"link del c{n}" for n in range(number % 2, len(KINDS), 2)))
        if number % OFFLINE == 0:
            processor(1, True)
    return arrived


def delivery():
    with NetNs() as ns, ns.inside():
        u0 = Tun("u0", "192.0.2.1/24")
        run_ip(f"link add g type gre {ENDS}", "link set g up")
        case("a packet is delivered", "g rx_bytes=92 rx_packets=1", u0, ip(*FROM) / gre() / INNER)
        Tun.all.remove(u0)
    os.close(u0.fd)


def main():
    need_modules("ipip", "ip_gre")
    modprobe("fou", "tun")
    delivery()
    without = []
    with NetNs() as outside:
        keep_branches(outside)
        outside.start_function(flood)
        for number in range(1, NAMESPACES + 1):
            if not cycle(outside, number):
                without.append(number)
            if number % 20 == 0:
                diag(f"{number} namespaces")
    expect("packets arrived in each namespace", [], without)
    delivery()
    no_reference_left()
    diag(f"{(NAMESPACES - len(without)) * len(CHANGES)} tunnels in {NAMESPACES} namespaces made, changed and deleted")


ksft_run(main)
