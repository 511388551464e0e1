# SPDX-License-Identifier: GPL-2.0
"""Exact bytes for the selftests: build packets, send them raw.

A packet is an expression: layers joined by "/", outermost first, e.g.

    ip("192.0.2.1", "192.0.2.2", proto=47) / gre(key=5) /
        ip("198.51.100.1", "198.51.100.2") / icmp()

Lengths, checksums and the outer protocol field are filled in where they are
not given, so that a wrong value must be asked for. A bare number is a
protocol or ethertype, never looked up. send() puts an Ethernet header in front,
unless the packet begins with eth(). In the text that parse() reads, "* n" repeats
a packet.
"""

import ast
import errno
import fcntl
import os
import socket
import struct
import threading

ETH_P_ALL = 3
CLONE_NEWNET = 0x40000000
FENCE = 0x88b5          # IEEE 802 local experimental ethertype 1


def csum(data):
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack("!%dH" % (len(data) // 2), data))
    while total >> 16:
        total = (total & 0xffff) + (total >> 16)
    return ~total & 0xffff


class Layer:
    """One header. build(payload, next_layer) returns header and payload."""

    proto = None        # as IPv4 protocol number / IPv6 next header
    ethertype = None

    def __init__(self):
        self.inner = None

    def __truediv__(self, other):
        if isinstance(other, (bytes, str)):
            other = raw(other)
        last = self
        while last.inner is not None:
            last = last.inner
        last.inner = other
        return self

    def bytes(self, outer=None):
        payload = self.inner.bytes(self) if self.inner else b""
        return self.build(payload, outer)


class raw(Layer):
    """raw("00ff") or raw(b"..."), or raw(n) for n bytes counting up"""

    def __init__(self, data=b""):
        super().__init__()
        if isinstance(data, int):
            data = bytes(i & 0xff for i in range(data))
        self.data = bytes.fromhex(data) if isinstance(data, str) else data

    def build(self, payload, outer):
        return self.data + payload


class eth(Layer):
    ethertype = 0x6558  # transparent Ethernet bridging, as GRE carries it

    def __init__(self, dst="02:00:00:00:00:02", src="02:00:00:00:00:01",
                 type=None):
        super().__init__()
        self.dst, self.src, self.type = dst, src, type

    def build(self, payload, outer):
        kind = self.type
        if kind is None:
            kind = getattr(self.inner, "ethertype", None) or 0x0800
        mac = bytes.fromhex((self.dst + self.src).replace(":", ""))
        return mac + struct.pack("!H", kind) + payload


class vlan(Layer):
    ethertype = 0x8100

    def __init__(self, vid, type=None, pcp=0):
        super().__init__()
        self.tci, self.type = pcp << 13 | vid, type

    def build(self, payload, outer):
        kind = self.type or getattr(self.inner, "ethertype", None) or 0x0800
        return struct.pack("!HH", self.tci, kind) + payload


class ip(Layer):
    proto = 4
    ethertype = 0x0800

    def __init__(self, src="198.51.100.1", dst="198.51.100.2", proto=None,
                 ttl=64, tos=0, id=1, flags=0, frag=0, ihl=None, length=None,
                 check=None, version=4, options=""):
        super().__init__()
        self.src, self.dst, self.next, self.ttl = src, dst, proto, ttl
        self.tos, self.id, self.flags, self.frag = tos, id, flags, frag
        self.ihl, self.length, self.check = ihl, length, check
        self.version, self.options = version, options

    def build(self, payload, outer):
        proto = self.next
        if proto is None:
            proto = getattr(self.inner, "proto", None)
        opts = bytes.fromhex(self.options)
        ihl = 5 + len(opts) // 4 if self.ihl is None else self.ihl
        total = 20 + len(opts) + len(payload)
        head = struct.pack(
            "!BBHHHBBH4s4s", self.version << 4 | ihl, self.tos,
            total if self.length is None else self.length, self.id,
            self.flags << 13 | self.frag, self.ttl,
            59 if proto is None else proto, 0,
            socket.inet_aton(self.src), socket.inet_aton(self.dst)) + opts
        check = csum(head) if self.check is None else self.check
        return head[:10] + struct.pack("!H", check) + head[12:] + payload

    def pseudo(self, proto, length):
        return (socket.inet_aton(self.src) + socket.inet_aton(self.dst) +
                struct.pack("!HH", proto, length))


class ip6(Layer):
    proto = 41
    ethertype = 0x86dd

    def __init__(self, src="2001:db8::1", dst="2001:db8::2", nh=None,
                 hlim=64, tc=0, flow=0, length=None, version=6):
        super().__init__()
        self.src, self.dst, self.nh, self.hlim = src, dst, nh, hlim
        self.tc, self.flow, self.length, self.version = tc, flow, length, \
            version

    def build(self, payload, outer):
        nh = self.nh
        if nh is None:
            nh = getattr(self.inner, "proto", None)
        if self.nh is None and isinstance(self.inner, icmp):
            nh = 58
        return struct.pack(
            "!IHBB", self.version << 28 | self.tc << 20 | self.flow,
            len(payload) if self.length is None else self.length,
            59 if nh is None else nh, self.hlim) + \
            socket.inet_pton(socket.AF_INET6, self.src) + \
            socket.inet_pton(socket.AF_INET6, self.dst) + payload

    def pseudo(self, proto, length):
        return (socket.inet_pton(socket.AF_INET6, self.src) +
                socket.inet_pton(socket.AF_INET6, self.dst) +
                struct.pack("!II", length, proto))


class gre(Layer):
    """flags and ver as given are ORed to what key, seq and csum imply;
    csum=True computes the checksum, a number is put as it is."""

    proto = 47

    def __init__(self, proto=None, key=None, seq=None, csum=None, flags=0,
                 ver=0, reserved1=0):
        super().__init__()
        self.type, self.key, self.seq, self.sum = proto, key, seq, csum
        self.flags, self.ver, self.reserved1 = flags, ver, reserved1

    def build(self, payload, outer):
        kind = self.type
        if kind is None:
            kind = getattr(self.inner, "ethertype", None) or 0x0800
        has_sum = self.sum is not None and self.sum is not False
        flags = self.flags | self.ver
        flags |= 0x8000 * has_sum
        flags |= 0x2000 * (self.key is not None)
        flags |= 0x1000 * (self.seq is not None)
        rest = b""
        if self.key is not None:
            rest += struct.pack("!I", self.key & 0xffffffff)
        if self.seq is not None:
            rest += struct.pack("!I", self.seq & 0xffffffff)
        base = struct.pack("!HH", flags, kind)
        if not has_sum:
            return base + rest + payload
        value = self.sum
        if value is True:
            value = csum(base + struct.pack("!HH", 0, self.reserved1) +
                         rest + payload)
        return base + struct.pack("!HH", value, self.reserved1) + rest + \
            payload


class udp(Layer):
    proto = 17

    def __init__(self, sport=4000, dport=4001, length=None, check=None):
        super().__init__()
        self.sport, self.dport = sport, dport
        self.length, self.check = length, check

    def build(self, payload, outer):
        size = 8 + len(payload) if self.length is None else self.length
        head = struct.pack("!HHH", self.sport, self.dport, size)
        check = self.check
        if check is None:
            check = 0
            if hasattr(outer, "pseudo"):
                check = csum(outer.pseudo(17, 8 + len(payload)) + head +
                             b"\0\0" + payload) or 0xffff
        return head + struct.pack("!H", check) + payload


class icmp(Layer):
    """An echo request, unless type, code and rest (4 bytes) are given. In
    ip6() it is ICMPv6."""

    proto = 1

    def __init__(self, type=None, code=0, rest=None, id=1, seq=1, check=None):
        super().__init__()
        self.type, self.code, self.check = type, code, check
        self.rest = struct.pack("!HH", id, seq) if rest is None else \
            bytes.fromhex(rest) if isinstance(rest, str) else \
            struct.pack("!I", rest)

    def build(self, payload, outer):
        v6 = isinstance(outer, ip6)
        kind = self.type
        if kind is None:
            kind = 128 if v6 else 8
        head = struct.pack("!BB", kind, self.code)
        check = self.check
        if check is None:
            pseudo = b""
            if v6:
                pseudo = outer.pseudo(58, 8 + len(payload))
            check = csum(pseudo + head + b"\0\0" + self.rest + payload)
        return head + struct.pack("!H", check) + self.rest + payload


class mpls(Layer):
    proto = 137
    ethertype = 0x8847

    def __init__(self, label, ttl=64, bottom=1, tc=0):
        super().__init__()
        self.word = label << 12 | tc << 9 | bottom << 8 | ttl

    def build(self, payload, outer):
        return struct.pack("!I", self.word) + payload


NAMES = {"raw": raw, "eth": eth, "vlan": vlan, "ip": ip, "ip6": ip6,
         "gre": gre, "udp": udp, "icmp": icmp, "mpls": mpls}


def cut(packet, size):
    """the first size bytes of a packet (a negative size counts from its end)
    with all the headers as they were"""
    short = raw(packet.bytes()[:size])
    short.ethertype = packet.ethertype
    short.proto = packet.proto
    return short


NAMES["cut"] = cut


def parse(text):
    """-> (Layer, how often)"""
    times = 1
    tree = ast.parse(text.strip(), mode="eval").body
    if isinstance(tree, ast.BinOp) and isinstance(tree.op, ast.Mult):
        times = ast.literal_eval(tree.right)
        tree = tree.left
    packet = eval(compile(ast.Expression(tree), text, "eval"),
                  {"__builtins__": {"True": True, "None": None}}, NAMES)
    return packet, times


FENCES = {}


def fence_sockets():
    """-> whom to send a fence to, and by what; of each thread its own"""
    key = os.getpid(), threading.get_ident()
    if key not in FENCES:
        with new_netns():
            heard, said = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2))
            fcntl.ioctl(heard, 0x8914, struct.pack("16sH22x", b"lo", 1))        # SIOCSIFFLAGS, IFF_UP
        heard.bind(("127.0.0.1", 0))
        heard.settimeout(60)
        said.connect(heard.getsockname())
        FENCES[key] = heard, said
    return FENCES[key]


def settle(rounds=8):
    """Until this processor has worked through all the packets that it has
    received so far: datagrams of our own come behind them, and each time round
    behind what those before have set off. The process must stay on it."""
    heard, said = fence_sockets()
    for _ in range(rounds):
        said.send(b"fence")
        heard.recv(16)


class one_processor:
    """What runs inside stays on one processor, and settles before the end"""

    def __enter__(self):
        self.old = os.sched_getaffinity(0)
        os.sched_setaffinity(0, {min(self.old)})

    def __exit__(self, kind, *_):
        try:
            if kind is None:
                settle()
        finally:
            os.sched_setaffinity(0, self.old)


class in_netns:
    """Sockets opened inside belong to that namespace; "-" is the present one."""

    def __init__(self, name):
        self.name, self.old = name, []

    def enter(self):
        new = os.open("/run/netns/" + self.name, os.O_RDONLY)
        setns(new)
        os.close(new)

    def __enter__(self):
        if self.name != "-":
            self.old.append(os.open("/proc/thread-self/ns/net", os.O_RDONLY))
            self.enter()

    def __exit__(self, *_):
        if self.name == "-":
            return
        old = self.old.pop()
        setns(old)
        os.close(old)


class new_netns(in_netns):
    """A namespace without a name, which lasts as long as its sockets"""

    def __init__(self):
        super().__init__(None)

    def enter(self):
        unshare()


def libc_call(name, *args):
    import ctypes
    if getattr(ctypes.CDLL(None, use_errno=True), name)(*args):
        raise OSError(ctypes.get_errno(), name)


def setns(fd):
    (os.setns if hasattr(os, "setns") else lambda *args: libc_call("setns", *args))(fd, CLONE_NEWNET)


def unshare():
    (os.unshare if hasattr(os, "unshare") else lambda *args: libc_call("unshare", *args))(CLONE_NEWNET)


def packet_socket(ns, dev, proto):
    with in_netns(ns):
        sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW,
                             socket.htons(proto))
        sock.bind((dev, proto))
    return sock


def send(ns, dev, peer_ns, peer_dev, *packets):
    """packets as expressions or as layers"""
    # One CPU: what was sent is received in the order it was sent, so that
    # the fence comes out behind all of it.
    os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])
    out = packet_socket(ns, dev, 0)
    peer = packet_socket(peer_ns, peer_dev, FENCE)
    peer.settimeout(60)
    head = peer.getsockname()[4] + out.getsockname()[4]
    for packet in packets:
        packet, times = parse(packet) if isinstance(packet, str) else (packet, 1)
        data = packet.bytes()
        if not isinstance(packet, eth):
            kind = packet.ethertype or 0x0800
            data = head + struct.pack("!H", kind) + data
        for _ in range(times):
            out.send(data)
    out.send(head + struct.pack("!H", FENCE) + b"fence".ljust(46, b"\0"))
    peer.recv(64)
    settle()


def silent(ns, address, dev=None, source=None):
    """whether nobody answers an echo request"""
    v6 = ":" in address
    kind = (socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6) if v6 else \
        (socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
    with one_processor(), in_netns(ns), socket.socket(*kind) as sock:
        if dev:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, dev.encode())
        ask = icmp(128 if v6 else 8, id=os.getpid() & 0xffff).bytes()
        try:
            if source:
                sock.bind((source, 0))
            sock.connect((address, 0))
            sock.send(ask)
        except OSError:
            return True
        settle()
        sock.setblocking(False)
        while True:
            try:
                answer = sock.recv(65536)[0 if v6 else 20:]
            except OSError:
                return True
            if answer[0] == (129 if v6 else 0) and answer[4:] == ask[4:]:
                return False


def stream(dev, packet):
    """in the present namespace, until killed or DEV is gone"""
    out = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    out.bind((dev, 0))
    packet = parse(packet)[0] if isinstance(packet, str) else packet
    # To whom: the other end of a veth_pair differs in the last bit.
    mac = out.getsockname()[4]
    head = mac[:-1] + bytes([mac[-1] ^ 1]) + mac
    data = head + struct.pack("!H", packet.ethertype or 0x0800)
    data += packet.bytes()
    while True:
        try:
            out.send(data)
        except OSError as error:
            if error.errno not in (errno.ENOBUFS, errno.ENETDOWN):
                raise
