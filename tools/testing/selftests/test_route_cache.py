#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""The route of the outer packet: which one it is, when it is looked up, and that
what is kept of it follows the tunnel's configuration and the routes.

       n0: u0 192.0.2.1        to 192.0.2.2
           u1 203.0.113.1      the same, with DSCP 4 or mark 7
"""
import os
import subprocess

from ksft import ksft_run, need_modules, modprobe, NetNs, write
from pkt import icmp, ip
from wire import Tun, attempt, differs, expect, fields, run_ip, transmit

TRACING = "/sys/kernel/tracing/"
EVENT = TRACING + "events/fib/fib_table_lookup/enable"
SOURCE = {"u0": "192.0.2.1", "u1": "203.0.113.1"}
SIZE = {"ipip": 48, "gre": 52}
# What changes when the payload's TOS is inherited: (TOS, where it goes)
FIRST = (0, "u0"), (0x10, "u1"), (0x20, "u0"), (0xfc, "u0")
LATER = ((0x10, "u1"), (0, "u0"), (0x11, "u1"), (0x12, "u1"), (2, "u0"), (0xfd, "u0"), (0x20, "u0"), (0x10, "u1"))


class Lookups:
    """Counts lookups of routes, by the tracepoint."""

    def __enter__(self):
        if not os.path.exists(TRACING + "trace"):
            subprocess.run(["mount", "-t", "tracefs", "tracefs", TRACING], check=True)
        # Names of processes would be recorded by a change of the scheduler's code, which an emulator with two
        # processors may stumble over.
        write(TRACING + "options/record-cmd", "0")
        write(EVENT, "1")
        return self

    def __exit__(self, *_):
        write(EVENT, "0")

    @staticmethod
    def count():
        """-> how many tables of routes were looked into since the last time"""
        with open(TRACING + "trace") as file:
            count = sum("fib_table_lookup:" in line for line in file)
        write(TRACING + "trace", "")
        return count


class Route:
    """One device, and the outer route of its packets"""

    def __init__(self, lookups, wires, kind, dev):
        self.lookups, self.wires, self.kind, self.dev = lookups, wires, kind, dev
        self.ends = f"type {kind} remote 192.0.2.2 ttl 9"

    def change(self, options):
        run_ip(f"link set {self.dev} {self.ends} {options}")

    def goes(self, name, wire, looked, tos=0):
        """A packet leaves by that wire, with its address; was the route looked up?"""
        name = f"{self.kind}: {name}"
        self.lookups.count()
        want, got, came = attempt(f"{self.dev} tx_bytes=28 tx_packets=1; {wire}: {self.kind} {SIZE[self.kind]}",
                                  lambda: transmit(self.dev, ip(tos=tos) / icmp()))
        found = self.lookups.count()
        expect(name, want, got)
        expect(f"{name}: source", [SOURCE[wire]], [fields(sent)["src"] for sent in came[self.wires[wire]]])
        expect(f"{name}: {'looked up' if looked else 'not looked up'}", looked, found > 0)

    def anew(self, name, wire, tos=0):
        """The same where no route is kept: the first packet looks it up, the second one does not."""
        self.goes(name, wire, True, tos)
        self.goes(f"{name}, second packet", wire, False, tos)


def tos_of_the_device(one, fixed):
    run_ip(f"link add {one.dev} {one.ends}", f"link add {fixed.dev} {fixed.ends} tos 0x10 local 203.0.113.1",
           f"link set {one.dev} up", f"link set {fixed.dev} up")
    one.anew("no TOS", "u0")
    one.goes("DSCP that is not taken", "u0", False, tos=0x10)
    fixed.anew("fixed TOS", "u1")
    fixed.goes("fixed TOS, another one in the payload", "u1", False, tos=0x20)


def change_of_the_device(one):
    """A change makes it anew, and only a change."""
    one.change("tos 0x10")
    one.anew("TOS changed", "u1")
    one.change("tos 0")
    one.anew("TOS changed back", "u0")
    one.change("fwmark 7")
    one.anew("mark set", "u1")
    one.change("fwmark 8")
    one.anew("another mark", "u0")
    run_ip(f"link set {one.dev} down", f"link set {one.dev} up")
    one.goes("down and up", "u0", True)    # the kernel drops its routes then


def change_of_the_rules(one):
    """what the routes say now, not what they said"""
    run_ip("rule add fwmark 8 lookup 100")
    one.goes("a rule more", "u1", True)
    one.goes("a rule more, second packet", "u1", False)
    run_ip("rule del fwmark 8 lookup 100")
    one.goes("a rule less", "u0", True)


def tos_of_the_payload(one):
    """one route for each DSCP, whatever else is in the TOS"""
    run_ip(f"link add {one.dev} {one.ends} tos inherit", f"link set {one.dev} up")
    with differs("no route is kept with tos inherit"):
        for tos, wire in FIRST:
            one.anew(f"tos inherit, payload with {tos:#04x}", wire, tos)
        for tos, wire in LATER:
            one.goes(f"tos inherit, later {tos:#04x}", wire, False, tos)


def main():
    need_modules("ipip", "ip_gre")
    modprobe("tun")
    # Routes are kept for each processor.
    os.sched_setaffinity(0, {0})
    with NetNs() as n0, n0.inside(), Lookups() as lookups:
        wires = {"u0": Tun("u0", "192.0.2.1/24"), "u1": Tun("u1", "203.0.113.1/24")}
        run_ip("route add 192.0.2.2 dev u1 src 203.0.113.1 table 100",
               "rule add tos 0x10 lookup 100", "rule add fwmark 7 lookup 100")
        for kind in ("ipip", "gre"):
            one, fixed = (Route(lookups, wires, kind, f"{kind}{n}") for n in (1, 2))
            tos_of_the_device(one, fixed)
            change_of_the_device(one)
            change_of_the_rules(one)
            run_ip(f"link del {one.dev}", f"link del {fixed.dev}")
            tos_of_the_payload(one)
            run_ip(f"link del {one.dev}")


ksft_run(main)
