#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# The outer header on the wire: TTL, TOS and DF, fixed and inherited, for each
# kind of payload.
#
#	   the test (192.0.2.x)
#	          | u0, a tun device
#	   n0: 192.0.2.1
#	       one tunnel for each row of the table

. "$(dirname "$0")/lib.sh"
need_modules ip_gre ipip
new_ns n0

wire n0 "$(ns n0)" <<'END'
import sys
import nl
from wire import *

sysctl(net__ipv4__ip_default_ttl=99)
u0 = Tun("u0", "192.0.2.1/24")

PAYLOAD = {"v4": ip(ttl=33, tos=0x54) / icmp(),
           "v4 DF": ip(ttl=34, tos=0xb8, flags=2) / icmp(),
           "v4 fragment": ip(ttl=35, flags=1, frag=10) / bytes(16),
           "v6": ip6(hlim=44, tc=0xe0) / icmp(),
           "mpls": mpls(100, ttl=55) / ip(ttl=66)}
PAYLOAD = {name: (p.bytes(), p.ethertype) for name, p in PAYLOAD.items()}

# options of the tunnel (any: both kinds) ->
#	ttl, tos and DF of the outer header for each payload
IN_TTL = {"v4": 33, "v4 DF": 34, "v4 fragment": 35, "v6": 44, "mpls": 99}
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


def of(value, payload):
    return value[payload] if isinstance(value, dict) else value


def tunnels():
    for kinds, options, *want in TABLE:
        for kind in ("ipip", "gre") if kinds == "any" else (kinds,):
            yield kind, options, want


for number, (kind, options, want) in enumerate(tunnels()):
    dev, remote = f"t{number}", f"192.0.2.{number + 10}"
    mode = " mode any" * (kind == "ipip")
    if options in RAW:
        nl.main(["new", sys.argv[1], dev, kind, "LOCAL=192.0.2.1",
                 f"REMOTE={remote}"] + RAW[options] +
                ["PROTO=0"] * (kind == "ipip"))
    else:
        run_ip(f"link add {dev} type {kind}{mode} local 192.0.2.1 "
               f"remote {remote} {options}")
    run_ip(f"link set {dev} up")
    header = 20 if kind == "ipip" else 24 + 12 * ("key" in options)
    for payload, (data, proto) in PAYLOAD.items():
        if kind == "ipip" and payload == "v6":
            continue
        outer = {"gre": "gre", "ipip": "mpls" if payload == "mpls"
                 else "ipip"}[kind]
        name = f"{kind} {options}: {payload}"
        sent = sends(name, f"{outer} {header + len(data)}", u0, dev, data,
                     proto)
        if sent is None:
            continue
        ttl, tos, df = (of(w, payload) for w in want)
        got = fields(sent)
        expect(name, ip("192.0.2.1", remote, {"gre": 47, "ipip": 4,
                                              "mpls": 137}[outer],
                        ttl=ttl, tos=tos, flags=df * 2, id=got["id"],
                        length=header + len(data)).bytes().hex(),
               sent[:20].hex())
        expect(name + ", unchanged", data.hex(), sent[header:].hex())

# The route decides what is not inherited.
run_ip("link add r0 type gre local 192.0.2.1 remote 203.0.113.1",
       "link set r0 up", "route add 203.0.113.0/24 dev u0 hoplimit 77")
sent = sends("the hop limit of the route", "gre 48", u0, "r0",
             PAYLOAD["mpls"][0], ETH_P_MPLS)
if sent:
    expect("the hop limit of the route", 77, fields(sent)["ttl"])
END
finish
