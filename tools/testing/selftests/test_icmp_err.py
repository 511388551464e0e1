#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""What a tunnel makes of ICMP errors about the packets it has sent: which it
heeds, what the inner sender is told and how often, redirects, the errors that
are passed on to an inner IPv6 sender.

    a host: 198.51.100.2, 2001:db8:1::2
       | h0, a tun device
    n0: 198.51.100.1, 2001:db8:1::1
        tunnels to 192.0.2.2, with 203.0.113.0/24 and 2001:db8:2::/64
        192.0.2.1
       | u0, a tun device
    routers (192.0.2.253 and .254) and the other endpoint (192.0.2.2)
"""
import contextlib
import socket

from ksft import ksft_run, need_modules, modprobe, expect, NetNs, run_ip
from pkt import gre, icmp, ip, ip6, raw, udp
from wire import case, inject, router, show, sysctl

ROUTER, OTHER_ROUTER, HERE, THERE, NOBODY = \
    "192.0.2.254", "192.0.2.253", "192.0.2.1", "192.0.2.2", "192.0.2.9"
BEHIND_ROUTER = "198.18.0.2"
INNER = (ip("198.51.100.2", "203.0.113.2") / udp() / bytes(72)).bytes()
INNER6 = (ip6("2001:db8:1::2", "2001:db8:2::2") / udp() / bytes(72)).bytes()
TOLD = "h0: icmp 3/1; "
TOLD6 = "h0: icmp6 1/3; "
OVERHEAD = {"ipip": 20, "gre": 24}

# (type, code) -> does ipip heed it, does gre; "ttl": unless TTL is inherited
HEEDED = {(3, code): (True, True) for code in range(16)}
HEEDED.update({
    (3, 3): (True, False),          # no tunnel there, or is it gone for a while?
    (3, 4): (False, False),         # the path MTU has a test of its own
    (3, 5): (False, False),         # it did not take our source route
    (4, 0): (False, False), (5, 0): (False, False), (5, 1): (False, False),
    (11, 0): ("ttl", "ttl"), (11, 1): (False, False),
    (12, 0): (False, False), (12, 1): (False, False)})

# options of the tunnel -> overhead, bytes of the packet that an error must quote
QUOTES = [("ipip", "", 20, 28), ("gre", "", 24, 28), ("gre", "key 5", 28, 28), ("gre", "csum", 28, 28),
          ("gre", "key 5 csum seq", 36, 36)]


@contextlib.contextmanager
def tunnel(kind, options="", remote=THERE):
    run_ip(f"link add tun type {kind} local {HERE} remote {remote} {options}", "link set tun up",
           "route add 203.0.113.0/24 dev tun", "route add 2001:db8:2::/64 dev tun")
    yield
    run_ip("link del tun")


def sent_outer(h0, u0, inner=INNER):
    """-> what the tunnel sends for it now"""
    u0.drain()
    h0.send(inner)
    return next(p for p in u0.drain() if p.endswith(inner[40:]))


def error(kind, code, about, rest=0, size=None):
    return ip(ROUTER, HERE) / icmp(kind, code, rest) / about[:size]


def next_packet(h0, name, told, kind, overhead):
    """The next packet is sent, and its sender told of an error, or not."""
    case(name, f"tun tx_bytes={len(INNER)} tx_packets=1; {TOLD * told}u0: {kind} {len(INNER) + overhead}",
         h0, INNER)


def next_ipv6_packet(h0, name, told):
    case(name, f"tun tx_bytes={len(INNER6)} tx_packets=1; {TOLD6 * told}u0: gre {len(INNER6) + 24}", h0, INNER6)


# ----------------------------------------------------------- types and codes

def heeds(kind, ttl, message):
    heeded = HEEDED[message][kind == "gre"]
    return ttl != "inherit" if heeded == "ttl" else heeded


def each_error(h0, u0, kind, ttl):
    with tunnel(kind, f"ttl {ttl}"):
        about = sent_outer(h0, u0)
        for type_, code in HEEDED:
            name = f"{kind} ttl {ttl}, ICMP {type_}/{code}"
            case(f"{name}: nothing yet", "", u0, error(type_, code, about, 1480 if code == 4 else 0))
            next_packet(h0, f"{name}: the next packet", heeds(kind, ttl, (type_, code)), kind, OVERHEAD[kind])
            next_packet(h0, f"{name}: the one after", False, kind, OVERHEAD[kind])


def three_errors(h0, u0, kind):
    """Each is told to the sender of one packet."""
    with tunnel(kind, "ttl 64"):
        about = sent_outer(h0, u0)
        inject(u0, *[error(3, 1, about)] * 3)
        for turn in range(5):
            next_packet(h0, f"{kind}: three errors, packet {turn + 1}", turn < 3, kind, OVERHEAD[kind])


# ------------------------------------------------------- what must be quoted

def length_of_the_quote(h0, u0, kind, options, overhead, least):
    with tunnel(kind, f"ttl 64 {options}"):
        about = sent_outer(h0, u0)
        for size in sorted({20, 24, 27, 28, 32, 35, 36, len(about)}):
            inject(u0, error(3, 1, about, size=size))
            next_packet(h0, f"{kind}: {options}, {size} bytes of the packet", size >= least, kind, overhead)


def quoted_key(h0, u0):
    for name, heeded, header in (
            ("the right key", True, gre(0x0800, key=5)),
            ("another key", False, gre(0x0800, key=6)),
            ("no key", False, gre(0x0800)),
            ("a key, and more that was never sent", True, gre(0x0800, key=5, seq=7)),
            ("version 1", False, gre(0x0800, key=5, ver=1))):
        inject(u0, error(3, 1, (ip(HERE, THERE, 47) / header / INNER).bytes()))
        next_packet(h0, f"gre: {name}", heeded, "gre", 28)


def quoted_addresses(h0, u0):
    for name, addresses in ("of nobody", (HERE, NOBODY)), ("the other way round", (THERE, HERE)):
        inject(u0, error(3, 1, (ip(*addresses, 47) / gre(key=5) / INNER).bytes()))
        next_packet(h0, f"gre: a packet {name}", False, "gre", 28)


def while_it_was_down(h0, u0):
    run_ip("link set tun down")
    inject(u0, error(3, 1, (ip(HERE, THERE, 47) / gre(key=5) / INNER).bytes()))
    run_ip("link set tun up", "route add 203.0.113.0/24 dev tun")
    next_packet(h0, "gre: a tunnel that was down then", False, "gre", 28)


def no_remote_address(h0, u0):
    """Whose error would it be?"""
    run_ip(f"link add tun type ipip local {HERE} ttl 64", "link set tun up",
           f"route add 203.0.113.0/24 via {THERE} dev tun onlink")
    inject(u0, error(3, 1, (ip(HERE, THERE) / raw(INNER)).bytes()))
    next_packet(h0, "ipip: no remote address", False, "ipip", 20)
    run_ip("link del tun")


# ------------------------------------------------------------------ redirects

def gateway():
    return show("route", "get", BEHIND_ROUTER)[0].get("gateway")


def redirect(h0, u0, kind):
    run_ip(f"route replace 198.18.0.0/24 via {ROUTER} dev u0")
    with tunnel(kind, "ttl 64", remote=BEHIND_ROUTER):
        about = sent_outer(h0, u0)
        expect(f"{kind}: the route before", ROUTER, gateway())
        case(f"{kind}: a redirect", "", u0, error(
            5, 1, about, int.from_bytes(socket.inet_aton(OTHER_ROUTER), "big")))
        expect(f"{kind}: the route afterwards", OTHER_ROUTER, gateway())
        next_packet(h0, f"{kind}: packets are sent all the same", False, kind, OVERHEAD[kind])
    run_ip("route del 198.18.0.0/24")


# ------------------------------------------------ errors about IPv6 inside

def each_error_about_ipv6(h0, u0, ttl, about):
    """A long quote is passed on at once, as ICMPv6 from the router's IPv4-mapped
    address, which the IPv6 stack does not let out."""
    for type_, code in HEEDED:
        name = f"IPv6 in gre ttl {ttl}, ICMP {type_}/{code}"
        case(name, "", u0, error(type_, code, about, 1480 if code == 4 else 0))
        next_ipv6_packet(h0, f"{name}: the next packet", False)


def short_quotes_of_ipv6(h0, u0, ttl, about):
    """Those count like any error."""
    for size in (28, 63, 64, 71, 72):
        name = f"IPv6 in gre ttl {ttl}, {size} bytes"
        case(name, "", u0, error(3, 1, about, size=size))
        next_ipv6_packet(h0, f"{name}: the next packet", size < 72)


def main():
    need_modules("ip_gre", "ipip")
    modprobe("tun")
    with NetNs(ipv6=True) as n0, n0.inside():
        h0, u0 = router()
        sysctl(**{f"net__ipv4__conf__{conf}__{what}_redirects": int(what == "accept")
                  for conf in ("all", "u0") for what in ("accept", "secure")})
        for kind in ("ipip", "gre"):
            for ttl in ("inherit", "64"):
                each_error(h0, u0, kind, ttl)
        for kind in ("ipip", "gre"):
            three_errors(h0, u0, kind)
        for quote in QUOTES:
            length_of_the_quote(h0, u0, *quote)
        with tunnel("gre", "ttl 64 key 5"):
            quoted_key(h0, u0)
            quoted_addresses(h0, u0)
            while_it_was_down(h0, u0)
        no_remote_address(h0, u0)
        for kind in ("ipip", "gre"):
            redirect(h0, u0, kind)
        for ttl in ("inherit", "64"):
            with tunnel("gre", f"ttl {ttl}"):
                about = sent_outer(h0, u0, INNER6)
                each_error_about_ipv6(h0, u0, ttl, about)
                short_quotes_of_ipv6(h0, u0, ttl, about)


ksft_run(main)
