# SPDX-License-Identifier: GPL-2.0
"""All that rtnetlink says of the devices of a namespace, to be compared."""

import socket
import struct

import pkt

IFNAME, STATS32, STATS64, AF_SPEC, EXT_MASK = 3, 7, 23, 26, 29
SKIP_STATS = 8


def attributes(data):
    at = 0
    while at + 4 <= len(data):
        size, number = struct.unpack("=HH", data[at:at + 4])
        if size < 4:
            return
        yield number & 0x3fff, data[at + 4:at + size]
        at += (size + 3) & ~3


def dump(ns, mask):
    """-> (fixed part, attributes as a list) of each device"""
    with pkt.in_netns(ns):
        sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)
    with sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        sock.bind((0, 0))
        body = bytes(16) + struct.pack("=HHI", 8, EXT_MASK, mask)
        sock.send(struct.pack("=IHHII", 16 + len(body), 18, 0x301, 1, 0) +
                  body)
        while True:
            data = sock.recv(1 << 20)
            while data:
                size, kind = struct.unpack("=IH", data[:6])
                if kind == 3:
                    return
                if kind == 16:
                    yield data[16:32], list(attributes(data[32:size]))
                data = data[(size + 3) & ~3:]


def name_of(attrs):
    return dict(attrs)[IFNAME].rstrip(b"\0").decode()


def configuration(ns, dev=None):
    """-> a line for each device, or for one: all that netlink says of it, but for counters"""
    return [" ".join([name_of(attrs), head.hex(), *(
                "%d:%s" % (number, value.hex()) for number, value in attrs
                if number not in (AF_SPEC, STATS32, STATS64))])
            for head, attrs in dump(ns, SKIP_STATS) if dev in (None, name_of(attrs))]
