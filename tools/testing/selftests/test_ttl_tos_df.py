#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""The outer header on the wire: TTL, TOS and DF, fixed and inherited, for each
kind of payload.

    the test (192.0.2.x)
       | u0, a tun device
    n0: 192.0.2.1
        one tunnel for each row of the table
"""
import nl
from ksft import ksft_run, need_modules, modprobe, expect, NetNs, run_ip
from pkt import icmp, ip, ip6, mpls
from wire import ETH_P_MPLS, Tun, fields, sends, sysctl

HERE = "192.0.2.1"
PAYLOAD = {"v4": ip(ttl=33, tos=0x54) / icmp(),
           "v4 DF": ip(ttl=34, tos=0xb8, flags=2) / icmp(),
           "v4 fragment": ip(ttl=35, flags=1, frag=10) / bytes(16),
           "v6": ip6(hlim=44, tc=0xe0) / icmp(),
           "mpls": mpls(100, ttl=55) / ip(ttl=66)}

# options of the tunnel (any: both kinds) ->
#       ttl, tos and DF of the outer header for each payload
DEFAULT_TTL = 99
IN_TTL = {"v4": 33, "v4 DF": 34, "v4 fragment": 35, "v6": 44, "mpls": DEFAULT_TTL}
IN_TOS = {"v4": 0x54, "v4 DF": 0xb8, "v4 fragment": 0, "v6": 0xe0, "mpls": 0}
IN_DF = {"v4": 0, "v4 DF": 1, "v4 fragment": 0, "v6": 0, "mpls": 0}
TABLE = [
    ("any", "", IN_TTL, 0, 1),
    ("any", "ttl inherit", IN_TTL, 0, 1),
    ("any", "ttl 1", 1, 0, 1),
    ("any", "ttl 255", 255, 0, 1),
    ("any", "tos 0x40", IN_TTL, 0x40, 1),
    ("any", "tos 0xfc", IN_TTL, 0xfc, 1),
    ("any", "tos inherit", IN_TTL, IN_TOS, 1),
    # An odd TOS means "inherit", whatever else is in it; it serves where
    # there is nothing to inherit.
    ("any", "tos 0x41", IN_TTL, {**IN_TOS, "mpls": 0x40}, 1),
    ("any", "ttl 64 tos inherit", 64, IN_TOS, 1),
    ("any", "pmtudisc", IN_TTL, 0, 1),
    ("any", "nopmtudisc", IN_TTL, 0, IN_DF),
    ("any", "ttl inherit tos inherit nopmtudisc", IN_TTL, IN_TOS, IN_DF),
    # ipip with a fixed TTL discovers the path MTU in any case.
    ("ipip", "ttl 64 nopmtudisc", 64, 0, 1),
    ("gre", "ttl 64 nopmtudisc", 64, 0, IN_DF),
    ("gre", "nopmtudisc ignore-df", IN_TTL, 0, 0),
    ("gre", "ttl 64 nopmtudisc ignore-df", 64, 0, 0),
    ("gre", "ttl 64 tos inherit key 5 csum seq", 64, IN_TOS, 1),
]
# What "ip" would not say
RAW = {"ttl 64 nopmtudisc": ["TTL=64", "PMTUDISC=0"],
       "ttl 64 nopmtudisc ignore-df": ["TTL=64", "PMTUDISC=0", "IGNORE_DF=1"]}
# The name in an outcome and the number of the outer protocol
PROTOCOLS = {"gre": 47, "ipip": 4, "mpls": 137}


def tunnels():
    """-> device, remote, kind, options, (ttl, tos, DF)"""
    rows = [(kind, options, want) for kinds, options, *want in TABLE
            for kind in (("ipip", "gre") if kinds == "any" else (kinds,))]
    for number, (kind, options, want) in enumerate(rows):
        yield f"t{number}", f"192.0.2.{number + 10}", kind, options, want


def add_raw(ns, dev, remote, kind, attributes):
    status, text = nl.ask(ns.name, "new", dev, kind, f"LOCAL={HERE}", f"REMOTE={remote}", *attributes,
                          *["PROTO=0"] * (kind == "ipip"))
    if status:
        raise RuntimeError(f"{dev}: {text}")


def add_all(ns):
    lines = []
    for dev, remote, kind, options, _ in tunnels():
        if options in RAW:
            add_raw(ns, dev, remote, kind, RAW[options])
        else:
            mode = "mode any" if kind == "ipip" else ""
            lines.append(f"link add {dev} type {kind} {mode} local {HERE} remote {remote} {options}")
        lines.append(f"link set {dev} up")
    run_ip(*lines)


def of(value, payload):
    return value[payload] if isinstance(value, dict) else value


def outer_header(u0, dev, remote, kind, options, want):
    size = 20 if kind == "ipip" else 24 + 12 * ("key" in options)
    for payload, packet in PAYLOAD.items():
        if kind == "ipip" and payload == "v6":
            continue
        data = packet.bytes()
        name = f"{kind} {options}: {payload}"
        outer = "mpls" if kind == "ipip" and payload == "mpls" else kind
        sent = sends(name, f"{outer} {size + len(data)}", u0, dev, data, packet.ethertype)
        if sent is None:
            continue
        ttl, tos, df = (of(w, payload) for w in want)
        head = ip(HERE, remote, PROTOCOLS[outer], ttl=ttl, tos=tos, flags=df * 2, id=fields(sent)["id"],
                  length=size + len(data))
        expect(name, head.bytes().hex(), sent[:20].hex())
        expect(name + ", unchanged", data.hex(), sent[size:].hex())


def hop_limit_of_the_route(u0):
    """The route decides what is not inherited."""
    run_ip(f"link add r0 type gre local {HERE} remote 203.0.113.1", "link set r0 up",
           "route add 203.0.113.0/24 dev u0 hoplimit 77")
    sent = sends("the hop limit of the route", "gre 48", u0, "r0", PAYLOAD["mpls"], ETH_P_MPLS)
    if sent:
        expect("the hop limit of the route", 77, fields(sent)["ttl"])


def main():
    need_modules("ip_gre", "ipip")
    modprobe("tun")
    with NetNs() as n0, n0.inside():
        sysctl(net__ipv4__ip_default_ttl=DEFAULT_TTL)
        u0 = Tun("u0", f"{HERE}/24")
        add_all(n0)
        for tunnel in tunnels():
            outer_header(u0, *tunnel)
        hop_limit_of_the_route(u0)


ksft_run(main)
