#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# A multicast group as remote: when the group is joined and left and where,
# what is sent to it, what is received from it.
#
#	   the test
#	      | u0 192.0.2.1	   | u1 203.0.113.1	tun devices
#	   n0: groups 233.252.0.0/24 are behind u0, 233.252.1.0/24 behind u1
#	       g0, g1	gre	   t0, t1	gretap

. "$(dirname "$0")/lib.sh"
need_modules ip_gre ipip
new_ns n0

wire n0 "$(ns n0)" <<'END'
from wire import *
from ether import *

sysctl(net__ipv4__icmp_ratemask=0)
ALL_HOSTS = "224.0.0.1"
u0 = Tun("u0", "192.0.2.1/24")
Tun("u1", "203.0.113.1/24")
run_ip("route add 233.252.0.0/24 dev u0", "route add 233.252.1.0/24 dev u1")
GROUP, OTHER, THERE = "233.252.0.5", "233.252.0.6", "233.252.1.7"
DROPPED = "u0 rx_dropped=1"
NO_JOIN = "does not join"


def members():
    """{device: {group: number of users}}"""
    found, dev = {}, None
    with open("/proc/net/igmp") as file:
        for words in map(str.split, file.readlines()[1:]):
            if words[0].isdigit():
                dev = words[1]
            else:
                group = socket.inet_ntoa(struct.pack("=I", int(words[0], 16)))
                if group != ALL_HOSTS:
                    found.setdefault(dev, {})[group] = int(words[1])
    return found


def after(name, want, *lines):
    run_ip(*lines)
    expect(f"groups, {name}", want, members())


# -------------------------------------------------------------- membership

for kind in ("gre", "gretap"):
    ends = f"type {kind} local 192.0.2.1"
    with differs(NO_JOIN) if kind == "gretap" else differs("", ""):
        after(f"{kind}: a new device", {},
              f"link add g0 {ends} remote {GROUP} key 1")
        after(f"{kind}: up", {"u0": {GROUP: 1}}, "link set g0 up")
        after(f"{kind}: up twice", {"u0": {GROUP: 1}}, "link set g0 up")
        after(f"{kind}: down", {}, "link set g0 down")
        after(f"{kind}: up again", {"u0": {GROUP: 1}}, "link set g0 up")
        after(f"{kind}: a second device", {"u0": {GROUP: 2}},
              f"link add g1 {ends} remote {GROUP} key 2", "link set g1 up")
        after(f"{kind}: the second is deleted", {"u0": {GROUP: 1}},
              "link del g1")
        after(f"{kind}: another group", {"u0": {GROUP: 1, OTHER: 1}},
              f"link add g1 {ends} remote {OTHER} key 2", "link set g1 up")
        after(f"{kind}: deleted", {"u0": {GROUP: 1}}, "link del g1")
        after(f"{kind}: elsewhere", {"u0": {GROUP: 1}, "u1": {THERE: 1}},
              f"link add g1 type {kind} local 203.0.113.1 remote {THERE} key 2",
              "link set g1 up")
        after(f"{kind}: down", {"u0": {GROUP: 1}}, "link set g1 down")
        after(f"{kind}: bound to a device", {"u0": {GROUP: 1},
                                             "u1": {GROUP: 1}},
              "link del g1", f"link add g1 {ends} remote {GROUP} key 2 dev u1",
              "link set g1 up")
        after(f"{kind}: both deleted", {}, "link del g1", "link del g0")

    # Where the group was joined it is left, though the address has moved.
    with differs(NO_JOIN) if kind == "gretap" else differs("", ""):
        after(f"{kind}: before the address moves", {"u0": {GROUP: 1}},
              f"link add g0 {ends} remote {GROUP} key 1", "link set g0 up")
    after(f"{kind}: after it has moved", {},
          "addr del 192.0.2.1/24 dev u0", "addr add 192.0.2.1/24 dev u1",
          "link set g0 down", "addr del 192.0.2.1/24 dev u1",
          "addr add 192.0.2.1/24 dev u0", "link del g0")

    # A change: refused, or followed.
    run_ip(f"link add g0 {ends} remote {GROUP} key 1", "link set g0 up")
    for what, remote, want in (
            ("another group", OTHER, {"u0": {OTHER: 1}}),
            ("the first group", GROUP, {"u0": {GROUP: 1}})):
        before = members()
        refused = netlink("set", "g0", kind, "LOCAL=192.0.2.1",
                          f"REMOTE={remote}", "IKEY=1", "OKEY=1",
                          "IFLAGS=0x2000", "OFLAGS=0x2000")[0]
        with differs(NO_JOIN) if kind == "gretap" else differs("", ""):
            expect(f"groups, {kind}: changed to {what}",
                   before if refused else want, members())
    # One of the machine's devices goes away.
    run_ip("link del g0", "link add d0 type dummy", "link set d0 up",
           "addr add 192.0.2.129/25 dev d0",
           f"link add g0 {ends} remote {GROUP} key 1 dev d0",
           "link set g0 up")
    with differs(NO_JOIN) if kind == "gretap" else differs("", ""):
        expect(f"groups, {kind}: on a dummy", {"d0": {GROUP: 1}}, members())
    run_ip("link del d0")
    expect(f"groups, {kind}: the dummy is gone", {}, members())
    after(f"{kind}: down", {}, "link set g0 down", "link del g0")

after("ipip does not join", {}, "link add i0 type ipip local 192.0.2.1 remote "
      + GROUP, "link set i0 up", "link del i0")
error, words = netlink("new", "x", "gre", f"REMOTE={GROUP}")
expect("gre: a group without a local address", "EINVAL", error)
with differs("says no reason"):
    expect("gre: a group without a local address: a reason", True, bool(words))

# ------------------------------------------------------------------- flags

run_ip(f"link add g0 type gre local 192.0.2.1 remote {GROUP} key 1",
       "link set g0 up", "addr add 198.51.100.1/24 dev g0",
       f"link add t0 address 02:00:00:00:00:09 type gretap local 192.0.2.1 "
       f"remote {GROUP} key 1", *put_up("t0"))
link = show("link", "show", "dev", "g0")[0]
expect("gre: flags", {"BROADCAST", "POINTOPOINT", "UP", "LOWER_UP"},
       set(link["flags"]))
expect("gre: addresses", ("192.0.2.1", GROUP),
       (link["address"], link.get("link_pointtopoint") and GROUP))
expect("gre: MTU", 1472, link["mtu"])

# ----------------------------------------------------------------- sending
# The group is also joined here: what is sent comes back, and is refused.

PAYLOAD = bytes(range(20))
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF,
                socket.inet_aton("198.51.100.1"))
sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP, 0)
for what, address, ttl in (("a neighbour", "198.51.100.7", 64),
                           ("a group", "233.252.2.1", 1),
                           ("all", "198.51.100.255", 64)):
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
    want, got, came = attempt(
        "g0 tx_bytes=48 tx_packets=1; u0: gre 76",
        lambda: sock.sendto(PAYLOAD, (address, 9)))
    expect(f"gre: sent to {what}", want, got)
    if want == got:
        sent = fields(came[u0][0])
        expect(f"gre: sent to {what}: the outer header",
               ("192.0.2.1", GROUP, ttl, 1),
               (sent["src"], sent["dst"], sent["ttl"], sent["df"]))
        inner = fields(sent["payload"][8:])
        expect(f"gre: sent to {what}: the GRE header and what is in it",
               (gre(key=1).bytes().hex(), address),
               (sent["payload"][:8].hex(), inner["dst"]))
t0 = Port("t0")
for what, packet in (("a frame", frame(ip())),
                     ("a frame to all", frame(raw(46), type=0x0806,
                                              dst="ff:ff:ff:ff:ff:ff"))):
    sent = sends_frame(f"gretap: {what}", u0,
                       f"gre {28 + len(packet.bytes())}", t0, packet)
    if sent:
        expect(f"gretap: {what} is sent to the group",
               (GROUP, (gre(0x6558, key=1) / packet).bytes().hex()),
               (fields(sent)["dst"], sent[20:].hex()))

# --------------------------------------------------------------- receiving

for kind, dev, packet, size in (
        ("gre", "g0", gre(key=1) / ip(), 20),
        ("gretap", "t0", gre(0x6558, key=1) / frame(ip()), 34)):
    data = packet.bytes()
    good = f"{dev} multicast=1 rx_bytes={size} rx_packets=1"
    with differs(NO_JOIN) if kind == "gretap" else differs("", ""):
        for n in (2, 3, 200):
            case(f"{kind}: from 192.0.2.{n} to the group", good, u0,
                 ip(f"192.0.2.{n}", GROUP, 47) / data)
    # Whose it cannot be, and what was not joined, IP knows.
    case(f"{kind}: from ourselves", "", u0, ip("192.0.2.1", GROUP, 47) / data)
    case(f"{kind}: to another group", "", u0,
         ip("192.0.2.2", OTHER, 47) / data)
    case(f"{kind}: not to the group", f"{DROPPED}; u0: icmp 3/3", u0,
         ip("192.0.2.2", "192.0.2.1", 47) / data)
    other = (gre(0x6558 if dev == "t0" else None, key=2) /
             (frame(ip()) if dev == "t0" else ip())).bytes()
    case(f"{kind}: to the group, another key", DROPPED, u0,
         ip("192.0.2.2", GROUP, 47) / other)

# The sender is the outer source.
heard = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM,
                      socket.htons(ETH_P_IP))
heard.bind(("g0", ETH_P_IP))
heard.settimeout(60)
u0.send((ip("192.0.2.2", GROUP, 47) / gre(key=1) / ip()).bytes())
data, (_, _, _, _, sender) = heard.recvfrom(2000)
expect("gre: what is delivered is from the outer source",
       (ip().bytes().hex(), "192.0.2.2"),
       (data.hex(), socket.inet_ntoa(sender[:4])))

# With no member left nothing arrives.
run_ip("link set t0 down", "link set g0 down")
case("the group is left", "", u0, ip("192.0.2.2", GROUP, 47) /
     gre(key=1) / ip())
END
finish
