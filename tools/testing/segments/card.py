# SPDX-License-Identifier: GPL-2.0-only
"""Interface to the emulated cards of ../kernel/card.c: inject packets, and read sent frames"""

import os
import struct

RECEIVE, GRO, TRANSMIT, NUMBER = range(4)
NONE, TCP4, TCP6, UDP, SCTP = range(5)
DODGY, SUMMED, SUM_LEFT, CRC, CLONED, UNTIL_DOWN = 1, 2, 4, 8, 16, 128
ETHERNET = bytes.fromhex("02000000ca01 020000000101 0800")      # before an IPv4 packet for a card
BY_FRAGMENTS = 0xffff           # gso_size of SCTP

SORTS = ["none", "full", "csum", "csum-enc", "ipcsum", "nosg", "tso", "partial", "max2", "max17"]
INPUTS = ["in", "inlist", "loop"]


def order(ifindex, what, frame=b"", kind=NONE, flags=0, size=0, segments=0, start=0, offset=0, head=0, piece=0,
          protocol=0):
    """-> struct card_order with its frame"""
    data = struct.pack("=IIHHHHHHHHHH", len(frame), ifindex, what, kind, flags, size, segments, start, offset, head,
                       piece, protocol) + frame
    return data + bytes(-len(data) % 4)


def number(ifindex, value):
    """-> an order: the next sequence number of that tunnel"""
    return order(ifindex, NUMBER, size=value >> 16, segments=value & 0xffff)


class Cards:
    """The device file"""

    def __init__(self):
        self.fd = os.open("/dev/ip_tnl_card", os.O_RDWR)
        self.buffer = bytearray(8 << 20)

    def write(self, orders):
        os.write(self.fd, orders)

    def read(self):
        """-> [frame, ...], [complaint, ...]"""
        used = os.readv(self.fd, [self.buffer])
        view, at, frames, complaints = memoryview(self.buffer), 0, [], []
        while at < used:
            length, what = struct.unpack_from("=II", view, at)
            data = bytes(view[at + 8:at + 8 + length])
            at += 8 + length
            if what:
                complaints.append(data.decode())
            else:
                frames.append(data)
        return frames, complaints
