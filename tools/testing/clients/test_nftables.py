#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""nftables counts the packets in tunnels: by inner addresses while they are encapsulated, and by the tunnel device
once they are not.

    n0                                      n1
       i1 198.51.100.1 ======== 198.51.100.2 i1     ipip
       g1 203.0.113.1 ========== 203.0.113.2 g1     gre
       t1 198.51.100.65 ====== 198.51.100.66 t1     gretap
       v0 192.0.2.1 ------------- 192.0.2.2 v1
"""
import json

from client import output
from ksft import SERIES, check, expect, ksft_run, namespaces, need_modules, veth_pair
import series

# device, kind, network, n0's number in it
TUNNELS = ("i1", "ipip", "198.51.100", 1), ("g1", "gre", "203.0.113", 1), ("t1", "gretap", "198.51.100", 65)
# On all kernels, raw payload expressions match the inner source and destination.
RULES = """
    table ip t {
        counter ipip_raw { }
        counter ipip_other { }
        counter gre_raw { }
        counter ipip_out { }
        counter gre_out { }
        counter tap_out { }
        chain outer {
            type filter hook prerouting priority 0
            ip protocol 4 @th,96,64 0xc6336401c6336402 counter name ipip_raw
            ip protocol 4 @th,96,64 0xc6336403c6336402 counter name ipip_other
            ip protocol gre @th,128,64 0xcb007101cb007102 counter name gre_raw
        }
        chain inner {
            type filter hook input priority 0
            iifname i1 ip saddr 198.51.100.1 icmp type echo-request counter name ipip_out
            iifname g1 ip saddr 203.0.113.1 icmp type echo-request counter name gre_out
            iifname t1 ip saddr 198.51.100.65 icmp type echo-request counter name tap_out
        }
    }
"""
COUNTS = {"ipip_raw": 3, "ipip_other": 0, "gre_raw": 4, "ipip_out": 3, "gre_out": 4, "tap_out": 5}
# From 6.12 on, the inner header can be matched by name.
NAMED_RULES = """
    table ip t {
        counter gre_inner { }
        counter gre_inner_other { }
        counter tap_inner { }
        counter tap_inner_icmp { }
        chain named {
            type filter hook prerouting priority 1
            gre ip saddr 203.0.113.1 counter name gre_inner
            gre ip saddr 203.0.113.9 counter name gre_inner_other
            gretap ip saddr 198.51.100.65 counter name tap_inner
            gretap icmp type echo-request counter name tap_inner_icmp
        }
    }
"""
NAMED_COUNTS = {"gre_inner": 4, "gre_inner_other": 0, "tap_inner": 5, "tap_inner_icmp": 5}
DROP = "add rule ip t outer ip protocol gre @th,128,32 0xcb007101 drop"


def tunnels(n0, n1):
    for ns, number in (n0, 0), (n1, 1):
        ns.ip(*(line for dev, kind, network, first in TUNNELS for line in (
            f"link add {dev} type {kind} local 192.0.2.{1 + number} remote 192.0.2.{2 - number}",
            f"link set {dev} up", f"addr add {network}.{first + number}/26 dev {dev}")))


def sent(n0, count, address):
    """echo requests, all of which are answered"""
    check(f"{count} echoes to {address}", n0.echo(address, count) == count)


def counts(n1, wanted):
    listed = json.loads(output(n1, "nft", "-j", "list", "counters"))["nftables"]
    got = {item["counter"]["name"]: item["counter"]["packets"] for item in listed if "counter" in item}
    for name, count in wanted.items():
        expect(name, count, got[name])


def kept_out(n0, n1):
    """A packet can be dropped for its inner header."""
    output(n1, "nft", DROP)
    check("a rule on the inner source keeps it out", n0.silent("203.0.113.2"))
    check("and nothing else", n0.answered("198.51.100.2"))


def main():
    need_modules("ipip", "ip_gre")
    named = not series.matches("6.1", SERIES)
    with namespaces(2) as (n0, n1):
        veth_pair(n0, "v0", "192.0.2.1/24", n1, "v1", "192.0.2.2/24")
        tunnels(n0, n1)
        output(n1, "nft", "-f", "-", stdin=RULES + NAMED_RULES * named)
        sent(n0, 3, "198.51.100.2")
        sent(n0, 4, "203.0.113.2")
        sent(n0, 5, "198.51.100.66")
        counts(n1, COUNTS | NAMED_COUNTS if named else COUNTS)
        kept_out(n0, n1)


ksft_run(main)
