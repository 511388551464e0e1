#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""xdp.py NAMESPACE DEVICE on|off|tcx : attach a program that passes everything, or detach it.

A tcx link (from 6.6 on) stays attached while this runs.
"""

import os
import signal
import socket
import struct
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../selftests"))

import bpf          # noqa: E402
import nl           # noqa: E402
import pkt          # noqa: E402

SCHED_CLS, XDP, LINK_CREATE, TCX_INGRESS, XDP_PASS, TCX_NEXT = 3, 6, 28, 46, 2, 0xffffffff
IFLA_XDP, XDP_FD, XDP_FLAGS, SKB_MODE = 43, 1, 3, 2


def load(kind, verdict):
    code = bpf.ctypes.create_string_buffer(bpf.mov(0, verdict - (1 << 32) if verdict >> 31 else verdict) +
                                           bpf.insn(0x95))
    licence = bpf.ctypes.create_string_buffer(b"GPL")
    return bpf.bpf(bpf.PROG_LOAD, struct.pack("=IIQQ", kind, 2, bpf.pointer(code), bpf.pointer(licence)))


def attach_xdp(index, fd):
    value = nl.attribute(XDP_FD, struct.pack("=i", fd)) + nl.attribute(XDP_FLAGS, struct.pack("=I", SKB_MODE))
    body = struct.pack("=BxHiII", 0, 0, index, 0, 0) + nl.attribute(IFLA_XDP | 0x8000, value)
    sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)
    sock.bind((0, 0))
    sock.send(struct.pack("=IHHII", 16 + len(body), 19, 5, 1, 0) + body)
    error, words = nl.answer(sock.recv(65536))
    if error:
        sys.exit("%s %s" % (nl.errno_name(error), words))


def main(name, device, what):
    with pkt.in_netns(name):
        index = socket.if_nametoindex(device)
        if what == "tcx":
            fd = load(SCHED_CLS, TCX_NEXT)
            bpf.bpf(LINK_CREATE, struct.pack("=IIII", fd, index, TCX_INGRESS, 0))
            print("attached", flush=True)
            signal.pause()
        attach_xdp(index, load(XDP, XDP_PASS) if what == "on" else -1)


if __name__ == "__main__":
    main(*sys.argv[1:])
