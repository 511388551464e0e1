#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Tunnels whose packets go back into a tunnel: into themselves, round in
# circles, and into others that lead outside after so many levels.
#
#	   the test (192.0.2.2)
#	          | u0, a tun device
#	   n0: 192.0.2.1
#	       t1 .. t9, tN to 203.0.113.N, that address over the next one

. "$(dirname "$0")/lib.sh"
need_modules ip_gre ipip
new_ns n0

wire n0 <<'END'
from wire import *

u0 = Tun("u0", "192.0.2.1/24")
INNER = ip().bytes()
DEVICES = [f"t{n}" for n in range(1, 10)]
# How many tunnels a packet may enter, one out of the other.
LIMIT = 3


def over(kind):
    return {"ipip": 20, "gre": 24}[kind]


def chain(kinds):
    """a tunnel for each kind; where the last one's packets go is left open"""
    for n, kind in enumerate(kinds, 1):
        run_ip(f"link add t{n} type {kind} local 192.0.2.1 "
               f"remote 203.0.113.{n}", f"link set t{n} up")
        if n > 1:
            run_ip(f"route replace 203.0.113.{n - 1}/32 dev t{n}")


def unchain(kinds):
    run_ip(*(f"link del t{n}" for n, _ in enumerate(kinds, 1)))


def several(name, times, want, dev="t1"):
    """Send so many; want is the outcome of all."""
    want, got, came = attempt(want, lambda: [
        transmit(dev, INNER, ETH_P_IP) for _ in range(times)])
    expect(name, want, got)
    return came[u0]

# ---------------------------------------------------------- into themselves

for kind in ("ipip", "gre"):
    chain([kind])
    run_ip("route replace 203.0.113.1/32 dev t1")
    for times in (1, 100):
        several(f"{kind} into itself, {times} packets", times,
                f"t1 collisions={times} tx_errors={times}")
    unchain([kind])

# ------------------------------------------------------------------ stacked


def travel(kinds, devices, times):
    """what so many packets count when they pass these devices in turn; the
    first that is one too many drops them -> outcome, size on the wire"""
    counts, size = {}, len(INNER)
    for level, (kind, dev) in enumerate(zip(kinds, devices)):
        sent, total, _ = counts.get(dev, (0, 0, 0))
        if level == LIMIT:
            counts[dev] = sent, total, times
            break
        counts[dev] = sent + times, total + size * times, 0
        size += over(kind)
    return "; ".join(
        f"{dev}" + f" tx_bytes={total}" * bool(total) +
        f" tx_errors={lost}" * bool(lost) + f" tx_packets={sent}" * bool(sent)
        for dev, (sent, total, lost) in sorted(counts.items())), size


for kinds, what in ((("ipip",) * 5, "ipip"), (("gre",) * 5, "gre"),
                    (("ipip", "gre") * 3, "mixed")):
    for depth in range(1, LIMIT + 3):
        stack = kinds[:depth]
        chain(stack)
        run_ip(f"route replace 203.0.113.{depth}/32 dev u0")
        name = f"{depth} levels of {what}"
        for times in (1, 20):
            want, size = travel(stack, DEVICES, times)
            if depth <= LIMIT:
                want += "; u0: " + ", ".join([f"{stack[-1]} {size}"] * times)
            with differs("limits nothing", "6.1") if depth > LIMIT \
                    else differs("", ""):
                for sent in several(f"{name}, {times} packets", times,
                                    want)[:1]:
                    expect(f"{name}: what is inside", INNER.hex(),
                           sent[-20:].hex())
        unchain(stack)

# --------------------------------------------------------------- in circles

for kinds in (("ipip", "ipip"), ("gre", "gre"), ("ipip", "gre"),
              ("gre", "gre", "gre"), ("ipip", "gre", "ipip")):
    chain(kinds)
    run_ip(f"route replace 203.0.113.{len(kinds)}/32 dev t1")
    for times in (1, 200):
        with differs("limits nothing", "6.1"):
            several(f"a circle of {' '.join(kinds)}, {times} packets", times,
                    travel(kinds * 4, DEVICES[:len(kinds)] * 4, times)[0])
    unchain(kinds)
END
finish
