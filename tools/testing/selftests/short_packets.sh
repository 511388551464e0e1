#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Packets too short for what they claim to be, of every length, in one piece
# and in many, into and out of every kind of tunnel. Each is delivered, counted
# or answered; none harms.
#
#	   the test (192.0.2.x, 203.0.113.x)
#	      | u0, a tun device	| u1, a tap device whose frames are
#	   n0: 192.0.2.1		  192.0.2.1 too		put together
#	       one tunnel for each set of options		from pieces

. "$(dirname "$0")/lib.sh"
need_modules ip_gre ipip
new_ns n0

wire n0 <<'END'
import random
from collections import Counter
from wire import *

sysctl(net__ipv4__icmp_ratemask=0)
u0 = Tun("u0", "192.0.2.1/24")
u1 = Tap("u1", "203.0.113.1/24")
listener = tap()    # with it, no protocol is unknown and counted as dropped
LONGEST = 64

C, K, S = 0x8000, 0x2000, 0x1000
OPTIONS = {"": 0, "key 5": K, "csum": C, "seq": S, "key 5 csum seq": C | K | S}
KINDS = [("ipip mode any", None)] + \
    [(f"gre {options}", bits) for options, bits in OPTIONS.items()]
for n, (options, _) in enumerate(KINDS):
    for wire, net in (("a", "192.0.2"), ("b", "203.0.113")):
        run_ip(f"link add name {wire}{n} type {options} local {net}.1 "
               f"remote {net}.{n + 10}", f"link set {wire}{n} up")

INNER = {ETH_P_IP: (ip() / udp() / bytes(64)).bytes(),
         ETH_P_IPV6: (ip6() / udp() / bytes(64)).bytes(),
         ETH_P_MPLS: (mpls(100) / (ip() / udp() / bytes(64)).bytes()).bytes()}
NAME = {ETH_P_IP: "IPv4", ETH_P_IPV6: "IPv6", ETH_P_MPLS: "MPLS"}
LEAST = {ETH_P_IP: 20, ETH_P_IPV6: 40, ETH_P_MPLS: 0}
NUMBER = [0]


def header(bits, proto, payload=b""):
    """GRE; each has a number of its own, so that none is old"""
    NUMBER[0] += bool(bits & S)
    return (gre(proto, key=5 if bits & K else None,
                csum=True if bits & C else None,
                seq=NUMBER[0] if bits & S else None) / payload).bytes()


def payload(bits, proto, length):
    """the first bytes of a good packet, with a checksum of those alone"""
    if bits is None:
        return INNER[proto][:length]
    size = len(header(bits, proto))
    return header(bits, proto, INNER[proto][:max(length - size, 0)])[:length]


def expected(dev, bits, proto, length, wire):
    """what one packet does: {"device counter": how much}"""
    dropped = {f"{wire.name} rx_dropped": 1}
    if bits is None:
        size, least = 0, 0
        if length < (4 if proto == ETH_P_MPLS else 20):
            return {}
    else:
        size, least = len(header(bits, proto)), LEAST[proto]
        # The in-tree drivers want 12 bytes in any case.
        if length < size or IN_TREE and length < 12:
            return dropped
    if length - size < least:
        return {f"{dev} rx_errors": 1, f"{dev} rx_length_errors": 1}
    return {f"{dev} rx_packets": 1, f"{dev} rx_bytes": length - size}


def text(counts):
    """as an outcome"""
    devices = {}
    for name, count in sorted(counts.items()):
        if count:
            dev, counter = name.split()
            devices.setdefault(dev, []).append(f"{counter}={count}")
    return "; ".join(f"{dev} " + " ".join(counters) for dev, counters in
                     sorted(devices.items(), key=lambda d: (
                         d[0] in ("u0", "u1"), d[0])))


def lengths(name, outcome_of, action, first=0):
    """Every length: together, and one by one if that is not as it should be.
    outcome_of(length) is counters, action(length) does it."""
    every = range(first, LONGEST + 1)
    total = Counter()
    for length in every:
        total.update(outcome_of(length))
    want, got, _ = attempt(text(total), lambda: list(map(action, every)))
    if not expect(name, want, got):
        for length in every:
            want, got, _ = attempt(text(outcome_of(length)),
                                   lambda: action(length), 0.05)
            if want != got:
                note(f"{length} bytes: want {want!r}, got {got!r}")


def in_one(wire, outer):
    wire.send(outer)


def in_fragments(wire, outer):
    """as IP fragments of 8 bytes"""
    head = fields(outer)
    data = head["payload"]
    NUMBER[0] += 1
    for at in range(0, max(len(data), 1), 8):
        wire.send(ip(head["src"], head["dst"], head["proto"],
                     id=NUMBER[0] & 0xffff, frag=at // 8,
                     flags=at + 8 < len(data)) / data[at:at + 8])


def in_pieces(size):
    """of one frame"""
    def send(wire, outer):
        # No more than 17 pieces: the last takes the rest.
        cuts = list(range(0, len(outer), size))[:15] + [len(outer)]
        wire.send([outer[a:b] for a, b in zip(cuts, cuts[1:]) if a < b])
    return send


def after_the_header(wire, outer):
    """the outer header, then byte by byte"""
    cuts = [0, 20] + list(range(21, min(len(outer), 34))) + [len(outer)]
    wire.send([outer[a:b] for a, b in zip(cuts, cuts[1:]) if a < b])


SHAPES = [("in one piece", "a", u0, in_one),
          ("in fragments", "a", u0, in_fragments),
          ("in pieces of 8", "b", u1, in_pieces(8)),
          ("in pieces of 3", "b", u1, in_pieces(3)),
          ("byte by byte", "b", u1, after_the_header)]


OUTER = {ETH_P_IP: 4, ETH_P_MPLS: 137}
for what, letter, wire, send in SHAPES:
    net = {"a": "192.0.2", "b": "203.0.113"}[letter]
    for n, (options, bits) in enumerate(KINDS):
        for proto in INNER:
            if bits is None and proto == ETH_P_IPV6:
                continue

            def one(length):
                send(wire, (ip(f"{net}.{n + 10}", f"{net}.1",
                               OUTER[proto] if bits is None else 47) /
                            payload(bits, proto, length)).bytes())

            lengths(f"{options}, {NAME[proto]}, received {what}",
                    lambda length: expected(f"{letter}{n}", bits, proto,
                                            length, wire), one)

# ------------------------------------------------------------ whatever it is

def accounted(before):
    """how many packets were delivered, or counted as an error or dropped
    (one that is answered with an ICMP error is counted as dropped too)"""
    moved = COUNTERS.moved(before, COUNTERS.read())
    counts = {f"{dev} {c.split('=')[0]}": int(c.split("=")[1])
              for dev, cs in moved.items() for c in cs.split()}
    return sum(count for name, count in counts.items() if name.split()[1] in (
        "rx_packets", "rx_errors") and name[0] in "ab" or name in (
            "u0 rx_dropped", "u0 rx_nohandler",
            "u1 rx_dropped", "u1 rx_nohandler"))


choose = random.Random(1)
CONTENTS = [("zeroes", lambda size: bytes(size)),
            ("ones", lambda size: b"\xff" * size),
            ("noise", choose.randbytes),
            ("noise behind a good beginning",
             lambda size: choose.choice((b"\0\0\x08\0", b"\x20\0\x86\xdd",
                                         b"\x30\0\x88\x47",
                                         b"\0\0\x88\x3e",
                                         b"\x10\0\x08\0"))[:size] +
             choose.randbytes(max(size - 4, 0)))]
for what, letter, wire, send in SHAPES:
    net = {"a": "192.0.2", "b": "203.0.113"}[letter]
    for content, make in CONTENTS:
        for t in Tun.all:
            t.drain()
        before, count = COUNTERS.read(), 0
        for n, (options, bits) in enumerate(KINDS):
            for length in range(0 if bits is not None else 20, LONGEST + 1):
                send(wire, (ip(f"{net}.{n + 10}", f"{net}.1",
                               4 if bits is None else 47) /
                            make(length)).bytes())
                wire.drain()
                count += 1
        with differs("drops without counting", "<7.2"):
            expect(f"{content}, received {what}: each is accounted for",
                   count, accounted(before))

# ------------------------------------------------------------------- sending

RAW = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)


def send_raw(dev, data, proto):
    RAW.sendto(data, (dev, proto))


for n, (options, bits) in enumerate(KINDS):
    for proto in INNER:
        for what, send in (("SOCK_DGRAM", transmit), ("SOCK_RAW", send_raw)):
            dev = f"a{n}"

            def sent(length):
                if bits is None and proto == ETH_P_IPV6:
                    return {f"{dev} tx_errors": 1}
                if length < LEAST[proto]:
                    return {f"{dev} tx_errors" if bits is None else
                            f"{dev} tx_dropped": 1}
                return {f"{dev} tx_packets": 1, f"{dev} tx_bytes": length}

            def one(length):
                send(dev, INNER[proto][:length], proto)
                u0.drain()

            # A packet socket itself refuses to send nothing.
            lengths(f"{options}, {NAME[proto]}, sent from {what}", sent, one,
                    first=1)
END
finish
