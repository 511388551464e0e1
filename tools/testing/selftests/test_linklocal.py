#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""The IPv6 link-local address that a tunnel has, once it is up: of its own IPv4
address, of the machine's, of its MAC address, or none.

    n0: d0 192.0.2.1, a dummy
        x, one tunnel after the other
"""
import itertools
import json
import subprocess

from ksft import ksft_run, need_modules, modprobe, expect, NetNs, run_ip

OWN, MACHINE, LOOPBACK, OTHER = "fe80::5efe:c000:201", "fe80::c000:201", "fe80::7f00:1", "fe80::5efe:a00:1"
EUI64 = "fe80::ff:fe00:9"
L, R = "local 192.0.2.1", "remote 192.0.2.2"
# kind, options -> addresses with addrgenmode eui64; with random: one that nobody can know
TABLE = [
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
MODES = ("eui64", "none", "random")


def tunnel(kind, options, mode):
    """its life, as commands"""
    mac = "address 02:00:00:00:00:09" if kind in ("gretap", "erspan") else ""
    return (f"link add x {mac} type {kind} {options}", f"link set x addrgenmode {mode}", "link set x up",
            "addr show dev x", "link set x down", "link del x")


def link_local_addresses(*lines):
    """-> of each device that is shown, its IPv6 addresses; all in one process"""
    done = subprocess.run(["ip", "-j", "-batch", "-"], input="\n".join(lines) + "\n", text=True, check=True,
                          stdout=subprocess.PIPE)
    return [sorted(address["local"] for link in json.loads(line) for address in link.get("addr_info", [])
                   if address["family"] == "inet6") for line in done.stdout.splitlines()]


def is_one_unknown(got, known):
    return len(got) == 1 and got[0].startswith("fe80::") and got[0] not in known


def one_unknown(name, got, known):
    expect(name, (1, True), (len(got), is_one_unknown(got, known)))


def each_mode():
    cases = [(kind, options, want, mode) for (kind, options, want), mode in itertools.product(TABLE, MODES)]
    found = link_local_addresses(*(line for kind, options, _, mode in cases for line in tunnel(kind, options, mode)))
    for (kind, options, want, mode), got in zip(cases, found):
        name = f"{kind} {options}, addrgenmode {mode}"
        if mode == "eui64":
            expect(name, sorted(want), got)
        elif mode == "none":
            expect(name, [], got)
        elif kind in ("gre", "gretap"):
            one_unknown(f"{name}: one that is none of those", got, want)


def external_gre():
    """It has no address of any kind to begin with."""
    got, = link_local_addresses(*tunnel("gre", "external", "eui64"))
    one_unknown("gre external: one, of its own", got, [])


def main():
    need_modules("ipip", "ip_gre")
    modprobe("dummy")
    with NetNs(ipv6=True) as n0, n0.inside():
        run_ip("link add d0 type dummy", "link set d0 addrgenmode none", "link set d0 up",
               "addr add 192.0.2.1/24 dev d0")
        each_mode()
        external_gre()


ksft_run(main)
