#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""gretap: each kind of frame on the wire and as it is received, what the outer
header inherits, ECN, the fallback device, MTU; traffic between two kernels.

       the test (192.0.2.x)
              | u0, a tun device
       n0: 192.0.2.1
           g0 to g7  gretap, one for each set of options

       n1                            n2
       | v1 192.0.2.1                | v2 192.0.2.2
       '-----------------------------'
       tap ======= tunnel ======== tap
       198.51.100.1, 2001:db8::1     198.51.100.2, 2001:db8::2
       tag, stag, tags: VLANs        in a bridge, with the host h2 behind it
"""
import contextlib
import os

from ksft import ksft_run, need_modules, modprobe, NetNs, veth_pair
from ether import Port, frame, put_up, sends_frame
from pkt import cut, gre, ip, ip6, mpls, raw, udp, vlan
from wire import FRAME, LENGTH, Tun, attempt, case, differs, expect, fields, run_ip, show, sysctl, until
import xfer

KEY, CSUM, SEQ_BIT = 1, 2, 4
DROPPED = "u0 rx_dropped=1"
OUTER = ("192.0.2.10", "192.0.2.1", 47)
NOT_ECT, ECT1, ECT0, CE = range(4)
# After decapsulation, by the ECN field inside, then outside; None is dropped.
EGRESS = {NOT_ECT: (NOT_ECT, NOT_ECT, NOT_ECT, None),
          ECT1: (ECT1, ECT1, ECT1, CE),
          ECT0: (ECT0, ECT1, ECT0, CE),
          CE: (CE, CE, CE, CE)}
ARP = raw("0001080006040001" + "020000000101c6336401" + "000000000000c6336402")
FRAMES = {
    "IPv4": frame(ip() / udp() / b"hello"),
    "IPv6": frame(ip6() / udp() / b"hello"),
    "ARP": frame(ARP, dst="ff:ff:ff:ff:ff:ff", type=0x0806),
    "MPLS": frame(mpls(100) / ip()),
    "a VLAN": frame(vlan(100) / ip() / udp()),
    "a VLAN, priority 5": frame(vlan(4095, pcp=5) / ip6() / udp()),
    "QinQ": frame(vlan(200, type=0x8100) / vlan(100) / ip() / udp(), type=0x88a8),
    "a VLAN with ARP": frame(vlan(7, type=0x0806) / ARP),
    "another ethertype": frame(raw(46), type=0x88b5),
    "802.3": frame(bytes.fromhex("424203") + bytes(43), type=0x002e),
    "a multicast": frame(ip(dst="233.252.0.1"), dst="01:00:5e:7c:00:01"),
    "nothing in it": frame(type=0x88b5),
    "IPv4, of a wrong length": frame(ip(length=2000) / b"short"),
    "8986 bytes": frame(ip() / udp() / raw(8944)),
}
MAC = "02:00:00:00:aa:01", "02:00:00:00:aa:02"


def add_gretap(name, remote, options=""):
    run_ip(f"link add {name} address 02:00:00:00:00:09 type gretap local 192.0.2.1 remote {remote} {options}",
           *put_up(name))
    return Port(name)


def mtu_of(dev):
    return show("link", "show", "dev", dev)[0]["mtu"]


# -------------------------------------------------------- every kind of frame

def words(bits):
    return " ".join(["key 5"] * (bits & KEY) + ["csum"] * (bits >> 1 & 1) + ["seq"] * (bits >> 2))


def header(bits, seq=0):
    return gre(0x6558, key=5 if bits & KEY else None, csum=True if bits & CSUM else None,
               seq=seq if bits & SEQ_BIT else None)


def frame_sent(name, u0, port, bits, seq, packet):
    data = packet.bytes()
    size = 20 + len((header(bits, seq) / data).bytes())
    # A frame without a payload is dropped and counted.
    sent = sends_frame(f"{name} is sent", u0, f"gre {size}", port, packet, "tx_dropped=1" if len(data) == 14 else None)
    if sent:
        expect(f"{name} is sent", (header(bits, seq) / data).bytes().hex(), sent[20:].hex())


def frame_received(name, u0, port, bits, seq, packet, remote, dropped):
    data = packet.bytes()
    port.took()
    case(f"{name} is received", f"{port.dev} rx_bytes={len(data)}{dropped} rx_packets=1", u0,
         ip(remote, *OUTER[1:]) / header(bits, seq) / data)
    expect(f"{name} is received whole", [data.hex()], port.took())


def every_frame(u0, bits):
    """all kinds of frames through a device with this set of options"""
    dev, remote = f"g{bits}", f"192.0.2.{10 + bits}"
    port = add_gretap(dev, remote, words(bits))
    expect(f"gretap {words(bits)}: MTU", 9100 - 38 - 4 * bin(bits).count("1"), mtu_of(dev))
    for seq, (what, packet) in enumerate(FRAMES.items()):
        name = f"gretap {words(bits)}: {what}"
        frame_sent(name, u0, port, bits, seq, packet)
        # The stack has no use for the second tag.
        dropped = " rx_dropped=1" * (what == "QinQ")
        frame_received(name, u0, port, bits, seq + 1, packet, remote, dropped)


# ------------------------------------------------------ what is not a frame

def cut_short(u0):
    for size in range(15):
        data = FRAMES["IPv4"].bytes()[:size]
        known = differs("does not count it", ">=7.2") if 8 <= size < 14 else contextlib.nullcontext()
        with known:
            case(f"{size} bytes of a frame", f"g0 {LENGTH}" if size == 14 else DROPPED, u0,
                 ip(*OUTER) / gre(0x6558) / data)


def not_for_gretap(u0):
    for name, packet in (("another key", gre(0x6558, key=6)), ("IPv4, not a frame", gre())):
        case(f"not for a gretap: {name}", f"{DROPPED}; u0: icmp 3/3", u0, ip(*OUTER) / packet / FRAMES["IPv4"].bytes())


def beside_a_gre(u0):
    """gre and gretap with the same endpoints"""
    run_ip("link add l0 type gre local 192.0.2.1 remote 192.0.2.10", "link set l0 up")
    case("a gre with the same ends gets what is no frame", "l0 rx_bytes=20 rx_packets=1", u0, ip(*OUTER) / gre() / ip())
    case("and gretap the frames", "g0 rx_bytes=34 rx_packets=1", u0, ip(*OUTER) / gre(0x6558) / frame(ip()))
    run_ip("link set g0 down")
    case("a gretap that is down", "l0 rx_bytes=34 rx_dropped=1 rx_packets=1", u0,
         ip(*OUTER) / gre(0x6558) / frame(ip()))
    run_ip("link set g0 up", "link del l0")


def every_destination(u0):
    for mac, what in (("02:00:00:00:00:09", "to itself"), ("02:00:00:00:00:0a", "to another station"),
                      ("ff:ff:ff:ff:ff:ff", "to all")):
        case(f"a frame {what}", "g0 rx_bytes=34 rx_packets=1", u0, ip(*OUTER) / gre(0x6558) / frame(ip(), dst=mac))


# --------------------------------------------- what the outer header inherits

def inheritance():
    """-> {frame: (frame, (TTL, TOS, DF) inherited)}: of an IP header, also
    behind one tag or two; anything else has nothing to inherit"""
    cases = {}
    for what, packet, want in (("IPv4", ip(ttl=33, tos=0x54), (33, 0x54, 0)),
                               ("IPv4 DF", ip(ttl=35, tos=0x1c, flags=2), (35, 0x1c, 1)),
                               ("IPv6", ip6(hlim=44, tc=0xe0), (44, 0xe0, 0))):
        cases[what] = frame(packet), want
        cases[f"{what} in a VLAN"] = frame(vlan(0x45) / packet), want
        cases[f"{what} in two"] = frame(vlan(0x45, type=0x8100) / vlan(0x45) / packet, type=0x88a8), want
    for what in ("ARP", "another ethertype", "802.3", "MPLS"):
        cases[what] = FRAMES[what], (99, 0, 0)
    # The bytes of an IP header, behind another ethertype
    cases["like IPv4"] = frame(ip(ttl=35, tos=0x1c, flags=2), type=0x88b5), (99, 0, 0)
    return cases


def inherits(u0, port, what, packet, want, gre_length=4):
    name = f"{port.dev}: {what}"
    data = packet.bytes()
    outer_length = 20 + gre_length
    sent = sends_frame(name, u0, f"gre {outer_length + len(data)}", port, packet)
    if sent:
        ttl, tos, df = want
        got = fields(sent)
        expect(name, (ttl, hex(tos), df), (got["ttl"], hex(got["tos"]), got["df"]))
        expect(f"{name}, the frame", data.hex(), sent[outer_length:].hex())


def other_version(u0, port):
    """The version of an IP header is not that of the ethertype: nothing is read there."""
    with differs("takes it for the header that the ethertype names"):
        inherits(u0, port, "IPv6 as IPv4", frame(ip6(hlim=44, tc=0xe0), type=0x0800), (99, 0, 0))
        inherits(u0, port, "IPv4 as IPv6", frame(ip(ttl=35, tos=0x1c) / raw(20), type=0x86dd), (99, 0, 0))


def cut_behind_a_tag(u0, port):
    """as without a tag"""
    for what, packet in ("IPv4", cut(ip(), 19)), ("IPv6", cut(ip6(), 39)):
        for tags, build in ("", frame(packet)), (" in a VLAN", frame(vlan(5) / packet)):
            with differs("reads beyond it, behind a tag", when=bool(tags)):
                want, got, _ = attempt(f"{port.dev} tx_dropped=1", lambda build=build: port.give(build))
                expect(f"{what}{tags}, the header cut short", want, got)


def outer_header(u0):
    i0 = add_gretap("i0", "192.0.2.30", "ttl inherit tos inherit nopmtudisc")
    i1 = add_gretap("i1", "192.0.2.31", "ttl 64 tos 0x48")
    i2 = add_gretap("i2", "192.0.2.32", "nopmtudisc ignore-df")
    i3 = add_gretap("i3", "192.0.2.33", "key 5 ttl inherit tos inherit nopmtudisc")
    for what, (packet, want) in inheritance().items():
        inherits(u0, i0, what, packet, want)
        inherits(u0, i1, what, packet, (64, 0x48, 1))
        inherits(u0, i2, what, packet, (want[0], 0, 0))
        with differs("looks for the tag in the wrong place", when=" in " in what):
            inherits(u0, i3, what, packet, want, gre_length=8)
    other_version(u0, i0)
    cut_behind_a_tag(u0, i0)


# ------------------------------------------------------------------------ ECN

def ecn_case(u0, g0, what, build, inside, outside):
    after = EGRESS[inside][outside]
    size = len(build(0).bytes())
    g0.took()
    name = f"ECN: {outside} outside, {inside} inside {what}"
    case(name, f"g0 {FRAME}" if after is None else f"g0 rx_bytes={size} rx_packets=1", u0,
         ip(*OUTER, tos=0x28 | outside) / gre(0x6558) / build(inside))
    expect(f"{name}, the frame", [] if after is None else [build(after).bytes().hex()], g0.took())


def ecn_of_ip(u0, g0):
    """A mark outside reaches an inner IP header"""
    for what, build in (("IPv4", lambda e: frame(ip(tos=0x68 | e) / udp())),
                        ("IPv6", lambda e: frame(ip6(tc=0x68 | e) / udp()))):
        for inside in range(4):
            for outside in range(4):
                ecn_case(u0, g0, what, build, inside, outside)


def frames_without_ecn():
    """anything but an IP packet next to the Ethernet header, and tags that read as an IP header would drop"""
    found = {what: packet for what, packet in FRAMES.items()
             if not what.startswith(("IPv4", "IPv6", "a multicast", "8986"))}
    for vid in (100, 101, 102, 103, 0x445, 0x446, 0x447):
        for e in range(4):
            found[f"VLAN {vid}, ECN {e} inside"] = frame(vlan(vid) / ip(tos=e) / udp())
            found[f"VLAN {vid} in another, ECN {e} inside"] = \
                frame(vlan(vid, type=0x8100) / vlan(vid) / ip6(tc=e) / udp(), type=0x88a8)
    return found


def ecn_of_others(u0, g0):
    """and nothing else"""
    for what, packet in frames_without_ecn().items():
        data = packet.bytes()
        dropped = " rx_dropped=1" * (data[12:14] == b"\x88\xa8")
        for outside in (ECT1, CE):
            g0.took()
            name = f"ECN: {outside} outside, {what}"
            with differs("takes the tag for an IP header"):
                case(name, f"g0 rx_bytes={len(data)}{dropped} rx_packets=1", u0,
                     ip(*OUTER, tos=outside) / gre(0x6558) / data)
                expect(f"{name}, the frame", [data.hex()], g0.took())


def ecn_of_a_cut_header(u0):
    """is counted, as gre does"""
    for what, packet in (("IPv4", frame(cut(ip(), 19))), ("IPv6", frame(cut(ip6(), 39)))):
        case(f"{what}: a header cut short", f"g0 {LENGTH}", u0, ip(*OUTER) / gre(0x6558) / packet)


# ------------------------------------------------------------ fallback device

def fallback(u0):
    case("gretap0 is down", f"{DROPPED}; u0: icmp 3/3", u0,
         ip("192.0.2.99", "192.0.2.1") / gre(0x6558) / frame(ip()))
    run_ip("link set gretap0 address 02:00:00:00:00:0f", *put_up("gretap0"))
    p0 = Port("gretap0")
    for what, head in (("", gre(0x6558)), (", with a key", gre(0x6558, key=9))):
        case(f"gretap0 gets what has no device{what}", "gretap0 rx_bytes=34 rx_packets=1", u0,
             ip("192.0.2.99", "192.0.2.1") / head / frame(ip()))
    expect("the frames", [frame(ip()).bytes().hex()] * 2, p0.took())
    want, got, _ = attempt("gretap0 tx_errors=1 tx_fifo_errors=1", lambda: p0.give(frame(ip())))
    expect("gretap0 has nowhere to send to", want, got)
    run_ip("link set gretap0 down")


# -------------------------------------------------------- between two kernels

def addresses(n, dev, net):
    """the lines for one endpoint: its addresses, and its peer's as neighbours"""
    own, peer = n + 1, 2 - n
    return (f"addr add 198.51.100.{net + own}/28 dev {dev}",
            f"addr add 2001:db8:{net}::{own}/64 dev {dev} nodad",
            f"neigh add 198.51.100.{net + peer} lladdr {MAC[1 - n]} dev {dev} nud permanent",
            f"neigh add 2001:db8:{net}::{peer} lladdr {MAC[1 - n]} dev {dev} nud permanent")


def echoes(name, ends, net, head, size=56):
    """5 echoes, counted by both taps; head: bytes of all Ethernet headers"""
    for what, address, ip_size in (("IPv4", f"198.51.100.{net + 2}", 28), ("IPv6", f"2001:db8:{net}::2", 48)):
        before = [ns.counters.read() for ns in ends]
        expect(f"{name}, {what}: echoes", 5, ends[0].echo(address, 5, size))
        total = 5 * (ip_size + size)
        want = f"rx_bytes={total + 5 * head} rx_packets=5 tx_bytes={total} tx_packets=5"
        for end, ns, old in zip((1, 2), ends, before):
            expect(f"{name}, {what}: the counters of n{end}", want, until(want, lambda: ns.moved(old, "tap")))


def transfer(name, ns, peer, address):
    expect(f"{name}: TCP and UDP", None, xfer.transfer(ns.name, peer.name, address, 100, 10000))


def no_errors(name, ends, before):
    for n, (ns, old) in enumerate(zip(ends, before), 1):
        expect(f"{name}: no errors at n{n}", [], [
            c for c in ns.moved(old, "tap").split()
            if not c.startswith(("rx_packets", "tx_packets", "rx_bytes", "tx_bytes", "multicast"))])


def untagged(name, ends):
    echoes(name, ends, 0, 14)
    echoes(f"{name}, jumbo", ends, 0, 14, size=8000)
    transfer(name, *ends, "198.51.100.2")
    transfer(f"{name}, IPv6", *ends, "2001:db8:0::2")


def tagged(name, ends):
    for n, ns in enumerate(ends):
        ns.ip("link add link tap name tag mtu 8900 type vlan id 100",
              "link set tag arp off up",
              *addresses(n, "tag", 16),
              "link add link tap name stag mtu 8900 type vlan proto 802.1ad id 200",
              "link add link stag name tags mtu 8800 type vlan id 300",
              "link set stag arp off up", "link set tags arp off up",
              *addresses(n, "tags", 32))
    # A tag counts as payload on reception only.
    echoes(f"{name}, a VLAN", ends, 16, 18)
    echoes(f"{name}, a VLAN in a VLAN", ends, 32, 22)
    transfer(f"{name}, a VLAN", *ends, "198.51.100.18")
    transfer(f"{name}, a VLAN in a VLAN", *ends, "2001:db8:32::2")


def found_by_arp(name, ends):
    for n, ns in enumerate(ends):
        ns.ip(f"neigh del 198.51.100.{2 - n} dev tap", "link set tap arp on")
    expect(f"{name}: found by ARP", 1, ends[0].echo("198.51.100.2", 1))


def bridged(name, n1, n2, h2):
    """n2 bridges the tunnel and a host"""
    n2.ip("link del tags", "link del stag", "link del tag",
          "addr flush dev tap", "link add br0 type bridge", "link set br0 up",
          "link set tap master br0", "link set e2 up master br0")
    h2.ip("link set eth up", "addr add 198.51.100.3/28 dev eth", "addr add 2001:db8:0::3/64 dev eth nodad")
    before = [ns.counters.read() for ns in (n1, n2)]
    for address in ("198.51.100.3", "2001:db8:0::3"):
        expect(f"{name}: a host behind a bridge, {address}", 5, n1.echo(address, 5))
        transfer(f"{name}: a host behind a bridge, {address}", n1, h2, address)
    no_errors(name, (n1, n2), before)
    h2.ip("addr flush dev eth")
    n2.ip("link del br0", "link set e2 nomaster")


def between_kernels(n1, n2, h2, options):
    name = "gretap " + options
    ends = n1, n2
    for n, ns in enumerate(ends):
        ns.ip(f"link add tap address {MAC[n]} type gretap local 192.0.2.{n + 1} remote 192.0.2.{2 - n} {options}",
              "link set tap arp off up", *addresses(n, "tap", 0))
    before = [ns.counters.read() for ns in ends]
    untagged(name, ends)
    tagged(name, ends)
    no_errors(name, ends, before)
    found_by_arp(name, ends)
    bridged(name, n1, n2, h2)
    for ns in ends:
        ns.ip("link del tap")


# ------------------------------------------------------------------------ MTU

def mtu_of_the_route():
    for options, head in (("", 38), ("key 5", 42), ("key 5 csum seq", 50), ("dev v1", 38)):
        name = f"MTU of gretap {options}"
        run_ip(f"link add m0 type gretap local 192.0.2.1 remote 192.0.2.2 {options}")
        expect(f"{name}: of the route", 9000 - head, mtu_of("m0"))
        for value, taken in ((67, False), (68, True), (1500, True), (65535 - head, True), (65536 - head, False),
                             (65535, False)):
            old = mtu_of("m0")
            run_ip(f"link set m0 mtu {value}", force=True)
            expect(f"{name}: {value}", value if taken else old, mtu_of("m0"))
        run_ip("link del m0")


def mtu_of_a_new_device():
    for given, want in ((67, None), (68, 68), (1000, 1000), (65497, 65497)):
        run_ip(f"link add m0 mtu {given} type gretap remote 192.0.2.2", force=True)
        expect(f"MTU of a new gretap: {given}", [want] * (want is not None),
               [link["mtu"] for link in show("link") if link["ifname"] == "m0"])
        run_ip("link del m0", force=True)


def mtu_without_a_route():
    run_ip("link add m0 type gretap remote 203.0.113.9")
    expect("MTU of a gretap without a route", 1462, mtu_of("m0"))


def on_the_wire():
    sysctl(net__ipv4__icmp_ratemask=0, net__ipv4__ip_default_ttl=99)
    u0 = Tun("u0", "192.0.2.1/24", mtu=9100)
    for bits in range(8):
        every_frame(u0, bits)
    g0 = Port("g0")
    cut_short(u0)
    not_for_gretap(u0)
    beside_a_gre(u0)
    every_destination(u0)
    outer_header(u0)
    ecn_of_ip(u0, g0)
    ecn_of_others(u0, g0)
    ecn_of_a_cut_header(u0)
    fallback(u0)


def with_a_peer(n1, n2, h2):
    # One CPU, so that no sequence number overtakes another.
    os.sched_setaffinity(0, {0})
    veth_pair(n1, "v1", "192.0.2.1/24", n2, "v2", "192.0.2.2/24")
    veth_pair(n2, "e2", None, h2, "eth", None)
    n1.ip("link set v1 mtu 9000")
    n2.ip("link set v2 mtu 9000")
    between_kernels(n1, n2, h2, "")
    between_kernels(n1, n2, h2, "key 5 csum seq")


def main():
    need_modules("ip_gre")
    modprobe("tun", "8021q", "bridge")
    with NetNs() as n0, n0.inside():
        on_the_wire()
    with NetNs(ipv6=True) as n1, NetNs(ipv6=True) as n2, NetNs(ipv6=True) as h2:
        with_a_peer(n1, n2, h2)
        with n1.inside():
            mtu_of_the_route()
            mtu_of_a_new_device()
            mtu_without_a_route()


ksft_run(main)
