#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""The outer route has several next hops: inner flows spread over them, and each
stays on its path.

                    192.0.2.1 u0 ---.
    t0 ====== tunnel from 10.1.1.1 ==+==> 203.0.113.9
                    192.0.3.1 u1 ---'

In-tree does so with "tos inherit" only, and otherwise sends all by one.
"""
import itertools
import json
import socket
import subprocess
import time

from ksft import ksft_run, need_modules, modprobe, check, expect, NetNs, differs, run_ip, until
from pkt import eth, ip, ip6, raw, udp
from wire import Tun, sysctl, transmit

REMOTE = "203.0.113.9"
LEGACY = (f"route replace {REMOTE} nexthop via 192.0.2.2 dev u0 nexthop via 192.0.3.2 dev u1",)
GROUP = ("nexthop add id 1 via 192.0.2.2 dev u0", "nexthop add id 2 via 192.0.3.2 dev u1",
         "nexthop add id 3 group 1/2", f"route replace {REMOTE} nhid 3")
RESILIENT = ("nexthop add id 1 via 192.0.2.2 dev u0", "nexthop add id 2 via 192.0.3.2 dev u1",
             "nexthop add id 3 group 1/2 type resilient buckets 64 idle_timer 1 unbalanced_timer 0",
             f"route replace {REMOTE} nhid 3")
ROUTES = {"multipath": LEGACY, "nexthop group": GROUP, "resilient group": RESILIENT}
KINDS = {"ipip": "ipip", "gre": "gre key 1 seq", "gretap": "gretap", "gre, tos inherit": "gre tos inherit"}
FLOWS = 200
PINNED = "one path for all flows of a tunnel with a TOS of its own"


def flow(number, family=4, **more):
    head = ip6("2001:db8::1", "2001:db8::2") if family == 6 else \
        ip("198.51.100.1", "198.51.100.2", **more)
    return head / udp(20000 + number, 9) / raw(20)


def send(packet):
    if isinstance(packet, eth):
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as sock:
            sock.bind(("t0", 0))
            sock.send(packet.bytes())
    else:
        transmit("t0", packet)


def path_of(wires, packet):
    """0 or 1, or what came by each"""
    send(packet)
    counts = [len(wire.drain()) for wire in wires]
    return counts.index(1) if sorted(counts) == [0, 1] else counts


def spread(wires, name, packets, reason=PINNED):
    first = [path_of(wires, p) for p in packets]
    with differs(reason) if reason else differs("", ""):
        share = first.count(1) / len(first)
        # 16 places that fall to one of two paths by a secret hash: all but 1 in 700 boots have 3 to 13.
        check(f"{name}: by both paths", 0.12 < share < 0.88, f"{share:.0%} by the second")
    again = [path_of(wires, p) for p in packets]
    expect(f"{name}: each flow keeps its path", first, again)
    return first


def link(kind, more=""):
    mac = "address 02:00:00:00:00:01 " * ("gretap" in kind)
    return (f"link add t0 {mac}type {KINDS[kind]} local 10.1.1.1 remote {REMOTE} {more}",
            "link set t0 up")


def forget_routes():
    run_ip("link del t0", f"route del {REMOTE}", "nexthop flush", force=True)


def packets_of(kind, family=4):
    packets = (flow(n, family) for n in range(FLOWS))
    if kind != "gretap":
        return list(packets)
    return [eth("02:00:00:00:00:02", "02:00:00:00:00:01") / p for p in packets]


def kinds(wires):
    for kind, (name, lines) in itertools.product(KINDS, ROUTES.items()):
        run_ip(*lines, *link(kind))
        pinned = None if "inherit" in kind else PINNED
        spread(wires, f"{kind}, {name}", packets_of(kind), pinned)
        if kind.startswith("gre,") or kind == "gretap":
            spread(wires, f"{kind}, {name}, IPv6", packets_of(kind, 6), pinned)
        forget_routes()


def fragments(wires):
    """all of them go by addresses"""
    run_ip(*LEGACY, *link("gre"))
    pieces = [flow(1, flags=1), flow(2, frag=3), flow(3, flags=1, frag=3)]
    taken = {path_of(wires, p) for p in pieces * 5}
    expect("fragments of a pair of hosts: one path", 1, len(taken))
    forget_routes()


def changes(wires):
    """one next hop more or less: followed, by a tunnel that has sent before"""
    packets = packets_of("gre")
    run_ip(f"route replace {REMOTE} via 192.0.2.2 dev u0", *link("gre"))
    expect("one next hop: one path", [0] * FLOWS, [path_of(wires, p) for p in packets])
    run_ip(*LEGACY)
    spread(wires, "a second next hop", packets)
    run_ip(f"route replace {REMOTE} via 192.0.3.2 dev u1")
    expect("one again: one path", [1] * FLOWS, [path_of(wires, p) for p in packets])
    run_ip(*LEGACY)
    spread(wires, "two again", packets)
    run_ip(f"link set t0 type gre local 10.1.1.1 remote {REMOTE} ttl 9")
    spread(wires, "the tunnel changed", packets)
    run_ip("link set u1 down")
    expect("a path goes down: the other", [0] * FLOWS, [path_of(wires, p) for p in packets])
    run_ip("link set u1 up", "route add 192.0.3.0/24 dev u1", *LEGACY, force=True)
    spread(wires, "up again", packets)
    forget_routes()


def lightweight(wires):
    """external mode: the route is kept with the metadata of the inner route"""
    run_ip(*LEGACY, "link add t0 type gre external", "link set t0 up",
           f"route add 198.51.100.0/24 encap ip id 7 src 10.1.1.1 dst {REMOTE} dev t0")
    taken = []
    for n in range(FLOWS):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.bind(("10.1.1.1", 20000 + n))
            sock.sendto(b"x", ("198.51.100.2", 9))
        counts = [len(wire.drain()) for wire in wires]
        taken.append(counts.index(1))
    with differs(PINNED):
        check("external: by both paths", 20 < sum(taken) < 180, f"{sum(taken)} of {FLOWS}")
    forget_routes()


def resilient(wires):
    """The buckets that flows use are busy, and when one moves, they follow."""
    run_ip("nexthop add id 1 via 192.0.2.2 dev u0", "nexthop add id 2 via 192.0.3.2 dev u1",
           "nexthop add id 3 group 1 type resilient buckets 32 idle_timer 0 unbalanced_timer 0",
           f"route replace {REMOTE} nhid 3", *link("gre"))
    packets = packets_of("gre")
    expect("resilient, one member: one path", [0] * FLOWS, [path_of(wires, p) for p in packets])
    run_ip("nexthop replace id 3 group 2 type resilient buckets 32 idle_timer 0 unbalanced_timer 0")
    got = until([1] * 20, lambda: [path_of(wires, p) for p in packets[:20]], 10)
    expect("resilient, another member: followed", [1] * 20, got)
    run_ip("nexthop replace id 3 group 1/2 type resilient buckets 32 idle_timer 0 unbalanced_timer 0")
    until(True, lambda: min(buckets().values()) > 1, 30)        # nobody uses any
    busy = None
    for n in range(4):
        begin = time.monotonic()
        for p in packets[:20]:
            path_of(wires, p)
        idle = buckets()
        took = time.monotonic() - begin
        if busy is None:
            busy = {number for number, seconds in idle.items() if seconds <= min(took + 0.1, 1)}
        # A route that is older than half a second is chosen anew, which tells the bucket that it is in use.
        late = {number: idle[number] for number in busy if idle[number] > took + 0.6}
        expect(f"resilient: the buckets of flows that send are busy, round {n}", {}, late)
        time.sleep(0.7)     # the routes are to be old; being older does no harm
    check("resilient: flows use buckets", len(busy) > 4, busy)
    forget_routes()


def buckets():
    """-> {bucket: seconds since it was used}"""
    listed = subprocess.run(["ip", "-j", "nexthop", "bucket", "show", "id", "3"], check=True,
                            stdout=subprocess.PIPE).stdout
    return {b["bucket"]["index"]: b["bucket"]["idle_time"] for b in json.loads(listed)}


def main():
    need_modules()
    modprobe("tun")
    with NetNs() as ns, ns.inside():
        sysctl(net__ipv4__conf__all__rp_filter=0, net__ipv4__fib_multipath_hash_policy=0)
        run_ip("addr add 10.1.1.1/32 dev lo")
        wires = [Tun("u0", "192.0.2.1/24"), Tun("u1", "192.0.3.1/24")]
        kinds(wires)
        fragments(wires)
        changes(wires)
        lightweight(wires)
        resilient(wires)


ksft_run(main)
