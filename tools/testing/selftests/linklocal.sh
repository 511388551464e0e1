#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# The IPv6 link-local address that a tunnel has, once it is up: of its own
# IPv4 address, of the machine's, of its MAC address, or none.
#
#	n0:	d0 192.0.2.1, a dummy
#		x, one tunnel after the other

. "$(dirname "$0")/lib.sh"
need_modules ipip ip_gre
modprobe dummy
new_ns -6 n0

wire n0 <<'END'
from wire import *

run_ip("link add d0 type dummy", "link set d0 addrgenmode none",
       "link set d0 up", "addr add 192.0.2.1/24 dev d0")
OWN, MACHINE, LOOPBACK, OTHER = "fe80::5efe:c000:201", "fe80::c000:201", \
    "fe80::7f00:1", "fe80::5efe:a00:1"
EUI64 = "fe80::ff:fe00:9"
L, R = "local 192.0.2.1", "remote 192.0.2.2"
TABLE = [
    # kind, options -> addresses with addrgenmode eui64; with random: one
    # that nobody can know
    ("gre", f"{L} {R}", [OWN]), ("gre", R, [MACHINE]), ("gre", L, [OWN]),
    ("gre", "key 7", [MACHINE, LOOPBACK]),
    ("gre", f"{L} remote 233.252.0.1", [OWN]),
    ("gre", f"local 10.0.0.1 {R}", [OTHER]),
    ("ipip", f"{L} {R}", [OWN]), ("ipip", R, []), ("ipip", L, [OWN]),
    ("ipip", f"local 10.0.0.1 {R}", [OTHER]), ("ipip", "external", []),
    ("gretap", f"{L} {R}", [EUI64]), ("gretap", R, [EUI64]),
    ("gretap", "external", [EUI64]),
    ("erspan", f"{L} {R} erspan_ver 0", [EUI64]),
]


def addresses():
    shown = show("-6", "addr", "show", "dev", "x")
    return sorted(a["local"] for link in shown
                  for a in link.get("addr_info", []))


for kind, options, want in TABLE:
    mac = "address 02:00:00:00:00:09 " * (kind in ("gretap", "erspan"))
    for mode in ("eui64", "none", "random"):
        name = f"{kind} {options}, addrgenmode {mode}"
        run_ip(f"link add x {mac}type {kind} {options}",
               f"link set x addrgenmode {mode}", "link set x up")
        got = addresses()
        if mode == "eui64":
            expect(name, sorted(want), got)
        elif mode == "none":
            expect(name, [], got)
        elif kind in ("gre", "gretap"):
            expect(f"{name}: one that is none of those", (1, True),
                   (len(got), got[0][:6] == "fe80::" and got[0] not in want
                    if got else False))
        run_ip("link set x down", "link del x")
# An external gre has no address of any kind to begin with.
run_ip("link add x type gre external", "link set x addrgenmode eui64",
       "link set x up")
got = addresses()
expect("gre external: one, of its own", (1, True),
       (len(got), bool(got) and got[0][:6] == "fe80::"))
run_ip("link del x")
END
finish
