# SPDX-License-Identifier: GPL-2.0-only
"""Build packets. A GSO packet has a payload of several segments and a partial transport checksum: the field has the sum
of the pseudo-header."""

import socket
import struct

TCP, UDP, SCTP, IPIP, IPV6, GRE = 6, 17, 132, 4, 41, 47
CSUM_AT = {TCP: 16, UDP: 6, SCTP: 8}
HEADER = {TCP: 20, UDP: 8, SCTP: 12}


def folded(data):
    """-> the sum of its 16-bit words, RFC 1071"""
    if len(data) & 1:
        data += b"\0"
    value = int.from_bytes(data, "big")
    return value % 0xffff or (0xffff if value else 0)


def checksum(data):
    return ~folded(data) & 0xffff


def packed(address):
    return socket.inet_pton(socket.AF_INET6 if ":" in address else socket.AF_INET, address)


def ip(protocol, source, target, payload, ident=0, df=True, dsfield=0, ttl=64):
    """An IPv4 or IPv6 packet, depending on the addresses"""
    if ":" in source:
        head = struct.pack("!IHBB", 6 << 28 | dsfield << 20, len(payload), protocol, ttl)
        return head + packed(source) + packed(target) + payload
    head = struct.pack("!BBHHHBBH", 0x45, dsfield, 20 + len(payload), ident & 0xffff, 0x4000 if df else 0, ttl,
                       protocol, 0) + packed(source) + packed(target)
    return head[:10] + struct.pack("!H", checksum(head)) + head[12:] + payload


def pseudo(protocol, source, target, length):
    return packed(source) + packed(target) + struct.pack("!II", length, protocol)


def transport(protocol, source, target, ports, payload, seq=1, flags=0x10, left=True):
    """A TCP or UDP packet without its IP header, or an SCTP one; left: partial checksum"""
    if protocol == TCP:
        data = struct.pack("!HHIIBBHHH", *ports, seq & 0xffffffff, 0x1234, 0x50, flags, 500, 0, 0) + payload
    elif protocol == UDP:
        data = struct.pack("!HHHH", *ports, (8 + len(payload)) & 0xffff, 0) + payload
    else:
        return struct.pack("!HHII", *ports, 0xabcd, 0) + payload
    at = CSUM_AT[protocol]
    if left:
        value = folded(pseudo(protocol, source, target, len(data)))
    else:
        value = checksum(pseudo(protocol, source, target, len(data)) + data)
        if protocol == UDP:
            value = value or 0xffff
    return data[:at] + struct.pack("!H", value) + data[at + 2:]


def gre(payload, proto, key=None, csum=False):
    head = struct.pack("!HH", (0x2000 if key is not None else 0) | (0x8000 if csum else 0), proto)
    rest = struct.pack("!I", key) if key is not None else b""
    if csum:
        return head + struct.pack("!HH", checksum(head + bytes(4) + rest + payload), 0) + rest + payload
    return head + rest + payload


def mac(text):
    return bytes.fromhex(text.replace(":", ""))


def ethernet(target, source, proto, payload, tags=()):
    """tags: (ethertype, VLAN id), the outermost first"""
    data = mac(target) + mac(source)
    for kind, vlan in tags:
        data += struct.pack("!HH", kind, vlan)
    return data + struct.pack("!H", proto) + payload


def labels(*values):
    """An MPLS label stack, with the bottom-of-stack bit in the last entry"""
    return b"".join(struct.pack("!I", value << 12 | (n == len(values) - 1) << 8 | 64) for n, value in enumerate(values))


def vnet(kind=0, flags=0, head=0, size=0, start=0, offset=0):
    """struct virtio_net_hdr"""
    return struct.pack("=BBHHHH", flags, kind, head, size, start, offset)


VNET_TCP4, VNET_UFO, VNET_TCP6, VNET_UDP = 1, 3, 4, 5
