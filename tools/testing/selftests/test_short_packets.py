#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Packets too short for what they claim to be, of every length, in one piece
and in many, into and out of every kind of tunnel. Each is delivered, counted
or answered; none does harm.

    the test (192.0.2.x, 203.0.113.x)
       | u0, a tun device       | u1, a tap device whose frames are
    n0: 192.0.2.1                 203.0.113.1   put together from pieces
        a0, a1 ...                b0, b1 ...
        one tunnel for each set of options
"""
import collections
import itertools
import random
import socket

from ksft import ksft_run, need_modules, modprobe, diag, expect, NetNs, differs, run_ip, IN_TREE
from pkt import gre, ip, ip6, mpls, udp
from wire import COUNTERS, ETH_P_IP, ETH_P_IPV6, ETH_P_MPLS, Tap, Tun, attempt, every_protocol_known, fields, \
    sysctl, transmit

LONGEST = 64
C, K, S = 0x8000, 0x2000, 0x1000
# type and options -> the bits of the GRE header, or None: there is none
KINDS = [("ipip mode any", None), ("gre ", 0), ("gre key 5", K), ("gre csum", C), ("gre seq", S),
         ("gre key 5 csum seq", C | K | S)]
NETS = {"a": "192.0.2", "b": "203.0.113"}

NAME = {ETH_P_IP: "IPv4", ETH_P_IPV6: "IPv6", ETH_P_MPLS: "MPLS"}
INNER = {ETH_P_IP: (ip() / udp() / bytes(64)).bytes(),
         ETH_P_IPV6: (ip6() / udp() / bytes(64)).bytes(),
         ETH_P_MPLS: (mpls(100) / ip() / udp() / bytes(64)).bytes()}
LEAST = {ETH_P_IP: 20, ETH_P_IPV6: 40, ETH_P_MPLS: 0}
IPIP_PROTOCOL = {ETH_P_IP: 4, ETH_P_MPLS: 137}

# GRE headers of which noise makes a packet
BEGINNINGS = (b"\0\0\x08\0", b"\x20\0\x86\xdd", b"\x30\0\x88\x47", b"\0\0\x88\x3e", b"\x10\0\x08\0")
CONTENTS = {
    "zeroes": lambda choose, size: bytes(size),
    "ones": lambda choose, size: b"\xff" * size,
    "noise": lambda choose, size: choose.randbytes(size),
    "noise behind a good beginning":
        lambda choose, size: choose.choice(BEGINNINGS)[:size] + choose.randbytes(max(size - 4, 0))}

# Sequence numbers and IP identifications: none comes twice.
NUMBERS = itertools.count(1)

Shape = collections.namedtuple("Shape", "what letter wire send")


# --------------------------------------------------------------------- shapes

def in_one(wire, outer):
    wire.send(outer)


def in_fragments(wire, outer):
    """as IP fragments of 8 bytes"""
    head = fields(outer)
    data = head["payload"]
    number = next(NUMBERS) & 0xffff
    for at in range(0, max(len(data), 1), 8):
        wire.send(ip(head["src"], head["dst"], head["proto"], id=number, frag=at // 8,
                     flags=at + 8 < len(data)) / data[at:at + 8])


def send_pieces(wire, outer, cuts):
    """one frame"""
    wire.send([outer[a:b] for a, b in zip(cuts, cuts[1:]) if a < b])


def in_pieces(size):
    # No more than 17 pieces: the last takes the rest.
    return lambda wire, outer: send_pieces(wire, outer, [*list(range(0, len(outer), size))[:15], len(outer)])


def byte_by_byte(wire, outer):
    """behind the outer header, which is one piece"""
    send_pieces(wire, outer, [0, 20, *range(21, min(len(outer), 34)), len(outer)])


def shapes(u0, u1):
    return [Shape("in one piece", "a", u0, in_one),
            Shape("in fragments", "a", u0, in_fragments),
            Shape("in pieces of 8", "b", u1, in_pieces(8)),
            Shape("in pieces of 3", "b", u1, in_pieces(3)),
            Shape("byte by byte", "b", u1, byte_by_byte)]


def send_to(shape, number, proto, data):
    """to the tunnel of this number"""
    net = NETS[shape.letter]
    shape.send(shape.wire, (ip(f"{net}.{number + 10}", f"{net}.1", proto) / data).bytes())


# ------------------------------------------------------------------- outcomes

def text(counts):
    """{"device counter": how much} as wire.py has an outcome, the wires behind the tunnels"""
    devices = collections.defaultdict(list)
    for name, count in sorted(counts.items()):
        if count:
            dev, counter = name.split()
            devices[dev].append(f"{counter}={count}")
    order = sorted(devices, key=lambda dev: (dev in ("u0", "u1"), dev))
    return "; ".join(f"{dev} " + " ".join(devices[dev]) for dev in order)


def each_length(name, outcome_of, action, first=0):
    """Every length: together, and one by one if that is not as it should be.
    outcome_of(length) is counters, action(length) does it."""
    lengths = range(first, LONGEST + 1)
    total = collections.Counter()
    for length in lengths:
        total.update(outcome_of(length))
    want, got, _ = attempt(text(total), lambda: list(map(action, lengths)))
    if expect(name, want, got):
        return
    for length in lengths:
        want, got, _ = attempt(text(outcome_of(length)), lambda: action(length), 0.05)
        if want != got:
            diag(f"{length} bytes: want {want!r}, got {got!r}")


# -------------------------------------------------- the beginning of a packet

def header(bits, proto, payload=b""):
    """GRE; each has a number of its own, so that none is old"""
    return (gre(proto, key=5 if bits & K else None, csum=True if bits & C else None,
                seq=next(NUMBERS) if bits & S else None) / payload).bytes()


def header_size(bits):
    return 0 if bits is None else 4 + 4 * bin(bits).count("1")


def beginning(bits, proto, length):
    """the first bytes of a good packet, with a checksum of those alone"""
    if bits is None:
        return INNER[proto][:length]
    return header(bits, proto, INNER[proto][:max(length - header_size(bits), 0)])[:length]


def received(dev, bits, proto, length, wire):
    """what one packet does: {"device counter": how much}"""
    size = header_size(bits)
    if bits is None:
        least = 0
        if length < (4 if proto == ETH_P_MPLS else 20):
            return {}
    else:
        least = LEAST[proto]
        # The in-tree drivers want 12 bytes in any case.
        if length < size or IN_TREE and length < 12:
            return {f"{wire.name} rx_dropped": 1}
    if length - size < least:
        return {f"{dev} rx_errors": 1, f"{dev} rx_length_errors": 1}
    return {f"{dev} rx_packets": 1, f"{dev} rx_bytes": length - size}


def receive(shape, number, proto):
    options, bits = KINDS[number]
    outer = IPIP_PROTOCOL[proto] if bits is None else 47
    each_length(f"{options}, {NAME[proto]}, received {shape.what}",
                lambda length: received(f"{shape.letter}{number}", bits, proto, length, shape.wire),
                lambda length: send_to(shape, number, outer, beginning(bits, proto, length)))


def receive_all(shape):
    for number, (_, bits) in enumerate(KINDS):
        for proto in INNER:
            if bits is not None or proto in IPIP_PROTOCOL:
                receive(shape, number, proto)


# ---------------------------------------------------------------- any content

def accounted(before):
    """how many packets were delivered, or counted as an error or dropped
    (one that is answered with an ICMP error is counted as dropped too)"""
    total = 0
    for dev, counters in COUNTERS.moved(before, COUNTERS.read()).items():
        counted = ("rx_packets", "rx_errors") if dev[0] in NETS else \
            ("rx_dropped", "rx_nohandler") if dev in ("u0", "u1") else ()
        for name, count in (counter.split("=") for counter in counters.split()):
            total += int(count) * (name in counted)
    return total


def any_content(shape, content, choose):
    for wire in Tun.all:
        wire.drain()
    before, count = COUNTERS.read(), 0
    for number, (_, bits) in enumerate(KINDS):
        for length in range(20 if bits is None else 0, LONGEST + 1):
            send_to(shape, number, 4 if bits is None else 47, CONTENTS[content](choose, length))
            shape.wire.drain()
            count += 1
    with differs("drops without counting", "<7.2"):
        expect(f"{content}, received {shape.what}: each is accounted for", count, accounted(before))


# -------------------------------------------------------------------- sending

def sent(dev, bits, proto, length):
    if bits is None and proto == ETH_P_IPV6:
        return {f"{dev} tx_errors": 1}
    if length < LEAST[proto]:
        return {f"{dev} tx_errors" if bits is None else f"{dev} tx_dropped": 1}
    return {f"{dev} tx_packets": 1, f"{dev} tx_bytes": length}


def send(u0, number, proto, what, transmit_by):
    options, bits = KINDS[number]
    dev = f"a{number}"

    def one(length):
        transmit_by(dev, INNER[proto][:length], proto)
        u0.drain()

    # A packet socket itself refuses to send nothing.
    each_length(f"{options}, {NAME[proto]}, sent from {what}",
                lambda length: sent(dev, bits, proto, length), one, first=1)


def send_all(u0):
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as sock:
        for number, proto in itertools.product(range(len(KINDS)), INNER):
            send(u0, number, proto, "SOCK_DGRAM", transmit)
            send(u0, number, proto, "SOCK_RAW", lambda dev, data, proto: sock.sendto(data, (dev, proto)))


def add_tunnels():
    for (letter, net), (number, (options, _)) in itertools.product(NETS.items(), enumerate(KINDS)):
        yield f"link add {letter}{number} type {options} local {net}.1 remote {net}.{number + 10}"
        yield f"link set {letter}{number} up"


def main():
    need_modules("ip_gre", "ipip")
    modprobe("tun")
    with NetNs() as n0, n0.inside():
        sysctl(net__ipv4__icmp_ratemask=0)
        u0 = Tun("u0", "192.0.2.1/24")
        u1 = Tap("u1", "203.0.113.1/24")
        run_ip(*add_tunnels())
        with every_protocol_known():
            for shape in shapes(u0, u1):
                receive_all(shape)
            choose = random.Random(1)
            for shape, content in itertools.product(shapes(u0, u1), CONTENTS):
                any_content(shape, content, choose)
            send_all(u0)


ksft_run(main)
