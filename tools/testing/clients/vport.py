#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Add a GRE vport to a datapath of Open vSwitch the old way, by asking the datapath for one.

    vport.py NETNS DATAPATH NAME

The tools of today make an external gretap device and add that; this makes the kernel load vport-gre, which calls
gretap_fb_dev_create(). Prints nothing, or the error.
"""
import os
import socket
import struct
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '../selftests'))

from nl import attribute, errno_name  # noqa: E402
from pkt import in_netns  # noqa: E402

NETLINK_GENERIC = 16
GENL_ID_CTRL, CTRL_CMD_GETFAMILY, CTRL_ATTR_FAMILY_ID, CTRL_ATTR_FAMILY_NAME = 16, 3, 1, 2
NLM_F_REQUEST, NLM_F_ACK, NLM_F_ECHO = 1, 4, 8
OVS_VPORT_VERSION, OVS_VPORT_CMD_NEW, OVS_VPORT_TYPE_GRE = 1, 1, 3
OVS_VPORT_ATTR_TYPE, OVS_VPORT_ATTR_NAME, OVS_VPORT_ATTR_UPCALL_PID = 2, 3, 5


def ask(sock, family, command, version, body, flags):
    """Sends one generic netlink request; returns what comes after the generic header of the answer."""
    sock.send(struct.pack('=IHHII', 20 + len(body), family, NLM_F_REQUEST | flags, 1, 0)
              + struct.pack('=BBH', command, version, 0) + body)
    data = sock.recv(65536)
    kind, = struct.unpack('=H', data[4:6])
    if kind == 2:  # NLMSG_ERROR
        error = -struct.unpack('=i', data[16:20])[0]
        if error:
            sys.exit(errno_name(error))
    return data[20:]


def attributes(data):
    """The attributes in there, by number."""
    found = {}
    while len(data) >= 4:
        size, number = struct.unpack('=HH', data[:4])
        found[number] = data[4:size]
        data = data[(size + 3) & ~3:]
    return found


def main(argv):
    if len(argv) != 3:
        sys.exit(__doc__)
    netns, datapath, name = argv
    with in_netns(netns):
        sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_GENERIC)
        index = socket.if_nametoindex(datapath)
    sock.bind((0, 0))
    sock.settimeout(60)
    answer = ask(sock, GENL_ID_CTRL, CTRL_CMD_GETFAMILY, 1, attribute(CTRL_ATTR_FAMILY_NAME, b'ovs_vport\0'), 0)
    family, = struct.unpack('=H', attributes(answer)[CTRL_ATTR_FAMILY_ID])
    body = (struct.pack('=i', index) + attribute(OVS_VPORT_ATTR_NAME, name.encode() + b'\0')
            + attribute(OVS_VPORT_ATTR_TYPE, struct.pack('=I', OVS_VPORT_TYPE_GRE))
            + attribute(OVS_VPORT_ATTR_UPCALL_PID, struct.pack('=I', 0)))
    ask(sock, family, OVS_VPORT_CMD_NEW, OVS_VPORT_VERSION, body, NLM_F_ACK)


if __name__ == '__main__':
    main(sys.argv[1:])
