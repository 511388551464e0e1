#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Netfilter's flow table on a router whose way out is an ipip tunnel. From 7.2
on it asks the tunnel for its outer header and goes past the device; before,
the flow stays on the device. What cannot be asked for stays there everywhere.

    h                r                     f
    | h0 -------- r0 | r1 ------------- f1 |
    198.51.100.1  .2   192.0.2.1   192.0.2.2
                       tun ========== tun
                                   203.0.113.1
"""
import socket
import subprocess

import xfer
from ksft import ksft_run, need_modules, modprobe, NetNs, SERIES, expect, until, veth_pair
from series import matches

BEGINNING = 1000000     # bytes, of 1280000
DATAGRAMS = 4
RULES = """
table ip t {
    flowtable ft {
        hook ingress priority 0
        devices = { r0, r1, tun }
    }
    chain forward {
        type filter hook forward priority 0
        ip protocol { tcp, udp } flow add @ft
    }
}
"""


def add_tunnel(r, f, options):
    for ns, own, peer, behind in (r, 1, 2, "203.0.113.0/24"), (f, 2, 1, "198.51.100.0/24"):
        ns.ip(f"link add tun type ipip {options} local 192.0.2.{own} remote 192.0.2.{peer}", "link set tun up",
              f"route add {behind} dev tun")


def add_flow_table(r):
    subprocess.run(["ip", "netns", "exec", r.name, "nft", "-f", "-"], input=RULES, text=True, check=True)


def transfer(h, r, f, name, want):
    """Whether the router's tunnel device has seen more of it than the beginning"""
    before = r.stat("tun", "tx_bytes")
    expect(f"{name}: it arrives", None, xfer.transfer(h.name, f.name, "203.0.113.1", 64, 20000, datagrams=0))
    sent = r.stat("tun", "tx_bytes") - before
    expect(f"{name}: by the device or past it", want, "device" if sent > BEGINNING else "past")


def flow(h, r, f, options, way):
    add_tunnel(r, f, options)
    add_flow_table(r)
    transfer(h, r, f, f"ipip {options}".strip(), way)
    r.run("nft", "delete", "table", "ip", "t")
    for ns in r, f:
        ns.ip("link del tun")


def into_itself(h, r):
    """The tunnel cannot say where its packets go; the kernel warns of a device that leads to itself."""
    r.ip("link add tun type ipip local 192.0.2.1 remote 192.0.2.9", "link set tun up",
         "route add 192.0.2.9/32 dev tun", "route add 203.0.113.0/24 dev tun")
    add_flow_table(r)
    before = r.stat("tun", "collisions")
    with h.enter, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        for _ in range(DATAGRAMS):
            sock.sendto(b"hello", ("203.0.113.1", 9))
    expect("a tunnel that is routed into itself: each datagram is dropped there", DATAGRAMS,
           until(DATAGRAMS, lambda: r.stat("tun", "collisions") - before))
    r.run("nft", "delete", "table", "ip", "t")
    r.ip("link del tun")


def main():
    need_modules("ipip")
    modprobe("nf_flow_table", "nf_flow_table_inet", "nft_flow_offload")
    with NetNs() as h, NetNs() as r, NetNs() as f:
        veth_pair(h, "h0", "198.51.100.1/24", r, "r0", "198.51.100.2/24")
        veth_pair(r, "r1", "192.0.2.1/24", f, "f1", "192.0.2.2/24")
        r.sysctl(net__ipv4__ip_forward=1)
        f.ip("addr add 203.0.113.1/32 dev lo")
        h.ip("route add 203.0.113.0/24 via 198.51.100.2")
        way = "past" if matches(">=7.2", SERIES) else "device"
        flow(h, r, f, "", way)
        flow(h, r, f, "ttl 9", way)
        into_itself(h, r)


ksft_run(main)
