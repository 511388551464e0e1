#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""A flow's packets come out of a tunnel in the order in which they went in.

    n1                                             n2
    | v1 192.0.2.1    a qdisc that lets go of all  | v2 192.0.2.2
    '------------------- of a batch at once -------'
    tun ================== ipip, gre, gretap ==== tun
    tun.5 (on gretap)                             tun.5
    ipip1, gre1 ============ tunnels in it ====== ipip1, gre1

A flow is a mixture, by chance, of what one sender can send: packets of all
sizes and whole GSO packets, in fragments, with IP options, another TTL or
TOS or no checksum. Each byte of payload is of a word that has the flow's tag
and counts up: in order is what, put together, has the words that were sent. It
is looked at where the packets enter (v2), on the tunnel, on each device
behind it, and at the sockets. All of it on one processor, since a flow is on
one.
"""
import contextlib
import fcntl
import os
import random
import socket
import struct

from burst import keep, machine
from ksft import NetNs, check, diag, differs, ksft_run, modprobe, need_modules, until, veth_pair
from pkt import Layer, csum, eth, gre, icmp, ip, ip6, raw, udp

BATCHES = 5                     # of each combination
SENT = 6                        # by each flow in a batch, on an average, and
FEWEST = 30                     # packets and GSO packets in a batch
WORD = struct.Struct("!3sBI")   # tag, flow, number
TAG = b"\xa5\xc3\x96"
MAC = "02:00:00:00:aa:01", "02:00:00:00:aa:02"
MTU = 1300                      # the largest packet that is sent whole
UDP_SEGMENT, UDP_GRO, IP_HDRINCL, RCVBUFFORCE = 103, 104, 3, 33
PACKET_VNET_HDR, PACKET_OUTGOING = 15, 4
SOL_PACKET, ETH_P_ALL = 263, 3
VNET = struct.Struct("=BBHHHH")  # flags, type, length of headers, gso_size, start and offset of the checksum
ETHERTYPE = {4: 0x0800, 6: 0x86dd}


class tcp(Layer):
    """partial: the checksum is of the pseudo header only, and a device finishes it"""

    proto = 6

    def __init__(self, sport, dport, seq, partial=False, nops=4):
        super().__init__()
        self.sport, self.dport, self.seq, self.partial, self.nops = sport, dport, seq, partial, nops

    def build(self, payload, outer):
        head = struct.pack("!HHIIBBHHH", self.sport, self.dport, self.seq, 1, 5 + self.nops // 4 << 4,
                           0x10, 4096, 0, 0) + bytes([1] * self.nops)
        data = outer.pseudo(6, len(head + payload)) + (b"" if self.partial else head + payload)
        check = ~csum(data) & 0xffff if self.partial else csum(data)
        return head[:16] + struct.pack("!H", check) + head[18:] + payload


class Plug:
    """The qdisc "plug": keeps what a device is to send until told to let go"""

    BUFFER, RELEASE, ROOT, HANDLE = 0, 2, 0xffffffff, 1 << 16

    def __init__(self, ns, dev):
        with ns.enter:
            self.sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)
            self.index = socket.if_nametoindex(dev)
        self.request(self.BUFFER, 0x600)        # NLM_F_CREATE | NLM_F_EXCL

    def request(self, action, flags=0):
        kind = struct.pack("=HH8s", 9, 1, b"plug\0")
        options = struct.pack("=HHiI", 12, 2, action, 1 << 30)
        body = struct.pack("=BxxxiIII", 0, self.index, self.HANDLE, self.ROOT, 0) + kind + options
        self.sock.send(struct.pack("=IHHII", 16 + len(body), 36, 5 | flags, 1, 0) + body)
        error = -struct.unpack_from("=i", self.sock.recv(65536), 16)[0]
        if error:
            raise OSError(error, "plug: " + os.strerror(error))

    def release(self):
        self.request(self.RELEASE)

    def block(self):
        self.request(self.BUFFER)


class Tap:
    """What a device hands to the stack. Nothing is looked at before it has left
    its last tunnel: a packet that somebody else still has may go another way."""

    def __init__(self, ns, dev):
        with ns.enter:
            self.sock = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, 0)
        self.sock.setsockopt(socket.SOL_SOCKET, RCVBUFFORCE, 256 << 20)
        self.sock.bind((dev, ETH_P_ALL))
        self.sock.setblocking(False)

    def drain(self):
        with contextlib.suppress(BlockingIOError):
            while True:
                data, (_, _, kind, _, _) = self.sock.recvfrom(1 << 17)
                if kind != PACKET_OUTGOING:
                    yield data

    def close(self):
        self.sock.close()


class Order:
    """Of one flow at one place: how many words came, and the packets that did
    not follow the one before"""

    def __init__(self, flow):
        self.flow, self.words, self.next, self.trouble, self.packets = flow, 0, 0, [], 0

    def take(self, data):
        first = WORD.unpack_from(data)[2]
        if first != self.next and first < self.next:
            self.trouble.append(f"packet {self.packets}: {self.flow.what(first)} came after "
                                f"{self.flow.what(self.next - 1)}")
        self.packets += 1
        self.words += len(data) // WORD.size
        self.next = first + len(data) // WORD.size


class Flow:
    """A sender; make(payload, **header) -> Layer. How: dev, by which a packet
    socket sends it; "h0", by which it comes to be forwarded; or None, by IP. At:
    the device where it is looked at. Joined: GRO can do so."""

    def __init__(self, world, name, make, dev="tun", at="tun", v6=False, dst=None, port=None, gso=None,
                 joined=False):
        self.number = len(world.flows)
        self.world, self.name, self.make, self.dev, self.at, self.v6 = world, name, make, dev, at, v6
        self.dst, self.port, self.gso, self.joined = dst, port, gso, joined
        self.src = "2001:db8::1" if v6 else "198.51.100.9" if dev == "h0" else "198.51.100.1"
        self.next = self.id = 0
        self.sent = []          # (first word, description)
        self.sock = world.udp_source(self) if gso == "udp" else None
        world.flows.append(self)

    def start(self):
        self.next, self.sent = 0, []

    def what(self, word):
        """the packet that it was in, to be read by people"""
        first, text = [s for s in self.sent if s[0] <= word][-1]
        return f"{text} (word {word})"

    def payload(self, size, what):
        count = max(size // WORD.size, 1)
        first, self.next = self.next, self.next + count
        self.sent.append((first, f"{what} of {size}"))
        return b"".join(WORD.pack(TAG, self.number, n) for n in range(first, first + count))

    def headers(self, choose):
        """of IP; mostly the usual ones. In a flow whose datagrams a socket wants
        to have joined, the kernel's GRO lets one with another TTL or TOS pass."""
        self.id += 1
        odd = choose.random()
        if self.joined and self.sock and odd < 0.1:
            odd = 0.1
        if self.v6:
            return {"tc": 4} if odd < 0.05 else {"hlim": 63} if odd < 0.1 else {}
        head = {"id": self.id & 0xffff, "flags": 2}
        if odd < 0.05:
            head["ttl"] = 63
        elif odd < 0.1:
            head["tos"] = 8
        elif odd < 0.15:
            head["options"] = "01010101"
        elif odd < 0.2:
            head |= {"flags": 0, "id": choose.randrange(65536)}
        return head

    def send(self, choose):
        what = choose.random()
        if what < 0.25 and self.gso:
            self.send_super(choose)
        elif what < 0.4:
            self.send_fragments(choose)
        else:
            size = choose.choice((8, 64, 200, 200, 1000, 1000, 1192))
            head = self.headers(choose)
            what = " ".join(f"{k}={v}" for k, v in head.items() if k != "id" and (k, v) != ("flags", 2))
            self.emit(self.make(self, self.payload(size, "single " + what), **head).bytes())

    def send_super(self, choose):
        size, count = choose.choice((200, 1000, 1192)), choose.randrange(2, 9)
        payload = self.payload(size * count - choose.choice((0, 0, 96)), f"GSO packet by {size}")
        if self.sock:
            self.sock.sendmsg([payload], [(socket.IPPROTO_UDP, UDP_SEGMENT, struct.pack("=H", size))])
            return
        head = {} if self.v6 else {"id": self.id & 0xffff, "flags": 2}
        self.id += count
        packet = self.make(self, payload, partial=True, **head).bytes()
        self.emit(packet, size)

    def send_fragments(self, choose):
        """a packet in pieces; each goes by itself"""
        size, each = choose.choice((400, 1000, 2400)), choose.choice((96, 800, 1200))
        whole = self.make(self, self.payload(size, f"fragments by {each}"))
        body, at = whole.inner.bytes(whole), 0
        number = choose.randrange(1 << 16)
        while at < len(body):
            more = at + each < len(body)
            if self.v6:
                layer = ip6(whole.src, whole.dst, nh=44) / struct.pack(
                    "!BBHI", whole.inner.proto if whole.inner.proto != 1 else 58, 0, at | more, number)
                packet = layer.bytes() + body[at:at + each]
                packet = packet[:4] + struct.pack("!H", len(packet) - 40) + packet[6:]
            else:
                packet = (ip(whole.src, whole.dst, proto=whole.inner.proto, id=number, flags=int(more),
                             frag=at // 8) / body[at:at + each]).bytes()
            self.emit(packet)
            at += each

    def emit(self, packet, gso_size=0):
        self.world.emit(self, packet, gso_size)


# Of what can come in fragments, the headers are whole words.

def sequence(flow, payload):
    return (flow.next * WORD.size - len(payload)) & 0xffffffff


def flow_tcp(flow, payload, partial=False, **head):
    return layer(flow, **head) / (tcp(5000 + flow.number, 80, sequence(flow, payload), partial) / payload)


def flow_udp(flow, payload, **head):
    return layer(flow, **head) / (udp(5000 + flow.number, flow.port) / payload)


def flow_udp_unsummed(flow, payload, **head):
    return layer(flow, **head) / (udp(5000 + flow.number, flow.port, check=0) / payload)


def flow_icmp(flow, payload, **head):
    """echo replies, which nobody answers"""
    return layer(flow, **head) / (icmp(129 if flow.v6 else 0, id=flow.number) / payload)


def flow_sctp(flow, payload, **head):
    return layer(flow, **head) / (raw_of(132, struct.pack("!HHIII", 5000 + flow.number, 80, 1, 0, 0)) / payload)


def flow_other(flow, payload, **head):
    return layer(flow, **head) / (raw_of(253, b"") / payload)


def flow_gre(flow, payload, **head):
    return layer(flow, **head) / (gre(0x0800) / (ip() / (udp(5000 + flow.number, 80) / payload)))


def flow_ipip(flow, payload, **head):
    return layer(flow, **head) / (ip() / (tcp(5000 + flow.number, 80, sequence(flow, payload), nops=0) / payload))


def raw_of(proto, data):
    made = raw(data)
    made.proto = proto
    return made


def layer(flow, **head):
    if flow.v6:
        return ip6(flow.src, flow.dst, **head)
    return ip(flow.src, flow.dst, **head)


class World:
    """Two namespaces and a tunnel of a kind between them, and who sends"""

    NOBODY = "203.0.113.9"

    def __init__(self, n1, n2, kind):
        self.n1, self.n2, self.kind = n1, n2, kind
        self.ether, self.six = kind == "gretap", kind != "ipip"
        self.flows, self.sockets, self.sources, self.outs = [], {}, [], {}
        self.order = {}
        for n, ns in enumerate((n1, n2)):
            self.end(n, ns)
        self.tap, self.plug = None, Plug(n1, "v1")
        self.h0 = self.open_h0()
        with n1.enter:
            self.raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
        self.add_flows()

    def end(self, n, ns):
        own, peer = n + 1, 2 - n
        more = {"ipip": "mode any ", "gretap": ""}.get(self.kind, "")
        mac = f"address {MAC[n]} " if self.ether else ""
        ns.ip(f"link add tun mtu 1400 {mac}type {self.kind} {more}local 192.0.2.{own} remote 192.0.2.{peer}",
              "link set tun up",
              f"addr add 203.0.113.{own}/32 dev tun", f"addr add 198.51.100.{own} dev lo",
              f"route add 203.0.113.{peer} dev tun")
        ns.run("sh", "-c", "cd /proc/sys/net/mpls && echo 1000 >platform_labels && echo 1 >conf/tun/input")
        if self.six:
            ns.ip(f"addr add 2001:db8::{own} dev lo nodad")
        for top in ("ipip", "gre"):
            ns.ip(f"addr add 203.0.113.{own}{top == 'gre':d} dev lo",
                  f"route add 203.0.113.{peer}{top == 'gre':d} dev tun",
                  f"link add {top}1 mtu 1350 type {top} local 203.0.113.{own}{top == 'gre':d} "
                  f"remote 203.0.113.{peer}{top == 'gre':d}", f"link set {top}1 up")
        addresses = ["198.51.100.2", self.NOBODY, "203.0.113.1", "203.0.113.2", "203.0.113.11", "203.0.113.21",
                     "203.0.113.10", "203.0.113.20"] + ["2001:db8::2", "2001:db8::9"] * self.six
        if self.ether:
            ns.ip(*(f"neigh replace {a} lladdr {MAC[1 - n]} nud permanent dev tun" for a in addresses),
                  "link add link tun tun.5 mtu 1390 type vlan id 5", "link set tun.5 up",
                  f"neigh replace 198.51.100.4 lladdr {MAC[1 - n]} nud permanent dev tun.5")
        if n:
            ns.ip("addr add 198.51.100.3 dev lo", "addr add 198.51.100.4 dev lo")
            ns.run("ip", "-f", "mpls", "route", "add", "102", "dev", "lo")
            return
        ns.ip("route add 198.51.100.2 dev tun src 198.51.100.1",
              f"route add {self.NOBODY} dev tun src 198.51.100.1",
              "route add 198.51.100.3 encap mpls 102 via inet 203.0.113.2 dev tun src 198.51.100.1",
              *["route add 2001:db8::2 dev tun src 2001:db8::1",
                "route add 2001:db8::9 dev tun src 2001:db8::1"] * self.six,
              *["route add 198.51.100.4 dev tun.5 src 198.51.100.1"] * self.ether)

    def close(self):
        for ns in (self.n1, self.n2):
            ns.ip("link del ipip1", "link del gre1", "link del tun")
        os.close(self.h0)
        self.n1.tc("qdisc del dev v1 root")
        self.n2.run("ip", "-f", "mpls", "route", "del", "102")
        for ns in (self.n1, self.n2):
            ns.ip("addr flush dev lo")
        for sock in self.sources + list(self.sockets) + list(self.outs.values()) + [self.raw]:
            sock.close()

    def open_h0(self):
        """where packets come from that are forwarded"""
        with self.n1.enter:
            fd = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
            fcntl.ioctl(fd, 0x400454ca, struct.pack("16sH22x", b"h0", 0x5001))  # IFF_TUN, NO_PI, VNET_HDR
        self.n1.ip("link set h0 up", "route add 198.51.100.9 dev h0")
        self.n1.sysctl(net__ipv4__conf__all__forwarding=1, net__ipv4__conf__h0__rp_filter=0)
        return fd

    def add_flows(self):
        def add(name, make, *args, **more):
            Flow(self, name, make, *args, **more)

        self.listen("198.51.100.2", 4001, False)
        self.listen("198.51.100.2", 4002, True)
        add("UDP", flow_udp, dst="198.51.100.2", port=4001, gso="udp")
        add("UDP, UDP_GRO", flow_udp, dst="198.51.100.2", port=4002, gso="udp", joined=True)
        add("UDP without checksum", flow_udp_unsummed, dst="198.51.100.2", port=4001)
        add("UDP, nobody's", flow_udp, dst=self.NOBODY, port=4001, gso="udp")
        add("TCP", flow_tcp, dst=self.NOBODY, gso="tcp", joined=True)
        add("ICMP", flow_icmp, dst="198.51.100.2")
        add("SCTP", flow_sctp, dst=self.NOBODY)
        add("protocol 253", flow_other, dst=self.NOBODY)
        add("GRE", flow_gre, dst=self.NOBODY)
        add("IPIP", flow_ipip, dst=self.NOBODY, joined=True)
        for top in ("ipip1", "gre1"):
            add(f"TCP in {top}", flow_tcp, top, top, dst=self.NOBODY, gso="tcp", joined=True)
            add(f"UDP in {top}", flow_udp, top, top, dst=self.NOBODY, port=4001)
        self.add_labelled(add)
        if self.six:
            self.add_six(add)
        if self.ether:
            self.add_tagged(add)

    def add_labelled(self, add):
        self.listen("198.51.100.3", 4001, False)
        self.listen("198.51.100.3", 4002, True)
        add("MPLS, UDP", flow_udp, None, dst="198.51.100.3", port=4001, gso="udp")
        add("MPLS, UDP, UDP_GRO", flow_udp, None, dst="198.51.100.3", port=4002, gso="udp")
        add("MPLS, TCP", flow_tcp, "h0", dst="198.51.100.3", gso="tcp")
        add("MPLS, ICMP", flow_icmp, None, dst="198.51.100.3")

    def add_six(self, add):
        self.listen("2001:db8::2", 4001, False)
        self.listen("2001:db8::2", 4002, True)
        add("UDP/IPv6", flow_udp, v6=True, dst="2001:db8::2", port=4001, gso="udp")
        add("UDP/IPv6, UDP_GRO", flow_udp, v6=True, dst="2001:db8::2", port=4002, gso="udp", joined=True)
        add("TCP/IPv6", flow_tcp, v6=True, dst="2001:db8::9", gso="tcp", joined=True)
        add("ICMPv6", flow_icmp, v6=True, dst="2001:db8::2")

    def add_tagged(self, add):
        self.listen("198.51.100.4", 4001, False)
        add("VLAN, UDP", flow_udp, "tun.5", "tun.5", dst="198.51.100.4", port=4001, gso="udp")
        add("VLAN, TCP", flow_tcp, "tun.5", "tun.5", dst=self.NOBODY, gso="tcp", joined=True)
        add("VLAN, SCTP", flow_sctp, "tun.5", "tun.5", dst=self.NOBODY)

    def listen(self, address, port, joined):
        with self.n2.enter:
            sock = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM)
        sock.setsockopt(socket.SOL_SOCKET, RCVBUFFORCE, 64 << 20)
        sock.setsockopt(socket.IPPROTO_UDP, UDP_GRO, int(joined))
        sock.bind((address, port))
        sock.setblocking(False)
        self.sockets[sock] = joined

    def udp_source(self, flow):
        with self.n1.enter:
            sock = socket.socket(socket.AF_INET6 if flow.v6 else socket.AF_INET, socket.SOCK_DGRAM)
        sock.bind((flow.src, 5000 + flow.number))
        sock.connect((flow.dst, flow.port))
        self.sources.append(sock)
        return sock

    def out(self, dev):
        """a packet socket on a device of n1"""
        if dev not in self.outs:
            with self.n1.enter:
                sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
            sock.setsockopt(SOL_PACKET, PACKET_VNET_HDR, 1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 64 << 20)
            sock.setsockopt(socket.SOL_SOCKET, 32, 64 << 20)    # SO_SNDBUFFORCE
            self.outs[dev] = sock
        return self.outs[dev]

    def emit(self, flow, packet, gso_size):
        if flow.dev is None:
            self.raw.sendto(packet, (flow.dst, 0))
            return
        if self.ether and flow.dev in ("tun", "tun.5"):
            head = eth(MAC[1], MAC[0], ETHERTYPE[packet[0] >> 4]).bytes()
        else:
            head = b""
        vnet = VNET.pack(0, 0, 0, 0, 0, 0)
        if gso_size:
            at = len(head) + (40 if flow.v6 else 20)
            vnet = VNET.pack(1, 4 if flow.v6 else 1, at + 24, gso_size, at, 16)
        data = vnet + head + packet
        if flow.dev == "h0":
            os.write(self.h0, data)
        else:
            self.out(flow.dev).sendto(data, (flow.dev, ETHERTYPE[packet[0] >> 4]))

    # ------------------------------------------------------------- receiving

    def take(self, dev):
        """-> how many words have come out of the device"""
        for data in self.tap.drain():
            self.note(dev, data)
        for sock in self.sockets:
            with contextlib.suppress(BlockingIOError):
                while True:
                    self.note("socket", sock.recv(1 << 17))
        return sum(order.words for (place, _), order in self.order.items() if place == dev)

    def note(self, place, data):
        at = data.find(TAG)
        if at < 0:
            return
        flow = self.flows[data[at + len(TAG)]]
        if place in (flow.at, "socket"):
            self.order.setdefault((place, flow), Order(flow)).take(data[at:])

    def batches(self, choose, dev):
        """of the flows that are looked at there"""
        self.tap = Tap(self.n2, dev)
        flows = [flow for flow in self.flows if flow.at == dev]
        for _ in range(BATCHES):
            for _ in range(max(FEWEST, SENT * len(flows))):
                choose.choice(flows).send(choose)
            self.plug.release()
            until(sum(flow.next for flow in flows), lambda: self.take(dev))
            self.plug.block()
        self.tap.close()

    def run(self, name):
        choose = random.Random(name)
        self.order = {}
        for flow in self.flows:
            flow.start()
        for dev in dict.fromkeys(flow.at for flow in self.flows):
            self.batches(choose, dev)
        for flow in self.flows:
            self.judge(name, flow)

    def judge(self, name, flow):
        trouble = []
        for place in (flow.at, "socket"):
            order = self.order.get((place, flow), Order(flow))
            if place == "socket" and not (flow.port and flow.dst != self.NOBODY):
                continue
            if order.words != flow.next:
                trouble.append(f"{place}: {order.words} words of {flow.next}")
            if self.joined_below and flow.joined:
                continue        # late before it came to the tunnel
            if order.trouble:
                trouble.append(f"{place}: {len(order.trouble)} of {order.packets} packets are late")
            trouble += [f"{place}: {t}" for t in order.trouble[:5]]
        with expected(flow):
            check(f"{name}: {flow.name}: {flow.next} words, in order", not trouble, *trouble)


def expected(flow):
    """GRO sends a packet that it cannot hold before those that it holds"""
    return differs("GRO does not keep the order") if flow.joined else contextlib.nullcontext()


def combination(world, offloads, joined, weight):
    """offloads below; whether the underlay joins packets; packets that the
    processor's queue lets go of at a time"""
    below = "on" if offloads else "off"
    world.joined_below = joined
    world.n1.offloads("v1", offloads)
    world.n2.offloads("v2", joined, "gro")
    machine("dev_weight", weight)
    machine("dev_weight_tx_bias", 1024 // weight)
    name = f"{world.kind}, offloads {below}, GRO below {'on' if joined else 'off'}, weight {weight}"
    world.run(name)


def main():
    need_modules()
    modprobe("mpls_router", "mpls_iptunnel", "sch_plug", "8021q", "sctp", "tun")
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    keep("dev_weight", "dev_weight_tx_bias", "netdev_max_backlog")
    machine("netdev_max_backlog", 20000)
    with NetNs(ipv6=True) as n1, NetNs(ipv6=True) as n2:
        veth_pair(n1, "v1", "192.0.2.1/24", n2, "v2", "192.0.2.2/24")
        for kind in ("ipip", "gre", "gretap"):
            world = World(n1, n2, kind)
            diag(f"{kind}: {len(world.flows)} flows")
            for offloads, joined, weight in ((True, False, 64), (True, False, 1), (False, False, 64),
                                             (True, True, 1)):
                combination(world, offloads, joined, weight)
            world.close()


ksft_run(main)
