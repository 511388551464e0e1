#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""tc mirrors what a port of n0 sends and receives to an erspan device; the same frames arrive at the erspan device
of n1.

    host 198.51.100.9 e0 --- p0 198.51.100.1 n0
                                |  mirred
                              erspan1 === ERSPAN === erspan1 n1
                 v0 192.0.2.1 ------------------- 192.0.2.2 v1
"""
import re

from client import IPPROTO_GRE, Capture
from ksft import Stats, check, differs, expect, ksft_run, modprobe, namespaces, need_modules, until, veth_pair
from pkt import eth, icmp, ip, raw, vlan

PORT = "198.51.100.1"
# The options of the tunnel, and what each packet on the wire has behind the outer IP header. ERSPAN I has a bare GRE
# header. II and III have a sequence number, then the version and VLAN; class 0, flags and session; II has the index;
# III has a timestamp, security group 0, hardware ID and direction. The flags say in II that the frame has a VLAN tag,
# in III that it is short.
TYPES = {
    "type I": ("erspan_ver 0", "000088be"),
    "type II": ("seq key 100 erspan_ver 1 erspan 0xabcde", "100088be.{8}1(0000064|0071864)000abcde"),
    "type III": ("seq key 101 erspan_ver 2 erspan_dir egress erspan_hwid 5",
                 "100022eb.{8}2(000|007)0[08]65.{8}00008058"),
}


def mirror(n0, n1, options):
    for ns, own, peer in (n0, 1, 2), (n1, 2, 1):
        ns.ip(f"link add erspan1 type erspan local 192.0.2.{own} remote 192.0.2.{peer} {options}",
              "link set erspan1 up")
    n0.tc("qdisc add dev p0 clsact",
          *(f"filter add dev p0 {way} matchall action mirred egress mirror dev erspan1"
            for way in ("ingress", "egress")))


def no_mirror(n0, n1):
    n0.tc("qdisc del dev p0 clsact")
    for ns in n0, n1:
        ns.ip("link del erspan1")


def some_traffic(name, host, n0):
    """echoes of several sizes, and frames that are not IP"""
    answered = sum(host.echo(PORT, 2, size) for size in (56, 1, 1400))
    check(f"{name}: traffic on the port that is mirrored", answered == 6, answered)
    host.inject("e0", n0, "p0", eth(type=0x88b7) / raw(60), eth() / vlan(7) / ip() / icmp(),
                eth(type=0x0806) / raw(28))


def same_frames(name, there, here):
    """Both captures have the same frames, in the same order."""
    frames = there.frames()
    check(f"{name}: there were frames", len(frames) >= 12, len(frames))
    check(f"{name}: as many come out", until(True, lambda: len(here.frames()) >= len(frames)), len(here.frames()))
    expect(f"{name}: the same frames, in their order", [frame.hex() for frame in frames],
           [frame.hex() for frame in here.frames()])


def mirrored(name, host, n0, n1, options, header):
    mirror(n0, n1, options)
    stats = Stats(n1, "erspan1")
    there, wire, here = Capture(n0, "p0"), Capture(n1, "v1"), Capture(n1, "erspan1")
    some_traffic(name, host, n0)
    same_frames(name, there, here)
    starts = [packet["payload"].hex()[:60] for packet in wire.packets(IPPROTO_GRE)]
    with differs("class of service from what is no IP header"):
        expect(f"{name}: the headers on the wire", [], [start for start in starts if not re.match(header, start)])
    stats.expect(f"{name}: no errors", rx_packets=len(there.frames()))
    for capture in there, wire, here:
        capture.close()
    no_mirror(n0, n1)


def main():
    need_modules("ip_gre")
    modprobe("act_mirred", "cls_matchall", "sch_ingress")
    with namespaces(3) as (host, n0, n1):
        veth_pair(n0, "v0", "192.0.2.1/24", n1, "v1", "192.0.2.2/24")
        veth_pair(host, "e0", "198.51.100.9/24", n0, "p0", f"{PORT}/24")
        for name, (options, header) in TYPES.items():
            mirrored(name, host, n0, n1, options, header)


ksft_run(main)
