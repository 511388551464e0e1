#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# The route of the outer packet: which one it is, when it is looked up, and that
# what was kept of it follows the tunnel's configuration and the routes.
#
#	n0: u0 192.0.2.1		to 192.0.2.2
#	    u1 203.0.113.1		the same, with DSCP 4 or mark 7

. "$(dirname "$0")/lib.sh"
need_modules ipip ip_gre
new_ns n0

wire n0 "$(ns n0)" <<'END'
import subprocess
from wire import *

EVENTS = "/sys/kernel/tracing"
# Routes are kept for each processor.
os.sched_setaffinity(0, {0})
# This process has a /sys of its own.
subprocess.run(["mount", "-t", "tracefs", "nodev", EVENTS], check=True)
u0 = Tun("u0", "192.0.2.1/24")
u1 = Tun("u1", "203.0.113.1/24")
run_ip("route add 192.0.2.2 dev u1 src 203.0.113.1 table 100",
       "rule add tos 0x10 lookup 100", "rule add fwmark 7 lookup 100")


def write(name, text):
    with open(f"{EVENTS}/{name}", "w") as file:
        file.write(text)


def lookups():
    """-> how many tables of routes were looked into since the last time"""
    with open(EVENTS + "/trace") as file:
        count = sum("fib_table_lookup:" in line for line in file)
    write("trace", "")
    return count


def goes(name, dev, wire, looked, tos=0):
    """A packet leaves by that wire, with its address; was the route looked up?"""
    lookups()
    want, got, came = attempt(
        f"{dev} tx_bytes=28 tx_packets=1; {wire.name}: {KINDS[dev[:3]]}",
        lambda: transmit(dev, ip(tos=tos) / icmp()))
    found = lookups()
    expect(name, want, got)
    expect(f"{name}: source", [{u0: "192.0.2.1", u1: "203.0.113.1"}[wire]],
           [fields(sent)["src"] for sent in came[wire]])
    expect(f"{name}: {'looked up' if looked else 'not looked up'}", looked, found > 0)


def anew(name, dev, wire, tos=0):
    """The same, with no route kept: the first packet decides, as it does where there are several ways"""
    goes(name, dev, wire, True, tos)
    goes(f"{name}, second packet", dev, wire, False, tos)


KINDS = {"ipi": "ipip 48", "gre": "gre 52"}
# Names of processes would be recorded by a change of the scheduler's code, which an emulator with two processors
# may stumble over.
write("options/record-cmd", "0")
write("events/fib/fib_table_lookup/enable", "1")
for kind in "ipip", "gre":
    one, fixed = f"{kind}1", f"{kind}2"
    to = f"type {kind} remote 192.0.2.2 ttl 9"
    run_ip(f"link add {one} {to}", f"link add {fixed} {to} tos 0x10 local 203.0.113.1",
           f"link set {one} up", f"link set {fixed} up")
    anew(f"{kind}: no TOS", one, u0)
    goes(f"{kind}: DSCP that is not taken", one, u0, False, tos=0x10)
    anew(f"{kind}: fixed TOS", fixed, u1)
    goes(f"{kind}: fixed TOS, another one in the payload", fixed, u1, False, tos=0x20)

    # A change makes it anew, and only a change.
    run_ip(f"link set {one} {to} tos 0x10")
    anew(f"{kind}: TOS changed", one, u1)
    run_ip(f"link set {one} {to} tos 0")
    anew(f"{kind}: TOS changed back", one, u0)
    run_ip(f"link set {one} {to} fwmark 7")
    anew(f"{kind}: mark set", one, u1)
    run_ip(f"link set {one} {to} fwmark 8")
    anew(f"{kind}: another mark", one, u0)
    run_ip(f"link set {one} down", f"link set {one} up")
    goes(f"{kind}: down and up", one, u0, True)    # the kernel drops its routes then

    # What the routes say now, not what they said.
    run_ip("rule add fwmark 8 lookup 100")
    goes(f"{kind}: a rule more", one, u1, True)
    goes(f"{kind}: a rule more, second packet", one, u1, False)
    run_ip("rule del fwmark 8 lookup 100")
    goes(f"{kind}: a rule less", one, u0, True)

    # One for each DSCP of the payload, whatever else is in the TOS.
    run_ip(f"link del {one}", f"link del {fixed}", f"link add {one} {to} tos inherit", f"link set {one} up")
    with differs("no route is kept with tos inherit"):
        for tos, wire in ((0, u0), (0x10, u1), (0x20, u0), (0xfc, u0)):
            anew(f"{kind}: tos inherit, payload with {tos:#04x}", one, wire, tos)
        for tos, wire in ((0x10, u1), (0, u0), (0x11, u1), (0x12, u1), (2, u0), (0xfd, u0), (0x20, u0), (0x10, u1)):
            goes(f"{kind}: tos inherit, later {tos:#04x}", one, wire, False, tos)
    run_ip(f"link del {one}")
write("events/fib/fib_table_lookup/enable", "0")
END
finish
