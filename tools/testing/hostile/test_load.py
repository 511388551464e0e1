#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Many packets through tunnels that come and go; the kernel's memory stays the same.

    pktgen -> d0 -> gre or ipip, to 192.0.2.2 -> v1 --- v2 -> the same tunnel -> d2, which throws them away

IPTNL_PACKETS=N packets (default 200000)
"""
import os

from hostile import add_pktgen, start_pktgen, unreclaimable
from ksft import NetNs, diag, expect, ksft_run, modprobe, need_modules, no_reference_left, veth_pair
from wire import sysctl

PACKETS = int(os.environ.get("IPTNL_PACKETS", "200000"))
ROUND = 50000                   # packets between two changes
LIMIT = 2 << 20                 # bytes
KINDS = ["ipip", "gre", "gre key 7", "gre key 7 csum seq"]
MACS = "02:00:00:00:00:d0", "02:00:00:00:00:d1"


def make(n1, n2, number):
    """The tunnel of this round, with routes"""
    kind = KINDS[number % len(KINDS)]
    kind, options = kind.split(" ", 1) if " " in kind else (kind, "")
    for ns, local, remote, out in (n1, 1, 2, "tun"), (n2, 2, 1, "d2"):
        ns.ip(f"link add tun type {kind} local 192.0.2.{local} remote 192.0.2.{remote} {options}", "link set tun up",
              f"route replace 198.18.0.0/16 dev {out}")


def a_round(n1, n2, number):
    """-> packets that came through"""
    make(n1, n2, number)
    with n1.enter:
        add_pktgen("d0", MACS[0], f"count {ROUND}", "burst 16")
        start_pktgen()
    came = n2.stat("tun", "rx_packets")
    for ns in n1, n2:
        ns.ip("link del tun")
    return came


def main():
    need_modules("ipip", "ip_gre")
    modprobe("pktgen", "dummy")
    with NetNs() as n1, NetNs() as n2:
        veth_pair(n1, "v1", "192.0.2.1/24", n2, "v2", "192.0.2.2/24")
        for ns, dev, mac in (n1, "d0", MACS[0]), (n2, "d2", MACS[1]):
            ns.ip(f"link add {dev} address {mac} type dummy", f"link set {dev} up")
            with ns.enter:
                sysctl(net__ipv4__ip_forward=1)
        a_round(n1, n2, 0)
        before, total, rounds = unreclaimable(), 0, range(max(1, PACKETS // ROUND))
        lost = []
        for number in rounds:
            came = a_round(n1, n2, number)
            total += came
            if came != ROUND:
                lost.append((number, ROUND - came))
            if number % 20 == 19:
                diag(f"{total} packets so far")
        expect("each packet came through", [], lost)
        expect("memory is what it was", True, unreclaimable() - before < LIMIT)
        diag(f"{unreclaimable() - before} bytes more at the end")
        diag(f"{total} packets by {len(rounds)} tunnels")
    no_reference_left()


ksft_run(main)
