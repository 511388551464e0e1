# SPDX-License-Identifier: GPL-2.0-only
"""The environment of a scenario: namespaces, and wires whose other side this process holds.

Everything is done in this process, by system calls: starting a program takes an emulated processor 50 ms.
"""

import ctypes
import errno
import fcntl
import os
import socket
import struct

from layers import pkt
from wire import Counters

CLONE_NEWNET = 0x40000000
MS_BIND, MNT_DETACH = 0x1000, 2
SIOCSIFFLAGS, SIOCGIFFLAGS, SIOCSIFADDR, SIOCSIFNETMASK, SIOCSIFHWADDR = 0x8914, 0x8913, 0x8916, 0x891c, 0x8924
IFF_UP, IFF_NOARP = 1, 0x80
TUNSETIFF, TUNSETVNETHDRSZ = 0x400454ca, 0x400454d8
IFF_TUN, IFF_TAP, IFF_NAPI, IFF_NAPI_FRAGS, IFF_NO_PI, IFF_VNET_HDR = 1, 2, 0x10, 0x20, 0x1000, 0x4000
SOL_PACKET, PACKET_AUXDATA, PACKET_IGNORE_OUTGOING = 263, 8, 23
TP_STATUS_VLAN_VALID = 0x10
VNET_NONE = bytes(10)
KINDS = ("host", "broadcast", "multicast", "otherhost")
QUIET = """net/ipv4/conf/all/rp_filter=0 net/ipv4/conf/default/rp_filter=0 net/ipv4/conf/all/send_redirects=0
    net/ipv4/conf/default/send_redirects=0 net/ipv4/icmp_ratelimit=0
    net/ipv4/conf/default/igmpv3_unsolicited_report_interval=1 net/ipv4/igmp_qrv=1
    net/ipv6/conf/default/accept_dad=0 net/ipv6/conf/all/accept_dad=0 net/ipv6/conf/default/router_solicitations=0
    net/ipv6/conf/default/mldv2_unsolicited_report_interval=1 net/ipv6/conf/default/disable_ipv6=1
    net/ipv6/conf/all/disable_ipv6=1""".split()
libc = ctypes.CDLL(None, use_errno=True)


def call(function, *args):
    if function(*args):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), function.__name__)


def sysctl(name, value):
    """Set a sysctl in the current namespace; NAME with slashes."""
    with open("/proc/sys/" + name, "w", encoding="ascii") as file:
        file.write(value)


def forget(path):
    """Remove the name of a namespace, if it exists; the namespace is deleted when it is unused."""
    if os.path.exists(path):
        libc.umount2(path.encode(), MNT_DETACH)
        os.unlink(path)


class Ns:
    """A network namespace with a name for ip-netns"""

    def __init__(self, name):
        self.name = name
        self.path = "/run/netns/" + name
        os.makedirs("/run/netns", exist_ok=True)
        forget(self.path)
        with open(self.path, "w", encoding="ascii"):
            pass
        old = os.open("/proc/self/ns/net", os.O_RDONLY)
        try:
            call(libc.unshare, CLONE_NEWNET)
            call(libc.mount, b"/proc/self/ns/net", self.path.encode(), None, MS_BIND, None)
            for line in QUIET:
                sysctl(*line.split("="))
            flags("lo", IFF_UP)
            self.taps = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
        finally:
            pkt.setns(old)
            os.close(old)
        self.taps.setsockopt(SOL_PACKET, PACKET_AUXDATA, 1)
        self.taps.setsockopt(SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)
        self.taps.setsockopt(socket.SOL_SOCKET, 33, 1 << 22)   # SO_RCVBUFFORCE
        self.taps.setblocking(False)
        self.enter = pkt.in_netns(name)
        self.counters = Counters(self.enter)
        self.alive = True

    def close(self):
        """Delete it, unless the scenario has done so."""
        self.taps.close()
        self.counters.sock.close()
        forget(self.path)

    def snmp(self):
        """-> {name: value} of IP stack counters"""
        values = {}
        with self.enter:
            for name in ("snmp", "netstat"):
                with open("/proc/thread-self/net/" + name, encoding="ascii") as file:
                    lines = [line.split() for line in file]
                for names, numbers in zip(lines[::2], lines[1::2]):
                    if names[0] in ("Ip:", "Icmp:", "Udp:", "IpExt:"):
                        values.update((names[0][:-1] + key, int(value))
                                      for key, value in zip(names[1:], numbers[1:]))
            try:
                with open("/proc/thread-self/net/snmp6", encoding="ascii") as file:
                    values.update((key, int(value)) for key, value in map(str.split, file)
                                  if key.startswith(("Ip6", "Icmp6")))
            except FileNotFoundError:
                pass
        return values

    def delivered(self, skip):
        """-> packets that devices passed to the stack since the last call, except those in skip"""
        seen = []
        while True:
            try:
                data, extra, _, (dev, proto, kind, _, source) = self.taps.recvmsg(1 << 16, 256)
            except BlockingIOError:
                return seen
            if dev == "lo" or dev in skip:
                continue
            vlan, at = "", 0
            for level, number, value in extra:
                if (level, number) == (SOL_PACKET, PACKET_AUXDATA):
                    status, _, _, mac, net, tci, tpid = struct.unpack("=IIIHHHH", value[:20])
                    at = net - mac
                    if status & TP_STATUS_VLAN_VALID:
                        vlan = f" vlan {tpid:04x}/{tci:04x}"
            sender = f" from {source.hex()}" if source else ""
            seen.append((f"{self.name}/{dev} gets {KINDS[kind]} {proto:04x}{vlan}{sender}", data[:at], data[at:]))


def flags(dev, value):
    """Set flags of a device in the current namespace."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        request = fcntl.ioctl(sock, SIOCGIFFLAGS, struct.pack("16sH22x", dev.encode(), 0))
        now = struct.unpack_from("=H", request, 16)[0]
        fcntl.ioctl(sock, SIOCSIFFLAGS, struct.pack("16sH22x", dev.encode(), now | value))


def address(dev, text):
    """Add an IPv4 address with prefix length to a device in the current namespace."""
    host, _, length = text.partition("/")
    mask = 0xffffffff << 32 - int(length) & 0xffffffff
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        for number, value in ((SIOCSIFADDR, socket.inet_aton(host)), (SIOCSIFNETMASK, struct.pack("!I", mask))):
            fcntl.ioctl(sock, number, struct.pack("16sHH4s16x", dev.encode(), socket.AF_INET, 0, value))


class Wire:
    """A tap (Ethernet, without ARP) or tun device. Sent packets are read here, written ones are received by the stack.
    There are no offloads: checksums and segments are those on a real wire."""

    PEER = "020000000002"

    def __init__(self, ns, name, kind, *addresses):
        self.ns, self.name, self.kind = ns, name, kind
        self.label = f"{ns.name}/{name}"
        mode = {"tap": IFF_TAP, "tun": IFF_TUN, "frags": IFF_TAP | IFF_NAPI | IFF_NAPI_FRAGS}[kind]
        with ns.enter:
            self.fd = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)    # it belongs to this namespace
            fcntl.ioctl(self.fd, TUNSETIFF, struct.pack("16sH22x", name.encode(), mode | IFF_NO_PI | IFF_VNET_HDR))
            self.mac = ""
            if kind != "tun":
                self.mac = f"0200000000{sum(name.encode()) & 0xff:02x}"
                with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
                    fcntl.ioctl(sock, SIOCSIFHWADDR, struct.pack("16sH6s16x", name.encode(), 1,
                                                                 bytes.fromhex(self.mac)))
            for text in addresses:
                address(name, text)
            flags(name, IFF_UP | IFF_NOARP)

    def put(self, packet, gso=0, pieces=None):
        """Receive a packet. gso: as a TCP GSO packet with this segment size."""
        data = packet.bytes()
        head = b""
        if self.kind != "tun" and not isinstance(packet, pkt.eth):
            head = bytes.fromhex(self.mac + self.PEER) + struct.pack("!H", packet.ethertype or 0x0800)
        vnet = VNET_NONE
        if gso:
            v6 = data[0] >> 4 == 6
            start = len(head) + (40 if v6 else 20)
            vnet = struct.pack("=BBHHHH", 1, 4 if v6 else 1, start + 20, gso, start, 16)
        if self.kind == "frags":
            # Each piece becomes a page fragment after the Ethernet header.
            parts, at = [head], 0
            for size in pieces or [len(data)]:
                parts.append(data[at:at + size])
                at += size
            os.writev(self.fd, [vnet + parts[0]] + [p for p in parts[1:] + [data[at:]] if p])
        else:
            os.write(self.fd, vnet + head + data)

    def get(self):
        """-> [(text, link header, packet)] sent since the last call"""
        seen = []
        while True:
            try:
                data = os.read(self.fd, 1 << 16)
            except BlockingIOError:
                return seen
            except OSError as error:
                if error.errno == errno.EBADFD:         # it was deleted
                    return seen
                raise
            # VIRTIO_NET_HDR_F_DATA_VALID: not on the wire, see README.md.
            vnet, data = bytes([data[0] & ~2]) + data[1:10], data[10:]
            at = 14 if self.kind != "tun" else 0
            text = f"{self.label} sends" + (f" vnet {vnet.hex()}" if any(vnet) else "")
            seen.append((text, data[:at], data[at:]))

    def close(self):
        os.close(self.fd)


class World:
    """Everything of a scenario. Namespace a has the wire v0, 192.0.2.1/24."""

    def __init__(self):
        self.namespaces = {}
        self.wires = {}
        self.ids = 1
        self.add_ns("a")
        self.add_wire("a", "v0", "tap", "192.0.2.1/24")

    def add_ns(self, name):
        self.namespaces[name] = Ns(name)

    def end_ns(self, name):
        """The kernel deletes it asynchronously."""
        for wire in [wire for wire in self.wires.values() if wire.ns.name == name]:
            self.wires.pop(wire.name).close()
        self.namespaces.pop(name).close()

    def add_wire(self, ns, name, kind, *addresses):
        if kind == "tun":
            with self.namespaces[ns].enter:
                sysctl("net/ipv4/ip_forward", "1")
        self.wires[name] = Wire(self.namespaces[ns], name, kind, *addresses)

    def counts(self):
        """-> current counters, for counted()"""
        return {ns: (ns.counters.read(), ns.snmp()) for ns in self.namespaces.values()}

    def counted(self, before):
        """-> a line for each counter that has changed"""
        lines = []
        for ns, (devices, stack) in before.items():
            moved = ns.counters.moved(devices, ns.counters.read())
            lines += [f"{ns.name}/{dev} {one}" for dev, text in moved.items() for one in text.split()]
            lines += [f"{ns.name} {name}={value - stack[name]}" for name, value in sorted(ns.snmp().items())
                      if value != stack.get(name, 0) and name in stack]
        return lines

    def collect(self):
        """-> [(text, link header, packet)] of wires and devices, when the system is idle"""
        seen, idle = [], 0
        names = {wire.name for wire in self.wires.values()}
        while idle < 2:
            new = [item for wire in self.wires.values() for item in wire.get()]
            for ns in self.namespaces.values():
                new += ns.delivered(names)
            idle = 0 if new else idle + 1
            seen += new
            pkt.settle()
        return seen

    def close(self):
        for wire in self.wires.values():
            wire.close()
        for ns in self.namespaces.values():
            ns.close()
