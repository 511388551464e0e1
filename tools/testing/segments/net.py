# SPDX-License-Identifier: GPL-2.0-only
"""Links and routes, changed between flows without starting processes"""

import os
import socket
import struct

NEWLINK, NEWROUTE, DELROUTE = 16, 24, 25
REQUEST, ACK, REPLACE, CREATE = 0x1, 0x4, 0x100, 0x400


def attribute(kind, data):
    return struct.pack("=HH", 4 + len(data), kind) + data + bytes(-len(data) % 4)


class Netlink:
    def __init__(self):
        self.socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
        self.socket.bind((0, 0))

    def request(self, what, kind, flags, body):
        self.socket.send(struct.pack("=IHHII", 16 + len(body), kind, REQUEST | ACK | flags, 1, 0) + body)
        error = struct.unpack_from("=i", self.socket.recv(8192), 16)[0]
        if error:
            raise OSError(-error, f"{what}: {os.strerror(-error)}")

    def route(self, prefix, device=None, table=254):
        """Add a route to the prefix through a device, or delete it without one."""
        address, length = prefix.split("/")
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        scope = 0 if family == socket.AF_INET6 else 253
        body = struct.pack("=BBBBBBBBI", family, int(length), 0, 0, table, 4 if device else 0, scope, 1, 0)
        body += attribute(1, socket.inet_pton(family, address))
        if device:
            body += attribute(4, struct.pack("=I", socket.if_nametoindex(device)))
        self.request(f"route to {prefix} by {device}", NEWROUTE if device else DELROUTE,
                     REPLACE | CREATE if device else 0, body)

    def master(self, device, bridge):
        """bridge: its index, or 0"""
        body = struct.pack("=BxHiII", 0, 0, socket.if_nametoindex(device), 0, 0)
        self.request(f"master of {device}", NEWLINK, 0, body + attribute(10, struct.pack("=I", bridge)))
