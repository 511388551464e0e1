# SPDX-License-Identifier: GPL-2.0-only
"""Headers for scenarios, in addition to those of selftests/pkt.py.

Importing this module gives them to pkt.parse() as well.
"""

import os
import struct
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "selftests"))

import pkt          # noqa: E402
from pkt import Layer, csum, eth, ip, raw, vlan        # noqa: E402


class svlan(vlan):
    """An 802.1ad service tag"""

    ethertype = 0x88a8


class arp(Layer):
    """An Ethernet/IPv4 request (op=1) or reply (op=2)"""

    ethertype = 0x0806

    def __init__(self, sender="198.51.100.2", target="198.51.100.1", op=1):
        super().__init__()
        self.sender, self.target, self.op = sender, target, op

    def build(self, payload, outer):
        def address(text):
            return bytes(int(part) for part in text.split("."))
        return struct.pack("!HHBBH", 1, 0x0800, 6, 4, self.op) + bytes.fromhex("020000000002") + \
            address(self.sender) + bytes(6) + address(self.target) + payload


class tcp(Layer):
    """A TCP segment; with partial=True the checksum field has the sum of the pseudo-header, for checksum offload"""

    proto = 6

    def __init__(self, sport=4000, dport=4001, seq=1, ack=1, flags=0x10, partial=False):
        super().__init__()
        self.words = (sport, dport, seq, ack, 0x5000 | flags, 65535)
        self.partial = partial

    def build(self, payload, outer):
        head = struct.pack("!HHIIHH", *self.words)
        pseudo = outer.pseudo(6, 20 + len(payload))
        check = ~csum(pseudo) & 0xffff if self.partial else csum(pseudo + head + bytes(4) + payload)
        return head + struct.pack("!HH", check, 0) + payload


class erspan(Layer):
    """The ERSPAN header after GRE: version 1 (type II, 8 bytes, index) or 2 (type III, 12 bytes, dir, hwid);
    platform=True sets the O bit, and the 8 bytes of the platform header must follow as raw()."""

    def __init__(self, session=1, version=1, index=1, vlan=0, cos=0, en=0, t=0, direction=0, hwid=0, stamp=0,
                 ft=0, platform=False):
        super().__init__()
        self.first = struct.pack("!HH", version << 12 | vlan, cos << 13 | en << 11 | t << 10 | session)
        if version == 1:
            self.rest = struct.pack("!I", index)
        else:
            self.rest = struct.pack("!IHH", stamp, 0, ft << 10 | hwid << 4 | direction << 3 | platform)

    def build(self, payload, outer):
        return self.first + self.rest + payload


class gue(Layer):
    """The GUE header after UDP: version 0, data message"""

    def __init__(self, proto=None, flags=0, control=0, hlen=0, version=0):
        super().__init__()
        self.next, self.flags, self.first = proto, flags, version << 6 | control << 5 | hlen

    def build(self, payload, outer):
        proto = self.next
        if proto is None:
            proto = getattr(self.inner, "proto", None) or 0
        return struct.pack("!BBH", self.first, proto, self.flags) + payload


class llc(Layer):
    """SAP header of an 802.3 frame, which has its length as ethertype: eth(type=length)"""

    def build(self, payload, outer):
        return bytes.fromhex("424203") + payload


def far(**fields):
    """The outer header of a packet from the remote endpoint"""
    return ip("192.0.2.2", "192.0.2.1", **fields)


pkt.NAMES.update(far=far, svlan=svlan, arp=arp, tcp=tcp, erspan=erspan, gue=gue, llc=llc)

__all__ = ["pkt", "arp", "erspan", "eth", "gue", "ip", "llc", "raw", "svlan", "tcp"]
