# SPDX-License-Identifier: GPL-2.0-only
"""Offloads of devices of the present namespace, by their names in "ethtool -k", without that program."""

import ctypes
import fcntl
import socket
import struct

SIOCETHTOOL = 0x8946
GSTRINGS, GSSET_INFO, GFEATURES, SFEATURES, STXCSUM = 0x1b, 0x37, 0x3a, 0x3b, 0x17
FEATURES = 4                    # the set of their names


class Features:
    """What is asked of the namespace in which it was made"""

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

    def lines(self, device, chosen):
        """-> as "ethtool -k" prints them"""
        data = self.active(device)
        for n, name in enumerate(self.names):
            if not chosen(name):
                continue
            words = struct.unpack_from("=IIII", data, 8 + 16 * (n // 32))
            available, requested, active, never_changed = (word >> n % 32 & 1 for word in words)
            state = "on" if active else "off"
            if not available or never_changed:
                state += " [fixed]"
            elif requested != active:
                state += " [requested %s]" % ("on" if requested else "off")
            yield "%s: %s" % (name, state)

    def checksum(self, device):
        """Switch checksum offload for transmission on."""
        self.ethtool(device, struct.pack("=II", STXCSUM, 1))
