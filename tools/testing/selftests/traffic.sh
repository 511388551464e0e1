#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Ordinary traffic over a tunnel, counted exactly at both of its ends.
#
#	   h1 .1            r1               r2            .65 h2
#	   |                 |               |                  |
#	   '-198.51.100.0/26-'-192.0.2.0/24--'-198.51.100.64/26-'
#	     2001:db8:1::/64   .1         .2   2001:db8:2::/64
#	                     tun === tun
#	                203.0.113.1      203.0.113.2
#	                2001:db8:3::1  2001:db8:3::2

. "$(dirname "$0")/lib.sh"
need_modules ipip ip_gre
modprobe -a mpls_router mpls_iptunnel
new_ns -6 h1 r1 r2 h2
veth_pair h1 e0 198.51.100.1/26 r1 e0 198.51.100.2/26
veth_pair r1 u0 192.0.2.1/24 r2 u0 192.0.2.2/24
veth_pair r2 e0 198.51.100.66/26 h2 e0 198.51.100.65/26

wire r1 "$TAG" <<'END'
import sys
from wire import *
import xfer

h1, r1, r2, h2 = (Ns(f"{sys.argv[1]}-{n}") for n in ("h1", "r1", "r2", "h2"))
ROUTERS = r1, r2
# One CPU, so that no sequence number overtakes another.
os.sched_setaffinity(0, {0})
h1.ip("addr add 2001:db8:1::1/64 dev e0 nodad",
      "route add default via 198.51.100.2", "route add default via "
      "2001:db8:1::2")
h2.ip("addr add 2001:db8:2::1/64 dev e0 nodad",
      "route add default via 198.51.100.66", "route add default via "
      "2001:db8:2::2")
for n, r in enumerate(ROUTERS, 1):
    r.ip(f"addr add 2001:db8:{n}::2/64 dev e0 nodad",
         "addr add fe80::1/64 dev e0 nodad")
    r.run("sh", "-ec", """cd /proc/sys/net
          echo 1 >ipv4/conf/all/forwarding
          echo 1 >ipv6/conf/all/forwarding
          echo 1000 >mpls/platform_labels""")
H1, H2, R1, R2 = "198.51.100.1", "198.51.100.65", "203.0.113.1", "203.0.113.2"
H1_6, H2_6, R1_6, R2_6 = ("2001:db8:1::1", "2001:db8:2::1", "2001:db8:3::1",
                          "2001:db8:3::2")
NET = "198.51.100.0/26", "198.51.100.64/26"


def pair(options, mine="", theirs=""):
    """the tunnel "tun" of both routers and all the routes through it"""
    for n, (r, more) in enumerate(((r1, mine), (r2, theirs))):
        own, peer = n + 1, 2 - n
        r.ip(f"link add tun type {options} {more} local 192.0.2.{own} "
             f"remote 192.0.2.{peer}", "link set tun up",
             f"addr add 203.0.113.{own} peer 203.0.113.{peer} dev tun",
             f"route replace {NET[1 - n]} dev tun")
        if options.startswith("gre"):
            r.ip(f"addr add 2001:db8:3::{own}/64 dev tun nodad",
                 f"route replace 2001:db8:{peer}::/64 dev tun")


def unpair():
    for r in ROUTERS:
        r.ip("link del tun")


def counted(name, dev, packets, size, action):
    """It succeeds and takes so many packets of this size each way."""
    before = [r.counters.read() for r in ROUTERS]
    expect(name, packets, action())
    total = packets * size
    for r, old, what in zip(ROUTERS, before, ("r1", "r2")):
        want = f"rx_bytes={total} rx_packets={packets} " \
            f"tx_bytes={total} tx_packets={packets}"
        expect(f"{name}: the counters of {what}", want,
               until(want, lambda: r.moved(old, dev)))


def transfer(name, kind, *args):
    try:
        getattr(xfer, kind)(h1.name, h2.name, *args)
        result = None
    except (OSError, SystemExit) as error:
        result = repr(error)
    expect(name, None, result)


def without_errors(name, action):
    before = [r.counters.read() for r in ROUTERS]
    action()
    for r, old, what in zip(ROUTERS, before, ("r1", "r2")):
        expect(f"{name}: no errors at {what}", [],
               [c for c in r.moved(old, "tun").split()
                if "_packets" not in c and "_bytes" not in c])


def echoes(name, ends, size, hosts, routers):
    counted(f"{name}: router to router", "tun", 5, size,
            lambda: r1.echo(routers[1], 5))
    counted(f"{name}: and back", "tun", 5, size,
            lambda: r2.echo(routers[0], 5))
    counted(f"{name}: host to host", "tun", 5, size,
            lambda: h1.echo(hosts[1], 5))
    counted(f"{name}: and back, 1 byte", "tun", 3, size - 55,
            lambda: h2.echo(hosts[0], 3, 1))


def transfers(name, address):
    transfer(f"{name}: UDP, 20 datagrams", "udp", address, 20, 1200)
    transfer(f"{name}: TCP, 1 MB", "tcp", address, 1000, 1000)


def ipv4(name):
    echoes(name, "", 84, (H1, H2), (R1, R2))
    without_errors(name, lambda: transfers(name, H2))


def ipv6(name):
    echoes(f"{name}, IPv6", "", 104, (H1_6, H2_6), (R1_6, R2_6))
    without_errors(f"{name}, IPv6", lambda: transfers(f"{name}, IPv6", H2_6))


def labels(name):
    """100 to the left, 200 to the right; the last router takes it off"""
    name += ", MPLS"
    for n, r in enumerate(ROUTERS):
        r.run("sh", "-c", "echo 1 >/proc/sys/net/mpls/conf/tun/input")
        out, back = (200, 100)[n], (100, 200)[n]
        r.ip(f"route replace {NET[1 - n]} encap mpls {out} "
             f"via inet 203.0.113.{2 - n} dev tun")
        r.run("ip", "-f", "mpls", "route", "replace", str(back), "via",
              "inet", (H1, H2)[n], "dev", "e0")
    counted(f"{name}: host to host", "tun", 5, 88, lambda: h1.echo(H2, 5))
    without_errors(name, lambda: transfers(name, H2))


for options, carries in (("ipip", (ipv4,)), ("ipip mode mplsip", (labels,)),
                         ("ipip mode any", (ipv4, labels)),
                         ("gre", (ipv4, ipv6, labels)),
                         ("gre key 5 csum seq", (ipv4, ipv6, labels))):
    pair(options)
    for kind in carries:
        kind(options)
    unpair()

# ------------------------------------------------------------- wrong payload

for name, mine, theirs, here, there in (
        ("mode mplsip does not send IPv4", "mode mplsip", "mode any",
         "tx_errors=5", ""),
        ("mode mplsip does not take IPv4", "mode any", "mode mplsip",
         "tx_bytes=420 tx_packets=5", "")):
    pair("ipip", mine, theirs)
    before = [r.counters.read() for r in ROUTERS]
    inner = ip(R1, R2) / icmp() / raw(56)
    for _ in range(5):
        transmit("tun", inner)
    for r, old, want, what in zip(ROUTERS, before, (here, there),
                                  ("r1", "r2")):
        expect(f"{name}: {what}", want,
               until(want, lambda: r.moved(old, "tun")))
    unpair()

# ------------------------------------------------------ the next hop decides


def onlink(dev):
    for n, r in enumerate(ROUTERS):
        own, peer = n + 1, 2 - n
        via = f"via 192.0.2.{peer} dev {dev} onlink"
        r.ip(f"link set {dev} up", f"addr add 203.0.113.{own}/32 dev {dev}",
             f"route add 203.0.113.{peer}/32 {via}",
             f"route replace {NET[1 - n]} {via}")
    counted(f"{dev}, onlink: router to router", dev, 5, 84,
            lambda: r1.echo(R2, 5))
    counted(f"{dev}, onlink: host to host", dev, 5, 84,
            lambda: h1.echo(H2, 5))
    transfer(f"{dev}, onlink: TCP, 1 MB", "tcp", H2, 1000, 1000)
    for r in ROUTERS:
        r.ip(f"addr flush dev {dev}", f"link set {dev} down")


onlink("tunl0")
for n, r in enumerate(ROUTERS, 1):
    r.ip(f"link add any type ipip local 192.0.2.{n}")
onlink("any")

# Without a gateway the destination is its own next hop: the tunnel again.
r1.ip("link set any up", "route add 203.0.113.2/32 dev any")
before = r1.counters.read()
transmit("any", ip(R1, R2))
expect("nothing to be routed by", "tx_errors=1 tx_fifo_errors=1",
       r1.moved(before, "any"))
before = r1.counters.read()
expect("the destination as next hop", True, r1.silent(R2))
expect("the destination as next hop is counted", "collisions=1 tx_errors=1",
       r1.moved(before, "any"))
END
finish
