#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Nothing is kept of packets that are lost, answered or delivered: the kernel's
memory is the same after thousands of them, for each way that a packet can take.

       the test (192.0.2.2, a router 192.0.2.254)
          | u0, a tun device
       n0: 192.0.2.1
           g0, g1  gre            i0  ipip               a0  gre, no remote
           t0  gretap             e0  erspan             gx, ix, px, ex  external
           x0  gre to where no route leads
"""
import contextlib
import socket

from ether import erspan, frame, put_up
from ksft import NetNs, SLOW, check, diag, ksft_run, modprobe, need_modules, no_reference_left, unreclaimable
from pkt import gre, icmp, ip, ip6, mpls, raw, udp
from wire import ETH_P_IP, ETH_P_IPV6, Tun, one_processor, run_ip, sysctl, until

TIMES = 2000 // SLOW
LIMIT = 64              # bytes for each packet: no object of the packet path is that small
ROUNDS = 20 if SLOW > 1 else 1      # KASAN keeps what was freed, until that is a share of the memory
FAR = "192.0.2.2", "192.0.2.1"
INNER = ip(flags=2) / udp() / b"hello"
LARGE = ip(flags=2) / udp() / raw(1480)


def devices():
    ends = "local 192.0.2.1 remote 192.0.2.2"
    made = {"g0": f"gre {ends}", "g1": f"gre {ends} key 1 csum seq", "i0": f"ipip mode ipip {ends}",
            "a0": "gre local 192.0.2.1 key 9", "t0": f"gretap {ends}", "e0": f"erspan {ends} seq key 5 erspan_ver 1",
            "x0": "gre local 192.0.2.1 remote 198.18.0.1", "gx": "gre external", "ix": "ipip external",
            "px": "gretap external", "ex": "erspan external"}
    run_ip(*(f"link add {dev} type {options}" for dev, options in made.items()), *put_up(*made),
           "addr add 198.51.100.1/24 dev gx", "route add 203.0.113.0/28 encap ip id 5 dst 192.0.2.2 dev gx",
           "route add 203.0.113.16/28 dev g0", "route add 203.0.113.32/28 dev a0")


def outer(proto=None, tos=0):
    return ip(*FAR, proto, tos=tos)


def received():
    """-> what it is, packet"""
    yield "GRE, version 2", outer() / gre(ver=2) / INNER
    yield "GRE, cut short", outer(47) / raw("00")
    yield "GRE, a wrong checksum", outer() / gre(key=1, seq=1, csum=0x1234) / INNER
    yield "GRE, no checksum where one is wanted", outer() / gre(key=1, seq=1) / INNER
    yield "GRE, a payload cut short", outer() / gre() / raw("4500")
    yield "GRE, congestion outside, no ECN inside", outer(tos=3) / gre() / INNER
    yield "GRE, delivered", outer() / gre() / INNER
    yield "GRE, no remote, delivered", ip("192.0.2.7", "192.0.2.1") / gre(key=9) / INNER
    yield "GRE, external, delivered", ip("192.0.2.7", "192.0.2.1") / gre(key=77) / INNER
    yield "ipip, delivered", outer() / INNER
    yield "ipip, MPLS for IPv4", outer(137) / mpls(100) / INNER
    yield "ipip, external, delivered", ip("192.0.2.7", "192.0.2.1") / INNER
    yield "ipip, external, a payload cut short", ip("192.0.2.7", "192.0.2.1", 4) / raw("4500")
    yield "gretap, a frame cut short", outer() / gre(0x6558) / raw(bytes(10))
    yield "gretap, external, delivered", ip("192.0.2.7", "192.0.2.1") / gre(0x6558) / frame(INNER)
    yield "erspan, a header cut short", outer() / gre(0x88be, seq=1) / raw("1000")
    yield "erspan, version 7", outer() / gre(0x88be, seq=1) / erspan(5, 7) / frame(INNER)
    yield "erspan, external, delivered", \
        ip("192.0.2.7", "192.0.2.1") / gre(0x22eb, seq=1) / erspan(3, 2) / frame(INNER)
    about = (ip(*FAR[::-1]) / gre() / INNER).bytes()
    yield "ICMP, a path MTU", ip("192.0.2.254", "192.0.2.1") / icmp(3, 4, 1400) / about
    yield "ICMP, a redirect", ip("192.0.2.254", "192.0.2.1") / icmp(5, 1, 0xc0000209) / about


def sent():
    """-> what it is, device, packet, protocol"""
    yield "where no route leads", "x0", INNER, ETH_P_IP
    yield "IPv6 in ipip", "i0", ip6() / udp(), ETH_P_IPV6
    yield "too large", "g0", LARGE, ETH_P_IP
    yield "too large, ipip", "i0", LARGE, ETH_P_IP
    yield "cut short", "g0", raw("45"), ETH_P_IP
    yield "external, without metadata", "gx", INNER, ETH_P_IP
    yield "external ipip, without metadata", "ix", INNER, ETH_P_IP
    yield "external gretap, without metadata", "px", frame(INNER), ETH_P_IP
    yield "external erspan, without metadata", "ex", frame(INNER), ETH_P_IP
    yield "no header where one must be", "a0", INNER, ETH_P_IP
    yield "a frame that erspan cuts", "e0", frame(LARGE), ETH_P_IP
    yield "delivered by gretap", "t0", frame(INNER), ETH_P_IP


def routed():
    """-> what it is, address"""
    yield "external, by a route", "203.0.113.1"
    yield "by gre", "203.0.113.17"
    yield "no remote and no neighbour", "203.0.113.33"


def nothing_kept(name, u0, action):
    """in one of the rounds; first some, so that what is made once is there"""
    def some(count):
        with one_processor():
            for _ in range(count):
                with contextlib.suppress(OSError):
                    action()
                u0.drain()

    some(100)
    for _ in range(ROUNDS):
        before = unreclaimable()
        some(TIMES)
        # What RCU frees goes later.
        fine = until(True, lambda first=before: unreclaimable() - first < LIMIT * TIMES, 60 // ROUNDS)
        if fine:
            break
    check(f"{name}: nothing is kept", fine)
    diag(f"{name}: {(unreclaimable() - before) / TIMES:.1f} bytes a packet")


def every_way(u0):
    for name, packet in received():
        data = packet.bytes()
        nothing_kept(f"received: {name}", u0, lambda: u0.send(data))
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as sock:
        for name, dev, packet, proto in sent():
            data = packet.bytes()
            nothing_kept(f"sent: {name}", u0, lambda: sock.sendto(data, (dev, proto)))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        for name, address in routed():
            nothing_kept(f"sent: {name}", u0, lambda: sock.sendto(b"hello", (address, 9)))


def main():
    need_modules("ipip", "ip_gre")
    modprobe("tun", "mpls_router")
    with NetNs() as n0, n0.inside():
        sysctl(net__ipv4__icmp_ratemask=0)
        u0 = Tun("u0", "192.0.2.1/24")
        devices()
        every_way(u0)
    no_reference_left()


ksft_run(main)
