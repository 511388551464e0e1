# SPDX-License-Identifier: GPL-2.0-only
"""Links, routes and offloads, changed between flows without starting processes"""

import ctypes
import fcntl
import os
import socket
import struct

NEWLINK, NEWROUTE, DELROUTE = 16, 24, 25
REQUEST, ACK, REPLACE, CREATE = 0x1, 0x4, 0x100, 0x400
SIOCETHTOOL = 0x8946
GSTRINGS, GSSET_INFO, GFEATURES, SFEATURES, STXCSUM = 0x1b, 0x37, 0x3a, 0x3b, 0x17
FEATURES = 4                    # the set of their names


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


class Features:
    """Offloads of devices, by their names in ethtool -k"""

    def __init__(self):
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        info = self.ethtool("lo", struct.pack("=IIQI", GSSET_INFO, 0, 1 << FEATURES, 0))
        count = struct.unpack_from("=I", info, 16)[0]
        data = self.ethtool("lo", struct.pack("=III", GSTRINGS, FEATURES, count) + bytes(32 * count))
        self.names = [data[12 + 32 * n:44 + 32 * n].rstrip(b"\0").decode() for n in range(count)]
        self.blocks = -(-count // 32)

    def ethtool(self, device, data):
        buffer = ctypes.create_string_buffer(data, len(data))
        fcntl.ioctl(self.socket, SIOCETHTOOL, struct.pack("16sQ16x", device.encode(), ctypes.addressof(buffer)))
        return buffer.raw

    def bits(self, chosen):
        result = [0] * self.blocks
        for n, name in enumerate(self.names):
            if chosen(name):
                result[n // 32] |= 1 << n % 32
        return result

    def set(self, device, chosen, value):
        """Set the features for whose name chosen() is true, if they can be changed."""
        available = struct.unpack_from(f"={4 * self.blocks}I", self.active(device), 8)[0::4]
        data = struct.pack("=II", SFEATURES, self.blocks)
        for bits, can in zip(self.bits(chosen), available):
            data += struct.pack("=II", bits & can, bits & can if value else 0)
        self.ethtool(device, data)

    def active(self, device):
        return self.ethtool(device, struct.pack("=II", GFEATURES, self.blocks) + bytes(16 * self.blocks))

    def are_on(self, device, chosen):
        """-> those that are on"""
        active = struct.unpack_from(f"={4 * self.blocks}I", self.active(device), 8)[2::4]
        return [name for n, name in enumerate(self.names) if chosen(name) and active[n // 32] >> n % 32 & 1]

    def checksum(self, device):
        """Return true if the device does checksum offload."""
        self.ethtool(device, struct.pack("=II", STXCSUM, 1))
