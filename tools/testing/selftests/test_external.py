#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""External mode: each packet says where it goes, and tells where it came from,
through routes, tc and BPF.

       the test (192.0.2.x)
              | u0, a tun device
       n0: 192.0.2.1
           gx, ix, px, ex    gre, ipip, gretap, erspan, external

       n1                      n2
       | v1 192.0.2.1          | v2 192.0.2.2
       '-----------------------'
       tun ===== tunnel ===== tun, external
       198.51.100.1            198.51.100.2
"""
import contextlib
import itertools
import json
import socket
import struct
import subprocess

from ksft import ksft_run, need_modules, modprobe, NetNs, veth_pair
from bulk import MAC, Bulk, long_queue
from ether import Port, erspan, frame, info, netlink, put_up, tc
from pkt import csum, gre, ip, ip6, mpls, raw, udp
from wire import ETH_P_IP, SERIES, SLOW, Tun, attempt, case, differs, expect, fields, inject, run_ip, show, sysctl, \
    transmit
import bpf
import tunctl

KINDS = {"gx": "gre", "ix": "ipip", "px": "gretap", "ex": "erspan"}
ETHER = "px", "ex"
MTUS = {"gx": 1476, "ix": 1480, "px": 1462, "ex": 1450}
PROTO = {"gx": 0x0800, "ix": None, "px": 0x6558, "ex": 0x88be}
ERSPAN_FLAGS = ("IFLAGS=0x3000", "OFLAGS=0x3000", "IKEY=5", "OKEY=5")
FRAME_MAC = "address 02:00:00:00:00:09 "
# What the routes' packets are: a datagram to there
TO = "203.0.113.1"
PAYLOAD = b"hello"
SIZE = 28 + len(PAYLOAD)
# What the devices are given to send
PACKET, FRAMED_PACKET = ip(tos=0x54, ttl=33) / udp(), frame(ip(tos=0x54, ttl=33))
INNER = {"gx": PACKET.bytes(), "ix": PACKET.bytes(), "px": FRAMED_PACKET.bytes(), "ex": FRAMED_PACKET.bytes()}
ENDS = "src_ip 192.0.2.1 dst_ip 192.0.2.2"
# What is received
CAME, FRAMED = (ip(tos=0x54) / udp()).bytes(), frame(ip(tos=0x54) / udp()).bytes()
# Flags of the metadata, as BPF sees them
CSUM_BIT, KEY_BIT, SEQ_BIT, DF_BIT, OPTIONS_BIT = 1, 4, 8, 0x0100, 0x4000


class Bench:
    """The wire, and the next sequence number of each device"""

    def __init__(self):
        self.u0 = Tun("u0", "192.0.2.1/24")
        self.seq = dict.fromkeys(KINDS, 0)
        self.sock = None                # sends by the routes


# ------------------------------------------------------------- configuration

def add(dev):
    run_ip(f"link add {dev} {FRAME_MAC if dev in ETHER else ''}type {KINDS[dev]} external", *put_up(dev))


def shown():
    for dev in KINDS:
        link = show("link", "show", "dev", dev)[0]
        expect(f"{KINDS[dev]}: MTU", MTUS[dev], link["mtu"])
        expect(f"{KINDS[dev]}: is shown as external", True, link["linkinfo"]["info_data"].get("external"))
    link = show("link", "show", "dev", "gx")[0]
    expect("gre: a device without a link layer", ("none", {"NOARP", "UP", "LOWER_UP"}),
           (link["link_type"], set(link["flags"])))


def only_one(kind):
    error, words = netlink("new", "x", kind, "COLLECT_METADATA=")
    expect(f"{kind}: a second one: EEXIST", "EEXIST", error)
    with differs("says no reason"):
        expect(f"{kind}: a second one: a reason", True, bool(words))


def does_not_become_external(kind, flags):
    expect(f"{kind}: one that is not", ("", ""), netlink("new", "y", kind, "REMOTE=192.0.2.77", *flags))
    error, words = netlink("set", "y", kind, "REMOTE=192.0.2.77", *flags, "COLLECT_METADATA=")
    expect(f"{kind}: does not become external", "EINVAL" if kind == "ipip" else "EOPNOTSUPP", error)
    with differs("says no reason") if kind == "ipip" else contextlib.nullcontext():
        expect(f"{kind}: does not become external: a reason", True, bool(words))
    expect(f"{kind}: is not external", None, info("y").get("external"))
    run_ip("link del y")


def stays_external(dev, kind, flags):
    """when a change does not say so"""
    expect(f"{kind}: changed", ("", ""), netlink("set", dev, kind, "TTL=9", *flags))
    expect(f"{kind}: is external still", (True, 9), (info(dev).get("external"), info(dev)["ttl"]))
    netlink("set", dev, kind, "TTL=0", *flags)


def mode_is_fixed():
    for dev, kind in KINDS.items():
        flags = ERSPAN_FLAGS if kind == "erspan" else ()
        only_one(kind)
        does_not_become_external(kind, flags)
        stays_external(dev, kind, flags)
    # The change made this one want sequence numbers.
    run_ip("link del ex")
    add("ex")


def is_not_the_fallback():
    """A device in external mode has no parameters, as the fallback device; requests for the latter are not for it."""
    for dev, fallback, protocol in ("gx", "gre0", 47), ("ix", "tunl0", 4):
        run_ip(f"link add {dev} type {KINDS[dev]} external")
        with differs("finds the device in external mode") if dev == "ix" else contextlib.nullcontext():
            expect(f"{fallback}: is found", fallback,
                   dict(word.split("=") for word in tunctl.ask("-", fallback, "get")[1].split())["name"])
            expect(f"{fallback}: deleted by ioctl: EPERM", (2, "EPERM"), tunctl.ask("-", fallback, "del"))
            expect(f"{fallback}: {dev} is still there", True, dev in {link["ifname"] for link in show("link", "show")})


def ends_of_an_external_one():
    """It may have been given a remote address, too: flags go by that."""
    for kind in "gre", "ipip":
        for remote, p2p in ("192.0.2.2", True), ("239.1.1.1", True), (None, False):
            words = [f"REMOTE={remote}"] if remote else []
            name = f"{kind} external, remote {remote}"
            expect(f"{name}: is made", ("", ""),
                   netlink("new", "y", kind, "LOCAL=192.0.2.1", *words, "COLLECT_METADATA="))
            flags = set(show("link", "show", "dev", "y")[0]["flags"])
            expect(f"{name}: flags", {"NOARP", "POINTOPOINT"} if p2p else {"NOARP"}, flags)
            run_ip("link del y")


# -------------------------------------------------------------------- sending

def leaves(bench, name, dev, want, action, size):
    """Exactly one packet leaves. -> it, or None"""
    want, got, came = attempt(f"{dev} tx_bytes={size} tx_packets=1; u0: {want}", action)
    expect(name, want, got)
    return came[bench.u0][0] if want == got else None


def gre_of(id, words, seq=0, proto=None):
    return gre(proto, key=id if "key" in words else None, csum=True if "csum" in words else None,
               seq=seq if "seq" in words else None)


def outer_header(name, sent, **want):
    got = fields(sent)
    want = {"src": "192.0.2.1", "dst": "192.0.2.2", "df": 0, "tos": 0, **want}
    expect(f"{name}: the outer header", want, {k: got[k] for k in want})


# --------------------------------------------------------------------- routes

def by_route(bench, name, dev, head):
    """A datagram leaves behind these bytes. -> the packet, or None"""
    return leaves(bench, name, dev, f"{'gre' if dev == 'gx' else 'ipip'} {20 + len(head) + SIZE}",
                  lambda: bench.sock.sendto(PAYLOAD, (TO, 9)), SIZE)


def route_flags(bench, dev, bits):
    words = [w for b, w in enumerate(("csum", "key", "seq")) if bits >> b & 1]
    id = bits + 70000
    run_ip(f"route replace {TO}/32 encap ip id {id} src 192.0.2.1 dst 192.0.2.2 {' '.join(words)} dev {dev}")
    name = f"{KINDS[dev]}, a route: {' '.join(words) or 'nothing'}"
    head = gre_of(id, words).bytes() if dev == "gx" else b""
    sent = by_route(bench, name, dev, head)
    if not sent:
        return
    outer_header(name, sent, ttl=99)
    if dev == "gx":
        inner = sent[20 + len(head):]
        expect(f"{name}: the packet", (gre_of(id, words, bench.seq[dev]) / inner).bytes().hex(), sent[20:].hex())
        bench.seq[dev] += "seq" in words


def route_header(bench, dev):
    """TTL and TOS of the route, and its source address where it has none"""
    for options, want in (("ttl 7", {"ttl": 7}), ("tos 0x40", {"tos": 0x40}),
                          ("ttl 255 tos 0x48", {"ttl": 255, "tos": 0x48})):
        run_ip(f"route replace {TO}/32 encap ip id 1 src 192.0.2.1 dst 192.0.2.2 {options} dev {dev}")
        name = f"{KINDS[dev]}, a route: {options}"
        sent = by_route(bench, name, dev, bytes(4 * (dev == "gx")))
        if sent:
            outer_header(name, sent, **want)
    run_ip(f"route replace {TO}/32 encap ip id 1 dst 192.0.2.2 dev {dev}")
    name = f"{KINDS[dev]}: the source is the route's"
    sent = by_route(bench, name, dev, bytes(4 * (dev == "gx")))
    if sent:
        outer_header(name, sent)


def useless_routes(bench, dev):
    lost = "tx_dropped=1" if dev == "gx" else "tx_errors=1"
    for name, route, want in (
            ("nothing to go by", "", lost),
            ("IPv6 to go by", "encap ip6 id 1 dst 2001:db8::1", lost),
            ("no route", "encap ip id 1 dst 233.252.255.1", "tx_carrier_errors=1 tx_errors=1"),
            ("a route that leads back", f"encap ip id 1 dst {TO}", "collisions=1 tx_errors=1")):
        run_ip(f"route replace {TO}/32 {route} dev {dev}")
        want, got, _ = attempt(f"{dev} {want}", lambda: bench.sock.sendto(PAYLOAD, (TO, 9)))
        expect(f"{KINDS[dev]}: {name}", want, got)


def routes(bench):
    run_ip("addr add 198.51.100.1/32 dev gx")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as bench.sock:
        bench.sock.bind(("198.51.100.1", 4000))
        for bits in range(8):
            for dev in ("gx", "ix"):
                route_flags(bench, dev, bits)
        for dev in ("gx", "ix"):
            route_header(bench, dev)
            useless_routes(bench, dev)
    run_ip(f"route del {TO}/32")


# ------------------------------------------------------------------ tc and BPF

def give(dev):
    if dev in ETHER:
        Port(dev).give(INNER[dev])
    else:
        transmit(dev, INNER[dev], ETH_P_IP)


def whole_packet(dev, head, data):
    """these bytes in front of these, with the checksum if the header has one"""
    if dev in ("gx", "px") and head[0] & 0x80:
        summed = csum(head[:4] + bytes(4) + head[8:] + data)
        return head[:4] + struct.pack("!H", summed) + head[6:] + data
    return head + data


def sent_as(bench, name, dev, head, **want):
    """What the device is given goes out behind these bytes."""
    data = INNER[dev]
    sent = leaves(bench, name, dev, f"{'ipip' if dev == 'ix' else 'gre'} {20 + len(head) + len(data)}",
                  lambda: give(dev), len(data) - 14 * (dev in ETHER))
    if not sent:
        return
    outer_header(name, sent, **want)
    if dev == "ex" and head[2:4] == b"\x22\xeb":    # the time stamp is its own
        sent = sent[:32] + head[12:16] + sent[36:]
    expect(f"{name}: the packet", whole_packet(dev, head, data).hex(), sent[20:].hex())


def erspan_sent(bench, name, version, **want):
    """The next packet of ex has this header."""
    head = gre((0x88be, 0x22eb)[version - 1], seq=bench.seq["ex"]) / \
        erspan(5, version, cos=2, p=version - 1, en=version - 1, **want)
    sent_as(bench, name, "ex", head.bytes(), ttl=33)
    bench.seq["ex"] += 1


def drops(name, dev, want):
    want, got, _ = attempt(f"{dev} {want}", lambda: give(dev))
    expect(name, want, got)


def no_metadata():
    for dev in KINDS:
        tc(f"qdisc add dev {dev} clsact")
        drops(f"{KINDS[dev]}: no metadata", dev, "tx_errors=1" if dev == "ix" else "tx_dropped=1")


def tunnel_key(dev, action):
    return f"filter add dev {dev} egress prio 1 handle 1 matchall action tunnel_key set {action}"


def by_tunnel_key(bench):
    for dev, (action, id, words, want) in itertools.product(("gx", "ix", "px"), (
            (f"id 70000 {ENDS}", 70000, "csum key", {"ttl": 33}),
            (f"id 5 {ENDS} nocsum", 5, "key", {"ttl": 33}),
            (f"id 5 {ENDS} nocsum tos 0x20 ttl 9", 5, "key", {"ttl": 9, "tos": 0x20}),
            (f"{ENDS} nocsum", 0, "", {"ttl": 33}))):
        tc(tunnel_key(dev, action))
        head = b"" if dev == "ix" else gre_of(id, words, proto=PROTO[dev]).bytes()
        sent_as(bench, f"{KINDS[dev]}, tunnel_key {action}", dev, head, **want)
        tc(f"filter del dev {dev} egress")


def erspan_by_tunnel_key(bench):
    for version, options, want in (
            (1, "1:703710:0:0", {"index": 703710}), (1, "1:0:0:0", {}),
            (2, "2:0:0:0", {}), (2, "2:0:1:63", {"d": 1, "hwid": 63})):
        for id in (5, 1024 + 5):                    # a session has 10 bits
            action = f"id {id} {ENDS} erspan_opts {options}"
            tc(tunnel_key("ex", action))
            erspan_sent(bench, f"erspan, tunnel_key {action}", version, **want)
            tc("filter del dev ex egress")
    tc(tunnel_key("ex", f"id 5 {ENDS}"))
    drops("erspan: no options", "ex", "tx_dropped=1")
    tc("filter del dev ex egress")


def by_bpf(bench):
    for words, flags, more in (
            ("csum key", 0, {}), ("key", bpf.ZERO_CSUM, {}),
            ("key", bpf.ZERO_CSUM | bpf.DONT_FRAGMENT, {"df": 1}),
            ("csum key", 0, {"tos": 0x40, "ttl": 3}),
            ("csum", bpf.NO_KEY, {})):
        if flags == bpf.NO_KEY and SERIES == "6.1":
            continue                    # it has no such flag
        for dev in ("gx", "ix", "px"):
            bpf.attach(dev, "egress", bpf.Setter("192.0.2.2", id=5, flags=flags, tos=more.get("tos", 0),
                                                 ttl=more.get("ttl", 0), local="192.0.2.1"))
            head = b"" if dev == "ix" else gre_of(5, words, proto=PROTO[dev]).bytes()
            sent_as(bench, f"{KINDS[dev]}, BPF: {words}, flags {flags}, {more}", dev, head, **{"ttl": 33, **more})


def any_source_by_bpf(bench):
    """BPF may give a source that is not an address of this host."""
    for dev in ("gx", "ix", "px"):
        bpf.attach(dev, "egress", bpf.Setter("192.0.2.2", id=5, flags=bpf.ZERO_CSUM, local="192.0.2.77"))
        head = b"" if dev == "ix" else gre_of(5, "key", proto=PROTO[dev]).bytes()
        sent_as(bench, f"{KINDS[dev]}, BPF: any source", dev, head, src="192.0.2.77", ttl=33)


def numbers_by_bpf(bench):
    for dev in ("gx", "px"):
        bpf.attach(dev, "egress", bpf.Setter("192.0.2.2", id=5, flags=bpf.ZERO_CSUM | bpf.SEQ_NUMBER))
        for n in range(3):
            sent_as(bench, f"{KINDS[dev]}, BPF: sequence number {n}", dev,
                    gre_of(5, "key seq", bench.seq[dev], PROTO[dev]).bytes(), ttl=33)
            bench.seq[dev] += 1


def metadata(version, index=0, flags=0):
    """struct erspan_metadata"""
    if version == 1:
        return struct.pack("=I", 1) + struct.pack("!I", index) + bytes(4)
    return struct.pack("=I", version) + struct.pack("!IHH", 0, 0, flags)


def erspan_by_bpf(bench):
    for version, options, want in (
            (1, metadata(1, 0xabcde), {"index": 0xabcde}),
            (2, metadata(2, flags=9 << 4 | 8), {"hwid": 9, "d": 1})):
        bpf.attach("ex", "egress", bpf.Setter("192.0.2.2", id=5, options=options))
        erspan_sent(bench, f"erspan, BPF: version {version}", version, **want)
    for name, options in (("version 0", metadata(0)), ("version 3", metadata(3)), ("cut short", metadata(1)[:8])):
        bpf.attach("ex", "egress", bpf.Setter("192.0.2.2", id=5, options=options))
        drops(f"erspan, BPF: {name}", "ex", "tx_dropped=1")


# ------------------------------------------------------------------ receiving

def outer(df, proto=47):
    return ip("192.0.2.2", "192.0.2.1", proto, ttl=77, tos=0x28, flags=2 * df)


class Ears:
    """The metadata that packets come with, as BPF sees it on each device"""

    def __init__(self, bench):
        self.u0 = bench.u0
        self.getters = {dev: bpf.Getter() for dev in KINDS}

    def attach(self):
        for dev, getter in self.getters.items():
            bpf.attach(dev, "ingress", getter)

    @staticmethod
    def detach():
        for dev in KINDS:
            tc(f"filter del dev {dev} ingress")

    def hear(self, name, dev, packet, want, size):
        """The packet is received by dev, with this metadata."""
        for getter in self.getters.values():
            getter.last()
        case(name, f"{dev} rx_bytes={size} rx_packets=1", self.u0, packet)
        got = {d: g.last() for d, g in self.getters.items()}
        want = {"id": 0, "remote": "192.0.2.2", "local": "192.0.2.1", "tos": 0x28, "ttl": 77, "flags": 0, **want}
        expect(f"{name}: the metadata", {**dict.fromkeys(KINDS), dev: want}, got)


def df_differs(df):
    """In-tree drivers tell of the DF bit since 7.2 only."""
    return differs("does not tell of DF", "<7.2" if df else "")


def hear_ip_and_frames(ears, df):
    bit = DF_BIT * df
    with df_differs(df):
        ears.hear(f"ipip, DF {df}", "ix", outer(df, 4) / CAME, {"flags": bit}, len(CAME))
    for bits in range(8):
        words = [w for b, w in enumerate(("key", "csum", "seq")) if bits >> b & 1]
        id = 0xfedcba98 * ("key" in words)
        flags = bit | KEY_BIT * ("key" in words) | CSUM_BIT * ("csum" in words)
        for dev, data in (("gx", CAME), ("px", FRAMED)):
            known = differs("refuses a checksum without icsum") if "csum" in words else df_differs(df)
            with known:
                ears.hear(f"{KINDS[dev]}, DF {df}, {' '.join(words) or 'nothing'}", dev,
                          outer(df) / gre_of(id, words, 7, PROTO[dev]) / data, {"id": id, "flags": flags}, len(data))


def hear_erspan(ears, df):
    flags = DF_BIT * df | KEY_BIT | SEQ_BIT | OPTIONS_BIT
    with df_differs(df):
        ears.hear(f"erspan, type II, DF {df}", "ex",
                  outer(df) / gre(0x88be, seq=5) / erspan(7, index=0xabcde) / FRAMED,
                  {"id": 7, "flags": flags, "options": metadata(1, 0xabcde).hex()}, len(FRAMED))
        ears.hear(f"erspan, type III, DF {df}", "ex", outer(df) / gre(0x22eb, seq=5) /
                  erspan(7, 2, stamp=0x1234, sgt=5, p=1, hwid=9, d=1, gra=1) / FRAMED,
                  {"id": 7, "flags": flags, "options": "02000000" + "00001234" + "0005" + "809a"}, len(FRAMED))


def hear_erspan_platform(ears):
    with differs("takes the platform's 8 bytes for the frame"):
        ears.hear("erspan, type III, for a platform", "ex",
                  outer(0) / gre(0x22eb, seq=5) / erspan(7, 2, o=1, platform=bytes(8)) / FRAMED,
                  {"id": 7, "flags": KEY_BIT | SEQ_BIT | OPTIONS_BIT,
                   "options": "02000000" + "00000000" + "0000" + "0001"}, len(FRAMED))


def hear_erspan_type_1(ears):
    """It has nothing to tell."""
    ears.getters["ex"].last()
    case("erspan, type I", f"ex rx_bytes={len(FRAMED)} rx_packets=1", ears.u0, outer(0) / gre(0x88be) / FRAMED)
    got = ears.getters["ex"].last() or {}
    with differs("takes the frame for metadata"):
        expect("erspan, type I: the metadata", (0, None), (got.get("id"), got.get("options")))


def hear_other_payloads(ears):
    for name, packet in (("IPv6", ip6() / udp()), ("MPLS", mpls(100) / ip())):
        ears.hear(f"gre, {name}", "gx", outer(0) / gre(packet.ethertype) / packet.bytes(), {}, len(packet.bytes()))
    ears.hear("ipip, MPLS", "ix", outer(0, 137) / (mpls(100) / ip()).bytes(), {}, 24)


def addresses_come_first(ears):
    """A device with addresses of its own is preferred."""
    run_ip("link add g2 type gre local 192.0.2.1 remote 192.0.2.2 key 5", "link set g2 up")
    case("a tunnel with a remote comes first", "g2 rx_bytes=28 rx_packets=1", ears.u0, outer(0) / gre(key=5) / CAME)
    ears.hear("and another key goes to the external one", "gx", outer(0) / gre(key=6) / CAME,
              {"id": 6, "flags": KEY_BIT}, 28)
    run_ip("link del g2")


def hearing(ears):
    ears.attach()
    for df in (0, 1):
        hear_ip_and_frames(ears, df)
        hear_erspan(ears, df)
    hear_erspan_platform(ears)
    hear_erspan_type_1(ears)
    hear_other_payloads(ears)
    addresses_come_first(ears)
    ears.detach()


# ------------------------------------------------- UDP below ipip, through BPF

def fou_sent(bench):
    inner = INNER["ix"]
    for type, head in (("fou", b""), ("gue", bytes((0, 4, 0, 0)))):
        bpf.attach("ix", "egress", bpf.FouSetter("192.0.2.2", 7001, 5555, type))
        sent = leaves(bench, f"ipip, BPF: {type}", "ix", f"udp {28 + len(head + inner)}", lambda: give("ix"),
                      len(inner))
        if sent:
            outer_header(f"ipip, BPF: {type}", sent, ttl=33)
            expect(f"ipip, BPF: {type}: the packet", (udp(7001, 5555, check=0) / (head + inner)).bytes().hex(),
                   sent[20:].hex())
    tc("filter del dev ix egress")


def fou_received(bench):
    getter = bpf.FouGetter()
    bpf.attach("ix", "ingress", getter)
    for name, proto, packet, want in (
            ("fou", 17, udp(4000, 5551) / CAME, (0, 4000, 5551)),
            ("gue", 17, udp(4001, 5553) / (bytes((0, 4, 0, 0)) + CAME), (0, 4001, 5553)),
            ("none", 4, raw(CAME), (0, 0, 0))):
        case(f"ipip, BPF: {name} is received", "ix rx_bytes=28 rx_packets=1", bench.u0, outer(0, proto) / packet)
        expect(f"ipip, BPF: {name}: the ports", want, getter.last())
    tc("filter del dev ix ingress")


def fou_by_bpf(bench):
    # 6.1 has no such functions, and a debug kernel no type data to call them by.
    if SERIES != "6.1" and SLOW == 1:
        run_ip("fou add port 5551 ipproto 4", "fou add port 5553 gue")
        fou_sent(bench)
        fou_received(bench)


# --------------------------------------------------------------------- flower

def dropped_by_filters(dev):
    listed = subprocess.run(["tc", "-s", "-j", "filter", "show", "dev", dev, "ingress"],
                            stdout=subprocess.PIPE, check=True).stdout
    return [a["stats"]["packets"] for f in json.loads(listed) if "options" in f
            for a in f["options"].get("actions", [])]


def flower(bench):
    """matches the metadata, too"""
    ends = "enc_src_ip 192.0.2.2 enc_dst_ip 192.0.2.1"
    for dev, match, good, bad in (
            ("gx", f"{ends} enc_key_id 5", outer(0) / gre(key=5) / CAME, outer(0) / gre(key=6) / CAME),
            ("gx", f"{ends} enc_tos 0x28 enc_ttl 77", outer(0) / gre() / CAME,
             ip("192.0.2.2", "192.0.2.1", 47) / gre() / CAME),
            ("ix", ends, outer(0, 4) / CAME, ip("192.0.2.3", "192.0.2.1") / CAME),
            ("px", f"{ends} enc_key_id 9", outer(0) / gre(0x6558, key=9) / FRAMED, outer(0) / gre(0x6558) / FRAMED),
            ("ex", f"{ends} enc_key_id 7 erspan_opts 1:703710:0:0",
             outer(0) / gre(0x88be, seq=1) / erspan(7, index=703710) / FRAMED,
             outer(0) / gre(0x88be, seq=1) / erspan(7, index=703711) / FRAMED),
            ("ex", f"{ends} erspan_opts 2:0:1:9",
             outer(0) / gre(0x22eb, seq=1) / erspan(7, 2, d=1, hwid=9) / FRAMED,
             outer(0) / gre(0x22eb, seq=1) / erspan(7, 2, d=0, hwid=9) / FRAMED)):
        tc(f"filter add dev {dev} ingress prio 2 protocol ip flower {match} action drop")
        inject(bench.u0, *[good] * 3, *[bad] * 2)
        expect(f"{KINDS[dev]}, flower {match}", [3], dropped_by_filters(dev))
        tc(f"filter del dev {dev} ingress")


# ---------------------------------------------------------------- GSO packets

# The segments' checksum is what the packet says, not what the device says.
DEVICE, UNASKED = "takes the checksum's choice of the device", "refuses a checksum without icsum"
ONE = "gives all segments one number"
# "ip" does not send the flags of an external device.
FLAGS = {"": [], "icsum": ["IFLAGS=0x8000"], "ocsum": ["OFLAGS=0x8000"]}
LARGE = (("ipip", "", "", ""), ("gre", "", "", ""), ("gre", "", "key", ""),
         ("gre", "", "csum", UNASKED), ("gre", "", "csum key", UNASKED),
         ("gre", "icsum", "csum", DEVICE), ("gre", "icsum", "csum key", DEVICE),
         ("gre", "ocsum", "key", DEVICE), ("gre", "", "key seq", ONE),
         ("gretap", "", "key", ""), ("gretap", "icsum", "csum key", DEVICE))


def external_pair(ends, kind, device, route):
    for n, ns in enumerate(ends):
        own, peer = n + 1, 2 - n
        mac = f"address {MAC[n]} " * (kind == "gretap")
        netlink("new", "tun", kind, "COLLECT_METADATA=", *FLAGS[device], ns=ns.name)
        # Room for every option: nothing else makes some.
        ns.ip(f"link set tun {mac}mtu 1400 up", f"addr add 198.51.100.{own}/32 dev tun",
              f"route add 198.51.100.{peer} encap ip id 5 dst 192.0.2.{peer} src 192.0.2.{own} {route} dev tun "
              "rto_min 10s",
              *[f"neigh add 198.51.100.{peer} lladdr {MAC[1 - n]} dev tun"] * (kind == "gretap"))


def large_packets(ends, bulk, kind, device, route, wrong):
    n1, n2 = ends
    name = f"{kind} external {device}, the route: {route or 'nothing'}"
    external_pair(ends, kind, device, route)
    known = differs(wrong, ">=6.12" if wrong == DEVICE else "all") if wrong else contextlib.nullcontext()
    with known:
        expect(f"{name}: echoes", 3, n1.echo("198.51.100.2", 3))
        bulk.transfer(name, "198.51.100.2", [(n1, "tun", "tx", True), (n1, "v1", "tx", True), (n2, "tun", "rx", True)])
        n1.offloads("v1", False)
        bulk.transfer(f"{name}, no offloads below", "198.51.100.2",
                      [(n1, "tun", "tx", True), (n1, "v1", "tx", False), (n2, "tun", "rx", False)])
        n1.offloads("v1", True)
    for ns in ends:
        ns.ip("link del tun")


def on_the_wire():
    sysctl(net__ipv4__icmp_ratemask=0, net__ipv4__ip_default_ttl=99)
    bench = Bench()
    for dev in KINDS:
        add(dev)
    shown()
    mode_is_fixed()
    routes(bench)
    no_metadata()
    by_tunnel_key(bench)
    erspan_by_tunnel_key(bench)
    by_bpf(bench)
    any_source_by_bpf(bench)
    numbers_by_bpf(bench)
    erspan_by_bpf(bench)
    for dev in KINDS:
        tc(f"filter del dev {dev} egress")
    hearing(Ears(bench))
    fou_by_bpf(bench)
    flower(bench)


def between_kernels(n1, n2):
    veth_pair(n1, "v1", "192.0.2.1/24", n2, "v2", "192.0.2.2/24")
    bulk = Bulk(n1, n2)
    for row in LARGE:
        large_packets((n1, n2), bulk, *row)


def main():
    need_modules("ipip", "ip_gre")
    modprobe("tun", "sch_ingress", "cls_matchall", "cls_flower", "cls_bpf", "act_tunnel_key", "act_gact",
             "mpls_router", "fou")
    with NetNs() as n0, n0.inside():
        is_not_the_fallback()
    with NetNs() as n0, n0.inside():
        ends_of_an_external_one()
    with NetNs() as n0, n0.inside():
        on_the_wire()
    with NetNs() as n1, NetNs() as n2, long_queue():
        between_kernels(n1, n2)


ksft_run(main)
