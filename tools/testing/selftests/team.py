# SPDX-License-Identifier: GPL-2.0-only
"""The two options of a team device that a test needs, by generic netlink:
there is no program for it where they run."""

import errno
import socket
import struct

from nl import attribute

GENL_ID_CTRL, CTRL_GETFAMILY = 0x10, 3
CTRL_FAMILY_ID, CTRL_FAMILY_NAME = 1, 2
OPTIONS_SET = 1
TEAM_IFINDEX, LIST_OPTION, ITEM_OPTION = 1, 2, 1
NAME, TYPE, DATA = 1, 3, 4          # of an option
NLA_U32, NLA_STRING = 3, 5          # types, as in the kernel's linux/netlink
NESTED = 0x8000


def talk(sock, kind, command, version, attributes):
    """-> the payload of the first answer"""
    body = struct.pack("=BBH", command, version, 0) + attributes
    sock.send(struct.pack("=IHHII", 16 + len(body), kind, 5, 1, 0) + body)
    data = sock.recv(65536)
    if struct.unpack_from("=H", data, 4)[0] == 2:       # NLMSG_ERROR
        error = struct.unpack_from("=i", data, 16)[0]
        # Of a notice that nobody listens for: it is done all the same.
        if error and -error != errno.ESRCH:
            raise OSError(-error, "team")
        return b""
    return data[20:]


def option(dev, name, kind, value):
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 16) as sock:
        sock.bind((0, 0))
        found = talk(sock, GENL_ID_CTRL, CTRL_GETFAMILY, 1,
                     attribute(CTRL_FAMILY_NAME, b"team\0"))
        sock.recv(65536)                                # the acknowledgement
        family, at = 0, 0
        while at + 4 <= len(found):
            size, number = struct.unpack_from("=HH", found, at)
            if number == CTRL_FAMILY_ID:
                family = struct.unpack_from("=H", found, at + 4)[0]
            at += (size + 3) & ~3
        item = attribute(NAME, name.encode() + b"\0") + \
            attribute(TYPE, struct.pack("=B", kind)) + attribute(DATA, value)
        talk(sock, family, OPTIONS_SET, 1, attribute(
            TEAM_IFINDEX, struct.pack("=I", socket.if_nametoindex(dev))) +
            attribute(LIST_OPTION | NESTED,
                      attribute(ITEM_OPTION | NESTED, item)))


def set_mode(dev, mode):
    option(dev, "mode", NLA_STRING, mode.encode() + b"\0")


def set_active(dev, port):
    option(dev, "activeport", NLA_U32,
           struct.pack("=I", socket.if_nametoindex(port)))
