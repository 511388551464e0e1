#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# What the GRE demultiplexer and parser accept: each flag bit and each pair of
# them, every version, headers cut short at every length, WCCP.
#
#	   the test (192.0.2.2)
#	          | u0, a tun device
#	   n0: 192.0.2.1
#	       g1  remote 192.0.2.2		no key
#	       gk  remote 192.0.2.2 key 5
#
# A packet is refused for a reserved bit that RFC 2784 2.3 wants refused (1, 4
# and 5), and accepted whatever the bits 6 to 12 are.

. "$(dirname "$0")/lib.sh"
need_modules ip_gre
new_ns n0

wire n0 <<'END'
from wire import *

sysctl(net__ipv4__icmp_ratemask=0)
u0 = Tun("u0", "192.0.2.1/24")
listener = tap()   # with it, no protocol is unknown and counted as dropped
ENDS = "local 192.0.2.1 remote 192.0.2.2"
run_ip(f"link add g1 type gre {ENDS}", "link set g1 up",
       f"link add gk type gre key 5 {ENDS}", "link set gk up")

C, R, K, S, s, BIT5, IGNORED, VERSION = \
    0x8000, 0x4000, 0x2000, 0x1000, 0x0800, 0x0400, 0x03f8, 0x0007
DROPPED = "u0 rx_dropped=1"
NO_HANDLER = "u0 rx_nohandler=1"
OUTER = ("192.0.2.2", "192.0.2.1")


def header(bits, proto=0x0800, payload=b""):
    """a GRE header with the fields that the bits announce, in order"""
    head = gre(proto, flags=bits & ~(C | K | S), csum=True if bits & C else None,
               key=5 if bits & K else None, seq=0 if bits & S else None)
    return (head / payload).bytes()


INNER = (ip() / icmp()).bytes()


def receiver(bits):
    return "gk" if bits & K else "g1"


def expected(bits):
    if bits & VERSION == 1:
        return NO_HANDLER   # PPTP's, which is not loaded
    if bits & (VERSION | R | s | BIT5):
        return DROPPED
    return f"{receiver(bits)} rx_bytes={len(INNER)} rx_packets=1"


def try_bits(name, bits):
    with differs("needs icsum, takes bits 4 and 5, refuses 9 to 12") \
            if bits & (C | s | BIT5 | 0x0078) else differs("", ""):
        case(f"flags 0x{bits:04x} {name}", expected(bits), u0,
             ip(*OUTER, proto=47) / header(bits, payload=INNER))


try_bits("none", 0)
for i in range(13):
    try_bits(f"bit {i}", 0x8000 >> i)
for version in range(1, 8):
    try_bits(f"version {version}", version)
for i in range(13):
    for j in range(i + 1, 13):
        try_bits(f"bits {i} and {j}", 0x8000 >> i | 0x8000 >> j)
try_bits("all that are ignored", IGNORED)
try_bits("all that are known", C | K | S)
try_bits("all that are known or ignored", C | K | S | IGNORED)
try_bits("key, version 1", K | 1)

# ------------------------------------------------- each length of a header

def cut_outcome(bits, proto, length):
    size = len(header(bits))
    if length < size:
        return DROPPED
    need = {0x0800: 20, 0x86dd: 40}.get(proto, 0)
    if length - size < need:
        return f"{receiver(bits)} {LENGTH}"
    if length == size:
        return f"{receiver(bits)} rx_packets=1"
    return f"{receiver(bits)} rx_bytes={length - size} rx_packets=1"


for bits in (0, C, K, S, C | K, C | S, K | S, C | K | S):
    for length in range(17):
        packet = header(bits)
        packet = packet[:length].ljust(length, b"\0")
        if bits & C and length >= len(header(bits)):
            packet = header(bits, payload=bytes(length - len(header(bits))))
        with differs("wants 12 bytes or more, and icsum for a checksum") \
                if length < 12 or bits & C else differs("", ""):
            case(f"flags 0x{bits:04x}, {length} bytes of GRE in all",
                 cut_outcome(bits, 0x0800, length), u0,
                 ip(*OUTER, proto=47) / packet)

for proto, what in ((0x86dd, "IPv6"), (0x8847, "MPLS"), (0, "protocol 0"),
                    (0x88b5, "an unknown protocol"), (0x0806, "ARP")):
    for length in (0, 1, 7, 8, 39, 40):
        with differs("wants 12 bytes or more") if length < 8 \
                else differs("", ""):
            case(f"{what}, {length} bytes of payload",
                 cut_outcome(0, proto, 4 + length), u0,
                 ip(*OUTER) / gre(proto) / bytes(length))

# --------------------------------------------------------------------- WCCP

def wccp(name, want, packet, proto=ETH_P_IP, inner=INNER):
    heard = tap("g1")
    case(name, want, u0, ip(*OUTER) / packet)
    if "rx_packets" in want:
        expect(f"{name}: what is inside", [("g1", proto, inner.hex())],
               [(dev, p, data.hex()) for dev, p, data in heard.drain()])


GOOD = f"g1 rx_bytes={len(INNER)} rx_packets=1"
REDIRECT = bytes.fromhex("80123456")
wccp("WCCP version 1", GOOD, gre(0x883e) / INNER)
wccp("WCCP version 2", GOOD, gre(0x883e) / REDIRECT / INNER)
wccp("WCCP version 2, a redirect header that begins like IPv4", f"g1 {LENGTH}",
     gre(0x883e) / bytes.fromhex("40123456") / INNER[:8])
wccp("with a sequence number it is not WCCP",
     f"g1 rx_bytes={len(INNER)} rx_packets=1",
     gre(0x883e, seq=0) / INNER, proto=0x883e)

# ------------------------------------------------- nobody there to take it

for name, packet in (("no key", gre() / INNER),
                     ("a key", gre(key=5) / INNER),
                     ("an empty payload", gre()),
                     ("Ethernet inside", gre() / eth() / INNER)):
    want = f"{DROPPED}; u0: icmp 3/3"
    with differs("wants 12 bytes or more") if name == "an empty payload" \
            else differs("", ""):
        case(f"from a stranger, {name}: port unreachable", want, u0,
             ip("192.0.2.9", "192.0.2.1", proto=47) / packet)
END
finish
