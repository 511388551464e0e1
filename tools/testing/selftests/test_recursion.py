#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Tunnels whose packets go back into a tunnel: into themselves, round in circles,
and into others that lead outside after so many levels.

       the test (192.0.2.2)
              | u0, a tun device
       n0: 192.0.2.1
           t1 .. t5, tN to 203.0.113.N, that address over the next one
"""
import contextlib

from ksft import ksft_run, need_modules, modprobe, NetNs
from pkt import ip
from wire import ETH_P_IP, Tun, attempt, differs, expect, run_ip, transmit

INNER = ip().bytes()
OVERHEAD = {"ipip": 20, "gre": 24, "gre seq": 28}
# How many tunnels a packet may enter, one out of the other.
LIMIT = 3
CIRCLES = (("ipip", "ipip"), ("gre", "gre"), ("ipip", "gre"), ("gre", "gre", "gre"), ("ipip", "gre", "ipip"),
           ("gre seq", "gre seq"))


def chain(kinds, last):
    """a tunnel for each kind; the last one's packets go to the device "last" """
    lines = []
    for n, kind in enumerate(kinds, 1):
        lines += [f"link add t{n} type {kind} local 192.0.2.1 remote 203.0.113.{n}", f"link set t{n} up"]
        if n > 1:
            lines.append(f"route replace 203.0.113.{n - 1}/32 dev t{n}")
    run_ip(*lines, f"route replace 203.0.113.{len(kinds)}/32 dev {last}")


def unchain(kinds):
    run_ip(*(f"link del t{n}" for n, _ in enumerate(kinds, 1)))


def several(name, u0, times, want):
    """So many packets enter t1; want is the outcome of all. -> what left by u0"""
    want, got, came = attempt(want, lambda: [transmit("t1", INNER, ETH_P_IP) for _ in range(times)])
    expect(name, want, got)
    return came[u0]


def travel(kinds, devices, times):
    """what so many packets count when they pass these devices in turn; the first
    that is one too many drops them -> outcome, size on the wire"""
    counts, size = {}, len(INNER)
    for level, (kind, dev) in enumerate(zip(kinds, devices)):
        sent, total, _ = counts.get(dev, (0, 0, 0))
        if level == LIMIT:
            counts[dev] = sent, total, times
            break
        counts[dev] = sent + times, total + size * times, 0
        size += OVERHEAD[kind]
    return "; ".join(
        dev + f" tx_bytes={total}" * bool(total) + f" tx_errors={lost}" * bool(lost) +
        f" tx_packets={sent}" * bool(sent) for dev, (sent, total, lost) in sorted(counts.items())), size


def into_itself(u0, kind):
    chain([kind], "t1")
    for times in (1, 100):
        several(f"{kind} into itself, {times} packets", u0, times, f"t1 collisions={times} tx_errors={times}")
    unchain([kind])


def stacked(u0, what, stack):
    depth = len(stack)
    chain(stack, "u0")
    name = f"{depth} levels of {what}"
    for times in (1, 20):
        want, size = travel(stack, [f"t{n}" for n in range(1, depth + 1)], times)
        if depth <= LIMIT:
            want += "; u0: " + ", ".join([f"{stack[-1]} {size}"] * times)
        with differs("limits nothing", "6.1") if depth > LIMIT else contextlib.nullcontext():
            for sent in several(f"{name}, {times} packets", u0, times, want)[:1]:
                expect(f"{name}: what is inside", INNER.hex(), sent[-20:].hex())
    unchain(stack)


def levels(u0):
    """up to the limit, and beyond"""
    for what, kinds in ("ipip", ("ipip",) * 5), ("gre", ("gre",) * 5), ("mixed", ("ipip", "gre") * 3):
        for depth in range(1, LIMIT + 3):
            stacked(u0, what, kinds[:depth])


def in_a_circle(u0, kinds):
    chain(kinds, "t1")
    devices = [f"t{n}" for n, _ in enumerate(kinds, 1)]
    for times in (1, 200):
        with differs("limits nothing", "6.1"):
            several(f"a circle of {' '.join(kinds)}, {times} packets", u0, times,
                    travel(kinds * 4, devices * 4, times)[0])
    unchain(kinds)


def main():
    need_modules("ip_gre", "ipip")
    modprobe("tun")
    with NetNs() as n0, n0.inside():
        u0 = Tun("u0", "192.0.2.1/24")
        into_itself(u0, "ipip")
        into_itself(u0, "gre")
        levels(u0)
        for kinds in CIRCLES:
            in_a_circle(u0, kinds)


ksft_run(main)
