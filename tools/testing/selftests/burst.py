# SPDX-License-Identifier: GPL-2.0-only
"""Numbered datagrams for a tunnel: many of them at once, what became of each,
and which processor had it; beside wire.py.

A batch leaves its sender as one UDP GSO packet, each segment of which holds
a packet: FOU takes them out again, so that all of them are in the tunnel before
anything behind it runs. Not more than MOST of them, or the kernel sends none.
"""

import atexit
import ctypes
import os
import socket
import struct

from pkt import ip, packet_socket, setns, udp

__all__ = ["Batches", "Receiver", "Watch", "Raw", "datagram", "fragments", "machine", "keep",
           "FOU_IPIP", "FOU_GRE", "MOST", "PORT", "SIZE"]

FOU_IPIP, FOU_GRE = 5551, 5552
MOST = 60
PORT = 4001
SIZE = 64                       # of a datagram, unless told otherwise
UDP_SEGMENT, UDP_GRO = 103, 104
SO_ATTACH_FILTER = 26
RCVBUF = 32 << 20
ETH_P_IP = 0x0800
HEAD = struct.Struct("!HI")


def datagram(flow, number, size=SIZE, port=PORT, src="198.51.100.1",
             dst="198.51.100.2"):
    """-> the bytes of an IP packet"""
    return (ip(src, dst, id=number & 0xffff) / udp(5000 + flow, port) /
            HEAD.pack(flow, number).ljust(size, b"\1")).bytes()


def fragments(whole, number, size=48):
    """-> the bytes of a datagram's fragments, which have this identification"""
    head = [socket.inet_ntoa(whole[at:at + 4]) for at in (12, 16)]
    body = whole[20:]
    return [(ip(*head, proto=whole[9], id=number, frag=at // 8,
                flags=int(at + size < len(body))) / body[at:at + size]).bytes()
            for at in range(0, len(body), size)]


def content(data):
    """-> (flow, number) of a datagram"""
    return HEAD.unpack_from(data)


def machine(name, value):
    """set net.core.NAME, where it is not of each namespace"""
    old = os.open("/proc/self/ns/net", os.O_RDONLY)
    first = os.open("/proc/1/ns/net", os.O_RDONLY)
    setns(first)
    try:
        with open("/proc/sys/net/core/" + name, "w") as file:
            file.write(str(value))
    finally:
        setns(old)
        os.close(old)
        os.close(first)


def keep(*names):
    """settings of the machine, put back when the program ends; to be used in the first namespace"""
    for name in names:
        with open("/proc/sys/net/core/" + name) as file:
            atexit.register(machine, name, file.read().strip())


class Batches:
    """From a namespace by a device to an address, where FOU takes protocols 4
    and 47 at the ports named above"""

    def __init__(self, sender, dev, address):
        sender.run("ethtool", "-K", dev, "tx-udp-segmentation", "off")
        with sender.enter:
            self.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.address = address

    def send(self, packets, port=FOU_IPIP):
        """The shorter ones are filled up; IP knows how long they are."""
        size = max(map(len, packets))
        self.sock.sendmsg(
            [b"".join(p.ljust(size, b"\0") for p in packets)],
            [(socket.IPPROTO_UDP, UDP_SEGMENT, struct.pack("=H", size))], 0,
            (self.address, port))


class Raw:
    """Packets one by one, on the cable"""

    def __init__(self, ns, dev, peer, peer_dev):
        self.sock = packet_socket(ns, dev, 0)
        other = packet_socket(peer, peer_dev, 0)
        self.head = other.getsockname()[4] + self.sock.getsockname()[4] + \
            struct.pack("!H", ETH_P_IP)
        other.close()

    def send(self, packet):
        self.sock.send(self.head + packet.bytes())


class Receiver:
    """The socket that they are for"""

    def __init__(self, ns, port=PORT, address="198.51.100.2"):
        with ns.enter:
            self.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.setsockopt(socket.SOL_SOCKET, 33, RCVBUF)     # RCVBUFFORCE
        self.sock.bind((address, port))
        self.sock.setblocking(False)
        self.reads = 0          # how many it took, and
        self.came = []          # (flow, number) in the order of arrival

    def gro(self, wanted):
        self.sock.setsockopt(socket.IPPROTO_UDP, UDP_GRO, int(wanted))

    def take(self):
        """-> how many datagrams have come so far"""
        while True:
            try:
                data, more, _, _ = self.sock.recvmsg(65536, 64)
            except BlockingIOError:
                return len(self.came)
            size = next((struct.unpack("=i", value[:4])[0] for _, kind, value
                         in more if kind == UDP_GRO), len(data))
            self.reads += 1
            self.came += [content(data[at:at + size])
                          for at in range(0, len(data), size)]

    def forget(self):
        """-> (reads, what came); begins anew"""
        self.take()
        result = self.reads, self.came
        self.reads, self.came = 0, []
        return result


class Watch:
    """Packets that a device hands to the stack, of one processor or of all"""

    def __init__(self, ns, dev, cpu=None):
        with ns.enter:
            self.sock = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, 0)
        self.sock.setsockopt(socket.SOL_SOCKET, 33, RCVBUF)
        program = [(0x06, 0, 0, 1 << 18)]                       # take it
        if cpu is not None:
            program = [(0x20, 0, 0, 0xfffff000 + 36),           # the processor
                       (0x15, 0, 1, cpu)] + program + [(0x06, 0, 0, 0)]
        code = ctypes.create_string_buffer(
            b"".join(struct.pack("=HBBI", *line) for line in program))
        self.sock.setsockopt(
            socket.SOL_SOCKET, SO_ATTACH_FILTER,
            struct.pack("@HP", len(program), ctypes.addressof(code)))
        self.sock.bind((dev, ETH_P_IP))
        self.sock.setblocking(False)

    def drain(self):
        """-> their bytes"""
        seen = []
        while True:
            try:
                seen.append(self.sock.recv(1 << 18))
            except BlockingIOError:
                return seen

    def close(self):
        self.sock.close()
