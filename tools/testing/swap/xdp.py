# SPDX-License-Identifier: GPL-2.0-only
"""Attach a BPF program that passes everything to a device, by XDP or tcx, and detach it."""

import contextlib
import os
import socket
import struct

import bpf
import nl
import pkt

SCHED_CLS, XDP, LINK_CREATE, TCX_INGRESS, XDP_PASS, TCX_NEXT = 3, 6, 28, 46, 2, 0xffffffff
IFLA_XDP, XDP_FD, XDP_FLAGS, SKB_MODE = 43, 1, 3, 2


def load(kind, verdict):
    code = bpf.ctypes.create_string_buffer(bpf.mov(0, verdict - (1 << 32) if verdict >> 31 else verdict) +
                                           bpf.insn(0x95))
    licence = bpf.ctypes.create_string_buffer(b"GPL")
    return bpf.bpf(bpf.PROG_LOAD, struct.pack("=IIQQ", kind, 2, bpf.pointer(code), bpf.pointer(licence)))


def set_xdp(device, fd):
    """of the present namespace; -1 detaches"""
    value = nl.attribute(XDP_FD, struct.pack("=i", fd)) + nl.attribute(XDP_FLAGS, struct.pack("=I", SKB_MODE))
    body = struct.pack("=BxHiII", 0, 0, socket.if_nametoindex(device), 0, 0) + nl.attribute(IFLA_XDP | 0x8000, value)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as sock:
        sock.bind((0, 0))
        sock.send(struct.pack("=IHHII", 16 + len(body), 19, 5, 1, 0) + body)
        error, words = nl.answer(sock.recv(65536))
    if error:
        raise OSError(error, words)


@contextlib.contextmanager
def xdp(ns, device):
    fd = load(XDP, XDP_PASS)
    with pkt.in_netns(ns.name):
        set_xdp(device, fd)
    os.close(fd)
    yield
    with pkt.in_netns(ns.name):
        set_xdp(device, -1)


@contextlib.contextmanager
def tcx(ns, device):
    """From 6.6 on. The program is attached as long as its link is open."""
    program = load(SCHED_CLS, TCX_NEXT)
    with pkt.in_netns(ns.name):
        link = bpf.bpf(LINK_CREATE, struct.pack("=IIII", program, socket.if_nametoindex(device), TCX_INGRESS, 0))
    os.close(program)
    yield
    os.close(link)
