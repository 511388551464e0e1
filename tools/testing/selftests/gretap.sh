#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# gretap: what each kind of frame looks like on the wire, and comes out as;
# what the outer header inherits from it; what its MTU is.
#
#	   the test (192.0.2.x)
#	          | u0, a tun device
#	   n0: 192.0.2.1
#	       g0 to g7  gretap, one for each set of options
#
#	   n1                            n2
#	   | v1 192.0.2.1                | v2 192.0.2.2
#	   '-----------------------------'
#	   tap ======= tunnel ======== tap
#	   198.51.100.1, 2001:db8::1     198.51.100.2, 2001:db8::2
#	   .100, .100.200: VLANs         in a bridge, with a host behind it

. "$(dirname "$0")/lib.sh"
need_modules ip_gre
modprobe -a 8021q bridge
new_ns n0
new_ns -6 n1 n2 h2

wire n0 <<'END'
from wire import *
from ether import *

sysctl(net__ipv4__icmp_ratemask=0, net__ipv4__ip_default_ttl=99)
u0 = Tun("u0", "192.0.2.1/24", mtu=9100)
KEY, CSUM, SEQ_BIT = 1, 2, 4
DROPPED = "u0 rx_dropped=1"
OUTER = ("192.0.2.10", "192.0.2.1", 47)


def gretap(name, remote, options="", mac="02:00:00:00:00:09"):
    run_ip(f"link add {name} address {mac} type gretap local 192.0.2.1 "
           f"remote {remote} {options}", *put_up(name))
    return Port(name)


def words(bits):
    return " ".join(["key 5"] * (bits & KEY) + ["csum"] * (bits >> 1 & 1) +
                    ["seq"] * (bits >> 2))


def header(bits, seq=0):
    return gre(0x6558, key=5 if bits & KEY else None,
               csum=True if bits & CSUM else None,
               seq=seq if bits & SEQ_BIT else None)


# ------------------------------------------------------ every kind of frame

ARP = raw("0001080006040001" + "020000000101c6336401" + "000000000000c6336402")
FRAMES = {
    "IPv4": frame(ip() / udp() / b"hello"),
    "IPv6": frame(ip6() / udp() / b"hello"),
    "ARP": frame(ARP, dst="ff:ff:ff:ff:ff:ff", type=0x0806),
    "MPLS": frame(mpls(100) / ip()),
    "a VLAN": frame(vlan(100) / ip() / udp()),
    "a VLAN, priority 5": frame(vlan(4095, pcp=5) / ip6() / udp()),
    "QinQ": frame(vlan(200, type=0x8100) / vlan(100) / ip() / udp(),
                  type=0x88a8),
    "a VLAN with ARP": frame(vlan(7, type=0x0806) / ARP),
    "another ethertype": frame(raw(46), type=0x88b5),
    "802.3": frame(bytes.fromhex("424203") + bytes(43), type=0x002e),
    "a multicast": frame(ip(dst="233.252.0.1"), dst="01:00:5e:7c:00:01"),
    "nothing in it": frame(type=0x88b5),
    "IPv4, of a wrong length": frame(ip(length=2000) / b"short"),
    "8986 bytes": frame(ip() / udp() / raw(8944)),
}


for bits in range(8):
    dev, remote = f"g{bits}", f"192.0.2.{10 + bits}"
    port = gretap(dev, remote, words(bits))
    expect(f"gretap {words(bits)}: MTU", 9100 - 38 - 4 * bin(bits).count("1"),
           show("link", "show", "dev", dev)[0]["mtu"])
    for seq, (what, packet) in enumerate(FRAMES.items()):
        data = packet.bytes()
        name = f"gretap {words(bits)}: {what}"
        size = 24 + 4 * bin(bits).count("1") + len(data)
        # A frame without a payload is counted as none.
        sent = sends_frame(f"{name} is sent", u0, f"gre {size}", port, packet,
                           "tx_dropped=1" if len(data) == 14 else None)
        if sent:
            expect(f"{name} is sent", (header(bits, seq) / data).bytes().hex(),
                   sent[20:].hex())
        port.took()
        # Nobody wants the second tag, says the stack.
        dropped = " rx_dropped=1" * (what == "QinQ")
        case(f"{name} is received",
             f"{dev} rx_bytes={len(data)}{dropped} rx_packets=1", u0,
             ip(remote, *OUTER[1:]) / header(bits, seq + 1) / data)
        expect(f"{name} is received whole", [data.hex()], port.took())

# ----------------------------------------- what is no frame, and whose it is

g0 = Port("g0")
for size in range(15):
    data = FRAMES["IPv4"].bytes()[:size]
    with differs("does not count it", ">=7.2") if 8 <= size < 14 \
            else differs("", ""):
        case(f"{size} bytes of a frame",
             f"g0 {LENGTH}" if size == 14 else DROPPED,
             u0, ip(*OUTER) / gre(0x6558) / data)
for name, packet in (("another key", gre(0x6558, key=6)),
                     ("IPv4, not a frame", gre())):
    case(f"not for a gretap: {name}", f"{DROPPED}; u0: icmp 3/3", u0,
         ip(*OUTER) / packet / FRAMES["IPv4"].bytes())
run_ip("link add l0 type gre local 192.0.2.1 remote 192.0.2.10", "link set l0 up")
case("a gre with the same ends gets what is no frame",
     "l0 rx_bytes=20 rx_packets=1", u0, ip(*OUTER) / gre() / ip())
case("and gretap the frames", "g0 rx_bytes=34 rx_packets=1", u0,
     ip(*OUTER) / gre(0x6558) / frame(ip()))
run_ip("link set g0 down")
case("a gretap that is down", "l0 rx_bytes=34 rx_dropped=1 rx_packets=1", u0,
     ip(*OUTER) / gre(0x6558) / frame(ip()))
run_ip("link set g0 up", "link del l0")
for mac, what in (("02:00:00:00:00:09", "to itself"),
                  ("02:00:00:00:00:0a", "to another station"),
                  ("ff:ff:ff:ff:ff:ff", "to all")):
    case(f"a frame {what}", "g0 rx_bytes=34 rx_packets=1", u0,
         ip(*OUTER) / gre(0x6558) / frame(ip(), dst=mac))

# ------------------------------------------ what the outer header inherits
# TTL and TOS "inherit" look at an inner IP header, behind one tag or two;
# all else has nothing to inherit.

V4, V6 = ip(ttl=33, tos=0x54), ip6(hlim=44, tc=0xe0)
DF = ip(ttl=35, tos=0x1c, flags=2)
IN = {"IPv4": (V4, 33, 0x54, 0), "IPv4 DF": (DF, 35, 0x1c, 1),
      "IPv6": (V6, 44, 0xe0, 0)}


def inner(what):
    packet, *rest = IN[what]
    return cut(packet, len(packet.bytes())), *rest


INHERIT = {}
for what in IN:
    INHERIT[what] = frame(inner(what)[0]), inner(what)[1:]
    INHERIT[f"{what} in a VLAN"] = \
        frame(vlan(0x45) / inner(what)[0]), inner(what)[1:]
    INHERIT[f"{what} in two"] = \
        frame(vlan(0x45, type=0x8100) / vlan(0x45) / inner(what)[0],
              type=0x88a8), inner(what)[1:]
for what in ("ARP", "another ethertype", "802.3", "MPLS"):
    INHERIT[what] = FRAMES[what], (99, 0, 0)
# Bytes like those of an IP header are none, behind another ethertype.
INHERIT["like IPv4"] = frame(inner("IPv4 DF")[0], type=0x88b5), (99, 0, 0)

i0 = gretap("i0", "192.0.2.30", "ttl inherit tos inherit nopmtudisc")
i1 = gretap("i1", "192.0.2.31", "ttl 64 tos 0x48")
i2 = gretap("i2", "192.0.2.32", "nopmtudisc ignore-df")
for what, (packet, want) in INHERIT.items():
    for port, (ttl, tos, df) in ((i0, want), (i1, (64, 0x48, 1)),
                                 (i2, (want[0], 0, 0))):
        name = f"{port.dev}: {what}"
        sent = sends_frame(name, u0, f"gre {24 + len(packet.bytes())}", port,
                           packet)
        if sent:
            got = fields(sent)
            expect(name, (ttl, hex(tos), df),
                   (got["ttl"], hex(got["tos"]), got["df"]))
            expect(f"{name}, the frame", packet.bytes().hex(), sent[24:].hex())

# ---------------------------------------------------------------------- ECN
# A mark outside reaches an inner IP header, and nothing else.

NOT_ECT, ECT1, ECT0, CE = range(4)
EGRESS = {NOT_ECT: (NOT_ECT, NOT_ECT, NOT_ECT, None),
          ECT1: (ECT1, ECT1, ECT1, CE),
          ECT0: (ECT0, ECT1, ECT0, CE),
          CE: (CE, CE, CE, CE)}
for what, build in (("IPv4", lambda e: frame(ip(tos=0x68 | e) / udp())),
                    ("IPv6", lambda e: frame(ip6(tc=0x68 | e) / udp()))):
    for inside in range(4):
        for outside in range(4):
            after = EGRESS[inside][outside]
            size = len(build(0).bytes())
            g0.took()
            name = f"ECN: {outside} outside, {inside} inside {what}"
            case(name, f"g0 {FRAME}" if after is None else
                 f"g0 rx_bytes={size} rx_packets=1", u0,
                 ip(*OUTER, tos=0x28 | outside) / gre(0x6558) / build(inside))
            expect(f"{name}, the frame", [] if after is None else
                   [build(after).bytes().hex()], g0.took())
UNTOUCHED = {what: packet for what, packet in FRAMES.items()
             if not what.startswith(("IPv4", "IPv6", "a multicast", "8986"))}
for vid in (100, 101, 102, 103, 0x445, 0x446, 0x447):
    for e in range(4):
        UNTOUCHED[f"VLAN {vid}, ECN {e} inside"] = \
            frame(vlan(vid) / ip(tos=e) / udp())
        UNTOUCHED[f"VLAN {vid} in another, ECN {e} inside"] = frame(
            vlan(vid, type=0x8100) / vlan(vid) / ip6(tc=e) / udp(),
            type=0x88a8)
for what, packet in UNTOUCHED.items():
    data = packet.bytes()
    for outside in (ECT1, CE):
        g0.took()
        name = f"ECN: {outside} outside, {what}"
        with differs("takes the tag for an IP header"):
            dropped = " rx_dropped=1" * (data[12:14] == b"\x88\xa8")
            case(name, f"g0 rx_bytes={len(data)}{dropped} rx_packets=1", u0,
                 ip(*OUTER, tos=outside) / gre(0x6558) / data)
            expect(f"{name}, the frame", [data.hex()], g0.took())
# An IP header that is not whole is counted, as for gre.
for what, packet in (("IPv4", frame(cut(ip(), 19))),
                     ("IPv6", frame(cut(ip6(), 39)))):
    case(f"{what}: a header cut short", f"g0 {LENGTH}", u0,
         ip(*OUTER) / gre(0x6558) / packet)

# --------------------------------------------------- fallback and any remote

case("gretap0 is down", f"{DROPPED}; u0: icmp 3/3", u0,
     ip("192.0.2.99", "192.0.2.1") / gre(0x6558) / frame(ip()))
run_ip("link set gretap0 address 02:00:00:00:00:0f", *put_up("gretap0"))
p0 = Port("gretap0")
for what, packet in (("", gre(0x6558)), (", with a key", gre(0x6558, key=9))):
    case(f"gretap0 gets what has no device{what}",
         "gretap0 rx_bytes=34 rx_packets=1", u0,
         ip("192.0.2.99", "192.0.2.1") / packet / frame(ip()))
expect("the frames", [frame(ip()).bytes().hex()] * 2, p0.took())
want, got, _ = attempt("gretap0 tx_errors=1 tx_fifo_errors=1",
                       lambda: p0.give(frame(ip())))
expect("gretap0 has nowhere to send to", want, got)
run_ip("link set gretap0 down")
END

# -------------------------------------------------- between two kernels

veth_pair n1 v1 192.0.2.1/24 n2 v2 192.0.2.2/24
veth_pair n2 e2 - h2 eth -

wire n1 "$TAG" <<'END'
import sys
from wire import *
import xfer

n1, n2, h2 = (Ns(f"{sys.argv[1]}-{n}") for n in ("n1", "n2", "h2"))
ENDS = (n1, n2)
MAC = "02:00:00:00:aa:01", "02:00:00:00:aa:02"
# One CPU, so that no sequence number overtakes another.
os.sched_setaffinity(0, {0})
for n, ns in enumerate(ENDS, 1):
    ns.ip(f"link set v{n} mtu 9000")


def addresses(n, dev, net):
    """the lines for one end: addresses, and the other's as neighbours"""
    own, peer = n + 1, 2 - n
    return (f"addr add 198.51.100.{net + own}/28 dev {dev}",
            f"addr add 2001:db8:{net}::{own}/64 dev {dev} nodad",
            f"neigh add 198.51.100.{net + peer} lladdr {MAC[1 - n]} "
            f"dev {dev} nud permanent",
            f"neigh add 2001:db8:{net}::{peer} lladdr {MAC[1 - n]} "
            f"dev {dev} nud permanent")


def echoes(name, net, head, pairs=ENDS, dev="tap", size=56):
    """5 echoes, counted at both ends; head: bytes of all Ethernet headers"""
    for what, address, ip_size in (("IPv4", f"198.51.100.{net + 2}", 28),
                                   ("IPv6", f"2001:db8:{net}::2", 48)):
        before = [ns.counters.read() for ns in pairs]
        expect(f"{name}, {what}: echoes", 5, n1.echo(address, 5, size))
        total = 5 * (ip_size + size)
        want = f"rx_bytes={total + 5 * head} rx_packets=5 " \
            f"tx_bytes={total} tx_packets=5"
        for end, ns, old in zip((1, 2), pairs, before):
            expect(f"{name}, {what}: the counters of n{end}", want,
                   until(want, lambda: ns.moved(old, dev)))


def transfer(name, address, peer=n2):
    try:
        xfer.tcp(n1.name, peer.name, address, 100, 10000)
        xfer.udp(n1.name, peer.name, address, 10, 1200)
        result = None
    except (OSError, SystemExit) as error:
        result = repr(error)
    expect(f"{name}: TCP and UDP", None, result)


def errors(name, before):
    for n, (ns, old) in enumerate(zip(ENDS, before), 1):
        expect(f"{name}: no errors at n{n}", [], [
            c for c in ns.moved(old, "tap").split()
            if not c.startswith(("rx_packets", "tx_packets", "rx_bytes",
                                 "tx_bytes", "multicast"))])


for options in ("", "key 5 csum seq"):
    name = "gretap " + options
    for n, ns in enumerate(ENDS):
        ns.ip(f"link add tap address {MAC[n]} type gretap local "
              f"192.0.2.{n + 1} remote 192.0.2.{2 - n} {options}",
              "link set tap arp off up", *addresses(n, "tap", 0))
    before = [ns.counters.read() for ns in ENDS]
    echoes(name, 0, 14)
    echoes(f"{name}, jumbo", 0, 14, size=8000)
    transfer(name, "198.51.100.2")
    transfer(f"{name}, IPv6", "2001:db8:0::2")
    for n, ns in enumerate(ENDS):
        ns.ip("link add link tap name tag mtu 8900 type vlan id 100",
              "link set tag arp off up",
              *addresses(n, "tag", 16),
              "link add link tap name stag mtu 8900 type vlan proto 802.1ad id 200",
              "link add link stag name tags mtu 8800 type vlan id 300",
              "link set stag arp off up", "link set tags arp off up",
              *addresses(n, "tags", 32))
    # The tags are in front of what is counted when it is sent.
    echoes(f"{name}, a VLAN", 16, 18)
    echoes(f"{name}, a VLAN in a VLAN", 32, 22)
    transfer(f"{name}, a VLAN", "198.51.100.18")
    transfer(f"{name}, a VLAN in a VLAN", "2001:db8:32::2")
    errors(name, before)

    # ARP finds the other end, and a host behind a bridge.
    for n, ns in enumerate(ENDS):
        ns.ip(f"neigh del 198.51.100.{2 - n} dev tap", "link set tap arp on")
    expect(f"{name}: found by ARP", 1, n1.echo("198.51.100.2", 1))
    n2.ip("link del tags", "link del stag", "link del tag",
          "addr flush dev tap", "link add br0 type bridge", "link set br0 up",
          "link set tap master br0", "link set e2 up master br0")
    h2.ip("link set eth up", "addr add 198.51.100.3/28 dev eth",
          "addr add 2001:db8:0::3/64 dev eth nodad")
    before = [ns.counters.read() for ns in ENDS]
    for address in ("198.51.100.3", "2001:db8:0::3"):
        expect(f"{name}: a host behind a bridge, {address}", 5,
               n1.echo(address, 5))
        transfer(f"{name}: a host behind a bridge, {address}", address, h2)
    errors(name, before)
    h2.ip("addr flush dev eth")
    n2.ip("link del br0", "link set e2 nomaster")
    for ns in ENDS:
        ns.ip("link del tap")

# -------------------------------------------------------------------- MTU

for options, head in (("", 38), ("key 5", 42), ("key 5 csum seq", 50),
                      ("dev v1", 38)):
    name = f"MTU of gretap {options}"
    n1.ip(f"link add m0 type gretap local 192.0.2.1 remote 192.0.2.2 {options}")

    def mtu():
        return show("link", "show", "dev", "m0")[0]["mtu"]

    expect(f"{name}: of the route", 9000 - head, mtu())
    for value, taken in ((67, False), (68, True), (1500, True),
                         (65535 - head, True), (65536 - head, False),
                         (65535, False)):
        old = mtu()
        n1.ip(f"link set m0 mtu {value}", force=True)
        expect(f"{name}: {value}", value if taken else old, mtu())
    n1.ip("link del m0")
for given, want in ((67, None), (68, 68), (1000, 1000), (65497, 65497)):
    n1.ip(f"link add m0 mtu {given} type gretap remote 192.0.2.2", force=True)
    expect(f"MTU of a new gretap: {given}", [want] * (want is not None),
           [link["mtu"] for link in show("link") if link["ifname"] == "m0"])
    n1.ip("link del m0", force=True)
n1.ip("link add m0 type gretap remote 203.0.113.9")
expect("MTU of a gretap without a route", 1462,
       show("link", "show", "dev", "m0")[0]["mtu"])
END
finish
