#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Large transfers travel as GSO packets through the tunnel and over the
underlay, and arrive whole when one side cannot do that. When a GSO packet is
cut, each segment has a sequence number of its own.

    n1                      n2
    | v1 192.0.2.1          | v2 192.0.2.2
    '-----------------------'
    tun ===== tunnel ===== tun
    198.51.100.1            198.51.100.2
    2001:db8::1             2001:db8::2
"""
import os
import socket
import struct

import xfer
from bulk import errors, long_queue, mean
from ksft import ksft_run, need_modules, NetNs, SLOW, check, diag, differs, expect, veth_pair
from pkt import csum
from wire import fields

KINDS = ("ipip", "gre", "gre key 5", "gre csum", "gre key 5 csum", "gre seq", "gre key 5 csum seq")
LISTENED = "ipip", "gre", "gre key 5 csum"
FAR, FAR_6 = "198.51.100.2", "2001:db8::2"
# Mean sizes of packets; on the wire they include the Ethernet header.
# TCP makes smaller packets of what flows slowly, never single ones.
GSO = (10000 if SLOW == 1 else 1600), 66000
SOME = (2800 if SLOW == 1 else 1515), 66000
SINGLE = 1000, 1514
SO_RCVBUFFORCE, UDP_SEGMENT = 33, 103
TTL, TOS = 33, 0x54
REASONS = ("TCPTimeouts", "TCPSynRetrans", "TCPLossProbes", "TCPFastRetrans", "TCPSackRecovery", "TCPOFOQueue",
           "TCPDSACKRecv", "TCPDSACKOldSent", "TCPBacklogDrop", "TCPRcvQDrop")


def add_tunnel(n1, n2, options):
    for ns, own, peer in (n1, 1, 2), (n2, 2, 1):
        lines = [f"link add tun type {options} local 192.0.2.{own} remote 192.0.2.{peer}", "link set tun up",
                 f"addr add 198.51.100.{own} dev tun", f"route add 198.51.100.{peer} dev tun rto_min 10s"]
        if options.startswith("gre"):
            lines += [f"addr add 2001:db8::{own} dev tun nodad", f"route add 2001:db8::{peer} dev tun rto_min 10s"]
        ns.ip(*lines)


# ------------------------------------------------------------------ transfers

def trouble(n1, n2):
    """-> segments sent twice, wrong checksums"""
    # A machine that stands still for a second repeats a SYN: all other timers
    # are longer, because of rto_min.
    return [n1.snmp("Tcp", "RetransSegs") - n1.snmp("TcpExt", "TCPSynRetrans"),
            n1.snmp("Tcp", "InCsumErrors"), n2.snmp("Tcp", "InCsumErrors"), n2.snmp("Udp", "InCsumErrors")]


def reasons(*ends):
    """-> why TCP may have sent a segment twice"""
    return " ".join(f"{name}={ns.snmp('TcpExt', name)}" for ns in ends for name in REASONS)


def size(name, moved, way, low, high):
    """the mean size of packets is within"""
    got = mean(moved, way)
    expect(f"{name} {way}", f"{low} to {high}", f"{low} to {high}" if low <= got <= high else got)


def transfer(n1, n2, name, address, sizes):
    """4 MB of TCP, none of it twice and none of it wrong; sizes: of what n1 gives the
    tunnel, of what is on the wire, of what n2 gets from the tunnel"""
    devices = (n1, "tun"), (n1, "v1"), (n2, "tun")
    before = {ns: ns.counters.read() for ns in (n1, n2)}
    old, reason = trouble(n1, n2), reasons(n1, n2)
    expect(f"{name}: it arrives", None, xfer.transfer(n1.name, n2.name, address, 64, 65536))
    if not expect(f"{name}: nothing twice, no wrong checksum", old, trouble(n1, n2)):
        diag(f"before {reason}, after {reasons(n1, n2)}")
    moved = [ns.moved(before[ns], dev) for ns, dev in devices]
    expect(f"{name}: no errors", [], errors(*moved))
    for what, counters, way, (low, high) in zip(("n1's tunnel", "the wire", "n2's tunnel"), moved,
                                                ("tx", "tx", "rx"), sizes):
        size(f"{name}: size of packets, {what}", counters, way, low, high)


# ----------------------------------------------------------- sequence numbers

def packets_of_a_transfer(n1, n2, address):
    """-> what is behind the outer IP header of each packet on the wire"""
    wire = n1.capture("v1", out=True)
    wire.sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 1 << 24)
    xfer.tcp(n1.name, n2.name, address, 8, 65536)
    return [fields(packet)["payload"] for _, _, packet in wire.drain()]


def numbers(n1, n2, name, address, options):
    """Each packet has the number after the one before it, and a checksum that is right."""
    at = 4 * (1 + ("csum" in options) + ("key" in options))
    sent = packets_of_a_transfer(n1, n2, address)
    got = [struct.unpack_from("!I", packet, at)[0] for packet in sent]
    check(f"{name}: the packets have numbers", len(got) > 300, f"{len(got)} packets")
    expect(f"{name}: each one more than the one before", list(range(got[0], got[0] + len(got))), got)
    if "csum" in options:
        expect(f"{name}: and a right checksum", [], [n for n, packet in zip(got, sent) if csum(packet)])


# ------------------------------------------------------------------- offloads

def offloads_everywhere(n1, n2, name, address):
    transfer(n1, n2, name, address, (GSO, GSO, GSO))


def no_offloads_below(n1, n2, name, address, options):
    n1.offloads("v1", False)
    transfer(n1, n2, f"{name}, no offloads below", address, (GSO, SINGLE, SINGLE))
    if "seq" in options:
        numbers(n1, n2, name, address, options)
    n2.offloads("v2", True, "gro")
    transfer(n1, n2, f"{name}, receive offload", address, (GSO, SINGLE, SINGLE if "seq" in options else SOME))
    n2.offloads("v2", False, "gro")
    n1.offloads("v1", True)


def no_offloads_above(n1, n2, name, address):
    n1.offloads("tun", False)
    transfer(n1, n2, f"{name}, no offloads above", address, (SINGLE, SINGLE, SINGLE))
    n1.offloads("tun", True)


def each_way(n1, n2, options, address):
    name = f"{options} to {address}"
    with differs("gives up offload", when="seq" in options):
        offloads_everywhere(n1, n2, name, address)
        no_offloads_below(n1, n2, name, address, options)
        no_offloads_above(n1, n2, name, address)


# --------------------------------------------------- somebody has a copy of them

def datagrams(n1, size=1000, segments=40, times=20):
    """GSO packets of UDP, whose TTL and TOS are to be inherited"""
    with n1.enter, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, TTL)
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, TOS)
        for _ in range(times):
            sock.sendmsg([bytes(size * segments)], [(socket.IPPROTO_UDP, UDP_SEGMENT, struct.pack("=H", size))], 0,
                         (FAR, 9))


def listened(n1, n2, options):
    """Who listens at the tunnel shares the packet's headers: they are copied, and read anew."""
    name = f"{options} tos inherit, somebody listens at the tunnel"
    add_tunnel(n1, n2, f"{options} tos inherit")
    ear, wire = (n1.capture(dev, out=True) for dev in ("tun", "v1"))
    for tap in ear, wire:
        tap.sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 1 << 24)
    datagrams(n1)
    sent, heard = ([packet for _, _, packet in tap.drain()] for tap in (wire, ear))
    check(f"{name}: GSO packets are sent", sum(len(packet) > 4000 for packet in sent) == 20, *map(len, sent))
    for what, packets in ("the outer header", sent), ("what is heard", heard):
        expect(f"{name}: {what}", {(TTL, TOS)}, {(f["ttl"], f["tos"]) for f in map(fields, packets)})
    for ns in n1, n2:
        ns.ip("link del tun")


def main():
    need_modules("ipip", "ip_gre")
    # One processor, so that nothing overtakes.
    os.sched_setaffinity(0, {0})
    with NetNs(ipv6=True) as n1, NetNs(ipv6=True) as n2, long_queue():
        veth_pair(n1, "v1", "192.0.2.1/24", n2, "v2", "192.0.2.2/24")
        for ns in n1, n2:
            ns.sysctl(net__ipv4__tcp_early_retrans=0)       # no guess that something was lost
        for options in LISTENED:
            listened(n1, n2, options)
        for options in KINDS:
            add_tunnel(n1, n2, options)
            each_way(n1, n2, options, FAR)
            if options.startswith("gre"):
                each_way(n1, n2, options, FAR_6)
            for ns in n1, n2:
                ns.ip("link del tun")


ksft_run(main)
