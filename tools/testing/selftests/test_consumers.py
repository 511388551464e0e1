#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Drivers of the kernel that are built on tunnel4 and gre load on top of ours and
pass traffic; in turn our ipip and ip_gre work on the kernel's own tunnel4 and gre,
and its ipip and ip_gre on ours.

    n0                                         n1
      (a tunnel) 198.51.100.1 ====== 198.51.100.2 (a tunnel)
                 2001:db8:1::1 ====== 2001:db8:1::2
      v0         192.0.2.1  ------------ 192.0.2.2       v1
                 2001:db8::1 ---------- 2001:db8::2
"""
import glob
import os

from ksft import (NetNs, Stats, check, expect, is_ours, is_right, ksft_run, modprobe, need_modules, remove_modules,
                  veth_pair)
from refuse import batch, batches, command, refuse, unload, works
from wire import ETH_P_IP, IN_TREE, fields

CONSUMERS = ("vport_gre", "openvswitch", "pptp", "ip6_gre", "xfrm4_tunnel", "ip_vti", "xfrm_interface", "sit")
PEER, PEER6 = "198.51.100.2", "2001:db8:1::2"
ENDPOINTS = "local 192.0.2.1 remote 192.0.2.2", "local 192.0.2.2 remote 192.0.2.1"
ENDPOINTS6 = "local 2001:db8::1 remote 2001:db8::2", "local 2001:db8::2 remote 2001:db8::1"
AEAD = "rfc4106(gcm(aes)) 0x4242424242424242424242424242424242424242 128"


# ------------------------------------------------------------------- helpers

def users(module):
    """the modules built on it"""
    return sorted(os.listdir(f"/sys/module/{module}/holders"))


def loads(consumer, module):
    """and is linked to the module that is to be tested"""
    works(f"{consumer} loads", command, "modprobe", consumer)
    check(f"{consumer} is built on {module}", consumer in users(module), *users(module))
    check(f"{module} is still the one to be tested", is_right(module))


def tunnels(n0, n1, options, endpoints=ENDPOINTS):
    """a request: t1 at both ends, with inner addresses"""
    return batches(*((ns, (f"link add t1 type {options} {own}", "link set t1 up",
                           f"addr add 198.51.100.{number}/24 dev t1", f"addr add 2001:db8:1::{number}/64 dev t1 nodad"))
                     for number, (ns, own) in enumerate(zip((n0, n1), endpoints), 1)))


def delete_tunnels(n0, n1):
    for ns in n0, n1:
        ns.ip("link del t1")


def carries_ipv4(name, n0):
    check(name, n0.answered(PEER))


def carries_ipv6(name, n0):
    check(name, n0.answered(PEER6))


# ------------------------------------------------------------------- tunnel4

def sit(n0, n1):
    loads("sit", "tunnel4")
    works("sit tunnel", tunnels, n0, n1, "sit mode ip6ip")
    carries_ipv6("sit carries IPv6", n0)
    delete_tunnels(n0, n1)
    works("sit tunnel of mode any", tunnels, n0, n1, "sit mode any")
    carries_ipv6("sit carries IPv6", n0)
    carries_ipv4("sit carries IPv4, behind ipip in the list", n0)
    sit_behind_ipip(n0)
    carries_ipv4("sit has them again", n0)
    delete_tunnels(n0, n1)


def sit_behind_ipip(n0):
    """Both have tunnels with these endpoints."""
    n0.ip(f"link add t2 type ipip {ENDPOINTS[0]}", "link set t2 up")
    ours, theirs = Stats(n0, "t2"), Stats(n0, "t1")
    n0.silent(PEER)             # whether the reply, by the other device, counts is up to routing
    sent, received = theirs.moved({}), ours.moved({})
    expect("sit still sends, replies are taken by ipip", 1, sent.get("tx_packets"))
    expect("ipip came first in the list", 1, received.get("rx_packets"))
    check("sit got nothing", "rx_packets" not in sent, sent)
    n0.ip("link del t2")


# ---------------------------------------------------------------------- xfrm

def states(ns, selector):
    """ESP, both directions"""
    options = f"reqid 1 mode tunnel aead {AEAD} {selector}"
    return batch(ns, (f"xfrm state add src 192.0.2.1 dst 192.0.2.2 proto esp spi 0x100 {options}",
                      f"xfrm state add src 192.0.2.2 dst 192.0.2.1 proto esp spi 0x101 {options}"))


def policies(ns, own, peer, selector):
    return batch(ns, [f"xfrm policy add dir {way} src 0.0.0.0/0 dst 0.0.0.0/0 {selector} "
                      f"tmpl src {src} dst {dst} proto esp reqid 1 mode tunnel"
                      for way, src, dst in (("out", own, peer), ("in", peer, own), ("fwd", peer, own))])


def esp(n0, n1, selector):
    works("states of n0", states, n0, selector)
    works("states of n1", states, n1, selector)
    works("policies of n0", policies, n0, "192.0.2.1", "192.0.2.2", selector)
    works("policies of n1", policies, n1, "192.0.2.2", "192.0.2.1", selector)


def flush_xfrm(n0, n1):
    for ns in n0, n1:
        ns.ip("xfrm state flush", "xfrm policy flush")


def vti(n0, n1):
    loads("ip_vti", "tunnel4")
    works("vti tunnel", tunnels, n0, n1, "vti key 7")
    esp(n0, n1, "mark 7 mask 0xffffffff")
    carries_ipv4("vti carries IPv4", n0)
    flush_xfrm(n0, n1)
    delete_tunnels(n0, n1)


def xfrm_interface(n0, n1):
    loads("xfrm_interface", "tunnel4")
    works("xfrm interface", tunnels, n0, n1, "xfrm", ("dev v0 if_id 9", "dev v1 if_id 9"))
    esp(n0, n1, "if_id 9")
    carries_ipv4("xfrm interface carries IPv4", n0)
    flush_xfrm(n0, n1)
    delete_tunnels(n0, n1)


def ipcomp_end(ns, own, peer, inner, inner_peer):
    """a request: IPComp in tunnel mode; what is too short to be compressed goes as plain IP in IP"""
    out, back = f"src {own} dst {peer} proto comp", f"src {peer} dst {own} proto comp"
    return batch(ns, (
        f"addr add {inner}/32 dev lo", f"route add {inner_peer}/32 via {peer} src {inner}",
        f"xfrm state add {out} spi 0x10 mode tunnel comp deflate",
        f"xfrm state add {back} spi 0x10 mode tunnel comp deflate",
        f"xfrm policy add dir out src {inner} dst {inner_peer} tmpl {out} mode tunnel",
        f"xfrm policy add dir in src {inner_peer} dst {inner} tmpl {back} mode tunnel level use"))


def ipcomp(n0, n1):
    """Plain IP in IP comes in through tunnel4."""
    loads("xfrm4_tunnel", "tunnel4")
    works("IPComp in n0", ipcomp_end, n0, "192.0.2.1", "192.0.2.2", "203.0.113.1", "203.0.113.2")
    works("IPComp in n1", ipcomp_end, n1, "192.0.2.2", "192.0.2.1", "203.0.113.2", "203.0.113.1")
    taps = n1.capture("v1"), n1.capture("v1", out=True)
    expect("short packets pass as IP in IP through tunnel4", 1, n0.echo("203.0.113.2", 1, 16))
    expect("long packets pass compressed", 1, n0.echo("203.0.113.2", 1, 1000))
    expect("protocols on the wire", [4, 4, 108, 108], sorted(outer_protocols(taps)))
    flush_xfrm(n0, n1)


def outer_protocols(taps):
    """of what went between the endpoints"""
    packets = [fields(data) for tap in taps for _, proto, data in tap.drain() if proto == ETH_P_IP]
    return [packet["proto"] for packet in packets if "192.0.2.1" in (packet["src"], packet["dst"])]


# ----------------------------------------------------------------------- gre

def ip6gre(n0, n1):
    loads("ip6_gre", "gre")
    works("ip6gre tunnel", tunnels, n0, n1, "ip6gre key 3", ENDPOINTS6)
    carries_ipv4("ip6gre carries IPv4", n0)
    carries_ipv6("ip6gre carries IPv6", n0)
    delete_tunnels(n0, n1)


def pptp():
    loads("pptp", "gre")
    works("pptp unloads", unload, "pptp")
    loads("pptp", "gre")


# ------------------------------------------------------------------ together

def ipip_and_gre(n0, n1, what):
    works(f"ipip tunnel {what}", tunnels, n0, n1, "ipip")
    carries_ipv4(f"ipip carries IPv4 {what}", n0)
    delete_tunnels(n0, n1)
    works(f"gre tunnel {what}", tunnels, n0, n1, "gre key 5 csum seq")
    carries_ipv4(f"gre carries IPv4 {what}", n0)
    carries_ipv6(f"gre carries IPv6 {what}", n0)
    delete_tunnels(n0, n1)


def all_at_once(n0, n1):
    modprobe("sit", "ip_vti", "xfrm_interface", "xfrm4_tunnel", "ip6_gre", "pptp")
    ipip_and_gre(n0, n1, "with all of them loaded")
    expect("tunnel4 users", ["ip_vti", "ipip", "sit", "xfrm4_tunnel", "xfrm_interface"], users("tunnel4"))
    expect("gre users", ["ip6_gre", "ip_gre", "pptp"], users("gre"))
    refuse("tunnel4 is in use", "in use", command, "rmmod", "tunnel4")
    refuse("gre is in use", "in use", command, "rmmod", "gre")
    works("all of them unload", unload, *CONSUMERS)


def insert_in_tree(module):
    """a request: load the kernel's own file"""
    return command("insmod", *glob.glob(f"/lib/modules/{os.uname().release}/kernel/net/ipv4/{module}.ko*"))


def ours_on_the_kernels(n0, n1):
    remove_modules()
    works("the kernel's tunnel4 loads", insert_in_tree, "tunnel4")
    works("the kernel's gre loads", insert_in_tree, "gre")
    works("our ipip on it", command, "modprobe", "ipip")
    works("our ip_gre on it", command, "modprobe", "ip_gre")
    for module in "tunnel4", "gre":
        check(f"{module} is the kernel's", not is_ours(module))
    for module in "ipip", "ip_gre":
        check(f"{module} is ours", is_ours(module))
    ipip_and_gre(n0, n1, "on the kernel's tunnel4 and gre")


def the_kernels_on_ours(n0, n1):
    remove_modules()
    modprobe("tunnel4", "gre", "ip_tunnel")
    works("the kernel's ipip on our tunnel4", insert_in_tree, "ipip")
    works("the kernel's ip_gre on our gre", insert_in_tree, "ip_gre")
    for module in "tunnel4", "gre":
        check(f"{module} is ours", is_ours(module))
    check("ipip is the kernel's", not is_ours("ipip"))
    ipip_and_gre(n0, n1, "of the kernel on our tunnel4 and gre")


def each_alone(n0, n1):
    sit(n0, n1)
    vti(n0, n1)
    xfrm_interface(n0, n1)
    ipcomp(n0, n1)
    ip6gre(n0, n1)
    pptp()
    works("openvswitch loads", command, "modprobe", "openvswitch")


def restore():
    remove_modules(*CONSUMERS)
    remove_modules()
    modprobe("ipip", "ip_gre")


def main():
    need_modules()
    with NetNs(ipv6=True) as n0, NetNs(ipv6=True) as n1:
        veth_pair(n0, "v0", "192.0.2.1/24", n1, "v1", "192.0.2.2/24")
        for number, ns in enumerate((n0, n1)):
            ns.ip(f"addr add 2001:db8::{number + 1}/64 dev v{number} nodad")
        try:
            each_alone(n0, n1)
            all_at_once(n0, n1)
            if not IN_TREE:
                ours_on_the_kernels(n0, n1)
                the_kernels_on_ours(n0, n1)
        finally:
            restore()


ksft_run(main)
