#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Tunnels and VRFs: the tunnel in one, its underlay in one, both; and the same
outer addresses in two VRFs.

    n0                                          n1
      vrf red (10) vrf blue (20)
      t1 198.51.100.1 =================== t1 198.51.100.2
      v0 192.0.2.1 ------------------------- v1 192.0.2.2
      w0 192.0.2.1 ------------------------- w1 192.0.2.2     n2
      t2 198.51.100.1 =================== t1 198.51.100.2
"""
import contextlib

from ksft import Stats, check, expect, ksft_run, modprobe, namespaces, need_modules, veth_pair
from pkt import gre, icmp, ip
from refuse import works_each

NEAR, FAR = "198.51.100.1", "198.51.100.2"
PING = 84               # bytes of an echo request


@contextlib.contextmanager
def topology(kind):
    """n0 with two VRFs and nothing in them, and n1 with the far end"""
    with namespaces(3) as (n0, n1, n2):
        veth_pair(n0, "v0", "192.0.2.1/24", n1, "v1", "192.0.2.2/24")
        n0.ip("link add red type vrf table 10", "link add blue type vrf table 20", "link set red up",
              "link set blue up")
        add_far_end(n1, kind)
        yield n0, n1, n2


def add_far_end(ns, kind):
    ns.ip(f"link add t1 type {kind} local 192.0.2.2 remote 192.0.2.1", f"addr add {FAR}/24 dev t1", "link set t1 up")


def near_end(kind, dev="t1", more=""):
    return f"link add {dev} type {kind} {more} local 192.0.2.1 remote 192.0.2.2"


def near_up(dev="t1"):
    """for a device that is in its VRF: the route of its address goes there"""
    return f"link set {dev} up", f"addr add {NEAR}/24 dev {dev}"


def both_ways(n0, n1, name, via=None):
    """a ping from each endpoint, counted"""
    check(f"{name}: first packet", n0.answered(FAR, via))
    near, far = Stats(n0, "t1"), Stats(n1, "t1")
    expect(f"{name}: ping out", 1, n0.echo(FAR, 1, dev=via))
    expect(f"{name}: ping in", 1, n1.echo(NEAR, 1))
    for where, stats in ("n0", near), ("n1", far):
        stats.expect(f"{name}: counters in {where}", rx_packets=2, rx_bytes=2 * PING, tx_packets=2, tx_bytes=2 * PING)


def tunnel_in_vrf(kind):
    with topology(kind) as (n0, n1, _):
        n0.ip(near_end(kind))
        works_each(n0, (f"{kind}: tunnel into a VRF", "link set t1 master red"))
        n0.ip(*near_up())
        both_ways(n0, n1, f"{kind}, tunnel in red", "red")
        check(f"{kind}: not from outside of red", n0.silent(FAR))
        check(f"{kind}: not from blue", n0.silent(FAR, "blue"))
        works_each(n0, (f"{kind}: out of the VRF", "link set t1 nomaster"))
        both_ways(n0, n1, f"{kind}, tunnel in none")


def underlay_in_vrf(kind, dev):
    """the tunnel is bound to the VRF, or to the device that is in it"""
    with topology(kind) as (n0, n1, _):
        n0.ip("link set v0 master blue", near_end(kind, more=f"dev {dev}"), *near_up())
        both_ways(n0, n1, f"{kind}, underlay in blue, dev {dev}")


def unbound(kind):
    with topology(kind) as (n0, _, _):
        n0.ip("link set v0 master blue", near_end(kind), *near_up())
        check(f"{kind}: underlay in blue, tunnel bound to none: no way out", n0.silent(FAR))


def both_in_vrfs(kind):
    with topology(kind) as (n0, n1, _):
        n0.ip("link set v0 master blue", near_end(kind, more="dev blue"), "link set t1 master red", *near_up())
        both_ways(n0, n1, f"{kind}, tunnel in red, underlay in blue", "red")
        check(f"{kind}: not from blue", n0.silent(FAR, "blue"))


def same_endpoints(kind):
    """Two tunnels with the same endpoints, their underlays in different VRFs"""
    with topology(kind) as (n0, n1, n2):
        n0.ip("link set v0 master blue", near_end(kind, more="dev blue"), *near_up())
        veth_pair(n0, "w0", "192.0.2.1/24", n2, "w1", "192.0.2.2/24")
        n0.ip("link set w0 master red", near_end(kind, "t2", "dev red"), "link set t2 master red", *near_up("t2"))
        add_far_end(n2, kind)
        t2 = Stats(n0, "t2")
        both_ways(n0, n1, f"{kind}, same ends in red")
        t2.expect(f"{kind}: nothing of it in t2")
        t1, t2 = Stats(n0, "t1"), Stats(n0, "t2")
        expect(f"{kind}: ping in red", 1, n0.echo(FAR, 1, dev="red"))
        t2.expect(f"{kind}: counted there", rx_packets=1, tx_packets=1)
        t1.expect(f"{kind}: and not in t1")
        works_each(n0, (f"{kind}: t2 goes", "link del t2"))
        wrong_vrf(n0, n2, kind)


def wrong_vrf(n0, n2, kind):
    """A tunnel's link is preferred, it does not filter: as long as no other tunnel
    has these endpoints, what comes in by red is taken by the one bound to blue."""
    packet = ip("192.0.2.2", "192.0.2.1")
    if kind == "gre":
        packet /= gre()
    packet /= ip(FAR, NEAR) / icmp(0)
    stats = Stats(n0, "t1")
    n2.inject("w1", n0, "w0", packet)
    stats.expect(f"{kind}: from red, for the tunnel bound to blue", rx_packets=1, rx_bytes=28)


def main():
    need_modules()
    modprobe("vrf")
    for kind in "ipip", "gre":
        tunnel_in_vrf(kind)
        underlay_in_vrf(kind, "blue")
        underlay_in_vrf(kind, "v0")
        unbound(kind)
        both_in_vrfs(kind)
        same_endpoints(kind)


ksft_run(main)
