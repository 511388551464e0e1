#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""FRR's nhrpd over gre devices without a remote: two spokes register with a hub, then find a shortcut to each other.

            hub 192.0.2.1, 198.51.100.1 on gre1
             |
         [ bridge of net ]
          |             |
         s1 192.0.2.2   s2 192.0.2.3
            198.51.100.2   198.51.100.3 on gre1
            203.0.113.65/26   203.0.113.129/26 behind it
"""
import os

from client import IPPROTO_GRE, Capture, Files, Program, arrives, bridge, directory, output
from ksft import check, expect, expect_match, ksft_run, modprobe, namespaces, need_modules, until
from refuse import command
from wire import ETH_P_IP, fields
import xfer

LAN = {"s1": "203.0.113.65", "s2": "203.0.113.129"}
KEY = 42
RULES = """
    table ip t {
        chain forward {
            type filter hook forward priority 0
            iifname gre1 oifname gre1 log group 1 snaplen 128
        }
    }
"""
HUB = """
log stdout
debug nhrp common
nhrp nflog-group 1
interface gre1
 ip nhrp network-id 1
 ip nhrp holdtime 60
 ip nhrp redirect
"""
SPOKE = """
log stdout
debug nhrp common
interface gre1
 ip nhrp network-id 1
 ip nhrp holdtime 60
 ip nhrp nhs dynamic nbma 192.0.2.1
 ip nhrp registration no-unique
 ip nhrp shortcut
"""


def node(ns, number, *lines):
    """Make its gre device, and more."""
    ns.sysctl(net__ipv4__ip_forward=1, net__ipv4__conf__all__send_redirects=0,
              net__ipv4__conf__default__send_redirects=0)
    ns.ip(f"link add gre1 type gre key {KEY} ttl 64 local 192.0.2.{number}",
          f"addr add 198.51.100.{number}/32 dev gre1", "link set gre1 up", *lines)


def spoke(ns, number, address):
    """Its own network is behind it, all others are behind the hub."""
    node(ns, number, "link add lan type dummy", "link set lan up", f"addr add {address}/26 dev lan",
         *(f"route add {prefix}/24 via 198.51.100.1 dev gre1 onlink" for prefix in ("198.51.100.0", "203.0.113.0")))


def topology(net, hub, s1, s2):
    bridge(net, (hub, "192.0.2.1"), (s1, "192.0.2.2"), (s2, "192.0.2.3"))
    node(hub, 1, "route add 203.0.113.64/26 via 198.51.100.2 dev gre1 onlink",
         "route add 203.0.113.128/26 via 198.51.100.3 dev gre1 onlink")
    spoke(s1, 2, LAN["s1"])
    spoke(s2, 3, LAN["s2"])
    output(hub, "nft", "-f", "-", stdin=RULES)


def frr(ns, files, text):
    """Run zebra and nhrpd. -> nhrpd"""
    empty, config = files.add(ns.name + ".zebra", ""), files.add(ns.name + ".nhrpd", text)
    for path in empty, config:
        os.chmod(path, 0o644)
    zebra = Program(ns, "/usr/lib/frr/zebra", "-f", empty, prepare=lambda: directory("/run/frr", "frr"))
    zebra.wait_for("/run/frr/zserv.api")
    return Program(ns, "/usr/lib/frr/nhrpd", "-f", config, beside=zebra)


def registered(nhrpd, number):
    return f"198.51.100.{number}" in nhrpd.ask("vtysh", "-c", "show ip nhrp cache")


def registration(hub, s1, hub_nhrpd):
    for number, name in (2, "s1"), (3, "s2"):
        check(f"{name} registers", until(True, lambda: registered(hub_nhrpd, number)))
    check("s1 reaches the hub", s1.answered("198.51.100.1", source=LAN["s1"]))
    expect_match("the hub has s1's address from NHRP", "^198.51.100.2 lladdr 192.0.2.2 .*proto nhrp",
                 command("ip", "-n", hub.name, "neigh", "show", "dev", "gre1")[1])


def inner(capture):
    """-> (outer, inner) of IP packets in GRE with a key"""
    return [(packet, fields(packet["payload"][8:])) for packet in capture.packets(IPPROTO_GRE)
            if packet["payload"][2:4] == ETH_P_IP.to_bytes(2, "big")]


def first_packets(hub, s1):
    capture = Capture(hub, "e0")
    check("s1 reaches what is behind s2", s1.answered(LAN["s2"], source=LAN["s1"]))
    ways = [tuple(packet[end] for packet in both for end in ("src", "dst")) for both in inner(capture)]
    check("the first packets pass the hub", ("192.0.2.2", "192.0.2.1", LAN["s1"], LAN["s2"]) in ways, *ways)
    capture.close()


def direct(ns, address):
    """whether NHRP has made a route"""
    return "dev gre1" in command("ip", "-n", ns.name, "route", "show", "to", "match", address, "proto", "nhrp")[1]


def shortcuts(s1, s2):
    """The hub sends them, as long as it has packets to forward."""
    for name, ns, other in ("s1", s1, "s2"), ("s2", s2, "s1"):
        check(f"{name} finds a shortcut", until(True, lambda: not s1.silent(LAN["s2"], source=LAN["s1"]) and
                                                direct(ns, LAN[other]), seconds=300))


def used(hub, s1, s2):
    at_hub, at_spoke = Capture(hub, "e0"), Capture(s1, "e0")
    check("ten echoes", s1.echo(LAN["s2"], 10, source=LAN["s1"]) == 10)
    for ns in s1, s2:
        ns.ip("link set gre1 mtu 1400")
    arrives("TCP from s1 to s2", xfer.tcp, s1, s2, LAN["s2"], 16, 65536)
    arrives("TCP from s2 to s1", xfer.tcp, s2, s1, LAN["s1"], 16, 65536)
    passed = [packet for _, packet in inner(at_hub)
              if any(packet[end].startswith("203.0.113.") for end in ("src", "dst"))]
    expect("nothing of it passed the hub", [], passed)
    ways = {(outer["src"], outer["dst"], outer["payload"][4:8].hex()) for outer, _ in inner(at_spoke)}
    expect("all of it went straight, with the key", {("192.0.2.2", "192.0.2.3", f"{KEY:08x}"),
                                                     ("192.0.2.3", "192.0.2.2", f"{KEY:08x}")}, ways)


def main():
    need_modules("ipip", "ip_gre")
    modprobe("nfnetlink_log")
    with Files() as files, namespaces(4) as (net, hub, s1, s2):
        topology(net, hub, s1, s2)
        hub_nhrpd = frr(hub, files, HUB)
        for ns in s1, s2:
            frr(ns, files, SPOKE)
        registration(hub, s1, hub_nhrpd)
        first_packets(hub, s1)
        shortcuts(s1, s2)
        used(hub, s1, s2)


ksft_run(main)
