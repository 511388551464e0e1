#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""A multicast group as remote: when and where it is joined and left, what is sent
to it, what is received from it.

       the test
          | u0 192.0.2.1       | u1 203.0.113.1    tun devices
       n0: groups 233.252.0.0/24 are behind u0, 233.252.1.0/24 behind u1
           g0, g1  gre or gretap, later g0  gre, t0  gretap
"""
import contextlib
import socket
import struct

from ksft import ksft_run, need_modules, modprobe, NetNs
from ether import Port, frame, netlink, put_up, sends_frame
from pkt import gre, ip, raw
from wire import ETH_P_IP, Tun, attempt, case, differs, expect, fields, run_ip, show, sysctl

ALL_HOSTS = "224.0.0.1"
GROUP, OTHER, THERE = "233.252.0.5", "233.252.0.6", "233.252.1.7"
DROPPED = "u0 rx_dropped=1"
PAYLOAD = bytes(range(20))


def members():
    """-> {device: {group: number of users}}"""
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
    """the groups when these lines have been executed"""
    run_ip(*lines)
    expect(f"groups, {name}", want, members())


def no_join(kind):
    return differs("does not join") if kind == "gretap" else contextlib.nullcontext()


# ----------------------------------------------------------------- membership

def ends(kind, remote=GROUP, local="192.0.2.1"):
    return f"type {kind} local {local} remote {remote}"


def joined_while_up(kind):
    after(f"{kind}: a new device", {}, f"link add g0 {ends(kind)} key 1")
    after(f"{kind}: up", {"u0": {GROUP: 1}}, "link set g0 up")
    after(f"{kind}: up twice", {"u0": {GROUP: 1}}, "link set g0 up")
    after(f"{kind}: down", {}, "link set g0 down")
    after(f"{kind}: up again", {"u0": {GROUP: 1}}, "link set g0 up")


def joined_by_several(kind):
    """g0 is up; g1 has the same group, another one, one behind u1, or is bound to u1"""
    after(f"{kind}: a second device", {"u0": {GROUP: 2}}, f"link add g1 {ends(kind)} key 2", "link set g1 up")
    after(f"{kind}: the second is deleted", {"u0": {GROUP: 1}}, "link del g1")
    after(f"{kind}: another group", {"u0": {GROUP: 1, OTHER: 1}},
          f"link add g1 {ends(kind, OTHER)} key 2", "link set g1 up")
    after(f"{kind}: deleted", {"u0": {GROUP: 1}}, "link del g1")
    after(f"{kind}: elsewhere", {"u0": {GROUP: 1}, "u1": {THERE: 1}},
          f"link add g1 {ends(kind, THERE, '203.0.113.1')} key 2", "link set g1 up")
    after(f"{kind}: down", {"u0": {GROUP: 1}}, "link set g1 down")
    after(f"{kind}: bound to a device", {"u0": {GROUP: 1}, "u1": {GROUP: 1}},
          "link del g1", f"link add g1 {ends(kind)} key 2 dev u1", "link set g1 up")
    after(f"{kind}: both deleted", {}, "link del g1", "link del g0")


def left_where_joined(kind):
    """though the local address has moved"""
    with no_join(kind):
        after(f"{kind}: before the address moves", {"u0": {GROUP: 1}},
              f"link add g0 {ends(kind)} key 1", "link set g0 up")
    after(f"{kind}: after it has moved", {},
          "addr del 192.0.2.1/24 dev u0", "addr add 192.0.2.1/24 dev u1", "link set g0 down",
          "addr del 192.0.2.1/24 dev u1", "addr add 192.0.2.1/24 dev u0", "link del g0")


def follows_a_change(kind):
    """or the change is refused"""
    run_ip(f"link add g0 {ends(kind)} key 1", "link set g0 up")
    for what, remote in ("another group", OTHER), ("the first group", GROUP):
        before = members()
        refused = netlink("set", "g0", kind, "LOCAL=192.0.2.1", f"REMOTE={remote}", "IKEY=1", "OKEY=1",
                          "IFLAGS=0x2000", "OFLAGS=0x2000")[0]
        with no_join(kind):
            expect(f"groups, {kind}: changed to {what}", before if refused else {"u0": {remote: 1}}, members())
    run_ip("link del g0")


def stays_without_a_route(kind):
    """A change of something else does not leave the group, though nothing leads to it meanwhile."""
    run_ip(f"link add g0 {ends(kind)} key 1", "link set g0 up", "addr del 192.0.2.1/24 dev u0")
    with no_join(kind):
        after(f"{kind}: without a route, changed", {"u0": {GROUP: 1}}, f"link set g0 {ends(kind)} key 1 ttl 9")
        after(f"{kind}: with a route again, changed", {"u0": {GROUP: 1}}, "addr add 192.0.2.1/24 dev u0",
              f"link set g0 {ends(kind)} key 1 ttl 10")
    after(f"{kind}: and deleted", {}, "link del g0")


def device_below_goes(kind):
    run_ip("link add d0 type dummy", "link set d0 up", "addr add 192.0.2.129/25 dev d0",
           f"link add g0 {ends(kind)} key 1 dev d0", "link set g0 up")
    with no_join(kind):
        expect(f"groups, {kind}: on a dummy", {"d0": {GROUP: 1}}, members())
    run_ip("link del d0")
    expect(f"groups, {kind}: the dummy is gone", {}, members())
    after(f"{kind}: down", {}, "link set g0 down", "link del g0")


def membership(kind):
    with no_join(kind):
        joined_while_up(kind)
        joined_by_several(kind)
    left_where_joined(kind)
    follows_a_change(kind)
    stays_without_a_route(kind)
    device_below_goes(kind)


def joined_by_dscp():
    """The rule is for another DSCP, that has three bits in common."""
    run_ip("rule add tos 0x10 lookup 100", "route add 233.252.0.0/24 dev u1 table 100")
    with differs("looks at three bits of the DSCP", "<6.12"):
        after("the group is joined where its DSCP leads", {"u0": {GROUP: 1}}, f"link add g0 {ends('gre')} tos 0x30",
              "link set g0 up")
    after("and left there", {}, "link set g0 down")
    run_ip("link del g0", "rule del tos 0x10 lookup 100", "route flush table 100")


def ipip_does_not_join():
    after("ipip does not join", {}, f"link add i0 {ends('ipip')}", "link set i0 up", "link del i0")


def local_address_is_needed():
    error, words = netlink("new", "x", "gre", f"REMOTE={GROUP}")
    expect("gre: a group without a local address", "EINVAL", error)
    with differs("says no reason"):
        expect("gre: a group without a local address: a reason", True, bool(words))


# ------------------------------------------------------------------- the link

def flags():
    link = show("link", "show", "dev", "g0")[0]
    expect("gre: flags", {"BROADCAST", "POINTOPOINT", "UP", "LOWER_UP"}, set(link["flags"]))
    expect("gre: addresses", ("192.0.2.1", GROUP), (link["address"], link.get("link_pointtopoint") and GROUP))
    expect("gre: MTU", 1472, link["mtu"])


# -------------------------------------------------------------------- sending
# The group is also joined here: what is sent comes back, and is refused.

def datagram_sent(u0, sock, what, address, ttl):
    want, got, came = attempt("g0 tx_bytes=48 tx_packets=1; u0: gre 76", lambda: sock.sendto(PAYLOAD, (address, 9)))
    expect(f"gre: sent to {what}", want, got)
    if want == got:
        sent = fields(came[u0][0])
        expect(f"gre: sent to {what}: the outer header", ("192.0.2.1", GROUP, ttl, 1),
               (sent["src"], sent["dst"], sent["ttl"], sent["df"]))
        inner = fields(sent["payload"][8:])
        expect(f"gre: sent to {what}: the GRE header and what is in it",
               (gre(key=1).bytes().hex(), address), (sent["payload"][:8].hex(), inner["dst"]))


def datagrams_sent(u0):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton("198.51.100.1"))
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP, 0)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        datagram_sent(u0, sock, "a neighbour", "198.51.100.7", 64)
        datagram_sent(u0, sock, "a group", "233.252.2.1", 1)
        datagram_sent(u0, sock, "all", "198.51.100.255", 64)


def frames_sent(u0):
    t0 = Port("t0")
    for what, packet in (("a frame", frame(ip())),
                         ("a frame to all", frame(raw(46), type=0x0806, dst="ff:ff:ff:ff:ff:ff"))):
        sent = sends_frame(f"gretap: {what}", u0, f"gre {28 + len(packet.bytes())}", t0, packet)
        if sent:
            expect(f"gretap: {what} is sent to the group",
                   (GROUP, (gre(0x6558, key=1) / packet).bytes().hex()), (fields(sent)["dst"], sent[20:].hex()))


# ------------------------------------------------------------------ receiving

def received(u0, kind, dev, proto, inner):
    data = (gre(proto, key=1) / inner).bytes()
    good = f"{dev} multicast=1 rx_bytes={len(inner)} rx_packets=1"
    with no_join(kind):
        for n in (2, 3, 200):
            case(f"{kind}: from 192.0.2.{n} to the group", good, u0, ip(f"192.0.2.{n}", GROUP, 47) / data)
    # IP knows what cannot come from there, and what was not joined.
    case(f"{kind}: from ourselves", "", u0, ip("192.0.2.1", GROUP, 47) / data)
    case(f"{kind}: to another group", "", u0, ip("192.0.2.2", OTHER, 47) / data)
    case(f"{kind}: not to the group", f"{DROPPED}; u0: icmp 3/3", u0, ip("192.0.2.2", "192.0.2.1", 47) / data)
    case(f"{kind}: to the group, another key", DROPPED, u0,
         ip("192.0.2.2", GROUP, 47) / gre(proto, key=2) / inner)


def sender_is_the_outer_source(u0):
    with socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(ETH_P_IP)) as heard:
        heard.bind(("g0", ETH_P_IP))
        heard.settimeout(60)
        u0.send((ip("192.0.2.2", GROUP, 47) / gre(key=1) / ip()).bytes())
        data, (_, _, _, _, sender) = heard.recvfrom(2000)
    expect("gre: what is delivered is from the outer source", (ip().bytes().hex(), "192.0.2.2"),
           (data.hex(), socket.inet_ntoa(sender[:4])))


def nothing_without_members(u0):
    run_ip("link set t0 down", "link set g0 down")
    case("the group is left", "", u0, ip("192.0.2.2", GROUP, 47) / gre(key=1) / ip())


def main():
    need_modules("ip_gre", "ipip")
    modprobe("tun", "dummy")
    with NetNs() as n0, n0.inside():
        sysctl(net__ipv4__icmp_ratemask=0)
        u0 = Tun("u0", "192.0.2.1/24")
        Tun("u1", "203.0.113.1/24")
        run_ip("route add 233.252.0.0/24 dev u0", "route add 233.252.1.0/24 dev u1")
        membership("gre")
        membership("gretap")
        joined_by_dscp()
        ipip_does_not_join()
        local_address_is_needed()

        run_ip(f"link add g0 {ends('gre')} key 1", "link set g0 up", "addr add 198.51.100.1/24 dev g0",
               f"link add t0 address 02:00:00:00:00:09 {ends('gretap')} key 1", *put_up("t0"))
        flags()
        datagrams_sent(u0)
        frames_sent(u0)
        received(u0, "gre", "g0", 0x0800, ip().bytes())
        received(u0, "gretap", "t0", 0x6558, frame(ip()).bytes())
        sender_is_the_outer_source(u0)
        nothing_without_members(u0)


ksft_run(main)
