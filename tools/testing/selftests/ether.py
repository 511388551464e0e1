# SPDX-License-Identifier: GPL-2.0-only
"""Frames, for devices that carry Ethernet; beside wire.py, whose words it uses.

    from ether import *
    g1 = Port("g1")
    sends_frame("it is sent", u0, "gre 66", g1, frame(ip() / icmp()))
    came = case("it is delivered", ..., u0, outer / gre() / frame(ip()))
    expect("and whole", [frame(ip()).bytes()], g1.took())
"""

import errno
import socket
import struct
import subprocess
import sys

import nl
from pkt import eth, Layer
from wire import ETH_P_ALL, PACKET_OUTGOING, attempt, data_of, expect, show

__all__ = ["Port", "frame", "erspan", "sends_frame", "put_up", "netlink",
           "info", "tc", "MAC_A", "MAC_B"]

MAC_A, MAC_B = "02:00:00:00:aa:01", "02:00:00:00:aa:02"
SOL_PACKET, PACKET_AUXDATA = 263, 8
STATUS_VLAN, STATUS_TPID = 0x10, 0x40


def frame(payload=None, dst=MAC_B, src=MAC_A, type=None):
    """a frame from one station behind the tunnel to another"""
    head = eth(dst, src, type)
    return head / payload if payload is not None else head


class erspan(Layer):
    """the header of type II (version 1) or III (version 2); platform: the
    8 bytes that the O bit announces"""

    def __init__(self, session, version=1, tag=0, cos=0, en=0, t=0, index=0,
                 stamp=0, sgt=0, p=0, ft=0, hwid=0, d=0, gra=0, o=0,
                 platform=b""):
        super().__init__()
        self.words = version << 12 | tag, \
            cos << 13 | en << 11 | t << 10 | session
        self.rest = struct.pack("!I", index)
        if version != 1:
            self.rest = struct.pack(
                "!IHH", stamp, sgt, p << 15 | ft << 10 | hwid << 4 | d << 3 |
                gra << 1 | o) + platform

    def build(self, payload, outer):
        return struct.pack("!HH", *self.words) + self.rest + payload


class Port:
    """An Ethernet device: what it is given to send, what it hands to the
    stack, tags of VLANs in their place."""

    def __init__(self, dev):
        self.dev = dev
        self.sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW,
                                  socket.htons(ETH_P_ALL))
        self.sock.setsockopt(SOL_PACKET, PACKET_AUXDATA, 1)
        self.sock.bind((dev, ETH_P_ALL))
        self.sock.setblocking(False)

    def give(self, packet):
        # By a socket of protocol 0: the kernel looks at the frame itself.
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as sock:
            sock.bind((self.dev, 0))
            sock.send(data_of(packet))

    def took(self):
        """-> the frames received since the last time, in hex"""
        return [frame.hex() for kind, frame in self.seen() if kind != PACKET_OUTGOING]

    def seen(self):
        """-> (packet type, frame) of all that were received or sent since the last time"""
        frames = []
        while True:
            try:
                data, extra, _, sender = self.sock.recvmsg(65536, 256)
            except BlockingIOError:
                return frames
            except OSError as error:
                if error.errno != errno.ENETDOWN:   # it was, meanwhile
                    raise
                continue
            frames.append((sender[2], self.tagged(data, extra)))

    @staticmethod
    def tagged(data, extra):
        for level, kind, value in extra:
            if (level, kind) == (SOL_PACKET, PACKET_AUXDATA):
                status, tci, tpid = struct.unpack_from("=I12xHH", value)
                if status & STATUS_VLAN:
                    tpid = tpid if status & STATUS_TPID else 0x8100
                    return data[:12] + struct.pack("!HH", tpid, tci) + \
                        data[12:]
        return data


def behind_tags(data):
    """-> where a frame's payload begins"""
    at = 14
    while data[at - 2:at] in (b"\x81\x00", b"\x88\xa8"):
        at += 4
    return at


def sends_frame(name, wire, want, port, packet, counted=None):
    """A device sends exactly one packet for this frame: -> the outer packet,
    or None. It counts the frame without its header and tags, or as told."""
    if counted is None:
        data = data_of(packet)
        counted = f"tx_bytes={len(data) - behind_tags(data)} tx_packets=1"
    text = f"{port.dev} {counted}; {wire.name}: {want}"
    want, got, came = attempt(text, lambda: port.give(packet))
    if got != want:
        expect(name, want, got)
        return None
    return came[wire][0]


def put_up(*devices):
    """the lines for "ip" that make devices ready and keep them silent"""
    return [line for dev in devices for line in (
        f"link set {dev} addrgenmode none", f"link set {dev} up")]


def netlink(verb, dev, kind, *attributes, ns=None):
    """nl.py, in the present namespace if not told otherwise
    -> the error's name and the kernel's words, ("", "") for none"""
    _, text = nl.ask(ns or "-", verb, dev, kind, *attributes)
    error, _, words = text.partition(": ")
    return error, words


def info(dev):
    """what a device says of its own kind"""
    return show("link", "show", "dev", dev)[0]["linkinfo"].get("info_data", {})


def tc(*lines):
    """one "tc" for all the lines"""
    done = subprocess.run(["tc", "-batch", "-"], text=True,
                          input="\n".join(lines) + "\n",
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if done.returncode:
        sys.exit("tc: %s\n%s" % (done.stdout, "\n".join(lines)))
    return done.stdout
