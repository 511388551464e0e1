# SPDX-License-Identifier: GPL-2.0-only
"""Add a GRE vport to a datapath of Open vSwitch the old way, by asking the datapath for one.

The tools of today make an external gretap device and add that; this makes the kernel load vport-gre, which calls
gretap_fb_dev_create().
"""
import socket
import struct

from nl import attribute, errno_name

NETLINK_GENERIC, NLMSG_ERROR = 16, 2
GENL_ID_CTRL, CTRL_CMD_GETFAMILY, CTRL_ATTR_FAMILY_ID, CTRL_ATTR_FAMILY_NAME = 16, 3, 1, 2
NLM_F_REQUEST, NLM_F_ACK = 1, 4
OVS_VPORT_VERSION, OVS_VPORT_CMD_NEW, OVS_VPORT_TYPE_GRE = 1, 1, 3
OVS_VPORT_ATTR_TYPE, OVS_VPORT_ATTR_NAME, OVS_VPORT_ATTR_UPCALL_PID = 2, 3, 5


def ask(sock, family, command, version, body, flags):
    """one generic netlink request -> (errno, what comes after the generic header of the answer)"""
    sock.send(struct.pack("=IHHII", 20 + len(body), family, NLM_F_REQUEST | flags, 1, 0) +
              struct.pack("=BBH", command, version, 0) + body)
    data = sock.recv(65536)
    kind, = struct.unpack_from("=H", data, 4)
    return -struct.unpack_from("=i", data, 16)[0] if kind == NLMSG_ERROR else 0, data[20:]


def attributes(data):
    """-> {number: value}"""
    found = {}
    while len(data) >= 4:
        size, number = struct.unpack_from("=HH", data)
        found[number] = data[4:size]
        data = data[(size + 3) & ~3:]
    return found


def add_gre(ns, datapath, name):
    """a request, as those of refuse.py -> exit status, name of the error"""
    with ns.enter:
        sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_GENERIC)
        index = socket.if_nametoindex(datapath)
    with sock:
        sock.bind((0, 0))
        sock.settimeout(60)
        error, answer = ask(sock, GENL_ID_CTRL, CTRL_CMD_GETFAMILY, 1,
                            attribute(CTRL_ATTR_FAMILY_NAME, b"ovs_vport\0"), 0)
        if not error:
            family, = struct.unpack("=H", attributes(answer)[CTRL_ATTR_FAMILY_ID])
            body = (struct.pack("=i", index) + attribute(OVS_VPORT_ATTR_NAME, name.encode() + b"\0") +
                    attribute(OVS_VPORT_ATTR_TYPE, struct.pack("=I", OVS_VPORT_TYPE_GRE)) +
                    attribute(OVS_VPORT_ATTR_UPCALL_PID, struct.pack("=I", 0)))
            error, _ = ask(sock, family, OVS_VPORT_CMD_NEW, OVS_VPORT_VERSION, body, NLM_F_ACK)
    return (1, errno_name(error)) if error else (0, "")
