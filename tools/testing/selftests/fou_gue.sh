#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# Tunnels in UDP: FOU and GUE under each kind, what is on the wire, what it
# costs, what is received, what can be changed.
#
#	   the test (192.0.2.x)
#	          | u0, a tun device
#	   n0: 192.0.2.1
#	       one tunnel for each kind, encapsulation and set of options
#
#	   n1                      n2
#	   | v1 192.0.2.1          | v2 192.0.2.2	port 5555 and others
#	   '-----------------------'
#	   tun ===== tunnel ===== tun
#	   198.51.100.1            198.51.100.2
#	   2001:db8::1             2001:db8::2

. "$(dirname "$0")/lib.sh"
need_modules ipip ip_gre
remove_module fou
modprobe mpls_router
new_ns n0
new_ns -6 n1 n2
veth_pair n1 v1 192.0.2.1/24 n2 v2 192.0.2.2/24

# Of every namespace: segments wait here that no offload has put together.
queue=/proc/sys/net/core/netdev_max_backlog
defer sh -c "echo $(cat $queue) >$queue"
echo 20000 >$queue

# ------------------------------------------------ without the module, first

for kind in ipip gre gretap; do
	for type in fou gue; do
		refuse -n n0 "$kind: $type is not there" '.' n0 ip link add x \
			type $kind remote 192.0.2.9 encap $type encap-dport 5555
		differs "says no reason" \
			expect_match "$kind: $type is not there: a reason" \
			"$EXTACK" "$(cat "$TMP/out")"
	done
done
modprobe fou

wire n0 "$(ns n0)" <<'END'
from wire import *
from ether import *

sysctl(net__ipv4__icmp_ratemask=0)
u0 = Tun("u0", "192.0.2.1/24")
DPORT = 5555
HEAD = {"ipip": 20, "gre": 24, "gretap": 38, "erspan": 50}
OPTIONS = {"erspan": "seq key 5 erspan_ver 1"}
PROTO = {"ipip": 4, "gre": 47, "gretap": 47, "erspan": 47}
count = iter(range(20, 250))


def mtu(dev):
    return show("link", "show", "dev", dev)[0]["mtu"]


def gue(proto):
    return bytes((0, proto, 0, 0))


def payload(kind, inner):
    """what follows the UDP header or GUE's"""
    if kind == "ipip":
        return inner.bytes()
    if kind == "gre":
        return (gre(inner.ethertype) / inner.bytes()).bytes()
    if kind == "gretap":
        return (gre(0x6558) / inner.bytes()).bytes()
    return (gre(0x88be, seq=0) / erspan(5) / inner.bytes()).bytes()


def send(name, dev, kind, inner, size):
    if kind in ("gretap", "erspan"):
        return sends_frame(name, u0, f"udp {size}", Port(dev), inner)
    return sends(name, f"udp {size}", u0, dev, inner)


def look(name, dev, remote, kind, encap, inner, sport, check, proto):
    """one packet goes out as it should"""
    body = gue(proto) * (encap == "gue") + payload(kind, inner)
    sent = send(name, dev, kind, inner, 28 + len(body))
    if not sent:
        return None
    got = fields(sent)
    port = struct.unpack_from("!H", sent, 20)[0]
    expect(f"{name}: the outer header",
           ("192.0.2.1", remote, 1), (got["src"], got["dst"], got["df"]))
    if sport is None:
        expect(f"{name}: a source port of the local range", True,
               32768 <= port <= 60999)
    outer = ip("192.0.2.1", remote)
    wanted = udp(sport or port, DPORT, check=None if check else 0) / body
    expect(f"{name}: the packet", wanted.bytes(outer).hex(), sent[20:].hex())
    return port


for kind in HEAD:
    for encap in ("fou", "gue"):
        for flags in ("", "encap-csum", "encap-remcsum",
                      "encap-csum encap-remcsum"):
            for sport in (None, 7000):
                n = next(count)
                dev, remote = f"t{n}", f"192.0.2.{n}"
                run_ip(f"link add {dev} type {kind} " +
                       "mode any " * (kind == "ipip") +
                       f"local 192.0.2.1 remote {remote} "
                       f"{OPTIONS.get(kind, '')} encap {encap} "
                       f"encap-sport {sport or 'auto'} encap-dport {DPORT} "
                       + flags, *put_up(dev))
                name = f"{kind} {encap} {flags} {sport or 'auto'}"
                # Remote checksum offload has an option of 8 bytes in GUE.
                extra = 8 + 4 * (encap == "gue") + \
                    8 * (encap == "gue" and "remcsum" in flags)
                expect(f"{name}: MTU", 1500 - HEAD[kind] - extra, mtu(dev))
                expect(f"{name}: is shown", {
                    "type": encap, "sport": sport or 0, "dport": DPORT,
                    "csum": "encap-csum" in flags, "csum6": False,
                    "remcsum": "remcsum" in flags}, info(dev)["encap"])
                inner = ip() / udp() / b"hello"
                if kind in ("gretap", "erspan"):
                    inner = frame(inner)
                look(name, dev, remote, kind, encap, inner, sport,
                     "encap-csum" in flags, PROTO[kind])

# --------------------------------------------------- each payload, and flows

for kind, encap, inner, proto in (
        ("ipip", "fou", mpls(100) / ip(), 137),
        ("ipip", "gue", mpls(100) / ip(), 137),
        ("gre", "fou", ip6() / udp(), 47), ("gre", "gue", ip6() / udp(), 47),
        ("gre", "gue", mpls(100) / ip(), 47)):
    run_ip("link add p0 type " + kind + " mode any" * (kind == "ipip") +
           f" local 192.0.2.1 remote 192.0.2.10 encap {encap} "
           f"encap-sport auto encap-dport {DPORT} encap-csum", *put_up("p0"))
    look(f"{kind} {encap}, payload {inner.ethertype:x}", "p0", "192.0.2.10",
         kind, encap, inner, None, True, proto)
    run_ip("link del p0")
run_ip("link add p0 type gre local 192.0.2.1 remote 192.0.2.10 encap fou "
       f"encap-sport auto encap-dport {DPORT}", "link set p0 up")
ports = [look(f"flow {n % 8}", "p0", "192.0.2.10", "gre", "fou",
              ip() / udp(sport=1000 + n % 8) / b"hello", None, False, 47)
         for n in range(16)]
expect("a flow keeps its source port", ports[:8], ports[8:])
expect("flows differ in their source ports", True, len(set(ports)) > 4)
run_ip("link del p0")

# --------------------------------------------------------------- receiving
# Which device, the addresses and the protocol say; how it came does not
# matter. What is wrong about UDP, FOU drops.

run_ip("fou add port 5551 ipproto 4", "fou add port 5552 ipproto 47",
       "fou add port 5553 gue", "fou add port 5554 ipproto 137")
for dev, options in (
        ("i0", "type ipip mode any"), ("g0", "type gre"),
        ("t0", "address 02:00:00:00:00:09 type gretap")):
    run_ip(f"link add {dev} {options} local 192.0.2.1 remote 192.0.2.2 encap "
           "fou encap-sport auto encap-dport 5551", *put_up(dev))
IN = (ip() / udp() / b"hello").bytes()
MPLS, FRAMED = (mpls(100) / IN).bytes(), frame(ip() / udp() / b"hi").bytes()


def outer(dport, check=None):
    return ip("192.0.2.2", "192.0.2.1") / udp(4000, dport, check=check)


def good(dev, data):
    return f"{dev} rx_bytes={len(data)} rx_packets=1"


for check, what in ((None, "a checksum"), (0, "no checksum")):
    for name, want, dport, body in (
            ("ipip in FOU", good("i0", IN), 5551, IN),
            ("gre in FOU", good("g0", IN), 5552, gre() / IN),
            ("gre with a checksum in FOU", good("g0", IN), 5552,
             gre(csum=True) / IN),
            ("gretap in FOU", good("t0", FRAMED), 5552, gre(0x6558) / FRAMED),
            ("ipip in GUE", good("i0", IN), 5553, raw(gue(4)) / IN),
            ("gre in GUE", good("g0", IN), 5553, raw(gue(47)) / gre() / IN),
            ("gretap in GUE", good("t0", FRAMED), 5553,
             raw(gue(47)) / gre(0x6558) / FRAMED),
            ("MPLS in GUE", good("i0", MPLS), 5553, raw(gue(137)) / MPLS),
            ("MPLS in FOU", good("i0", MPLS), 5554, MPLS),
            ("IPv4 in GUE, version 1", good("i0", IN), 5553, IN)):
        with differs("refuses a checksum without icsum") \
                if "gre with" in name else differs("", ""):
            case(f"{name}, {what}", want, u0, outer(dport, check) / body)
# The outer header is the UDP packet's.
case("ECN: congestion outside", "i0 rx_bytes=20 rx_packets=1", u0,
     ip("192.0.2.2", "192.0.2.1", tos=3) / udp(4000, 5551) / ip(tos=2))
case("ECN: congestion outside, no ECN inside", f"i0 {FRAME}", u0,
     ip("192.0.2.2", "192.0.2.1", tos=3) / udp(4000, 5551) / ip())
case("not in UDP", good("i0", IN), u0, ip("192.0.2.2", "192.0.2.1") / ip() /
     udp() / b"hello")
for name, packet in (
        ("a wrong checksum", outer(5551, 0x1234) / IN),
        ("GUE, version 2", outer(5553) / raw("80040000") / IN),
        ("GUE, cut short", outer(5553) / raw("0004"))):
    case(name, "", u0, packet)

# ------------------------------------------------------------------- change

sysctl(net__ipv4__ip_default_ttl=64)
ENDS = ("LOCAL=192.0.2.1", "REMOTE=192.0.2.2")
FOU = ("ENCAP_TYPE=1", "ENCAP_SPORT=7001", f"ENCAP_DPORT={DPORT}")
CHANGES = [
    # encapsulation, source port and checksum from now on
    (("ENCAP_TYPE=0",), None, 0, False),
    (FOU, "fou", 7001, False),
    (FOU + ("ENCAP_FLAGS=1",), "fou", 7001, True),
    (("ENCAP_TYPE=2", *FOU[1:], "ENCAP_FLAGS=0"), "gue", 7001, False),
    (("ENCAP_TYPE=2", "ENCAP_SPORT=7002", FOU[2], "ENCAP_FLAGS=1"), "gue",
     7002, True),
    (("ENCAP_TYPE=0", "ENCAP_SPORT=7002", FOU[2]), None, 0, False),
]
for dev, kind, more in (("i0", "ipip", ("PROTO=0",)), ("g0", "gre", ()),
                        ("t0", "gretap", ())):
    for attributes, encap, sport, check in CHANGES:
        name = f"{kind}: changed to {' '.join(attributes)}"
        expect(name, ("", ""), netlink("set", dev, kind, *ENDS, *more,
                                       *attributes))
        expect(f"{name}: is shown", encap,
               info(dev).get("encap", {}).get("type"))
        extra = {None: 0, "fou": 8, "gue": 12}[encap]
        with differs("leaves the MTU as it is"):
            expect(f"{name}: MTU", 1500 - HEAD[kind] - extra, mtu(dev))
        inner = ip() / udp() / b"hello"
        inner = frame(inner) if kind == "gretap" else inner
        if encap:
            look(name, dev, "192.0.2.2", kind, encap, inner, sport, check,
                 PROTO[kind])
        else:
            body = payload(kind, inner)
            what = "ipip" if kind == "ipip" else "gre"
            if kind == "gretap":
                sends_frame(name, u0, f"{what} {20 + len(body)}", Port(dev),
                            inner)
            else:
                sends(name, f"{what} {20 + len(body)}", u0, dev, inner)

# ---------------------------------------------------------------- bad input

for kind, dev in (("ipip", "i0"), ("gre", "g0"), ("gretap", "t0")):
    netlink("set", dev, kind, *ENDS, *FOU)
    before = info(dev), mtu(dev)
    for value in (4, 7, 8, 77, 65535):
        for verb, name in (("new", "x"), ("set", dev)):
            error, words = netlink(verb, name, kind, *ENDS[:1],
                                   "REMOTE=192.0.2.9", f"ENCAP_TYPE={value}")
            expect(f"{kind}: {verb} with encapsulation {value}", "EINVAL",
                   error)
            with differs("says no reason"):
                expect(f"{kind}: {verb} with encapsulation {value}: a reason",
                       True, bool(words))
    with differs("has changed some of it"):
        expect(f"{kind}: nothing has changed", before, (info(dev), mtu(dev)))
    netlink("set", dev, kind, *ENDS, *FOU)
    for attribute in ("ENCAP_TYPE=hex:01", "ENCAP_FLAGS=hex:01",
                      "ENCAP_SPORT=hex:01", "ENCAP_DPORT=hex:01"):
        expect(f"{kind}: short {attribute}", "ERANGE",
               netlink("set", dev, kind, *ENDS, *FOU, attribute)[0])
    expect(f"{kind}: still nothing has changed", before,
           (info(dev), mtu(dev)))
END

# -------------------------------------------------- between two kernels

wire n1 "$TAG" <<'END'
import sys
from wire import *
from bulk import *

ENDS = n1, n2 = [Ns(f"{sys.argv[1]}-{n}") for n in ("n1", "n2")]
bulk = Bulk(n1, n2)
for ns in ENDS:
    ns.ip("fou add port 5551 ipproto 4", "fou add port 5552 ipproto 47",
          "fou add port 5553 gue")


def sizes(big):
    return [(n1, "tun", "tx", big), (n1, "v1", "tx", big),
            (n2, "tun", "rx", big)]


for kind, options, encap, big in (
        ("ipip", "", "fou encap-dport 5551", True),
        ("ipip", "", "gue encap-dport 5553 encap-csum", True),
        ("gre", "", "fou encap-dport 5552 encap-csum", True),
        ("gre", "key 5", "gue encap-dport 5553", True),
        # Two checksums, or numbers below UDP: no segmenter does that.
        ("gre", "key 5 csum", "gue encap-dport 5553", False),
        ("gre", "seq", "fou encap-dport 5552", False),
        ("gretap", "", "gue encap-dport 5553 encap-csum", True)):
    name = f"{kind} {options} {encap}"
    for n, ns in enumerate(ENDS):
        own, peer = n + 1, 2 - n
        mac = f"address {MAC[n]} " * (kind == "gretap")
        ns.ip(f"link add tun {mac}type {kind} local 192.0.2.{own} remote "
              f"192.0.2.{peer} {options} encap {encap} encap-sport auto",
              "link set tun up", f"addr add 198.51.100.{own} dev tun",
              f"addr add 2001:db8::{own} dev tun nodad",
              f"route add 198.51.100.{peer} dev tun rto_min 10s")
        if kind == "gretap":
            ns.ip(f"neigh add 198.51.100.{peer} lladdr {MAC[1 - n]} dev tun")
        elif kind == "gre":
            ns.ip(f"route add 2001:db8::{peer} dev tun rto_min 10s")
    expect(f"{name}: echoes", 5, n1.echo("198.51.100.2", 5))
    bulk.transfer(name, "198.51.100.2", sizes(big))
    if kind == "gre":
        bulk.transfer(f"{name}, IPv6", "2001:db8::2", sizes(big))
    for ns in ENDS:
        ns.ip("link del tun")
END
finish
