#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# External mode: each packet says where it goes, and hears where it came
# from, through routes, tc and BPF.
#
#	   the test (192.0.2.x)
#	          | u0, a tun device
#	   n0: 192.0.2.1
#	       gx, ix, px, ex	gre, ipip, gretap, erspan, external
#
#	   n1                      n2
#	   | v1 192.0.2.1          | v2 192.0.2.2
#	   '-----------------------'
#	   tun ===== tunnel ===== tun, external
#	   198.51.100.1            198.51.100.2

. "$(dirname "$0")/lib.sh"
need_modules ipip ip_gre
modprobe -a sch_ingress cls_matchall cls_flower cls_bpf act_tunnel_key act_gact mpls_router \
	fou
new_ns n0 n1 n2
veth_pair n1 v1 192.0.2.1/24 n2 v2 192.0.2.2/24

# Of every namespace: segments wait here that no offload has put together.
queue=/proc/sys/net/core/netdev_max_backlog
defer sh -c "echo $(cat $queue) >$queue"
echo 20000 >$queue

wire n0 "$(ns n0)" <<'END'
import json
import subprocess
from wire import *
from ether import *
import bpf

sysctl(net__ipv4__icmp_ratemask=0, net__ipv4__ip_default_ttl=99)
u0 = Tun("u0", "192.0.2.1/24")
KINDS = {"gx": "gre", "ix": "ipip", "px": "gretap", "ex": "erspan"}
MAC = "address 02:00:00:00:00:09 "
for dev, kind in KINDS.items():
    run_ip(f"link add {dev} {MAC if dev in ('px', 'ex') else ''}type {kind} "
           "external", *put_up(dev))
run_ip("addr add 198.51.100.1/32 dev gx")
for dev, mtu in (("gx", 1476), ("ix", 1480), ("px", 1462), ("ex", 1450)):
    link = show("link", "show", "dev", dev)[0]
    expect(f"{KINDS[dev]}: MTU", mtu, link["mtu"])
    expect(f"{KINDS[dev]}: is shown as external", True,
           link["linkinfo"]["info_data"].get("external"))
link = show("link", "show", "dev", "gx")[0]
expect("gre: a device without a link layer", ("none", {"NOARP", "UP",
                                                       "LOWER_UP"}),
       (link["link_type"], set(link["flags"])))

# -------------------------------------------- one, and as what it was made

for dev, kind in KINDS.items():
    error, words = netlink("new", "x", kind, "COLLECT_METADATA=")
    expect(f"{kind}: a second one: EEXIST", "EEXIST", error)
    with differs("says no reason"):
        expect(f"{kind}: a second one: a reason", True, bool(words))
    flags = ("IFLAGS=0x3000", "OFLAGS=0x3000", "IKEY=5", "OKEY=5") \
        if kind == "erspan" else ()
    expect(f"{kind}: one that is not", ("", ""),
           netlink("new", "y", kind, "REMOTE=192.0.2.77", *flags))
    error, words = netlink("set", "y", kind, "REMOTE=192.0.2.77", *flags,
                           "COLLECT_METADATA=")
    expect(f"{kind}: does not become external",
           "EINVAL" if kind == "ipip" else "EOPNOTSUPP", error)
    with differs("says no reason") if kind == "ipip" else differs("", ""):
        expect(f"{kind}: does not become external: a reason", True,
               bool(words))
    expect(f"{kind}: is not external", None, info("y").get("external"))
    run_ip("link del y")
    # A change that does not say so leaves it external.
    expect(f"{kind}: changed", ("", ""),
           netlink("set", dev, kind, "TTL=9", *flags))
    expect(f"{kind}: is external still", (True, 9),
           (info(dev).get("external"), info(dev)["ttl"]))
    netlink("set", dev, kind, "TTL=0", *flags)
# This one wants sequence numbers now.
run_ip("link del ex", f"link add ex {MAC} type erspan external", *put_up("ex"))

# ------------------------------------------------------------------ routes

sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sock.bind(("198.51.100.1", 4000))
TO = "203.0.113.1"
PAYLOAD = b"hello"
SIZE = 28 + len(PAYLOAD)


def say():
    sock.sendto(PAYLOAD, (TO, 9))


def out(name, dev, want, action=say, size=SIZE):
    """exactly one packet leaves -> it"""
    want, got, came = attempt(
        f"{dev} tx_bytes={size} tx_packets=1; u0: {want}", action)
    expect(name, want, got)
    return came[u0][0] if want == got else None


def gre_of(id, words, seq=0, proto=None):
    return gre(proto, key=id if "key" in words else None,
               csum=True if "csum" in words else None,
               seq=seq if "seq" in words else None)


def check_outer(name, sent, **want):
    got = fields(sent)
    want = {"src": "192.0.2.1", "dst": "192.0.2.2", "df": 0, "tos": 0, **want}
    expect(f"{name}: the outer header", want, {k: got[k] for k in want})


number = 0
for bits in range(8):
    words = [w for b, w in enumerate(("csum", "key", "seq")) if bits >> b & 1]
    for dev in ("gx", "ix"):
        run_ip(f"route replace {TO}/32 encap ip id {bits + 70000} src "
               f"192.0.2.1 dst 192.0.2.2 {' '.join(words)} dev {dev}")
        name = f"{KINDS[dev]}, a route: {' '.join(words) or 'nothing'}"
        head = gre_of(bits + 70000, words).bytes() if dev == "gx" else b""
        sent = out(name, dev, f"{'gre' if head else 'ipip'} "
                   f"{20 + len(head) + SIZE}")
        if not sent:
            continue
        check_outer(name, sent, ttl=99)
        if dev == "gx":
            inner = sent[20 + len(head):]
            expect(f"{name}: the packet",
                   (gre_of(bits + 70000, words, number) / inner).bytes().hex(),
                   sent[20:].hex())
            number += "seq" in words
for options, want in (("ttl 7", {"ttl": 7}), ("tos 0x40", {"tos": 0x40}),
                      ("ttl 255 tos 0x48", {"ttl": 255, "tos": 0x48})):
    for dev in ("gx", "ix"):
        run_ip(f"route replace {TO}/32 encap ip id 1 src 192.0.2.1 dst "
               f"192.0.2.2 {options} dev {dev}")
        name = f"{KINDS[dev]}, a route: {options}"
        sent = out(name, dev, f"gre {24 + SIZE}" if dev == "gx" else
                   f"ipip {20 + SIZE}")
        if sent:
            check_outer(name, sent, **want)
for dev in ("gx", "ix"):
    run_ip(f"route replace {TO}/32 encap ip id 1 dst 192.0.2.2 dev {dev}")
    name = f"{KINDS[dev]}: the source is the route's"
    sent = out(name, dev, f"gre {24 + SIZE}" if dev == "gx" else
               f"ipip {20 + SIZE}")
    if sent:
        check_outer(name, sent)
    lost = "tx_dropped=1" if dev == "gx" else "tx_errors=1"
    for name, route, want in (
            ("nothing to go by", "", lost),
            ("IPv6 to go by", "encap ip6 id 1 dst 2001:db8::1", lost),
            ("no route", "encap ip id 1 dst 233.252.255.1",
             "tx_carrier_errors=1 tx_errors=1"),
            ("a route that leads back", f"encap ip id 1 dst {TO}",
             "collisions=1 tx_errors=1")):
        run_ip(f"route replace {TO}/32 {route} dev {dev}")
        want, got, _ = attempt(f"{dev} {want}", say)
        expect(f"{KINDS[dev]}: {name}", want, got)
run_ip(f"route del {TO}/32")

# ---------------------------------------------------------------------- tc

INNER = {"gx": ip(tos=0x54, ttl=33) / udp(), "px": frame(ip(tos=0x54, ttl=33))}
INNER["ix"], INNER["ex"] = INNER["gx"], INNER["px"]
PROTO = {"gx": None, "px": 0x6558, "ex": 0x88be}


def give(dev):
    packet = INNER[dev].bytes()
    if dev in ("px", "ex"):
        Port(dev).give(packet)
    else:
        transmit(dev, packet, ETH_P_IP)


def length(dev):
    return len(INNER[dev].bytes()) - 14 * (dev in ("px", "ex"))


def sent_as(name, dev, head, action=lambda: None, **want):
    """the packet of this device goes out behind these bytes"""
    data = INNER[dev].bytes()
    sent = out(name, dev, f"{'ipip' if dev == 'ix' else 'gre'} "
               f"{20 + len(head) + len(data)}", lambda: give(dev), length(dev))
    if not sent:
        return
    check_outer(name, sent, **want)
    if dev == "ex" and head[2:4] == b"\x22\xeb":    # the time stamp is its own
        sent = sent[:32] + head[12:16] + sent[36:]
    whole = head + data
    if dev in ("gx", "px") and head[0] & 0x80:
        whole = head[:4] + struct.pack(
            "!H", csum(head[:4] + bytes(4) + head[8:] + data)) + whole[6:]
    expect(f"{name}: the packet", whole.hex(), sent[20:].hex())


def drops(name, dev, want):
    want, got, _ = attempt(f"{dev} {want}", lambda: give(dev))
    expect(name, want, got)


for dev in KINDS:
    tc(f"qdisc add dev {dev} clsact")
    drops(f"{KINDS[dev]}: no metadata", dev,
          "tx_errors=1" if dev == "ix" else "tx_dropped=1")
KEY = "src_ip 192.0.2.1 dst_ip 192.0.2.2"
for dev in ("gx", "ix", "px"):
    for action, words, want in (
            (f"id 70000 {KEY}", "csum key", {"ttl": 33}),
            (f"id 5 {KEY} nocsum", "key", {"ttl": 33}),
            (f"id 5 {KEY} nocsum tos 0x20 ttl 9", "key",
             {"ttl": 9, "tos": 0x20}),
            (f"{KEY} nocsum", "", {"ttl": 33})):
        tc(f"filter add dev {dev} egress prio 1 handle 1 matchall action "
           f"tunnel_key set {action}")
        id = int(action.split()[1]) if action.startswith("id") else 0
        head = b"" if dev == "ix" else \
            gre_of(id, words, proto=PROTO[dev] or 0x0800).bytes()
        sent_as(f"{KINDS[dev]}, tunnel_key {action}", dev, head, **want)
        tc(f"filter del dev {dev} egress")

numbers = 0


def erspan_sent(name, version, action, **want):
    """the next packet of ex, its header as the action says"""
    global numbers
    head = gre((0x88be, 0x22eb)[version - 1], seq=numbers) / \
        erspan(5, version, cos=2, p=version - 1, en=version - 1, **want)
    action()
    sent_as(name, "ex", head.bytes(), ttl=33)
    numbers += 1


for version, options, want in (
        (1, "1:703710:0:0", {"index": 703710}), (1, "1:0:0:0", {}),
        (2, "2:0:0:0", {}), (2, "2:0:1:63", {"d": 1, "hwid": 63})):
    for id in (5, 1024 + 5):                    # a session has 10 bits
        action = f"id {id} {KEY} erspan_opts {options}"
        erspan_sent(f"erspan, tunnel_key {action}", version, lambda: tc(
            "filter add dev ex egress prio 1 handle 1 matchall action "
            f"tunnel_key set {action}"), **want)
        tc("filter del dev ex egress")
tc(f"filter add dev ex egress prio 1 handle 1 matchall action tunnel_key set "
   f"id 5 {KEY}")
drops("erspan: no options", "ex", "tx_dropped=1")
tc("filter del dev ex egress")

# --------------------------------------------------------------------- BPF

TO = "192.0.2.2"
for words, flags, more in (
        ("csum key", 0, {}), ("key", bpf.ZERO_CSUM, {}),
        ("key", bpf.ZERO_CSUM | bpf.DONT_FRAGMENT, {"df": 1}),
        ("csum key", 0, {"tos": 0x40, "ttl": 3}),
        ("csum", bpf.NO_KEY, {})):
    if flags == bpf.NO_KEY and SERIES == "6.1":
        continue                    # it has no such flag
    for dev in ("gx", "ix", "px"):
        bpf.attach(dev, "egress", bpf.Setter(
            TO, id=5, flags=flags, tos=more.get("tos", 0),
            ttl=more.get("ttl", 0), local="192.0.2.1"))
        head = b"" if dev == "ix" else \
            gre_of(5, words, proto=PROTO[dev] or 0x0800).bytes()
        sent_as(f"{KINDS[dev]}, BPF: {words}, flags {flags}, {more}", dev,
                head, **{"ttl": 33, **more})
for dev, start in (("gx", number), ("px", 0)):
    bpf.attach(dev, "egress", bpf.Setter(
        TO, id=5, flags=bpf.ZERO_CSUM | bpf.SEQ_NUMBER))
    for n in range(3):
        sent_as(f"{KINDS[dev]}, BPF: sequence number {n}", dev, gre_of(
            5, "key seq", start + n, PROTO[dev] or 0x0800).bytes(), ttl=33)


def metadata(version, index=0, flags=0):
    if version == 1:
        return struct.pack("=I", 1) + struct.pack("!I", index) + bytes(4)
    return struct.pack("=I", version) + struct.pack("!IHH", 0, 0, flags)


for version, options, want in (
        (1, metadata(1, 0xabcde), {"index": 0xabcde}),
        (2, metadata(2, flags=9 << 4 | 8), {"hwid": 9, "d": 1})):
    erspan_sent(f"erspan, BPF: version {version}", version,
                lambda: bpf.attach("ex", "egress", bpf.Setter(
                    TO, id=5, options=options)), **want)
for name, options in (("version 0", metadata(0)), ("version 3", metadata(3)),
                      ("cut short", metadata(1)[:8])):
    bpf.attach("ex", "egress", bpf.Setter(TO, id=5, options=options))
    drops(f"erspan, BPF: {name}", "ex", "tx_dropped=1")
for dev in KINDS:
    tc(f"filter del dev {dev} egress")

# --------------------------------------------------------------- receiving
# What a packet came by, as BPF sees it; in-tree drivers tell of the DF bit
# since 7.2 only.

CSUM_BIT, KEY_BIT, SEQ_BIT, DF_BIT, OPTIONS_BIT = 1, 4, 8, 0x0100, 0x4000
GETTERS = {dev: bpf.Getter() for dev in KINDS}
for dev, getter in GETTERS.items():
    bpf.attach(dev, "ingress", getter)


def outer(df, proto=47):
    return ip("192.0.2.2", "192.0.2.1", proto, ttl=77, tos=0x28, flags=2 * df)


def heard(name, dev, packet, want, size):
    for getter in GETTERS.values():
        getter.last()
    case(name, f"{dev} rx_bytes={size} rx_packets=1", u0, packet)
    got = {d: g.last() for d, g in GETTERS.items()}
    want = {"id": 0, "remote": "192.0.2.2", "local": "192.0.2.1", "tos": 0x28,
            "ttl": 77, "flags": 0, **want}
    expect(f"{name}: the metadata", {**dict.fromkeys(KINDS), dev: want}, got)


CAME = ip(tos=0x54) / udp()
FRAMED = frame(ip(tos=0x54) / udp())
for df in (0, 1):
    bit = DF_BIT * df
    late = "<7.2" if df else ""
    with differs("does not tell of DF", late):
        heard(f"ipip, DF {df}", "ix", outer(df, 4) / CAME.bytes(),
              {"flags": bit}, 28)
    for bits in range(8):
        words = [w for b, w in enumerate(("key", "csum", "seq"))
                 if bits >> b & 1]
        flags = bit | KEY_BIT * ("key" in words) | CSUM_BIT * ("csum" in words)
        for dev, proto, data in (("gx", 0x0800, CAME), ("px", 0x6558, FRAMED)):
            with differs("refuses a checksum without icsum") \
                    if "csum" in words else \
                    differs("does not tell of DF", late):
                heard(f"{KINDS[dev]}, DF {df}, {' '.join(words) or 'nothing'}",
                      dev, outer(df) / gre_of(0xfedcba98, words, 7, proto) /
                      data.bytes(),
                      {"id": 0xfedcba98 * ("key" in words), "flags": flags},
                      len(data.bytes()))
    data = FRAMED.bytes()
    flags = bit | KEY_BIT | SEQ_BIT | OPTIONS_BIT
    with differs("does not tell of DF", late):
        heard(f"erspan, type II, DF {df}", "ex", outer(df) /
              gre(0x88be, seq=5) / erspan(7, index=0xabcde) / data,
              {"id": 7, "flags": flags,
               "options": metadata(1, 0xabcde).hex()}, len(data))
        heard(f"erspan, type III, DF {df}", "ex", outer(df) /
              gre(0x22eb, seq=5) / erspan(7, 2, stamp=0x1234, sgt=5, p=1,
                                          hwid=9, d=1, gra=1) / data,
              {"id": 7, "flags": flags,
               "options": "02000000" + "00001234" + "0005" + "809a"},
              len(data))
with differs("takes the platform's 8 bytes for the frame"):
    heard("erspan, type III, for a platform", "ex", outer(0) /
          gre(0x22eb, seq=5) / erspan(7, 2, o=1, platform=bytes(8)) / data,
          {"id": 7, "flags": KEY_BIT | SEQ_BIT | OPTIONS_BIT,
           "options": "02000000" + "00000000" + "0000" + "0001"}, len(data))
# Type I has nothing to tell.
GETTERS["ex"].last()
case("erspan, type I", f"ex rx_bytes={len(data)} rx_packets=1", u0,
     outer(0) / gre(0x88be) / data)
got = GETTERS["ex"].last() or {}
with differs("takes the frame for metadata"):
    expect("erspan, type I: the metadata", (0, None),
           (got.get("id"), got.get("options")))
for name, packet in (("IPv6", ip6() / udp()), ("MPLS", mpls(100) / ip())):
    heard(f"gre, {name}", "gx", outer(0) / gre(packet.ethertype) /
          packet.bytes(), {}, len(packet.bytes()))
heard("ipip, MPLS", "ix", outer(0, 137) / (mpls(100) / ip()).bytes(), {}, 24)

# A device that has an address of its own comes first.
run_ip("link add g2 type gre local 192.0.2.1 remote 192.0.2.2 key 5",
       "link set g2 up")
case("a tunnel with a remote comes first", "g2 rx_bytes=28 rx_packets=1", u0,
     outer(0) / gre(key=5) / CAME.bytes())
heard("and another key goes to the external one", "gx", outer(0) /
      gre(key=6) / CAME.bytes(), {"id": 6, "flags": KEY_BIT}, 28)
run_ip("link del g2")

# ------------------------------------------- UDP below ipip: functions of fou

# 6.1 has no such functions, and a debug kernel no type data to call them by.
if SERIES != "6.1" and SLOW == 1:
    run_ip("fou add port 5551 ipproto 4", "fou add port 5553 gue")
    for dev in KINDS:
        tc(f"filter del dev {dev} ingress")
    inner = INNER["ix"].bytes()
    for type, head in (("fou", b""), ("gue", bytes((0, 4, 0, 0)))):
        bpf.attach("ix", "egress", bpf.FouSetter(TO, 7001, 5555, type))
        sent = out(f"ipip, BPF: {type}", "ix", f"udp {28 + len(head + inner)}",
                   lambda: give("ix"), len(inner))
        if sent:
            check_outer(f"ipip, BPF: {type}", sent, ttl=33)
            expect(f"ipip, BPF: {type}: the packet",
                   (udp(7001, 5555, check=0) / (head + inner)).bytes().hex(),
                   sent[20:].hex())
    tc("filter del dev ix egress")
    getter = bpf.FouGetter()
    bpf.attach("ix", "ingress", getter)
    for name, packet, want in (
            ("fou", udp(4000, 5551) / CAME.bytes(), (0, 4000, 5551)),
            ("gue", udp(4001, 5553) / (bytes((0, 4, 0, 0)) + CAME.bytes()),
             (0, 4001, 5553)),
            ("none", raw(CAME.bytes()), (0, 0, 0))):
        case(f"ipip, BPF: {name} is received", "ix rx_bytes=28 rx_packets=1",
             u0, outer(0, 4 if name == "none" else 17) / packet)
        expect(f"ipip, BPF: {name}: the ports", want, getter.last())
    for dev in KINDS:
        bpf.attach(dev, "ingress", GETTERS[dev])

# --------------------------------------------------- tc sees it too: flower

for dev in KINDS:
    tc(f"filter del dev {dev} ingress")
ENC = "enc_src_ip 192.0.2.2 enc_dst_ip 192.0.2.1"
for dev, match, good, bad in (
        ("gx", f"{ENC} enc_key_id 5", outer(0) / gre(key=5) / CAME.bytes(),
         outer(0) / gre(key=6) / CAME.bytes()),
        ("gx", f"{ENC} enc_tos 0x28 enc_ttl 77",
         outer(0) / gre() / CAME.bytes(),
         ip("192.0.2.2", "192.0.2.1", 47) / gre() / CAME.bytes()),
        ("ix", ENC, outer(0, 4) / CAME.bytes(),
         ip("192.0.2.3", "192.0.2.1") / CAME.bytes()),
        ("px", f"{ENC} enc_key_id 9",
         outer(0) / gre(0x6558, key=9) / FRAMED.bytes(),
         outer(0) / gre(0x6558) / FRAMED.bytes()),
        ("ex", f"{ENC} enc_key_id 7 erspan_opts 1:703710:0:0",
         outer(0) / gre(0x88be, seq=1) / erspan(7, index=703710) / data,
         outer(0) / gre(0x88be, seq=1) / erspan(7, index=703711) / data),
        ("ex", f"{ENC} erspan_opts 2:0:1:9",
         outer(0) / gre(0x22eb, seq=1) / erspan(7, 2, d=1, hwid=9) / data,
         outer(0) / gre(0x22eb, seq=1) / erspan(7, 2, d=0, hwid=9) / data)):
    tc(f"filter add dev {dev} ingress prio 2 protocol ip flower {match} "
       "action drop")
    inject(u0, *[good] * 3, *[bad] * 2)
    shown = json.loads(subprocess.run(
        ["tc", "-s", "-j", "filter", "show", "dev", dev, "ingress"],
        stdout=subprocess.PIPE, check=True).stdout)
    packets = [a["stats"]["packets"] for f in shown if "options" in f
               for a in f["options"].get("actions", [])]
    expect(f"{KINDS[dev]}, flower {match}", [3], packets)
    tc(f"filter del dev {dev} ingress")
END

# ------------------------------------------------ large packets, each its own

wire n1 "$TAG" <<'END'
import sys
from wire import *
from bulk import *
from ether import netlink

ENDS = n1, n2 = [Ns(f"{sys.argv[1]}-{n}") for n in ("n1", "n2")]
bulk = Bulk(n1, n2)
SIZES = [(n1, "tun", "tx", True), (n1, "v1", "tx", True),
         (n2, "tun", "rx", True)]

SEGMENTS = [(n1, "tun", "tx", True), (n1, "v1", "tx", False),
            (n2, "tun", "rx", False)]


def ethtool(state):
    n1.run("ethtool", "-K", "v1", *f"tx {state} sg {state} tso {state} "
           f"gso {state}".split())


# The segments' checksum is what the packet says, not what the device says.
R1, R4 = "takes the checksum's choice of the device", \
    "refuses a checksum without icsum"
ONE = "gives all segments one number"
FLAGS = {"": [], "icsum": ["IFLAGS=0x8000"], "ocsum": ["OFLAGS=0x8000"]}
for kind, device, route, wrong in (
        ("ipip", "", "", ""), ("gre", "", "", ""), ("gre", "", "key", ""),
        ("gre", "", "csum", R4), ("gre", "", "csum key", R4),
        ("gre", "icsum", "csum", R1), ("gre", "icsum", "csum key", R1),
        ("gre", "ocsum", "key", R1), ("gre", "", "key seq", ONE),
        ("gretap", "", "key", ""), ("gretap", "icsum", "csum key", R1)):
    name = f"{kind} external {device}, the route: {route or 'nothing'}"
    for n, ns in enumerate(ENDS):
        own, peer = n + 1, 2 - n
        mac = f"address {MAC[n]} " * (kind == "gretap")
        # Flags of an external device, "ip" would not send.
        netlink("new", "tun", kind, "COLLECT_METADATA=", *FLAGS[device],
                ns=ns.name)
        # Room for every option: nothing else makes some.
        ns.ip(f"link set tun {mac}mtu 1400 up", f"addr add 198.51.100.{own}/32 dev tun",
              f"route add 198.51.100.{peer} encap ip id 5 dst 192.0.2.{peer} "
              f"src 192.0.2.{own} {route} dev tun rto_min 10s")
        if kind == "gretap":
            ns.ip(f"neigh add 198.51.100.{peer} lladdr {MAC[1 - n]} dev tun")
    with differs(wrong, ">=6.12" if wrong == R1 else "all") if wrong \
            else differs("", ""):
        expect(f"{name}: echoes", 3, n1.echo("198.51.100.2", 3))
        bulk.transfer(name, "198.51.100.2", SIZES)
        ethtool("off")
        bulk.transfer(f"{name}, no offloads below", "198.51.100.2", SEGMENTS)
        ethtool("on")
    for ns in ENDS:
        ns.ip("link del tun")
END
finish
