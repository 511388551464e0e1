#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""What the GRE demultiplexer and parser accept: each flag bit and each pair of
them, every version, headers cut short at every length, WCCP.

    the test (192.0.2.2)
       | u0, a tun device
    n0: 192.0.2.1
        g1  remote 192.0.2.2            no key
        gk  remote 192.0.2.2 key 5

A packet is refused for a reserved bit that RFC 2784 2.3 wants refused (1, 4
and 5), and accepted whatever the bits 6 to 12 are.
"""
import itertools

from ksft import ksft_run, need_modules, modprobe, expect, NetNs, differs, run_ip
from pkt import eth, gre, icmp, ip
from wire import ETH_P_IP, LENGTH, Tun, case, every_protocol_known, sysctl, tap

C, R, K, S, SSR, BIT5, IGNORED, VERSION = 0x8000, 0x4000, 0x2000, 0x1000, 0x0800, 0x0400, 0x03f8, 0x0007
BITS_9_TO_12 = 0x0078
ETH_P_WCCP = 0x883e
HERE, THERE, STRANGER = "192.0.2.1", "192.0.2.2", "192.0.2.9"
INNER = (ip() / icmp()).bytes()
DROPPED = "u0 rx_dropped=1"
NO_HANDLER = "u0 rx_nohandler=1"
GOOD = f"g1 rx_bytes={len(INNER)} rx_packets=1"
# The least that each kind of payload must have
LEAST = {0x0800: 20, 0x86dd: 40}
PROTOCOLS = {"IPv6": 0x86dd, "MPLS": 0x8847, "protocol 0": 0, "an unknown protocol": 0x88b5, "ARP": 0x0806}


def header(bits, proto=0x0800, payload=b""):
    """a GRE header with the fields that the bits announce, in order"""
    head = gre(proto, flags=bits & ~(C | K | S), csum=True if bits & C else None,
               key=5 if bits & K else None, seq=0 if bits & S else None)
    return (head / payload).bytes()


def receiver(bits):
    return "gk" if bits & K else "g1"


# ------------------------------------------------------------------- each bit

def outcome(bits):
    if bits & VERSION == 1:
        return NO_HANDLER           # PPTP's, which is not loaded
    if bits & (VERSION | R | SSR | BIT5):
        return DROPPED
    return f"{receiver(bits)} rx_bytes={len(INNER)} rx_packets=1"


def try_bits(u0, name, bits):
    with differs("needs icsum, takes bits 4 and 5, refuses 9 to 12", when=bits & (C | SSR | BIT5 | BITS_9_TO_12)):
        case(f"flags 0x{bits:04x} {name}", outcome(bits), u0,
             ip(THERE, HERE, proto=47) / header(bits, payload=INNER))


def flags_and_versions(u0):
    try_bits(u0, "none", 0)
    for i in range(13):
        try_bits(u0, f"bit {i}", 0x8000 >> i)
    for version in range(1, 8):
        try_bits(u0, f"version {version}", version)
    for i, j in itertools.combinations(range(13), 2):
        try_bits(u0, f"bits {i} and {j}", 0x8000 >> i | 0x8000 >> j)
    try_bits(u0, "all that are ignored", IGNORED)
    try_bits(u0, "all that are known", C | K | S)
    try_bits(u0, "all that are known or ignored", C | K | S | IGNORED)
    try_bits(u0, "key, version 1", K | 1)


# -------------------------------------------------- each length of a header

def cut_outcome(bits, proto, length):
    size = len(header(bits))
    if length < size:
        return DROPPED
    if length - size < LEAST.get(proto, 0):
        return f"{receiver(bits)} {LENGTH}"
    if length == size:
        return f"{receiver(bits)} rx_packets=1"
    return f"{receiver(bits)} rx_bytes={length - size} rx_packets=1"


def cut_header(u0, bits, length):
    """the first bytes of the header, or the header and zeroes"""
    size = len(header(bits))
    packet = header(bits, payload=bytes(max(length - size, 0)))[:length]
    with differs("wants 12 bytes or more, and icsum for a checksum", when=length < 12 or bits & C):
        case(f"flags 0x{bits:04x}, {length} bytes of GRE in all", cut_outcome(bits, 0x0800, length), u0,
             ip(THERE, HERE, proto=47) / packet)


def cut_headers(u0):
    for bits in (0, C, K, S, C | K, C | S, K | S, C | K | S):
        for length in range(17):
            cut_header(u0, bits, length)


def cut_payloads(u0):
    for what, proto in PROTOCOLS.items():
        for length in (0, 1, 7, 8, 39, 40):
            with differs("wants 12 bytes or more", when=length < 8):
                case(f"{what}, {length} bytes of payload", cut_outcome(0, proto, 4 + length), u0,
                     ip(THERE, HERE) / gre(proto) / bytes(length))


# ----------------------------------------------------------------------- WCCP

def delivers(u0, name, packet, proto=ETH_P_IP):
    """the inner packet, to g1"""
    heard = tap("g1")
    case(name, GOOD, u0, ip(THERE, HERE) / packet)
    expect(f"{name}: what is inside", [("g1", proto, INNER.hex())],
           [(dev, p, data.hex()) for dev, p, data in heard.drain()])


def wccp(u0):
    delivers(u0, "WCCP version 1", gre(ETH_P_WCCP) / INNER)
    delivers(u0, "WCCP version 2", gre(ETH_P_WCCP) / bytes.fromhex("80123456") / INNER)
    case("WCCP version 2, a redirect header that begins like IPv4", f"g1 {LENGTH}", u0,
         ip(THERE, HERE) / gre(ETH_P_WCCP) / bytes.fromhex("40123456") / INNER[:8])
    delivers(u0, "with a sequence number it is not WCCP", gre(ETH_P_WCCP, seq=0) / INNER, proto=ETH_P_WCCP)


def no_device(u0):
    for name, packet in (("no key", gre() / INNER), ("a key", gre(key=5) / INNER),
                         ("an empty payload", gre()), ("Ethernet inside", gre() / eth() / INNER)):
        with differs("wants 12 bytes or more", when=name == "an empty payload"):
            case(f"from a stranger, {name}: port unreachable", f"{DROPPED}; u0: icmp 3/3", u0,
                 ip(STRANGER, HERE, proto=47) / packet)


def main():
    need_modules("ip_gre")
    modprobe("tun")
    with NetNs() as n0, n0.inside():
        sysctl(net__ipv4__icmp_ratemask=0)
        u0 = Tun("u0", f"{HERE}/24")
        run_ip(f"link add g1 type gre local {HERE} remote {THERE}", "link set g1 up",
               f"link add gk type gre key 5 local {HERE} remote {THERE}", "link set gk up")
        with every_protocol_known():
            flags_and_versions(u0)
            cut_headers(u0)
            cut_payloads(u0)
            wccp(u0)
            no_device(u0)


ksft_run(main)
