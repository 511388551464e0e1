#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""ERSPAN: the header of types I, II and III on the wire, bit by bit, and what is
received of each; how a session is configured and changed.

       the test (192.0.2.x)
              | u0, a tun device
       n0: 192.0.2.1        203.0.113.1 --- u1, a tap device whose frames come in pieces
           e1, e2, e3    erspan_ver 0, 1 and 2
           d0, a dummy whose frames are mirrored into them
"""
import contextlib
import itertools
import struct
import time

from ksft import ksft_run, need_modules, modprobe, NetNs
from ether import Port, erspan, frame, info, netlink, put_up, sends_frame, tc
from pkt import gre, ip, ip6, raw, udp, vlan
from wire import CRC, FRAME, LENGTH, SEQ, Tap, Tun, attempt, case, differs, expect, fields, run_ip, show, sysctl

DROPPED = "u0 rx_dropped=1"
UNREACHABLE = f"{DROPPED}; u0: icmp 3/3"
I_II, III = 0x88be, 0x22eb
KEY, INDEX, HWID = 0x3a5, 0xabcde, 0x2a
OPTIONS = {"e1": "erspan_ver 0",
           "e2": f"seq key {KEY} erspan_ver 1 erspan {INDEX}",
           "e3": f"seq key {KEY} erspan_ver 2 erspan_dir egress erspan_hwid {HWID}"}
# By version: bytes of GRE and ERSPAN header, of the ERSPAN header alone, and of the GRE header
HEAD, BEHIND_GRE, GRE_HEAD = (4, 16, 20), (0, 8, 12), (4, 8, 8)
OUTER = tuple((f"192.0.2.{n}", "192.0.2.1", 47) for n in (2, 3, 4))
TAIL = udp() / raw(40)
FRAMES = {
    # frame, its VLAN and class of service, and whether the in-tree drivers find the class
    "IPv4": (frame(ip() / TAIL), 0, 0, True),
    "IPv4, TOS 0xe0": (frame(ip(tos=0xe0) / udp() / raw(40)), 0, 7, True),
    "IPv4, TOS 0x5f": (frame(ip(tos=0x5f) / udp() / raw(40)), 0, 2, True),
    "IPv6": (frame(ip6() / udp()), 0, 0, True),
    "IPv6, class 0xa8": (frame(ip6(tc=0xa8) / udp()), 0, 5, False),
    "VLAN 100": (frame(vlan(100) / ip() / udp() / raw(40)), 100, 0, True),
    "VLAN 4095, priority 5": (frame(vlan(4095, pcp=5) / ip() / udp() / raw(40)), 4095, 0, True),
    "VLAN 1, IPv4, TOS 0xa0": (frame(vlan(1) / ip(tos=0xa0) / udp() / raw(40)), 1, 5, True),
    "VLAN 1, IPv6, class 0xa0": (frame(vlan(1) / ip6(tc=0xa0) / udp()), 1, 5, False),
    "VLAN 200, in it 102, IPv4, TOS 0xa0":
        (frame(vlan(200, type=0x8100) / vlan(102) / ip(tos=0xa0) / udp() / raw(40)), 200, 5, True),
    "802.1ad, in it 102, IPv4, TOS 0xa0":
        (frame(vlan(200, type=0x8100) / vlan(102) / ip(tos=0xa0) / udp() / raw(40), type=0x88a8), 0, 5, True),
    # Cut before it came here: by its IP header there was more.
    "cut IPv4": (frame(ip(length=500) / udp() / raw(40)), 0, 0, True),
    "cut IPv6": (frame(ip6(length=500) / udp() / raw(40)), 0, 0, True),
    "cut by a byte": (frame(ip(length=69) / udp() / raw(40)), 0, 0, True),
    "whole": (frame(ip(length=68) / udp() / raw(40)), 0, 0, True),
    "ARP": (frame(raw(46), type=0x0806), 0, 0, True),
    "like IPv4": (frame(ip(tos=0xe0) / raw(40), type=0x88b5), 0, 0, False),
    "59 bytes": (frame(raw(45), type=0x88b5), 0, 0, True),
    "60 bytes": (frame(raw(46), type=0x88b5), 0, 0, True),
    "34 bytes": (frame(ip()), 0, 0, True),
    "1514 bytes": (frame(raw(1500), type=0x88b5), 0, 0, True),
    "1515 bytes": (frame(raw(1501), type=0x88b5), 0, 0, True),
    "all there is room for": (frame(ip() / raw(3926)), 0, 0, True),
}
DATA = frame(ip() / udp() / b"hello").bytes()
GOOD = f"rx_bytes={len(DATA)} rx_packets=1"

ENDS = ("LOCAL=192.0.2.1", "REMOTE=192.0.2.9")
FLAGS = ("IFLAGS=0x3000", "OFLAGS=0x3000")
SEQ_KEY = (*FLAGS, "IKEY=5", "OKEY=5")
BAD = {
    "version 3": (*SEQ_KEY, "ERSPAN_VER=3"),
    "version 255": (*SEQ_KEY, "ERSPAN_VER=255"),
    "type II, index 2^20": (*SEQ_KEY, "ERSPAN_VER=1", "ERSPAN_INDEX=0x100000"),
    "no version, index 2^20": (*SEQ_KEY, "ERSPAN_INDEX=0x100000"),
    "type III, direction 2": (*SEQ_KEY, "ERSPAN_VER=2", "ERSPAN_DIR=2"),
    "type III, hardware id 64": (*SEQ_KEY, "ERSPAN_VER=2", "ERSPAN_HWID=64"),
    "key 1024": (*FLAGS, "IKEY=1024", "OKEY=1024", "ERSPAN_VER=1"),
    "output key 1024": (*FLAGS, "IKEY=1", "OKEY=1024", "ERSPAN_VER=1"),
    "input key 1024": (*FLAGS, "IKEY=1024", "OKEY=1", "ERSPAN_VER=1"),
    "no flags": ("ERSPAN_VER=1",),
    "no sequence number": ("IFLAGS=0x2000", "OFLAGS=0x2000", "IKEY=5", "OKEY=5", "ERSPAN_VER=1"),
    "no key": ("IFLAGS=0x1000", "OFLAGS=0x1000", "ERSPAN_VER=2"),
    "a checksum": ("IFLAGS=0xb000", "OFLAGS=0xb000", "IKEY=5", "OKEY=5", "ERSPAN_VER=1"),
    "routing": ("IFLAGS=0x7000", "OFLAGS=0x3000", "ERSPAN_VER=1"),
    "version 1 of GRE": ("IFLAGS=0x3001", "OFLAGS=0x3000", "ERSPAN_VER=1"),
}
ACCEPTED = (
    ("nothing but type I", ("ERSPAN_VER=0",), {"erspan_ver": 0}),
    ("type II is the default", SEQ_KEY, {"erspan_ver": 1, "erspan_index": 0}),
    ("type II, index", (*SEQ_KEY, "ERSPAN_INDEX=0xfffff"), {"erspan_ver": 1, "erspan_index": 0xfffff}),
    ("type II without a direction", (*SEQ_KEY, "ERSPAN_VER=1", "ERSPAN_DIR=1", "ERSPAN_HWID=5"),
     {"erspan_ver": 1, "erspan_index": 0}),
    ("type III", (*SEQ_KEY, "ERSPAN_VER=2"), {"erspan_ver": 2, "erspan_dir": "ingress", "erspan_hwid": "0"}),
    ("type III, all", (*SEQ_KEY, "ERSPAN_VER=2", "ERSPAN_DIR=1", "ERSPAN_HWID=63"),
     {"erspan_ver": 2, "erspan_dir": "egress", "erspan_hwid": "0x3f"}),
    ("type III without an index", (*SEQ_KEY, "ERSPAN_VER=2", "ERSPAN_INDEX=7"),
     {"erspan_ver": 2, "erspan_dir": "ingress", "erspan_hwid": "0"}))
CHANGES = (
    # version, session, attributes, and the fields of the header
    (1, 7, ["ERSPAN_INDEX=3"], {"index": 3}),
    (2, 8, ["ERSPAN_DIR=0", "ERSPAN_HWID=1"], {"p": 1, "hwid": 1}),
    (1, 9, ["ERSPAN_INDEX=4"], {"index": 4}),
    (0, 0, [], None),
    (2, 10, ["ERSPAN_DIR=1", "ERSPAN_HWID=2"], {"p": 1, "hwid": 2, "d": 1}),
    (0, 0, [], None),
)


def add(name, remote, options, mac="02:00:00:00:00:09"):
    run_ip(f"link add {name} address {mac} type erspan local 192.0.2.1 remote 192.0.2.{remote} {options}",
           *put_up(name))
    return Port(name)


def session(version, key=KEY, seq=0):
    """all that is in front of a frame"""
    if version == 0:
        return gre(I_II)
    return gre(I_II if version == 1 else III, seq=seq) / erspan(key, version)


def clock():
    """in the unit of the time stamps, 100 microseconds"""
    return time.clock_gettime_ns(time.CLOCK_REALTIME) // 100000 & 0xffffffff


class Bench:
    """The wire and the three devices, with the sequence numbers they are at"""

    def __init__(self, u0):
        self.u0 = u0
        self.ports = [add(dev, int(dev[1]) + 1, OPTIONS[dev]) for dev in OPTIONS]
        self.sent = [0, 0, 0]           # frames, by version
        self.stamps = []                # (before it was sent, of the frame, after)
        self.numbers = itertools.count(1)

    def seq(self):
        """the next sequence number to be received; no device has seen a greater one"""
        return next(self.numbers)

    def receive(self, name, want, port, packet, data=DATA):
        """outcome, and the frame if one was received"""
        for p in self.ports:
            p.took()
        case(name, want, self.u0, packet)
        expect(f"{name}, the frame", [data.hex()] if "rx_packets" in want else [], port.took())

    def each(self):
        """-> version, port, outer addresses"""
        return zip(range(3), self.ports, OUTER)


def mtus(bench):
    for version, port, _ in bench.each():
        expect(f"MTU of {port.dev}", 4000 - 20 - 14 - HEAD[version],
               show("link", "show", "dev", port.dev)[0]["mtu"])


# -------------------------------------------------------------------- sending

def header_of(version, seq, tag=0, cos=0, t=0, size=60, stamp=0):
    if version == 0:
        return gre(I_II).bytes()
    if version == 1:
        return (gre(I_II, seq=seq) / erspan(KEY, 1, tag, cos, en=3 if tag else 0, t=t, index=INDEX)).bytes()
    # The length: too short for Ethernet, too long, or neither.
    bso = 1 if size < 60 else 2 if size > 1514 else 0
    return (gre(III, seq=seq) / erspan(KEY, 2, tag, cos, en=bso, t=t, stamp=stamp, p=1, hwid=HWID, d=1)).bytes()


def whole_packet(bench, name, version, sent, data, began, **want):
    """The outer packet is right, byte for byte."""
    head, stamp = HEAD[version], 0
    if version == 2:
        stamp = struct.unpack_from("!I", sent, 20 + 12)[0]
        bench.stamps.append((began, stamp, clock()))
    expect(f"{name}, the header", header_of(version, bench.sent[version], size=len(data), stamp=stamp, **want).hex(),
           sent[20:20 + head].hex())
    expect(f"{name}, the frame", data.hex(), sent[20 + head:].hex())
    bench.sent[version] += 1


def known_difference(version, what, known):
    if version and not known:
        return differs("reads a TOS where there is none")
    if what.startswith("cut"):
        return differs("does not look at a header of AF_PACKET's")
    return contextlib.nullcontext()


def frame_data(version, what, packet):
    data = packet.bytes()
    if what.startswith("all"):
        return frame(ip() / raw(len(data) - HEAD[version] + 4 - 34)).bytes()
    return data


def send_frame(bench, version, port, what):
    packet, tag, cos, known = FRAMES[what]
    name = f"{port.dev}: {what}"
    data = frame_data(version, what, packet)
    began = clock()
    sent = sends_frame(name, bench.u0, f"gre {20 + HEAD[version] + len(data)}", port, data)
    if sent:
        got = fields(sent)
        expect(f"{name}, DF and the addresses", (1, "192.0.2.1", f"192.0.2.{version + 2}"),
               (got["df"], got["src"], got["dst"]))
        with known_difference(version, what, known):
            whole_packet(bench, name, version, sent, data, began, tag=tag, cos=cos, t=int(what.startswith("cut")))


def every_frame(bench):
    for version, port, _ in bench.each():
        for what in FRAMES:
            send_frame(bench, version, port, what)


def time_stamps(bench):
    """of 100 microseconds, and of the moment of sending"""
    expect("the time stamps", [], [
        s for began, s, ended in bench.stamps
        if (s - began) & 0xffffffff > (ended - began + 2) & 0xffffffff and s != began])


def mirror(bench, version, port, d0, size):
    data = frame(raw(size - 14), type=0x88b5).bytes()
    short = data[:1414]
    name = f"{port.dev}: a mirrored frame of {size}"
    began = clock()
    want, got, came = attempt(
        f"d0 tx_bytes={size} tx_packets=1; {port.dev} tx_bytes={len(short) - 14} tx_packets=1; "
        f"u0: gre {20 + HEAD[version] + len(short)}", lambda: d0.give(data))
    expect(name, want, got)
    if want == got:
        whole_packet(bench, name, version, came[bench.u0][0], short, began, t=int(size > 1414))


def mirrored(bench):
    """A frame longer than the MTU is truncated. Only another device can hand over such a frame."""
    run_ip("link add d0 mtu 3900 type dummy", *put_up("d0"), *(f"link set e{n} mtu 1400" for n in (1, 2, 3)))
    d0 = Port("d0")
    for version, port, _ in bench.each():
        tc("qdisc add dev d0 clsact",
           f"filter add dev d0 egress matchall action mirred egress mirror dev {port.dev}")
        for size in (1413, 1414, 1415, 1514, 3000):
            mirror(bench, version, port, d0, size)
        tc("qdisc del dev d0 clsact")


# ------------------------------------------------------------------ receiving

def header_fields(bench):
    """No field of the header keeps a frame from being received."""
    _, e2, e3 = bench.ports
    receive, seq = bench.receive, bench.seq
    receive("type I", f"e1 {GOOD}", bench.ports[0], ip(*OUTER[0]) / gre(I_II) / DATA)
    for number in (1, 2, 7, 0xfffff):
        receive(f"type II, index {number}", f"e2 {GOOD}", e2,
                ip(*OUTER[1]) / gre(I_II, seq=seq()) / erspan(KEY, index=number) / DATA)
        receive(f"type III, stamp {number}", f"e3 {GOOD}", e3,
                ip(*OUTER[2]) / gre(III, seq=seq()) / erspan(KEY, 2, stamp=number) / DATA)
    for field, value in (("tag", 4095), ("cos", 7), ("en", 3), ("t", 1)):
        for port, outer, version, proto in ((e2, OUTER[1], 1, I_II), (e3, OUTER[2], 2, III)):
            receive(f"{port.dev}: {field} {value}", f"{port.dev} {GOOD}", port,
                    ip(*outer) / gre(proto, seq=seq()) / erspan(KEY, version, **{field: value}) / DATA)
    for field, value in (("sgt", 0xffff), ("p", 1), ("ft", 31), ("hwid", 63), ("d", 1), ("gra", 3)):
        receive(f"type III: {field} {value}", f"e3 {GOOD}", e3,
                ip(*OUTER[2]) / gre(III, seq=seq()) / erspan(KEY, 2, **{field: value}) / DATA)


def platform_subheader(bench):
    for platform in (bytes(8), b"\xff" * 8, bytes(range(8))):
        with differs("takes the platform's 8 bytes for the frame"):
            bench.receive(f"type III, for a platform: {platform.hex()}", f"e3 {GOOD}", bench.ports[2],
                          ip(*OUTER[2]) / gre(III, seq=bench.seq()) / erspan(KEY, 2, o=1, platform=platform) / DATA)


def type_is_of_the_packet(bench):
    """The packet says which type it is, not the device."""
    for _, port, outer in list(bench.each())[1:]:
        for version in (1, 2):
            for proto in (I_II, III):
                bench.receive(f"{port.dev}: version {version}, protocol {proto:x}", f"{port.dev} {GOOD}", port,
                              ip(*outer) / gre(proto, seq=bench.seq()) / erspan(KEY, version) / DATA)


def unknown_versions(bench):
    for version in (0, *range(3, 16)):
        for port, outer, proto in zip(bench.ports[1:], OUTER[1:], (I_II, III)):
            with differs("takes it for another"):
                bench.receive(f"{port.dev}: version {version} is refused", DROPPED, port,
                              ip(*outer) / gre(proto, seq=bench.seq()) / erspan(KEY, version) / DATA)


def sessions(bench):
    e1, e2, _ = bench.ports
    receive, seq = bench.receive, bench.seq
    for name, packet in (("another session", gre(I_II, seq=seq()) / erspan(KEY - 1)),
                         ("session 0", gre(I_II, seq=seq()) / erspan(0)),
                         ("type I, which has no session", gre(I_II))):
        receive(f"to e2: {name}", UNREACHABLE, e2, ip(*OUTER[1]) / packet / DATA)
    receive("to e1: a session", UNREACHABLE, e1, ip(*OUTER[0]) / session(1, seq=seq()) / DATA)
    receive("a key on the wire is not the session", f"e2 {GOOD}", e2,
            ip(*OUTER[1]) / gre(I_II, key=9, seq=seq()) / erspan(KEY) / DATA)


def sequence_numbers(bench):
    number = bench.seq()
    for name, seq, want in (("the number again", number - 1, SEQ), ("the next", number, GOOD),
                            ("100 later", number + 100, GOOD), ("an older", number + 1, SEQ)):
        bench.receive(f"sequence numbers: {name}", f"e2 {want}", bench.ports[1],
                      ip(*OUTER[1]) / session(1, seq=seq) / DATA)
    bench.numbers = itertools.count(number + 200)


def checksums(bench):
    _, e2, _ = bench.ports
    with differs("refuses a checksum without icsum"):
        bench.receive("a checksum nobody asked for", f"e2 {GOOD}", e2,
                      ip(*OUTER[1]) / gre(I_II, seq=bench.seq(), csum=True) / erspan(KEY) / DATA)
    with differs("drops a wrong checksum without a word"):
        bench.receive("a wrong checksum", f"e2 {CRC}", e2,
                      ip(*OUTER[1]) / gre(I_II, seq=bench.seq(), csum=1) / erspan(KEY) / DATA)


def ecn(bench):
    """A mark outside reaches an inner IP header, and nothing else."""
    marked = frame(ip(tos=3)).bytes()
    tagged = frame(vlan(101) / ip(tos=2)).bytes()
    for version, port, outer in bench.each():
        bench.receive(f"{port.dev}: congestion outside", f"{port.dev} rx_bytes=34 rx_packets=1", port,
                      ip(*outer, tos=3) / session(version, seq=bench.seq()) / frame(ip(tos=2)), marked)
        bench.receive(f"{port.dev}: congestion outside, no ECN inside", f"{port.dev} {FRAME}", port,
                      ip(*outer, tos=3) / session(version, seq=bench.seq()) / frame(ip()))
        with differs("takes the tag for an IP header"):
            bench.receive(f"{port.dev}: congestion outside, a tag inside",
                          f"{port.dev} rx_bytes=38 rx_packets=1", port,
                          ip(*outer, tos=3) / session(version, seq=bench.seq()) / tagged, tagged)


def cut_short(bench):
    """at every length behind the GRE header"""
    for version, port, outer in bench.each():
        head = BEHIND_GRE[version]
        for size in range(head + 36):
            packet = (session(version, seq=bench.seq()) / DATA).bytes()[:GRE_HEAD[version] + size]
            if size < head + 14:
                want = DROPPED
            elif size < head + 34:
                want = f"{port.dev} {LENGTH}"
            else:
                want = f"{port.dev} rx_bytes={size - head} rx_packets=1"
            with cut_difference(version, size):
                bench.receive(f"type {'I' * (version + 1)}: {size} bytes behind GRE", want, port,
                              ip(*outer) / packet, DATA[:max(size - head, 0)])


def cut_difference(version, size):
    head = BEHIND_GRE[version]
    if version and 4 <= size < head:
        return differs("answers a header that is cut short")
    if max(8, head) <= size < head + 14:
        return differs("does not count it", ">=7.2")
    return contextlib.nullcontext()


def in_pieces():
    """headers that lie in several pages"""
    u1 = Tap("u1", "203.0.113.1/24")
    for version, options in enumerate(OPTIONS.values()):
        remote = f"203.0.113.{version + 2}"
        run_ip(f"link add p{version} address 02:00:00:00:00:0b type erspan local 203.0.113.1 remote {remote} {options}",
               *put_up(f"p{version}"))
        port = Port(f"p{version}")
        for seq, size in enumerate((1, 2, 3, 5, 8), 1):
            name = f"type {'I' * (version + 1)}, in pieces of {size}"
            packet = (ip(remote, "203.0.113.1", 47) / session(version, seq=seq) / DATA).bytes()
            cuts = [0, 20, *range(20 + size, len(packet), size)][:16] + [len(packet)]
            case(name, f"p{version} {GOOD}", u1, [packet[a:b] for a, b in zip(cuts, cuts[1:])])
            expect(f"{name}, the frame", [DATA.hex()], port.took())
        run_ip(f"link del p{version}")


def fallback(bench):
    def other(version):
        return ip("192.0.2.99", "192.0.2.1") / session(version, 9, 1) / DATA

    for version in range(3):
        bench.receive(f"erspan0 is down, version {version}", UNREACHABLE, bench.ports[0], other(version))
    run_ip("link set erspan0 address 02:00:00:00:00:0f", *put_up("erspan0"))
    p0 = Port("erspan0")
    for version in range(3):
        bench.receive(f"erspan0, version {version}", f"erspan0 {GOOD}", p0, other(version))
    want, got, _ = attempt("erspan0 tx_errors=1 tx_fifo_errors=1", lambda: p0.give(frame(ip())))
    expect("erspan0 has nowhere to send to", want, got)
    run_ip("link set erspan0 down")


# -------------------------------------------------------------- configuration

def refused(name, error, got):
    expect(f"{name}: {error}", error, got[0])
    with differs("says no reason"):
        expect(f"{name}: a reason is given", True, bool(got[1]))


def refusals():
    """for a new device and for a change, and nothing is made or changed"""
    before = {dev: info(dev) for dev in OPTIONS}
    for name, attributes in BAD.items():
        refused(f"new, {name}", "EINVAL", netlink("new", "x", "erspan", *ENDS, *attributes))
        refused(f"change, {name}", "EINVAL",
                netlink("set", "e2", "erspan", "LOCAL=192.0.2.1", "REMOTE=192.0.2.3", *attributes))
    for attribute in ("ERSPAN_VER=hex:", "ERSPAN_INDEX=hex:0000", "ERSPAN_DIR=hex:", "ERSPAN_HWID=hex:00"):
        refused(f"short {attribute}", "ERANGE", netlink("new", "x", "erspan", *ENDS, *SEQ_KEY, attribute))
    with differs("has changed some of it"):
        expect("and nothing has changed", before, {dev: info(dev) for dev in OPTIONS})
    expect("and nothing is made", False, "x" in [d["ifname"] for d in show("link")])


def defaults():
    """what is not said, and what a type has no use for"""
    for name, attributes, want in ACCEPTED:
        expect(f"new, {name}", ("", ""), netlink("new", "x", "erspan", *ENDS, *attributes))
        expect(f"new, {name}, is shown", want, {k: v for k, v in info("x").items() if k.startswith("erspan")})
        run_ip("link del x", force=True)


# --------------------------------------------------------------------- change

def change(name, version, key, more):
    flags = 0x3000 if version else 0
    expect(name, ("", ""), netlink(
        "set", "c0", "erspan", "LOCAL=192.0.2.1", "REMOTE=192.0.2.50", f"ERSPAN_VER={version}",
        f"IFLAGS={flags}", f"OFLAGS={flags}", f"IKEY={key}", f"OKEY={key}", *more))


def sends_as(bench, name, c0, version, key, header, number, data):
    """-> whether a packet was sent"""
    expect(f"{name}: MTU", 4000 - 34 - HEAD[version], show("link", "show", "dev", "c0")[0]["mtu"])
    sent = sends_frame(name, bench.u0, f"gre {20 + HEAD[version] + len(data)}", c0, data)
    if sent:
        head = gre((I_II, I_II, III)[version], seq=number if version else None)
        if version == 2:
            header = {**header, "stamp": struct.unpack_from("!I", sent, 32)[0]}
        if version:
            head = head / erspan(key, version, **header)
        expect(f"{name}: the packet", (head / data).bytes().hex(), sent[20:].hex())
    return bool(sent)


def changes(bench):
    """of the version and all that belongs to it, on one device"""
    c0 = add("c0", 50, "erspan_ver 0", mac="02:00:00:00:00:0c")
    data = frame(ip() / raw(100)).bytes()
    number = 0
    for version, key, more, header in CHANGES:
        name = f"changed to version {version}, session {key}"
        change(name, version, key, more)
        # How in-tree devices go wrong depends on where they came from.
        with differs("keeps the lengths of the version before"):
            if sends_as(bench, name, c0, version, key, header, number, data):
                number += version > 0
        c0.took()
        case(f"{name}: received", f"c0 rx_bytes={len(data)} rx_packets=1", bench.u0,
             ip("192.0.2.50", "192.0.2.1", 47) / session(version, key, seq=bench.seq()) / data)


def sending(bench):
    mtus(bench)
    every_frame(bench)
    time_stamps(bench)
    mirrored(bench)


def receiving(bench):
    header_fields(bench)
    platform_subheader(bench)
    type_is_of_the_packet(bench)
    unknown_versions(bench)
    sessions(bench)
    sequence_numbers(bench)
    checksums(bench)
    ecn(bench)
    cut_short(bench)
    in_pieces()
    fallback(bench)


def main():
    need_modules("ip_gre")
    modprobe("tun", "dummy", "sch_ingress", "cls_matchall", "act_mirred")
    with NetNs() as n0, n0.inside():
        sysctl(net__ipv4__icmp_ratemask=0)
        bench = Bench(Tun("u0", "192.0.2.1/24", mtu=4000))
        sending(bench)
        receiving(bench)
        refusals()
        defaults()
        changes(bench)


ksft_run(main)
