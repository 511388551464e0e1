#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# A tunnel without a remote: the neighbour, the route or the sender says where
# each packet goes; what programs see of the link layer; under bond and team.
#
#	   the test (192.0.2.x)
#	          | u0, a tun device
#	   n0: 192.0.2.1
#	       gl  gre, local 192.0.2.1	   ga  gre, no address
#	       i0  ipip, t0  gretap
#	       b0  bond or team with gl

. "$(dirname "$0")/lib.sh"
need_modules ipip ip_gre
modprobe -a bonding team team_mode_activebackup
new_ns -6 n0

wire n0 "$(ns n0)" <<'END'
from wire import *
from ether import *
import team

sysctl(net__ipv4__icmp_ratemask=0)
u0 = Tun("u0", "192.0.2.1/24")


def gre_device(name, options):
    run_ip(f"link add {name} type gre key 4 {options}", f"link set {name} up")


gre_device("gl", "local 192.0.2.1")
gre_device("ga", "key 5")
for dev, address in (("gl", "192.0.2.1"), ("ga", "0.0.0.0")):
    link = show("link", "show", "dev", dev)[0]
    expect(f"{dev}: flags, address, MTU",
           ({"NOARP", "UP", "LOWER_UP"}, "gre", address, 1472),
           (set(link["flags"]), link["link_type"], link["address"],
            link["mtu"]))


def datagram(to, dev=None):
    """-> errno of a datagram to there"""
    with socket.socket(socket.AF_INET6 if ":" in to else socket.AF_INET,
                       socket.SOCK_DGRAM) as sock:
        try:
            sock.sendto(b"hello", (to, 9))
        except OSError as error:
            return error.errno
    return 0


def goes(name, dev, to, remote, key=4, count=None, head=None):
    """a datagram to there leaves for remote"""
    size = 53 if ":" in to else 33
    if head is None:
        head = gre(0x86dd if ":" in to else None, key=key).bytes()
    kind = "gre" if head else "ipip"
    counts = count or f"{dev} tx_bytes={size} tx_packets=1"
    want, got, came = attempt(
        f"{counts}; u0: {kind} {20 + len(head) + size}", lambda: datagram(to))
    expect(name, want, got)
    if want == got:
        sent = came[u0][0]
        expect(f"{name}: the outer header", ("192.0.2.1", remote, head.hex()),
               (fields(sent)["src"], fields(sent)["dst"],
                sent[20:20 + len(head)].hex()))


def goes_not(name, number, want, to):
    want, got, _ = attempt(want, lambda: expect(
        f"{name}: the error", number, datagram(to)))
    expect(name, want, got)


# -------------------------------------------------------------- neighbours

for dev, net, key in (("gl", 0, 4), ("ga", 64, 5)):
    v4, v6 = f"198.51.100.{net + 1}", f"2001:db8:{net}::"
    peer = f"198.51.100.{net + 2}"
    run_ip(f"addr add {v4}/26 dev {dev}", f"addr add {v6}1/64 dev {dev} nodad",
           f"neigh add {peer} lladdr 192.0.2.2 dev {dev} nud permanent",
           f"neigh add {v6}2 lladdr 192.0.2.3 dev {dev} nud permanent",
           f"route add 203.0.113.{net}/26 via {peer} dev {dev}",
           f"route add 2001:db8:{net + 1}::/64 via {v6}2 dev {dev}")
    goes(f"{dev}: a neighbour", dev, peer, "192.0.2.2", key)
    goes(f"{dev}: behind a neighbour", dev, f"203.0.113.{net + 9}",
         "192.0.2.2", key)
    goes(f"{dev}: an IPv6 neighbour", dev, f"{v6}2", "192.0.2.3", key)
    goes(f"{dev}: behind an IPv6 neighbour", dev, f"2001:db8:{net + 1}::9",
         "192.0.2.3", key)
    run_ip(f"neigh replace {peer} lladdr 192.0.2.7 dev {dev} nud permanent",
           f"neigh replace {v6}2 lladdr 192.0.2.8 dev {dev} nud permanent")
    goes(f"{dev}: a neighbour that has moved", dev, peer, "192.0.2.7", key)
    goes(f"{dev}: an IPv6 neighbour that has moved", dev, f"{v6}2",
         "192.0.2.8", key)
# Nobody is known there.
goes_not("ga: no neighbour", errno.EINVAL, "", "198.51.100.67")
goes_not("ga: no IPv6 neighbour", errno.EINVAL, "", "2001:db8:64::9")

# ------------------------------------------------ routes that say where to

run_ip("link add i0 type ipip local 192.0.2.1", "link set i0 up",
       "link add t0 address 02:00:00:00:00:09 type gretap local 192.0.2.1 "
       "key 6", *put_up("t0"), "addr add 198.51.101.1/24 dev t0",
       "neigh add 198.51.101.2 lladdr 02:00:00:00:00:0a dev t0 nud permanent",
       "route add 203.0.113.128/28 encap ip id 9 dst 192.0.2.11 dev i0",
       "route add 203.0.113.144/28 encap ip id 9 dst 192.0.2.12 via "
       "198.51.101.2 dev t0",
       "route add 203.0.113.160/28 via 192.0.2.13 dev i0 onlink")
goes("ipip: the route's tunnel", "i0", "203.0.113.129", "192.0.2.11", head=b"")
goes("ipip: the next hop", "i0", "203.0.113.161", "192.0.2.13", head=b"")
FRAMED = (gre(0x6558, key=6) / eth("02:00:00:00:00:0a",
                                   "02:00:00:00:00:09")).bytes()
goes("gretap: the route's tunnel", "t0", "203.0.113.145", "192.0.2.12",
     head=FRAMED)
goes_not("gretap: nothing says where to", 0, "t0 collisions=1 tx_errors=1",
         "198.51.101.2")

# ------------------------------------------------- the sender says where to

PACKET_V4 = ip(ttl=33, tos=0x54) / udp() / b"hello"
DATA = PACKET_V4.bytes()
raw_sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW,
                         socket.htons(ETH_P_IP))
raw_sock.bind(("gl", ETH_P_IP))
raw_sock.settimeout(60)
dgram = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM,
                      socket.htons(ETH_P_IP))
dgram.bind(("gl", ETH_P_IP))
dgram.settimeout(60)


def to(remote, data=DATA, proto=ETH_P_IP):
    address = ("gl", proto, 0, 0, socket.inet_aton(remote))
    return lambda: dgram.sendto(data, address)


for name, packet in (("IPv4", PACKET_V4), ("IPv6", ip6() / udp()),
                     ("MPLS", mpls(100) / ip())):
    data, proto = packet.bytes(), packet.ethertype
    want, got, came = attempt(
        f"gl tx_bytes={len(data)} tx_packets=1; u0: gre {28 + len(data)}",
        to("192.0.2.21", data, proto))
    expect(f"{name}, addressed by the sender", want, got)
    if want == got:
        sent = came[u0][0]
        expect(f"{name}, addressed by the sender: where to and what",
               ("192.0.2.21", (gre(proto, key=4) / data).bytes().hex()),
               (fields(sent)["dst"], sent[20:].hex()))

# A whole header of the sender's: its destination, TTL and TOS are taken. Of a
# short packet, AF_PACKET does not say where its payload begins, so that all of
# it may be counted.
OWN = ip("192.0.2.1", "192.0.2.22", 47, ttl=5, tos=0x10) / gre(key=99) / DATA
LONG = (ip() / udp() / raw(100)).bytes()
for name, data, counts in (("long", LONG, [len(LONG)]),
                           ("short", DATA, [len(DATA), len(DATA) + 28])):
    head = ip("192.0.2.1", "192.0.2.22", 47, ttl=5, tos=0x10) / gre(key=99)
    packet = (head / data).bytes()
    u0.drain()
    before = COUNTERS.read()
    raw_sock.send(packet)
    sent = u0.drain()
    moved = COUNTERS.moved(before, COUNTERS.read()).get("gl")
    expect(f"a header of the sender's, {name}: is counted", True,
           moved in [f"tx_bytes={n} tx_packets=1" for n in counts])
    expect(f"a header of the sender's, {name}: what is taken of it",
           [("192.0.2.22", 5, 0x10, (gre(key=4) / data).bytes().hex())],
           [(fields(p)["dst"], fields(p)["ttl"], fields(p)["tos"],
             p[20:].hex()) for p in sent])
NOWHERE = ip("192.0.2.1", "0.0.0.0", 47) / gre(key=4) / DATA
want, got, _ = attempt("gl tx_errors=1 tx_fifo_errors=1",
                       lambda: raw_sock.send(NOWHERE.bytes()))
expect("a header that leads nowhere", want, got)


def error_of(action):
    try:
        action()
    except OSError as error:
        return error.errno
    return 0


before = COUNTERS.read()
for size in (0, 1, 19, 20, 27):
    expect(f"{size} bytes of a header", errno.EINVAL,
           error_of(lambda: raw_sock.send(OWN.bytes()[:size])))
expect("and nothing was sent", {}, COUNTERS.moved(before, COUNTERS.read()))

# What is received, with and without its link layer header, and from whom
while True:
    raw_sock.setblocking(False)
    dgram.setblocking(False)
    try:
        raw_sock.recv(65536)
    except BlockingIOError:
        break
CAME = (ip("192.0.2.31", "192.0.2.1", 47, ttl=77) / gre(key=4) / DATA).bytes()
case("received", f"gl rx_bytes={len(DATA)} rx_packets=1", u0, CAME)
for sock, what, want in ((raw_sock, "with", CAME), (dgram, "without", DATA)):
    while True:
        data, (dev, proto, kind, hardware, sender) = sock.recvfrom(65536)
        if kind != 4:               # our own
            break
    expect(f"received, {what} its header, and from whom",
           (want.hex(), "gl", ETH_P_IP, 0, 778, "192.0.2.31"),
           (data.hex(), dev, proto, kind, hardware,
            socket.inet_ntoa(sender[:4])))

# ------------------------------------------------------------ bond and team
# Their device has our header functions, and private data of its own.

for kind in ("bond", "team"):
    run_ip("link set gl down", "link add b0 type " + kind +
           " mode active-backup" * (kind == "bond"))
    if kind == "team":
        team.set_mode("b0", "activebackup")
    run_ip("link set gl master b0", "link set b0 up",
           "addr add 198.51.100.129/26 dev b0",
           "neigh add 198.51.100.130 lladdr 192.0.2.2 dev b0 nud permanent")
    if kind == "team":
        team.set_active("b0", "gl")
    expect(f"{kind}: is up", "192.0.2.1",
           until("192.0.2.1", lambda: show("link", "show", "dev", "b0")[0]
                 ["address"]))
    until(True, lambda: "LOWER_UP" in show("link", "show", "dev", "b0")[0]
          ["flags"], 10)
    case(f"{kind}: received",
         f"b0 rx_bytes={len(DATA)} rx_packets=1; "
         f"gl rx_bytes={len(DATA)} rx_packets=1", u0, CAME)
    if kind == "team" and IN_TREE:
        # It would read, and perhaps write, past the end of team's data.
        with differs("reads private data that is not its own"):
            expect(f"{kind}: sent", "tried", "not tried")
    else:
        # A team counts what it gives on, with our header in front of it.
        more = 28 * (kind == "team")

        def sent(size):
            return f"b0 tx_bytes={size + more} tx_packets=1; " \
                f"gl tx_bytes={size} tx_packets=1"

        goes(f"{kind}: a neighbour", "b0", "198.51.100.130", "192.0.2.2",
             count=sent(33))
        with socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, 0) as sock:
            address = ("b0", ETH_P_IP, 0, 0, socket.inet_aton("192.0.2.23"))
            want, got, came = attempt(
                f"{sent(len(DATA))}; u0: gre {28 + len(DATA)}",
                lambda: sock.sendto(DATA, address))
        expect(f"{kind}: addressed by the sender", want, got)
        if want == got:
            expect(f"{kind}: addressed by the sender: where to and what",
                   ("192.0.2.23", (gre(key=4) / DATA).bytes().hex()),
                   (fields(came[u0][0])["dst"], came[u0][0][20:].hex()))
    run_ip("link del b0", "link set gl down", "link set gl up",
           "addr replace 198.51.100.1/26 dev gl",
           "neigh replace 198.51.100.2 lladdr 192.0.2.2 dev gl nud permanent")
    goes(f"{kind}: released", "gl", "198.51.100.2", "192.0.2.2")
    for what, options in (("one remote", "local 192.0.2.1 remote 192.0.2.9"),
                          ("a group", "local 192.0.2.1 remote 233.252.0.5"),
                          ("external", "external")):
        run_ip("link add gq type gre " + options, "link add b0 type " + kind +
               " mode active-backup" * (kind == "bond"))
        run_ip("link set gq master b0", "link set b0 up", force=True)
        run_ip("link del b0", "link del gq")
        expect(f"{kind}: gre, {what}, comes and goes", [],
               [d["ifname"] for d in show("link")
                if d["ifname"] in ("b0", "gq")])
END
finish
