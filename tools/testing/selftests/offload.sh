#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# VLANs on gretap and MPLS on gre keep their GSO packets, and of a tunnel in a
# tunnel they are segmented before it. With offloads below and without.
#
#	   n1                      n2
#	   | v1 192.0.2.1          | v2 192.0.2.2
#	   '-----------------------'
#	   tun ===== tunnel ===== tun	203.0.113.1, .2
#	   top ===== on it ====== top	198.51.100.1, .2

. "$(dirname "$0")/lib.sh"
need_modules ipip ip_gre
modprobe -a 8021q mpls_router mpls_iptunnel
new_ns n1 n2
veth_pair n1 v1 192.0.2.1/24 n2 v2 192.0.2.2/24

# Of every namespace: segments wait here that no offload has put together.
queue=/proc/sys/net/core/netdev_max_backlog
defer sh -c "echo $(cat $queue) >$queue"
echo 20000 >$queue

wire n1 "$TAG" <<'END'
import sys
from wire import *
from bulk import *

ENDS = n1, n2 = [Ns(f"{sys.argv[1]}-{n}") for n in ("n1", "n2")]
bulk = Bulk(n1, n2)
OFF, ON = ([f"{what} {state}" for what in ("tx", "sg", "tso", "gso")]
           for state in ("off", "on"))
LATE = "has no features for what is stacked on it"


def ethtool(ns, dev, *features):
    ns.run("ethtool", "-K", dev, *" ".join(features).split())


def tunnel(options, dev="tun", net="192.0.2", on="203.0.113"):
    for n, ns in enumerate(ENDS):
        own, peer = n + 1, 2 - n
        mac = f"address {MAC[n]} " * ("gretap" in options)
        ns.ip(f"link add {dev} {mac}type {options} local {net}.{own} remote "
              f"{net}.{peer}", f"link set {dev} up",
              f"addr add {on}.{own}/32 dev {dev}",
              f"route add {on}.{peer} dev {dev} rto_min 10s")
        if "gretap" in options:
            ns.ip(f"neigh add {on}.{peer} lladdr {MAC[1 - n]} dev {dev}")


def vlans(*protocols):
    """one on the other"""
    for n, ns in enumerate(ENDS):
        below = "tun"
        for level, protocol in enumerate(protocols, 1):
            dev = "top" if level == len(protocols) else f"mid{level}"
            ns.ip(f"link add link {below} {dev} mtu {1400 - 4 * level} type "
                  f"vlan proto {protocol} id {level}", f"link set {dev} up")
            below = dev
        ns.ip(f"addr add 198.51.100.{n + 1}/32 dev top",
              f"route add 198.51.100.{2 - n} dev top rto_min 10s",
              f"neigh add 198.51.100.{2 - n} lladdr {MAC[1 - n]} dev top")


def labels():
    for n, ns in enumerate(ENDS):
        ns.ip(f"addr add 198.51.100.{n + 1}/32 dev lo")
        ns.run("sh", "-ec", """cd /proc/sys/net/mpls
              echo 1000 >platform_labels
              echo 1 >conf/tun/input""")
        ns.run("ip", "-f", "mpls", "route", "add", str(101 + n), "dev", "lo")
        ns.ip(f"route add 198.51.100.{2 - n} encap mpls {102 - n} via inet "
              f"203.0.113.{2 - n} dev tun src 198.51.100.{n + 1} rto_min 10s")


def clear():
    for n, ns in enumerate(ENDS):
        ns.ip("link del tun", "link del top", force=True)
        ns.ip(f"addr del 198.51.100.{n + 1}/32 dev lo", force=True)
        ns.run("sh", "-c", f"ip -f mpls route del {101 + n} 2>/dev/null || :")


def both_ways(name, top, keeps):
    """keeps: it can reach the wire as one"""
    tx = [(n1, top, "tx", True)] * (top == "top")
    bulk.transfer(name, "198.51.100.2", tx + [
        (n1, "tun", "tx", keeps), (n1, "v1", "tx", keeps),
        (n2, "tun", "rx", keeps)])
    ethtool(n1, "v1", *OFF)
    bulk.transfer(f"{name}, no offloads below", "198.51.100.2", tx + [
        (n1, "tun", "tx", keeps), (n1, "v1", "tx", False),
        (n2, "tun", "rx", False)])
    ethtool(n1, "v1", *ON)


for options in ("gretap", "gretap key 5", "gretap csum", "gretap csum seq"):
    tunnel(options)
    vlans("802.1q")
    with differs(LATE):
        both_ways(f"a VLAN on {options}", "top", True)
    clear()
tunnel("gretap")
vlans("802.1ad", "802.1q")
expect("a VLAN in a VLAN on gretap: echoes", 3, n1.echo("198.51.100.2", 3))
bulk.transfer("a VLAN in a VLAN on gretap", "198.51.100.2", [])
clear()

for options in ("gre", "gre key 5 csum", "gre key 5 seq"):
    tunnel(options)
    labels()
    with differs(LATE):
        both_ways(f"MPLS on {options}", "tun", True)
    clear()

# Who takes the outer tunnel's header off a GSO packet could not say that there is
# another one: a tunnel's packets are segmented before the next tunnel.
for below, above in (
        ("gre", "ipip"), ("gre key 5", "ipip"), ("gre csum", "ipip"),
        ("gretap", "ipip"), ("ipip", "ipip"), ("gre", "gre"), ("ipip", "gre"),
        ("gre", "gretap"), ("gretap", "gre"), ("gre csum", "gre key 5"),
        ("gre seq", "ipip"), ("gre", "gre seq")):
    tunnel(below)
    tunnel(above, "top", "203.0.113", "198.51.100")
    name = f"{above} in {below}"
    with differs(LATE) if "seq" in above else differs("", ""):
        both_ways(name, "top", False)
    clear()
END
finish
