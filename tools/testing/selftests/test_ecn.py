#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Explicit congestion notification, the whole matrix: RFC 6040 4.2 for packets
that come out of a tunnel, RFC 3168 (as in the in-tree drivers) for those that
go into one.

    the test (192.0.2.2)
       | u0, a tun device
    n0: 192.0.2.1
        i1  ipip mode any       g1  gre
        the same with "tos inherit" (i2, g2) and "tos 0xb8" (i3, g3)
"""
import re

from ksft import ksft_run, need_modules, modprobe, expect, KernelLog, NetNs, run_ip, write
from pkt import gre, icmp, ip, ip6, mpls
from wire import ETH_P_IP, ETH_P_IPV6, ETH_P_MPLS, FRAME, Tun, case, inject, sends, tap

KINDS = {"i": "ipip mode any", "g": "gre"}
TOS = {"1": "0", "2": "inherit", "3": "0xb8"}
TUNNELS = [kind + number for kind in KINDS for number in TOS]

ECN = ("Not-ECT", "ECT(1)", "ECT(0)", "CE")
NOT_ECT, ECT1, ECT0, CE = range(4)
DSCP = 0x68
INNER = {"IPv4": (lambda ecn: ip(tos=DSCP | ecn) / icmp(), ETH_P_IP),
         "IPv6": (lambda ecn: ip6(tc=DSCP | ecn) / icmp(), ETH_P_IPV6),
         "MPLS": (lambda ecn: mpls(100) / ip(tos=DSCP | ecn), ETH_P_MPLS)}

# [inner][outer] -> inner afterwards; None: dropped, as the mark would be lost
EGRESS = {NOT_ECT: (NOT_ECT, NOT_ECT, NOT_ECT, None),
          ECT1: (ECT1, ECT1, ECT1, CE),
          ECT0: (ECT0, ECT1, ECT0, CE),
          CE: (CE, CE, CE, CE)}
# A mark that says "congestion was met" stays inside.
INGRESS = {NOT_ECT: NOT_ECT, ECT1: ECT1, ECT0: ECT0, CE: ECT0}


def add_tunnels():
    for dev in TUNNELS:
        yield f"link add {dev} type {KINDS[dev[0]]} local 192.0.2.1 remote 192.0.2.{dev[1]}1 tos {TOS[dev[1]]}"
        yield f"link set {dev} up"


def carries(dev):
    """-> name, build(ecn), protocol of each payload"""
    return [(what, build, proto) for what, (build, proto) in INNER.items()
            if dev[0] == "g" or what != "IPv6"]


def wrap(dev, inner, tos):
    outer = ip("192.0.2.11", "192.0.2.1", tos=tos)
    return outer / gre() / inner if dev[0] == "g" else outer / inner


# -------------------------------------------------------------------- receive

def received(u0, name, dev, packet, after):
    """after: the inner packet that is delivered, or None"""
    heard = tap(dev)
    case(name, f"{dev} rx_bytes={len(after)} rx_packets=1" if after else f"{dev} {FRAME}", u0, packet)
    expect(name + ", the bytes", [after.hex()] if after else [], [data.hex() for _, _, data in heard.drain()])


def egress(u0, dev):
    for what, build, _ in carries(dev):
        for inner in range(4):
            for outer in range(4):
                mark = EGRESS[inner][outer] if what != "MPLS" else inner
                received(u0, f"{dev}: {ECN[inner]} {what} in {ECN[outer]}", dev,
                         wrap(dev, build(inner), 0x28 | outer), None if mark is None else build(mark).bytes())


# ------------------------------------------------------------------------ log

def set_log(on):
    for module in ("ipip", "ip_gre"):
        write(f"/sys/module/{module}/parameters/log_ecn_error", "NY"[on])


def logged(u0, log, dev, on):
    for outer, text in ((CE, "0x3"), (ECT0, "0x2"), (ECT1, "0x1"), (NOT_ECT, None)):
        inject(u0, wrap(dev, ip(tos=NOT_ECT), outer))
        lines = [line for line in log.read() if "non-ECT" in line]
        want = [f"from 192.0.2.11 with TOS={text}"] * bool(on and text)
        expect(f"{dev}: log_ecn_error {on}, {ECN[outer]}", want,
               [re.search(r"from \S+ with TOS=\S+", line).group() for line in lines])


def log_ecn_error(u0):
    log = KernelLog()
    for on in (False, True):
        set_log(on)
        log.read()
        for dev in ("i1", "g1"):
            logged(u0, log, dev, on)


# ----------------------------------------------------------------------- send

def outer_tos(dev, what, inner):
    if what == "MPLS":
        return 0xb8 if dev[1] == "3" else 0
    return INGRESS[inner] | {"1": 0, "2": DSCP, "3": 0xb8}[dev[1]]


def ingress(u0, dev):
    for what, build, proto in carries(dev):
        kind = "gre" if dev[0] == "g" else "mpls" if what == "MPLS" else "ipip"
        for inner in range(4):
            name = f"{dev}: {ECN[inner]} {what} is sent"
            packet = build(inner)
            size = len(packet.bytes()) + (24 if kind == "gre" else 20)
            sent = sends(name, f"{kind} {size}", u0, dev, packet, proto)
            if sent:
                expect(name, f"0x{outer_tos(dev, what, inner):02x}", f"0x{sent[1]:02x}")


def main():
    need_modules("ip_gre", "ipip")
    modprobe("tun")
    with NetNs() as n0, n0.inside():
        u0 = Tun("u0", "192.0.2.1/24")
        run_ip(*add_tunnels())
        set_log(False)
        for dev in ("i1", "g1"):
            egress(u0, dev)
        log_ecn_error(u0)
        for dev in TUNNELS:
            ingress(u0, dev)


ksft_run(main)
