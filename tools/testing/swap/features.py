# SPDX-License-Identifier: GPL-2.0-only
"""The offload features of devices of the present namespace, as "ethtool -k" prints them, by its ioctl."""

import ctypes
import fcntl
import socket
import struct

SIOCETHTOOL, GSTRINGS, GSSET_INFO, GFEATURES, SS_FEATURES = 0x8946, 0x1b, 0x37, 0x3a, 4


def ask(device, head, size):
    """-> what follows the head of the answer"""
    buffer = ctypes.create_string_buffer(head, len(head) + size)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        fcntl.ioctl(sock, SIOCETHTOOL, struct.pack("16sP16x", device.encode(), ctypes.addressof(buffer)))
    return buffer.raw[len(head):]


def names(device):
    """-> those that the kernel knows, in the order of their bits"""
    count, = struct.unpack("=I", ask(device, struct.pack("=IIQ", GSSET_INFO, 0, 1 << SS_FEATURES), 4))
    text = ask(device, struct.pack("=III", GSTRINGS, SS_FEATURES, count), 32 * count)
    return [text[at:at + 32].split(b"\0")[0].decode() for at in range(0, len(text), 32)]


def features(device, wanted):
    """-> a line for each of the wanted ones"""
    known = names(device)
    blocks = (len(known) + 31) // 32
    data = ask(device, struct.pack("=II", GFEATURES, blocks), 16 * blocks)
    for bit, name in enumerate(known):
        if name in wanted:
            words = struct.unpack_from("=IIII", data, 16 * (bit // 32))
            available, requested, active, never_changed = (word >> bit % 32 & 1 for word in words)
            state = "on" if active else "off"
            if not available or never_changed:
                state += " [fixed]"
            elif requested != active:
                state += " [requested %s]" % ("on" if requested else "off")
            yield "%s: %s" % (name, state)
