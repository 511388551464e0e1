#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""VLANs on gretap and MPLS on gre keep their GSO packets, and those of a tunnel in
a tunnel are segmented before it. With offloads below and without.

       n1                      n2
       | v1 192.0.2.1          | v2 192.0.2.2
       '-----------------------'
       tun ===== tunnel ===== tun    203.0.113.1, .2
       top ===== on it ====== top    198.51.100.1, .2
"""
import contextlib

from ksft import ksft_run, need_modules, modprobe, NetNs, veth_pair
from bulk import MAC, Bulk, long_queue
from wire import differs, expect

LATE = "has no features for what is stacked on it"
VLAN_BELOW = ("gretap", "gretap key 5", "gretap csum", "gretap csum seq")
MPLS_BELOW = ("gre", "gre key 5 csum", "gre key 5 seq")
# below, above
TUNNELS = (("gre", "ipip"), ("gre key 5", "ipip"), ("gre csum", "ipip"), ("gretap", "ipip"), ("ipip", "ipip"),
           ("gre", "gre"), ("ipip", "gre"), ("gre", "gretap"), ("gretap", "gre"), ("gre csum", "gre key 5"),
           ("gre seq", "ipip"), ("gre", "gre seq"))


def tunnel(ends, options, dev="tun", net="192.0.2", on="203.0.113"):
    for n, ns in enumerate(ends):
        own, peer = n + 1, 2 - n
        ether = "gretap" in options
        mac = f"address {MAC[n]} " * ether
        ns.ip(f"link add {dev} {mac}type {options} local {net}.{own} remote {net}.{peer}", f"link set {dev} up",
              f"addr add {on}.{own}/32 dev {dev}", f"route add {on}.{peer} dev {dev} rto_min 10s",
              *[f"neigh add {on}.{peer} lladdr {MAC[1 - n]} dev {dev}"] * ether)


def vlans(ends, *protocols):
    """one on the other, the last is top"""
    for n, ns in enumerate(ends):
        below, lines = "tun", []
        for level, protocol in enumerate(protocols, 1):
            dev = "top" if level == len(protocols) else f"mid{level}"
            lines += [f"link add link {below} {dev} mtu {1400 - 4 * level} type vlan proto {protocol} id {level}",
                      f"link set {dev} up"]
            below = dev
        ns.ip(*lines, f"addr add 198.51.100.{n + 1}/32 dev top",
              f"route add 198.51.100.{2 - n} dev top rto_min 10s",
              f"neigh add 198.51.100.{2 - n} lladdr {MAC[1 - n]} dev top")


def labels(ends):
    for n, ns in enumerate(ends):
        ns.sysctl(net__mpls__platform_labels=1000, net__mpls__conf__tun__input=1)
        ns.ip(f"addr add 198.51.100.{n + 1}/32 dev lo",
              f"route add 198.51.100.{2 - n} encap mpls {102 - n} via inet 203.0.113.{2 - n} dev tun "
              f"src 198.51.100.{n + 1} rto_min 10s")
        ns.run("ip", "-f", "mpls", "route", "add", str(101 + n), "dev", "lo")


def no_labels(ends):
    for n, ns in enumerate(ends):
        ns.run("ip", "-f", "mpls", "route", "del", str(101 + n))
        ns.ip(f"addr del 198.51.100.{n + 1}/32 dev lo")


def clear(ends):
    for ns in ends:
        ns.ip("link del tun", "link del top", force=True)


def both_ways(ends, bulk, name, stacked, keeps):
    """with offloads below and without; stacked: top is a device;
    keeps: a GSO packet can reach the wire whole"""
    n1, n2 = ends
    top = [(n1, "top", "tx", True)] * stacked
    bulk.transfer(name, "198.51.100.2", top + [
        (n1, "tun", "tx", keeps), (n1, "v1", "tx", keeps), (n2, "tun", "rx", keeps)])
    n1.offloads("v1", False)
    bulk.transfer(f"{name}, no offloads below", "198.51.100.2", top + [
        (n1, "tun", "tx", keeps), (n1, "v1", "tx", False), (n2, "tun", "rx", False)])
    n1.offloads("v1", True)


def vlan_on_gretap(ends, bulk):
    for options in VLAN_BELOW:
        tunnel(ends, options)
        vlans(ends, "802.1q")
        with differs(LATE):
            both_ways(ends, bulk, f"a VLAN on {options}", True, True)
        clear(ends)


def vlan_in_a_vlan(ends, bulk):
    """arrives, in packets of whatever size"""
    tunnel(ends, "gretap")
    vlans(ends, "802.1ad", "802.1q")
    expect("a VLAN in a VLAN on gretap: echoes", 3, ends[0].echo("198.51.100.2", 3))
    bulk.transfer("a VLAN in a VLAN on gretap", "198.51.100.2", [])
    clear(ends)


def mpls_on_gre(ends, bulk):
    for options in MPLS_BELOW:
        tunnel(ends, options)
        labels(ends)
        with differs(LATE):
            both_ways(ends, bulk, f"MPLS on {options}", False, True)
        no_labels(ends)
        clear(ends)


def tunnel_in_a_tunnel(ends, bulk):
    """Who takes the outer tunnel's header off a GSO packet could not say that there
    is another one: a tunnel's packets are segmented before the next tunnel."""
    for below, above in TUNNELS:
        tunnel(ends, below)
        tunnel(ends, above, "top", "203.0.113", "198.51.100")
        with differs(LATE) if "seq" in above else contextlib.nullcontext():
            both_ways(ends, bulk, f"{above} in {below}", True, False)
        clear(ends)


def main():
    need_modules("ipip", "ip_gre")
    modprobe("8021q", "mpls_router", "mpls_iptunnel")
    with NetNs() as n1, NetNs() as n2, long_queue():
        veth_pair(n1, "v1", "192.0.2.1/24", n2, "v2", "192.0.2.2/24")
        ends, bulk = (n1, n2), Bulk(n1, n2)
        vlan_on_gretap(ends, bulk)
        vlan_in_a_vlan(ends, bulk)
        mpls_on_gre(ends, bulk)
        tunnel_in_a_tunnel(ends, bulk)


ksft_run(main)
