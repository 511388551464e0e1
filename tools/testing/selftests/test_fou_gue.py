#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Tunnels in UDP: FOU and GUE under each kind, what is on the wire, what it costs,
what is received, what can be changed.

       the test (192.0.2.x)
          | u0, a tun device
       n0: 192.0.2.1
           one tunnel for each kind, encapsulation and set of options

       n1                      n2
       | v1 192.0.2.1          | v2 192.0.2.2    port 5551 and others
       '-----------------------'
       tun ===== tunnel ===== tun
       198.51.100.1            198.51.100.2
       2001:db8::1             2001:db8::2
"""
import itertools
import struct

import links
from bulk import MAC, Bulk, long_queue
from ether import Port, erspan, frame, netlink, put_up, sends_frame
from ksft import NetNs, differs, expect, ksft_run, modprobe, need_modules, remove_modules, veth_pair
from pkt import gre, ip, ip6, mpls, raw, udp
from refuse import EXTACK, ip as ip_command, refuse
from wire import FRAME, Tun, case, fields, run_ip, sends, show, sysctl

DPORT = 5555
# Where n0 receives
IPIP_PORT, GRE_PORT, GUE_PORT, MPLS_PORT = 5551, 5552, 5553, 5554
HEAD = {"ipip": 20, "gre": 24, "gretap": 38, "erspan": 50}
ETHER = "gretap", "erspan"
OPTIONS = {"ipip": "mode any", "erspan": "seq key 5 erspan_ver 1"}
PROTO = {"ipip": 4, "gre": 47, "gretap": 47, "erspan": 47}
EXTRA = {None: 0, "fou": 8, "gue": 12}
FLAGS = "", "encap-csum", "encap-remcsum", "encap-csum encap-remcsum"

IN = (ip() / udp() / b"hello").bytes()
MPLS, FRAMED = (mpls(100) / IN).bytes(), frame(ip() / udp() / b"hi").bytes()

ENDPOINTS = "LOCAL=192.0.2.1", "REMOTE=192.0.2.2"
FOU = "ENCAP_TYPE=1", "ENCAP_SPORT=7001", f"ENCAP_DPORT={DPORT}"
# attributes; encapsulation, source port and checksum from now on
CHANGES = (
    (("ENCAP_TYPE=0",), None, 0, False),
    (FOU, "fou", 7001, False),
    (FOU + ("ENCAP_FLAGS=1",), "fou", 7001, True),
    (("ENCAP_TYPE=2", *FOU[1:], "ENCAP_FLAGS=0"), "gue", 7001, False),
    (("ENCAP_TYPE=2", "ENCAP_SPORT=7002", FOU[2], "ENCAP_FLAGS=1"), "gue", 7002, True),
    (("ENCAP_TYPE=0", "ENCAP_SPORT=7002", FOU[2]), None, 0, False),
)
# kind, options, encapsulation; whether GSO packets stay whole
TRANSFERS = (
    ("ipip", "", "fou encap-dport 5551", True),
    ("ipip", "", "gue encap-dport 5553 encap-csum", True),
    ("gre", "", "fou encap-dport 5552 encap-csum", True),
    ("gre", "key 5", "gue encap-dport 5553", True),
    # Two checksums, or numbers below UDP: no segmenter does that.
    ("gre", "key 5 csum", "gue encap-dport 5553", False),
    ("gre", "seq", "fou encap-dport 5552", False),
    ("gretap", "", "gue encap-dport 5553 encap-csum", True),
)


def gue(proto):
    return bytes((0, proto, 0, 0))


class Tunnel:
    """A device, and what its packets are in"""

    def __init__(self, u0, dev, kind, remote="192.0.2.2", encap=None, sport=None, check=False, proto=None):
        """sport: None is any; proto: what GUE says of the payload"""
        self.u0, self.dev, self.kind, self.remote, self.encap = u0, dev, kind, remote, encap
        self.sport, self.check, self.proto = sport, check, proto or PROTO[kind]

    def payload(self, inner):
        """what follows the outer IP header, or UDP's and GUE's"""
        if self.kind == "ipip":
            return inner.bytes()
        if self.kind == "gre":
            return (gre(inner.ethertype) / inner.bytes()).bytes()
        if self.kind == "gretap":
            return (gre(0x6558) / inner.bytes()).bytes()
        return (gre(0x88be, seq=0) / erspan(5) / inner.bytes()).bytes()

    def send(self, name, want, inner):
        """-> the outer packet, or None"""
        if self.kind in ETHER:
            return sends_frame(name, self.u0, want, Port(self.dev), inner)
        return sends(name, want, self.u0, self.dev, inner)

    def sends_plain(self, name, inner):
        """without an encapsulation"""
        self.send(name, f"{'ipip' if self.kind == 'ipip' else 'gre'} {20 + len(self.payload(inner))}", inner)

    def sends_in_udp(self, name, inner):
        """One packet goes out as it should. -> its source port"""
        body = gue(self.proto) * (self.encap == "gue") + self.payload(inner)
        sent = self.send(name, f"udp {28 + len(body)}", inner)
        if not sent:
            return None
        got, port = fields(sent), struct.unpack_from("!H", sent, 20)[0]
        expect(f"{name}: the outer header", ("192.0.2.1", self.remote, 1), (got["src"], got["dst"], got["df"]))
        if self.sport is None:
            expect(f"{name}: a source port of the local range", True, 32768 <= port <= 60999)
        wanted = udp(self.sport or port, DPORT, check=None if self.check else 0) / body
        expect(f"{name}: the packet", wanted.bytes(ip("192.0.2.1", self.remote)).hex(), sent[20:].hex())
        return port


def plain(kind):
    """a packet for a device of that kind"""
    inner = ip() / udp() / b"hello"
    return frame(inner) if kind in ETHER else inner


# ---------------------------------------------------------- configuration

def without_the_module(n0):
    for kind in "ipip", "gre", "gretap":
        for encap in "fou", "gue":
            line = f"link add x type {kind} remote 192.0.2.9 encap {encap} encap-dport {DPORT}"
            refuse(f"{kind}: {encap} is not there", ".", ip_command, n0, line, unchanged=n0)
            with differs("says no reason"):
                refuse(f"{kind}: {encap} is not there: a reason", EXTACK, ip_command, n0, line)


def add(dev, kind, remote, encap, more):
    """the lines for "ip" """
    return [f"link add {dev} type {kind} {OPTIONS.get(kind, '')} local 192.0.2.1 remote {remote} "
            f"encap {encap} encap-dport {DPORT} {more}", *put_up(dev)]


def every_option(u0, kind):
    """by itself: what it costs, what is shown, what is sent"""
    cases = [(f"t{n}", f"192.0.2.{n}", *options)
             for n, options in enumerate(itertools.product(("fou", "gue"), FLAGS, (None, 7000)), 20)]
    run_ip(*(line for dev, remote, encap, flags, sport in cases
             for line in add(dev, kind, remote, encap, f"encap-sport {sport or 'auto'} {flags}")))
    made = {link["ifname"]: link for link in show("link", "show")}
    for dev, remote, encap, flags, sport in cases:
        name = f"{kind} {encap} {flags} {sport or 'auto'}"
        check, remcsum = "encap-csum" in flags, "remcsum" in flags
        # Remote checksum offload has an option of 8 bytes in GUE.
        extra = EXTRA[encap] + 8 * (encap == "gue" and remcsum)
        expect(f"{name}: MTU", 1500 - HEAD[kind] - extra, made[dev]["mtu"])
        expect(f"{name}: is shown", {
            "type": encap, "sport": sport or 0, "dport": DPORT, "csum": check, "csum6": False, "remcsum": remcsum},
            made[dev]["linkinfo"]["info_data"]["encap"])
        Tunnel(u0, dev, kind, remote, encap, sport, check).sends_in_udp(name, plain(kind))
    run_ip(*(f"link del {dev}" for dev, *_ in cases))


def each_payload(u0):
    for kind, encap, inner, proto in (
            ("ipip", "fou", mpls(100) / ip(), 137), ("ipip", "gue", mpls(100) / ip(), 137),
            ("gre", "fou", ip6() / udp(), 47), ("gre", "gue", ip6() / udp(), 47),
            ("gre", "gue", mpls(100) / ip(), 47)):
        run_ip(*add("p0", kind, "192.0.2.10", encap, "encap-sport auto encap-csum"))
        Tunnel(u0, "p0", kind, "192.0.2.10", encap, check=True, proto=proto).sends_in_udp(
            f"{kind} {encap}, payload {inner.ethertype:x}", inner)
        run_ip("link del p0")


def flows(u0):
    run_ip(*add("p0", "gre", "192.0.2.10", "fou", "encap-sport auto"))
    tunnel = Tunnel(u0, "p0", "gre", "192.0.2.10", "fou")
    ports = [tunnel.sends_in_udp(f"flow {n % 8}", ip() / udp(sport=1000 + n % 8) / b"hello") for n in range(16)]
    expect("a flow keeps its source port", ports[:8], ports[8:])
    expect("flows differ in their source ports", True, len(set(ports)) > 4)
    run_ip("link del p0")


# -------------------------------------------------------------- receiving
# Which device, the addresses and the protocol say; how it came does not
# matter. What is wrong about UDP, FOU drops.

def make_receivers():
    run_ip(f"fou add port {IPIP_PORT} ipproto 4", f"fou add port {GRE_PORT} ipproto 47",
           f"fou add port {GUE_PORT} gue", f"fou add port {MPLS_PORT} ipproto 137",
           *(line for dev, options in (("i0", "type ipip mode any"), ("g0", "type gre"),
                                       ("t0", "address 02:00:00:00:00:09 type gretap"))
             for line in (f"link add {dev} {options} local 192.0.2.1 remote 192.0.2.2 encap fou "
                          f"encap-sport auto encap-dport {IPIP_PORT}", *put_up(dev))))


def outer(dport, check=None):
    return ip("192.0.2.2", "192.0.2.1") / udp(4000, dport, check=check)


def good(dev, data):
    return f"{dev} rx_bytes={len(data)} rx_packets=1"


def received(u0, what, check):
    for name, want, dport, body in (
            ("ipip in FOU", good("i0", IN), IPIP_PORT, IN),
            ("gre in FOU", good("g0", IN), GRE_PORT, gre() / IN),
            ("gre with a checksum in FOU", good("g0", IN), GRE_PORT, gre(csum=True) / IN),
            ("gretap in FOU", good("t0", FRAMED), GRE_PORT, gre(0x6558) / FRAMED),
            ("ipip in GUE", good("i0", IN), GUE_PORT, raw(gue(4)) / IN),
            ("gre in GUE", good("g0", IN), GUE_PORT, raw(gue(47)) / gre() / IN),
            ("gretap in GUE", good("t0", FRAMED), GUE_PORT, raw(gue(47)) / gre(0x6558) / FRAMED),
            ("MPLS in GUE", good("i0", MPLS), GUE_PORT, raw(gue(137)) / MPLS),
            ("MPLS in FOU", good("i0", MPLS), MPLS_PORT, MPLS),
            ("IPv4 in GUE, version 1", good("i0", IN), GUE_PORT, IN)):
        with differs("refuses a checksum without icsum", when="gre with" in name):
            case(f"{name}, {what}", want, u0, outer(dport, check) / body)


def outer_ecn(u0):
    """The outer header is the UDP packet's."""
    case("ECN: congestion outside", "i0 rx_bytes=20 rx_packets=1", u0,
         ip("192.0.2.2", "192.0.2.1", tos=3) / udp(4000, IPIP_PORT) / ip(tos=2))
    case("ECN: congestion outside, no ECN inside", f"i0 {FRAME}", u0,
         ip("192.0.2.2", "192.0.2.1", tos=3) / udp(4000, IPIP_PORT) / ip())


def not_in_udp(u0):
    case("not in UDP", good("i0", IN), u0, ip("192.0.2.2", "192.0.2.1", 4) / IN)


def dropped(u0):
    for name, packet in (("a wrong checksum", outer(IPIP_PORT, 0x1234) / IN),
                         ("GUE, version 2", outer(GUE_PORT) / raw("80040000") / IN),
                         ("GUE, cut short", outer(GUE_PORT) / raw("0004"))):
        case(name, "", u0, packet)


# ---------------------------------------------------------------- changes

def changed(u0, dev, kind):
    more = ("PROTO=0",) * (kind == "ipip")
    for attributes, encap, sport, check in CHANGES:
        name = f"{kind}: changed to {' '.join(attributes)}"
        expect(name, ("", ""), netlink("set", dev, kind, *ENDPOINTS, *more, *attributes))
        link = show("link", "show", "dev", dev)[0]
        expect(f"{name}: is shown", encap, link["linkinfo"].get("info_data", {}).get("encap", {}).get("type"))
        with differs("leaves the MTU as it is"):
            expect(f"{name}: MTU", 1500 - HEAD[kind] - EXTRA[encap], link["mtu"])
        tunnel = Tunnel(u0, dev, kind, encap=encap, sport=sport, check=check)
        (tunnel.sends_in_udp if encap else tunnel.sends_plain)(name, plain(kind))


def unknown_encapsulations(dev, kind):
    for value in 4, 7, 8, 77, 65535:
        for verb, name in ("new", "x"), ("set", dev):
            error, words = netlink(verb, name, kind, ENDPOINTS[0], "REMOTE=192.0.2.9", f"ENCAP_TYPE={value}")
            expect(f"{kind}: {verb} with encapsulation {value}", "EINVAL", error)
            with differs("says no reason"):
                expect(f"{kind}: {verb} with encapsulation {value}: a reason", True, bool(words))


def short_attributes(dev, kind):
    for attribute in "ENCAP_TYPE=hex:01", "ENCAP_FLAGS=hex:01", "ENCAP_SPORT=hex:01", "ENCAP_DPORT=hex:01":
        error, _ = netlink("set", dev, kind, *ENDPOINTS, *FOU, attribute)
        expect(f"{kind}: short {attribute}", "ERANGE", error)


def bad_input(dev, kind):
    netlink("set", dev, kind, *ENDPOINTS, *FOU)
    before = links.configuration("-", dev)
    unknown_encapsulations(dev, kind)
    with differs("has changed some of it"):
        expect(f"{kind}: nothing has changed", before, links.configuration("-", dev))
    netlink("set", dev, kind, *ENDPOINTS, *FOU)
    short_attributes(dev, kind)
    expect(f"{kind}: still nothing has changed", before, links.configuration("-", dev))


# ---------------------------------------------------- between two kernels

def tunnel_between(ends, kind, options, encap):
    for n, ns in enumerate(ends):
        own, peer = n + 1, 2 - n
        lines = []
        mac = ""
        if kind == "gretap":
            mac = f"address {MAC[n]} "
            lines = [f"neigh add 198.51.100.{peer} lladdr {MAC[1 - n]} dev tun"]
        elif kind == "gre":
            lines = [f"route add 2001:db8::{peer} dev tun rto_min 10s"]
        ns.ip(f"link add tun {mac}type {kind} local 192.0.2.{own} remote 192.0.2.{peer} {options} "
              f"encap {encap} encap-sport auto",
              "link set tun up", f"addr add 198.51.100.{own} dev tun", f"addr add 2001:db8::{own} dev tun nodad",
              f"route add 198.51.100.{peer} dev tun rto_min 10s", *lines)


def transfer(ends, bulk, kind, options, encap, big):
    n1, n2 = ends
    name = f"{kind} {options} {encap}"
    sizes = [(n1, "tun", "tx", big), (n1, "v1", "tx", big), (n2, "tun", "rx", big)]
    tunnel_between(ends, kind, options, encap)
    expect(f"{name}: echoes", 5, n1.echo("198.51.100.2", 5))
    bulk.transfer(name, "198.51.100.2", sizes)
    if kind == "gre":
        bulk.transfer(f"{name}, IPv6", "2001:db8::2", sizes)
    for ns in ends:
        ns.ip("link del tun")


def on_the_wire():
    sysctl(net__ipv4__icmp_ratemask=0)
    u0 = Tun("u0", "192.0.2.1/24")
    for kind in HEAD:
        every_option(u0, kind)
    each_payload(u0)
    flows(u0)
    make_receivers()
    received(u0, "a checksum", None)
    received(u0, "no checksum", 0)
    outer_ecn(u0)
    not_in_udp(u0)
    dropped(u0)
    for dev, kind in ("i0", "ipip"), ("g0", "gre"), ("t0", "gretap"):
        changed(u0, dev, kind)
    for dev, kind in ("i0", "ipip"), ("g0", "gre"), ("t0", "gretap"):
        bad_input(dev, kind)


def between_two_kernels(*ends):
    bulk = Bulk(*ends)
    for ns in ends:
        ns.ip("fou add port 5551 ipproto 4", "fou add port 5552 ipproto 47", "fou add port 5553 gue")
    for arguments in TRANSFERS:
        transfer(ends, bulk, *arguments)


def main():
    need_modules("ipip", "ip_gre")
    remove_modules("fou")
    modprobe("mpls_router", "tun")
    with NetNs() as n0, NetNs(ipv6=True) as n1, NetNs(ipv6=True) as n2, long_queue():
        veth_pair(n1, "v1", "192.0.2.1/24", n2, "v2", "192.0.2.2/24")
        without_the_module(n0)
        modprobe("fou")
        with n0.inside():
            on_the_wire()
        between_two_kernels(n1, n2)


ksft_run(main)
