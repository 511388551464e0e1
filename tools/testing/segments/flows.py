# SPDX-License-Identifier: GPL-2.0-only
"""Traffic for the tunnels. A flow is a payload and a source; the same seed gives the same packets. GSO packets made by
the kernel come from GRO."""

import errno
import os
import socket
import struct

import card
import packets
from packets import GRE, IPIP, IPV6, SCTP, TCP, UDP, ethernet, ip, labels, transport, vnet

FROM4, FROM6 = "203.0.113.5", "2001:db8:5::5"
LOCAL4, LOCAL6 = "10.9.9.1", "2001:db8:9::1"
# Destinations behind the tunnel, behind a nested tunnel, behind MPLS labels
TO4, TO6 = "198.51.100.2", "2001:db8:100::2"
TOP4, TOP6 = "198.51.101.1{}", "2001:db8:101::1{}"
MPLS4 = "198.51.102.2"
FWD_MAC, BRIDGE_MAC, CARD_MAC = "02:00:00:00:00:f0", "02:00:00:00:00:b0", "02:00:00:00:ca:01"
HOST_MACS = "02:00:00:00:bb:02", "02:00:00:00:bb:01"
IPV4_TYPE, IPV6_TYPE, MPLS_TYPE, VLAN_TYPE, QINQ_TYPE = 0x800, 0x86dd, 0x8847, 0x8100, 0x88a8
SIZES = [200, 333, 536, 1000, 1101]


class Shape:
    """A random packet: segment size, payload, ports and flags"""

    def __init__(self, rng, most=9):
        self.size = rng.choice(SIZES)
        count = rng.choice([2, 3, 3, 4, 5, rng.randint(2, most), 19 if self.size < 400 else 6])
        self.payload = rng.randbytes(self.size * (count - 1) + rng.choice([1, 2, self.size - 1, self.size]))
        self.count = count
        self.ports = rng.randint(1024, 65535), rng.choice([9, 80, 443])
        self.seq = rng.choice([1, 0xfffffff0, rng.getrandbits(32)])
        self.flags = rng.choice([0x10, 0x10, 0x18, 0x19])
        self.ident = rng.choice([0, 1, 0xfffe, rng.getrandbits(16)])
        self.head = rng.choice([0, 0, 1, 17])


def ends(v6, target):
    return (FROM6 if v6 else FROM4), target


def gso_ip(shape, protocol, source, target, df=True):
    """-> the packet from the IP header on, and the offset of its transport header"""
    data = transport(protocol, source, target, shape.ports, shape.payload, shape.seq, shape.flags)
    return ip(protocol, source, target, data, shape.ident, df), 40 if ":" in source else 20


def kind_of(protocol, v6):
    return {TCP: card.TCP6 if v6 else card.TCP4, UDP: card.UDP, SCTP: card.SCTP}[protocol]


def gso_order(ifindex, shape, frame, at, protocol, v6, how, rng):
    """at: offset of the transport header"""
    head = at + packets.HEADER[protocol]
    options = {"head": min(head + shape.head, len(frame)) if how == "pages" else 0}
    size, segments = shape.size, shape.count
    if protocol == SCTP:
        options, size = {"head": head, "piece": shape.size}, card.BY_FRAGMENTS
    elif how == "list":
        options = {"head": head + shape.size, "piece": shape.size}
    flags = card.SUM_LEFT | (card.DODGY if rng.random() < 0.3 and protocol != SCTP else 0)
    if flags & card.DODGY:
        segments = 0
    if protocol == SCTP:
        flags |= card.CRC
    return card.order(ifindex, card.RECEIVE, frame, kind_of(protocol, v6), flags, size, segments, at,
                      packets.CSUM_AT[protocol], **options)


class Flow:
    """fits(): true if the tunnel can carry it; plan(): -> what is to be sent, the same for each card; send(): send it
    -> number of GSO packets sent, [errno]"""

    def __init__(self, name, **settings):
        self.name = name
        self.v6 = self.mpls = self.frames = False
        self.top = None
        self.protocol, self.how, self.df, self.target = TCP, "pages", True, None
        self.__dict__.update(settings)
        self.target = self.target or (TO6 if self.v6 else TO4)

    def fits(self, tunnel):
        if self.frames and not tunnel.ethernet:
            return False
        if self.mpls and not tunnel.mpls:
            return False
        if tunnel.inherits and self.ttls():
            return False
        return not (self.v6 and tunnel.only4 and not self.top)

    def ttls(self):
        """Return true if the in-tree modules may inherit the TTL of another header, or a TTL not yet decremented."""
        return bool(getattr(self, "inside", None)) or bool(self.top) or getattr(self, "device", "") == "inlist"

    def looped(self, tunnel):
        """Return true if it can be received from the tunnel in the same namespace, not through the tunnel's bridge."""
        return not (self.frames or self.mpls or tunnel.ethernet and isinstance(self, (Tap, Redirected)))


class Forwarded(Flow):
    """Received from a network card, and forwarded"""

    device, target_mac, source_mac = "fwd0", FWD_MAC, HOST_MACS[1]
    tags = ()
    stack = ()

    def plan(self, world, rng, count):
        ifindex = world.ifindex(self.device)
        return [self.one(ifindex, rng) for _ in range(count)]

    def send(self, world, plan):
        world.cards.write(b"".join(plan))
        return len(plan), []

    def frame(self, packet):
        proto = IPV6_TYPE if self.v6 else IPV4_TYPE
        if self.stack:
            packet, proto = labels(*self.stack) + packet, MPLS_TYPE
        return ethernet(self.target_mac, self.source_mac, proto, packet, self.tags)

    def one(self, ifindex, rng):
        shape = Shape(rng)
        source, target = ends(self.v6, self.target)
        packet, at = gso_ip(shape, self.protocol, source, target, self.df)
        frame = self.frame(packet)
        return gso_order(ifindex, shape, frame, at + len(frame) - len(packet), self.protocol, self.v6, self.how, rng)


class Single(Forwarded):
    """Not a GSO packet, but one with partial checksum"""

    def one(self, ifindex, rng):
        shape = Shape(rng)
        shape.payload = shape.payload[:shape.size]
        source, target = ends(self.v6, self.target)
        packet, at = gso_ip(shape, self.protocol, source, target, self.df)
        frame = self.frame(packet)
        flags = card.SUM_LEFT | (card.CRC if self.protocol == SCTP else 0)
        return card.order(ifindex, card.RECEIVE, frame, card.NONE, flags,
                          start=at + len(frame) - len(packet), offset=packets.CSUM_AT[self.protocol])

    def send(self, world, plan):
        super().send(world, plan)
        return 0, []


class Bridged(Forwarded):
    device, target_mac = "brin", HOST_MACS[0]


class Redirected(Forwarded):
    """Redirected by tc at ingress of a device"""

    device, target_mac = "tc0", HOST_MACS[0]


class Received(Forwarded):
    """Frames that GRO merges; inside: frames of another tunnel"""

    device, inside = "in", None

    def one(self, ifindex, rng):
        shape = Shape(rng)
        flags = rng.choice([0, card.SUMMED])
        return b"".join(self.order(ifindex, frame, flags, rng) for frame in self.burst_frames(shape, rng))

    def order(self, ifindex, frame, flags, rng):
        head = min(len(frame), 14 + 60 + rng.choice([20, 40])) if self.how == "pages" else 0
        return card.order(ifindex, card.GRO, frame, flags=flags, head=head)

    def burst_frames(self, shape, rng):
        """-> the segments of the packet, as received from the wire"""
        source, target = ends(self.v6, self.target)
        count_up = rng.choice([0, 1])
        for n, at in enumerate(range(0, len(shape.payload), shape.size)):
            part = shape.payload[at:at + shape.size]
            last = at + shape.size >= len(shape.payload)
            data = transport(self.protocol, source, target, shape.ports, part, shape.seq + at,
                             shape.flags if last else 0x10, left=False)
            packet = ip(self.protocol, source, target, data, shape.ident + n * count_up, self.df)
            yield ethernet(CARD_MAC, HOST_MACS[1], IPV6_TYPE if self.v6 else IPV4_TYPE, self.wrap(packet, n))

    def wrap(self, packet, n):
        if self.inside == "ipip":
            return ip(IPIP, FROM4, TO4, packet, ident=n, ttl=33)
        if self.inside == "gre":
            return ip(GRE, FROM4, TO4, packets.gre(packet, IPV4_TYPE, key=5), ident=n, ttl=33)
        if self.inside == "gre-csum":
            return ip(GRE, FROM4, TO4, packets.gre(packet, IPV4_TYPE, csum=True), ident=n, ttl=33)
        if self.inside == "gretap":
            frame = ethernet(HOST_MACS[0], HOST_MACS[1], IPV4_TYPE, packet)
            return ip(GRE, FROM4, TO4, packets.gre(frame, 0x6558), ident=n, ttl=33)
        if self.inside == "sit":
            return ip(IPV6, FROM4, TO4, packet, ident=n, ttl=33)
        return packet


def attempts(send, packets_to_send):
    """-> [errno] of those that were refused"""
    wrong = []
    for data in packets_to_send:
        try:
            send(data)
        except OSError as error:
            wrong.append(error.errno)
    return wrong


class Tap(Flow):
    """A tap, as for a VM: gso_segs is not set; wrong: gso_size is wrong, too"""

    target_mac, tags, wrong = BRIDGE_MAC, (), None

    def plan(self, world, rng, count):
        return [self.one(world.tunnel, self.shape(rng)) for _ in range(count)]

    def one(self, _, shape):
        source, target = ends(self.v6, self.target)
        packet, at = gso_ip(shape, self.protocol, source, target, self.df)
        frame = ethernet(self.target_mac, HOST_MACS[1], IPV6_TYPE if self.v6 else IPV4_TYPE, packet, self.tags)
        return self.header(shape, at + len(frame) - len(packet)) + frame

    def send(self, world, plan):
        return len(plan), attempts(lambda data: os.write(world.tap, data), plan)

    def shape(self, rng):
        """Single segments must fit into the tunnel: a dropped packet may or may not use a sequence number."""
        shape = Shape(rng)
        if self.wrong in ("large", "whole"):
            shape.payload = shape.payload[:1200]
        return shape

    def header(self, shape, at):
        kind = packets.VNET_UDP if self.protocol == UDP else packets.VNET_TCP6 if self.v6 else packets.VNET_TCP4
        size = {None: shape.size, "large": len(shape.payload) + 9, "whole": len(shape.payload), "small": 50}[self.wrong]
        return vnet(kind, 1, at + packets.HEADER[self.protocol], min(size, 0xffff), at, packets.CSUM_AT[self.protocol])


class PacketSocket(Tap):
    """PACKET_VNET_HDR on the tunnel itself"""

    def one(self, tunnel, shape):
        source, target = ends(self.v6, self.target)
        packet, at = gso_ip(shape, self.protocol, source, target, self.df)
        if tunnel.ethernet:
            packet = ethernet(HOST_MACS[0], HOST_MACS[1], IPV6_TYPE if self.v6 else IPV4_TYPE, packet, self.tags)
            at += 14 + 4 * len(self.tags)
        return self.header(shape, at) + packet

    def send(self, world, plan):
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as sock:
            sock.bind((world.tunnel.device, IPV6_TYPE if self.v6 else IPV4_TYPE))
            sock.setsockopt(263, 15, 1)             # SOL_PACKET, PACKET_VNET_HDR
            return len(plan), attempts(sock.send, plan)


class LocalUdp(Flow):
    def plan(self, world, rng, count):
        return [Shape(rng) for _ in range(count)]

    def send(self, world, plan):
        wrong = []
        family = socket.AF_INET6 if self.v6 else socket.AF_INET
        with socket.socket(family, socket.SOCK_DGRAM) as sock:
            sock.bind((LOCAL6 if self.v6 else LOCAL4, 5000))
            for shape in plan:
                sock.setsockopt(socket.SOL_UDP, 103, shape.size)        # UDP_SEGMENT
                wrong += self.one(world, sock, shape)
        return len(plan), wrong

    def one(self, world, sock, shape):
        """Before 6.11 UDP_SEGMENT requires checksum offload of the device, so the reference has it, too."""
        for again in False, True:
            try:
                sock.sendto(shape.payload, (self.target, 9))
                break
            except OSError as error:
                if again or error.errno != errno.EIO or not world.reference:
                    return [error.errno]
                world.features.checksum(world.top(self.top) if self.top else "tun")
        return []


class LocalTcp(Flow):
    """A socket in repair mode, connected and closed without packets"""

    def plan(self, world, rng, count):
        return [Shape(rng) for _ in range(count)]

    def send(self, world, plan):
        for shape in plan:
            self.one(shape)
        return len(plan), []

    def one(self, shape):
        family = socket.AF_INET6 if self.v6 else socket.AF_INET
        with socket.socket(family, socket.SOCK_STREAM) as sock:
            def repair(value):
                sock.setsockopt(socket.SOL_TCP, 19, value)
            repair(1)
            sock.bind((LOCAL6 if self.v6 else LOCAL4, shape.ports[0]))
            for queue, number in (1, 1), (2, shape.seq):                # received, sent
                sock.setsockopt(socket.SOL_TCP, 20, queue)
                sock.setsockopt(socket.SOL_TCP, 21, struct.pack("=I", number))
            sock.connect((self.target, shape.ports[1]))
            sock.setsockopt(socket.SOL_TCP, 22, struct.pack("=II", 2, shape.size))      # MSS
            sock.setsockopt(socket.SOL_TCP, 29, struct.pack("=IIIII", 0, 1 << 20, 1 << 20, 1 << 16, 1))
            repair(0)
            sock.setsockopt(socket.SOL_TCP, socket.TCP_NODELAY, 1)
            sock.send(shape.payload[:9 * shape.size])
            repair(1)


def flows():
    """-> [Flow]"""
    every = []

    def add(sort, name, **settings):
        every.append(sort(name, **settings))

    both = [(4, False), (6, True)]
    protocols = [("tcp", TCP), ("udp", UDP), ("sctp", SCTP)]
    for number, v6 in both:
        for name, protocol in protocols:
            add(Forwarded, f"forward {name}{number}", v6=v6, protocol=protocol)
            add(Single, f"forward one {name}{number}", v6=v6, protocol=protocol)
            if protocol != SCTP:
                add(Forwarded, f"forward {name}{number} list", v6=v6, protocol=protocol, how="list")
                add(Received, f"gro {name}{number}", v6=v6, protocol=protocol)
                add(Received, f"gro {name}{number} list", v6=v6, protocol=protocol, how="linear")
                add(Received, f"gro {name}{number} fraglist", v6=v6, protocol=protocol, how="linear", device="inlist")
                add(Tap, f"tap routed {name}{number}", v6=v6, protocol=protocol)
                add(Redirected, f"tc {name}{number}", v6=v6, protocol=protocol)
                add(PacketSocket, f"packet {name}{number}", v6=v6, protocol=protocol)
        add(LocalUdp, f"local udp{number}", v6=v6, protocol=UDP)
        add(LocalTcp, f"local tcp{number}", v6=v6)
    add(Forwarded, "forward tcp4 linear", how="linear")
    add(Forwarded, "forward tcp4 without df", df=False)
    add(Forwarded, "forward udp4 without df", protocol=UDP, df=False)
    add(Received, "gro tcp4 without df", df=False)
    for inside in "ipip", "gre", "gre-csum", "gretap":
        add(Received, f"gro {inside} of tcp4", inside=inside)
    add(Received, "gro ipip of udp4", inside="ipip", protocol=UDP)
    add(Received, "gro ipip of tcp4 list", inside="ipip", how="linear")
    for wrong in "large", "whole", "small":
        add(Tap, f"tap routed tcp4, gso_size {wrong}", wrong=wrong)
        add(Tap, f"tap routed udp4, gso_size {wrong}", wrong=wrong, protocol=UDP)
        add(PacketSocket, f"packet tcp4, gso_size {wrong}", wrong=wrong)
    bridged(add, both, protocols)
    for name, protocol in protocols[:2]:
        add(Forwarded, f"labels {name}4", protocol=protocol, target=MPLS4, mpls=True)
        add(Redirected, f"tc label {name}4", protocol=protocol, stack=(100,), mpls=True)
    add(Redirected, "tc labels tcp6", v6=True, stack=(100, 200), mpls=True)
    add(LocalUdp, "labels local udp4", protocol=UDP, target=MPLS4, mpls=True)
    for top in TOPS:
        to4, to6 = TOP4.format(TOPS.index(top)), TOP6.format(TOPS.index(top))
        add(Forwarded, f"{top} on it, tcp4", target=to4, top=top)
        add(Forwarded, f"{top} on it, udp4", target=to4, top=top, protocol=UDP)
        add(LocalUdp, f"{top} on it, local udp4", target=to4, top=top, protocol=UDP)
        if top != "ipip":
            add(Forwarded, f"{top} on it, tcp6", target=to6, top=top, v6=True)
    return every


def bridged(add, both, protocols):
    """Additional payloads of Ethernet tunnels"""
    tagged = {"vlan": ((VLAN_TYPE, 5),), "qinq": ((QINQ_TYPE, 7), (VLAN_TYPE, 5))}
    for number, v6 in both:
        for name, protocol in protocols:
            add(Bridged, f"bridge {name}{number}", v6=v6, protocol=protocol, frames=True)
    for tag, tags in tagged.items():
        for name, protocol in protocols[:2]:
            add(Bridged, f"bridge {tag} {name}4", protocol=protocol, tags=tags, frames=True)
        add(Single, f"bridge {tag} one tcp4", device="brin", target_mac=HOST_MACS[0], tags=tags, frames=True)
        add(Tap, f"tap bridged {tag} tcp4", target_mac=HOST_MACS[0], tags=tags, frames=True)
        add(Redirected, f"tc {tag} udp4", protocol=UDP, tags=tags, frames=True)
        add(PacketSocket, f"packet {tag} tcp4", tags=tags, frames=True)
    add(Tap, "tap bridged tcp4", target_mac=HOST_MACS[0], frames=True)
    add(Tap, "tap bridged tcp6", target_mac=HOST_MACS[0], v6=True, frames=True)
    add(Tap, "tap bridged udp4", target_mac=HOST_MACS[0], protocol=UDP, frames=True)
    for wrong in "large", "whole", "small":
        add(Tap, f"tap bridged tcp4, gso_size {wrong}", target_mac=HOST_MACS[0], wrong=wrong, frames=True)
    add(Bridged, "bridge label tcp4", stack=(100,), frames=True)
    add(Bridged, "bridge labels tcp6", v6=True, stack=(100, 200), frames=True)
    add(Bridged, "bridge vlan labels udp4", protocol=UDP, stack=(100, 200), tags=tagged["vlan"], frames=True)


# Nested tunnels
TOPS = ["ipip", "gre", "gre key 77 csum seq", "gretap", "gretap seq",
        "gre seq encap gue encap-sport 7001 encap-dport 5553"]
