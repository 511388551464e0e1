#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Ordinary traffic over a tunnel, counted exactly at both endpoints.

    h1 .1            r1               r2            .65 h2
    |                 |               |                  |
    '-198.51.100.0/26-'-192.0.2.0/24--'-198.51.100.64/26-'
      2001:db8:1::/64   .1         .2   2001:db8:2::/64
                      tun === tun
                 203.0.113.1      203.0.113.2
                 2001:db8:3::1  2001:db8:3::2
"""
import os

import xfer
from ksft import ksft_run, need_modules, modprobe, expect, until, NetNs, veth_pair
from pkt import icmp, ip, raw
from wire import transmit

H1, H2, R1, R2 = "198.51.100.1", "198.51.100.65", "203.0.113.1", "203.0.113.2"
H1_6, H2_6, R1_6, R2_6 = "2001:db8:1::1", "2001:db8:2::1", "2001:db8:3::1", "2001:db8:3::2"
# What is behind each router
NET = "198.51.100.0/26", "198.51.100.64/26"


class Network:
    def __init__(self, h1, r1, r2, h2):
        self.h1, self.r1, self.r2, self.h2 = h1, r1, r2, h2
        veth_pair(h1, "e0", f"{H1}/26", r1, "e0", "198.51.100.2/26")
        veth_pair(r1, "u0", "192.0.2.1/24", r2, "u0", "192.0.2.2/24")
        veth_pair(r2, "e0", "198.51.100.66/26", h2, "e0", f"{H2}/26")
        self.set_up_host(h1, H1_6, "198.51.100.2", "2001:db8:1::2")
        self.set_up_host(h2, H2_6, "198.51.100.66", "2001:db8:2::2")
        for n, r in enumerate((r1, r2), 1):
            self.set_up_router(r, f"2001:db8:{n}::2")

    def set_up_host(self, ns, address, router, router6):
        ns.ip(f"addr add {address}/64 dev e0 nodad", f"route add default via {router}",
              f"route add default via {router6}")

    def set_up_router(self, ns, address):
        ns.ip(f"addr add {address}/64 dev e0 nodad", "addr add fe80::1/64 dev e0 nodad")
        ns.sysctl(net__ipv4__conf__all__forwarding=1, net__ipv6__conf__all__forwarding=1,
                  net__mpls__platform_labels=1000)

    def sides(self):
        """-> each router with its name and number, and the number of the other"""
        return (self.r1, "r1", 1, 2), (self.r2, "r2", 2, 1)

    def add_tunnel(self, options, mine="", theirs=""):
        """the tunnel "tun" of both routers and all the routes through it"""
        for (r, _, own, peer), more in zip(self.sides(), (mine, theirs)):
            lines = [f"link add tun type {options} {more} local 192.0.2.{own} remote 192.0.2.{peer}",
                     "link set tun up", f"addr add 203.0.113.{own} peer 203.0.113.{peer} dev tun",
                     f"route replace {NET[peer - 1]} dev tun"]
            if options.startswith("gre"):
                lines += [f"addr add 2001:db8:3::{own}/64 dev tun nodad",
                          f"route replace 2001:db8:{peer}::/64 dev tun"]
            r.ip(*lines)

    def del_tunnel(self):
        for r in self.r1, self.r2:
            r.ip("link del tun")

    def counters(self):
        return self.r1.counters.read(), self.r2.counters.read()

    def moved(self, before, dev):
        """-> what moved of this device: name and a function, of each router"""
        return [(name, lambda r=r, old=old: r.moved(old, dev))
                for (r, name, _, _), old in zip(self.sides(), before)]


# -------------------------------------------------------------------- traffic

def counted(net, name, dev, packets, size, action):
    """It succeeds and takes so many packets of this size each way."""
    before = net.counters()
    expect(name, packets, action())
    total = packets * size
    want = f"rx_bytes={total} rx_packets={packets} tx_bytes={total} tx_packets={packets}"
    for what, moved in net.moved(before, dev):
        expect(f"{name}: the counters of {what}", want, until(want, moved))


def transfer(net, name, move, *args):
    expect(name, None, xfer.attempt(move, net.h1.name, net.h2.name, *args))


def transfers(net, name, address):
    before = net.counters()
    transfer(net, f"{name}: UDP, 20 datagrams", xfer.udp, address, 20, 1200)
    transfer(net, f"{name}: TCP, 1 MB", xfer.tcp, address, 1000, 1000)
    for what, moved in net.moved(before, "tun"):
        expect(f"{name}: no errors at {what}", [],
               [c for c in moved().split() if "_packets" not in c and "_bytes" not in c])


def echoes(net, name, size, hosts, routers):
    counted(net, f"{name}: router to router", "tun", 5, size, lambda: net.r1.echo(routers[1], 5))
    counted(net, f"{name}: and back", "tun", 5, size, lambda: net.r2.echo(routers[0], 5))
    counted(net, f"{name}: host to host", "tun", 5, size, lambda: net.h1.echo(hosts[1], 5))
    counted(net, f"{name}: and back, 1 byte", "tun", 3, size - 55, lambda: net.h2.echo(hosts[0], 3, 1))


def ipv4(net, name):
    echoes(net, name, 84, (H1, H2), (R1, R2))
    transfers(net, name, H2)


def ipv6(net, name):
    echoes(net, f"{name}, IPv6", 104, (H1_6, H2_6), (R1_6, R2_6))
    transfers(net, f"{name}, IPv6", H2_6)


def labels(net, name):
    """100 to the left, 200 to the right; the last router takes it off"""
    for (r, _, _, peer), host, here, there in zip(net.sides(), (H1, H2), (100, 200), (200, 100)):
        r.sysctl(net__mpls__conf__tun__input=1)
        r.ip(f"route replace {NET[peer - 1]} encap mpls {there} via inet 203.0.113.{peer} dev tun")
        r.run("ip", "-f", "mpls", "route", "replace", str(here), "via", "inet", host, "dev", "e0")
    counted(net, f"{name}, MPLS: host to host", "tun", 5, 88, lambda: net.h1.echo(H2, 5))
    transfers(net, f"{name}, MPLS", H2)


CARRIES = {"ipip": (ipv4,), "ipip mode mplsip": (labels,), "ipip mode any": (ipv4, labels),
           "gre": (ipv4, ipv6, labels), "gre key 5 csum seq": (ipv4, ipv6, labels)}


def each_kind(net):
    for options, payloads in CARRIES.items():
        net.add_tunnel(options)
        for payload in payloads:
            payload(net, options)
        net.del_tunnel()


# -------------------------------------------------------------- wrong payload

def wrong_payload(net, name, mine, theirs, here, there):
    net.add_tunnel("ipip", mine, theirs)
    before = net.counters()
    with net.r1.inside():
        for _ in range(5):
            transmit("tun", ip(R1, R2) / icmp() / raw(56))
    for (what, moved), want in zip(net.moved(before, "tun"), (here, there)):
        expect(f"{name}: {what}", want, until(want, moved))
    net.del_tunnel()


def mplsip_and_ipv4(net):
    wrong_payload(net, "mode mplsip does not send IPv4", "mode mplsip", "mode any", "tx_errors=5", "")
    wrong_payload(net, "mode mplsip does not take IPv4", "mode any", "mode mplsip", "tx_bytes=420 tx_packets=5", "")


# ------------------------------------------------------ the next hop decides

def onlink(net, dev):
    for r, _, own, peer in net.sides():
        via = f"via 192.0.2.{peer} dev {dev} onlink"
        r.ip(f"link set {dev} up", f"addr add 203.0.113.{own}/32 dev {dev}",
             f"route add 203.0.113.{peer}/32 {via}", f"route replace {NET[peer - 1]} {via}")
    counted(net, f"{dev}, onlink: router to router", dev, 5, 84, lambda: net.r1.echo(R2, 5))
    counted(net, f"{dev}, onlink: host to host", dev, 5, 84, lambda: net.h1.echo(H2, 5))
    transfer(net, f"{dev}, onlink: TCP, 1 MB", xfer.tcp, H2, 1000, 1000)
    for r in net.r1, net.r2:
        r.ip(f"addr flush dev {dev}", f"link set {dev} down")


def without_gateway(r1):
    """The destination is its own next hop: the tunnel again."""
    r1.ip("link set any up", "route add 203.0.113.2/32 dev any")
    before = r1.counters.read()
    with r1.inside():
        transmit("any", ip(R1, R2))
    expect("nothing to be routed by", "tx_errors=1 tx_fifo_errors=1", r1.moved(before, "any"))
    before = r1.counters.read()
    expect("the destination as next hop", True, r1.silent(R2))
    expect("the destination as next hop is counted", "collisions=1 tx_errors=1", r1.moved(before, "any"))


def next_hops(net):
    onlink(net, "tunl0")
    for r, _, own, _ in net.sides():
        r.ip(f"link add any type ipip local 192.0.2.{own}")
    onlink(net, "any")
    without_gateway(net.r1)


def main():
    need_modules("ipip", "ip_gre")
    modprobe("mpls_router", "mpls_iptunnel")
    # One processor, so that no sequence number overtakes another.
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    with NetNs(ipv6=True) as h1, NetNs(ipv6=True) as r1, NetNs(ipv6=True) as r2, NetNs(ipv6=True) as h2:
        net = Network(h1, r1, r2, h2)
        each_kind(net)
        mplsip_and_ipv4(net)
        next_hops(net)


ksft_run(main)
