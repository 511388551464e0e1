#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""A tunnel without a remote: the neighbour, the route or the sender says where
each packet goes; what programs see of the link layer; under bond and team.

       the test (192.0.2.x)
              | u0, a tun device
       n0: 192.0.2.1
           gl  gre, local 192.0.2.1    ga  gre, no address
           i0  ipip, t0  gretap
           b0  bond or team with gl
"""
import contextlib
import errno
import socket
import struct

from ksft import ksft_run, need_modules, modprobe, NetNs
from ether import put_up
from pkt import eth, gre, ip, ip6, mpls, raw, udp
from wire import COUNTERS, ETH_P_IP, IN_TREE, PACKET_OUTGOING, Tun, attempt, case, differs, expect, fields, run_ip, \
    show, sysctl, until
import team

ARPHRD_IPGRE = 778
SOL_PACKET, PACKET_VNET_HDR = 263, 15
INNER = ip(ttl=33, tos=0x54) / udp() / b"hello"
DATA = INNER.bytes()
LONG = (ip() / udp() / raw(100)).bytes()
CAME = (ip("192.0.2.31", "192.0.2.1", 47, ttl=77) / gre(key=4) / DATA).bytes()


def add_devices():
    for dev, options in ("gl", "key 4 local 192.0.2.1"), ("ga", "key 5"):
        run_ip(f"link add {dev} type gre {options}", f"link set {dev} up")
    for dev, address in ("gl", "192.0.2.1"), ("ga", "0.0.0.0"):
        link = show("link", "show", "dev", dev)[0]
        expect(f"{dev}: flags, address, MTU", ({"NOARP", "UP", "LOWER_UP"}, "gre", address, 1472),
               (set(link["flags"]), link["link_type"], link["address"], link["mtu"]))


def datagram(to):
    """-> errno of a datagram to there"""
    with socket.socket(socket.AF_INET6 if ":" in to else socket.AF_INET, socket.SOCK_DGRAM) as sock:
        return error_of(lambda: sock.sendto(b"hello", (to, 9)))


def error_of(action):
    try:
        action()
    except OSError as error:
        return error.errno
    return 0


def goes(name, u0, dev, to, remote, key=4, counts=None, head=None):
    """A datagram to there leaves for remote, behind this head or a GRE header with this key."""
    size = 53 if ":" in to else 33
    if head is None:
        head = gre(0x86dd if ":" in to else None, key=key).bytes()
    counts = counts or f"{dev} tx_bytes={size} tx_packets=1"
    want, got, came = attempt(f"{counts}; u0: {'gre' if head else 'ipip'} {20 + len(head) + size}",
                              lambda: datagram(to))
    expect(name, want, got)
    if want == got:
        sent = came[u0][0]
        expect(f"{name}: the outer header", ("192.0.2.1", remote, head.hex()),
               (fields(sent)["src"], fields(sent)["dst"], sent[20:20 + len(head)].hex()))


def goes_not(name, number, want, to):
    want, got, _ = attempt(want, lambda: expect(f"{name}: the error", number, datagram(to)))
    expect(name, want, got)


# ----------------------------------------------------------------- neighbours

def neighbours(u0, dev, net, key):
    peer, v6 = f"198.51.100.{net + 2}", f"2001:db8:{net}::"
    run_ip(f"addr add 198.51.100.{net + 1}/26 dev {dev}", f"addr add {v6}1/64 dev {dev} nodad",
           f"neigh add {peer} lladdr 192.0.2.2 dev {dev} nud permanent",
           f"neigh add {v6}2 lladdr 192.0.2.3 dev {dev} nud permanent",
           f"route add 203.0.113.{net}/26 via {peer} dev {dev}",
           f"route add 2001:db8:{net + 1}::/64 via {v6}2 dev {dev}")
    goes(f"{dev}: a neighbour", u0, dev, peer, "192.0.2.2", key)
    goes(f"{dev}: behind a neighbour", u0, dev, f"203.0.113.{net + 9}", "192.0.2.2", key)
    goes(f"{dev}: an IPv6 neighbour", u0, dev, f"{v6}2", "192.0.2.3", key)
    goes(f"{dev}: behind an IPv6 neighbour", u0, dev, f"2001:db8:{net + 1}::9", "192.0.2.3", key)
    run_ip(f"neigh replace {peer} lladdr 192.0.2.7 dev {dev} nud permanent",
           f"neigh replace {v6}2 lladdr 192.0.2.8 dev {dev} nud permanent")
    goes(f"{dev}: a neighbour that has moved", u0, dev, peer, "192.0.2.7", key)
    goes(f"{dev}: an IPv6 neighbour that has moved", u0, dev, f"{v6}2", "192.0.2.8", key)


def unknown_neighbours():
    goes_not("ga: no neighbour", errno.EINVAL, "", "198.51.100.67")
    goes_not("ga: no IPv6 neighbour", errno.EINVAL, "", "2001:db8:64::9")


# -------------------------------------------------- routes that say where to

def routes(u0):
    run_ip("link add i0 type ipip local 192.0.2.1", "link set i0 up",
           "link add t0 address 02:00:00:00:00:09 type gretap local 192.0.2.1 key 6", *put_up("t0"),
           "addr add 198.51.101.1/24 dev t0",
           "neigh add 198.51.101.2 lladdr 02:00:00:00:00:0a dev t0 nud permanent",
           "route add 203.0.113.128/28 encap ip id 9 dst 192.0.2.11 dev i0",
           "route add 203.0.113.144/28 encap ip id 9 dst 192.0.2.12 via 198.51.101.2 dev t0",
           "route add 203.0.113.160/28 via 192.0.2.13 dev i0 onlink")
    goes("ipip: the route's tunnel", u0, "i0", "203.0.113.129", "192.0.2.11", head=b"")
    goes("ipip: the next hop", u0, "i0", "203.0.113.161", "192.0.2.13", head=b"")
    goes("gretap: the route's tunnel", u0, "t0", "203.0.113.145", "192.0.2.12",
         head=(gre(0x6558, key=6) / eth("02:00:00:00:00:0a", "02:00:00:00:00:09")).bytes())
    goes_not("gretap: nothing says where to", 0, "t0 collisions=1 tx_errors=1", "198.51.101.2")


# --------------------------------------------------- the sender says where to

def packet_socket(kind):
    sock = socket.socket(socket.AF_PACKET, kind, socket.htons(ETH_P_IP))
    sock.bind(("gl", ETH_P_IP))
    sock.settimeout(60)
    return sock


def addressed(name, u0, counts, data, remote, proto, send):
    """What the sender has addressed to remote goes there, by gl."""
    want, got, came = attempt(f"{counts}; u0: gre {28 + len(data)}", send)
    expect(name, want, got)
    if want == got:
        sent = came[u0][0]
        expect(f"{name}: where to and what", (remote, (gre(proto, key=4) / data).bytes().hex()),
               (fields(sent)["dst"], sent[20:].hex()))


def sender_gives_the_address(u0, dgram):
    for name, packet in (("IPv4", INNER), ("IPv6", ip6() / udp()), ("MPLS", mpls(100) / ip())):
        data, proto = packet.bytes(), packet.ethertype
        to = ("gl", proto, 0, 0, socket.inet_aton("192.0.2.21"))
        addressed(f"{name}, addressed by the sender", u0, f"gl tx_bytes={len(data)} tx_packets=1", data, "192.0.2.21",
                  proto, lambda: dgram.sendto(data, to))


def sender_gives_the_header(u0, sock):
    """A whole header of the sender's: its destination, TTL and TOS are taken. Of a
    short packet, AF_PACKET does not say where its payload begins, so that all of it
    may be counted."""
    for name, data, counts in (("long", LONG, [len(LONG)]), ("short", DATA, [len(DATA), len(DATA) + 28])):
        packet = ip("192.0.2.1", "192.0.2.22", 47, ttl=5, tos=0x10) / gre(key=99) / data
        u0.drain()
        before = COUNTERS.read()
        sock.send(packet.bytes())
        sent = u0.drain()
        moved = COUNTERS.moved(before, COUNTERS.read()).get("gl")
        expect(f"a header of the sender's, {name}: is counted", True,
               moved in [f"tx_bytes={n} tx_packets=1" for n in counts])
        expect(f"a header of the sender's, {name}: what is taken of it",
               [("192.0.2.22", 5, 0x10, (gre(key=4) / data).bytes().hex())],
               [(fields(p)["dst"], fields(p)["ttl"], fields(p)["tos"], p[20:].hex()) for p in sent])


def header_leads_nowhere(sock):
    packet = ip("192.0.2.1", "0.0.0.0", 47) / gre(key=4) / DATA
    want, got, _ = attempt("gl tx_errors=1 tx_fifo_errors=1", lambda: sock.send(packet.bytes()))
    expect("a header that leads nowhere", want, got)


def header_is_cut_short(sock):
    packet = (ip("192.0.2.1", "192.0.2.22", 47, ttl=5, tos=0x10) / gre(key=99) / DATA).bytes()
    before = COUNTERS.read()
    for size in (0, 1, 19, 20, 27):
        expect(f"{size} bytes of a header", errno.EINVAL, error_of(lambda: sock.send(packet[:size])))
    expect("and nothing was sent", {}, COUNTERS.moved(before, COUNTERS.read()))


def checksum_begins_in_the_header(sock):
    """What a card would have to sum up is not in the payload."""
    packet = (ip("192.0.2.1", "192.0.2.22", 47, ttl=5) / gre(key=99) / LONG).bytes()
    sock.setsockopt(SOL_PACKET, PACKET_VNET_HDR, 1)
    for start in (20, 24, 27):          # what is less, newer kernels take from nobody
        want, got, _ = attempt("gl tx_dropped=1",
                               lambda: sock.send(struct.pack("<BBHHHH", 1, 0, 0, 0, start, 0) + packet))
        expect(f"a checksum that begins at byte {start} of the header", want, got)
    sock.setsockopt(SOL_PACKET, PACKET_VNET_HDR, 0)


# ------------------------------------------------------------------ receiving

def forget(sock):
    """what the socket has received so far"""
    sock.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        while True:
            sock.recv(65536)


def next_received(sock):
    """-> data and address; what we have sent does not count"""
    while True:
        data, address = sock.recvfrom(65536)
        if address[2] != PACKET_OUTGOING:
            return data, address


def received(u0, sock, dgram):
    """with and without its link layer header, and from whom"""
    forget(sock)
    forget(dgram)
    case("received", f"gl rx_bytes={len(DATA)} rx_packets=1", u0, CAME)
    for s, what, want in ((sock, "with", CAME), (dgram, "without", DATA)):
        data, (dev, proto, kind, hardware, sender) = next_received(s)
        expect(f"received, {what} its header, and from whom",
               (want.hex(), "gl", ETH_P_IP, 0, ARPHRD_IPGRE, "192.0.2.31"),
               (data.hex(), dev, proto, kind, hardware, socket.inet_ntoa(sender[:4])))


# -------------------------------------------------------------- bond and team
# Their devices have our header functions, and private data of their own.

def add_master(kind):
    return f"link add b0 type {kind}" + " mode active-backup" * (kind == "bond")


def enslave(kind):
    run_ip("link set gl down", add_master(kind))
    if kind == "team":
        team.set_mode("b0", "activebackup")
    run_ip("link set gl master b0", "link set b0 up", "addr add 198.51.100.129/26 dev b0",
           "neigh add 198.51.100.130 lladdr 192.0.2.2 dev b0 nud permanent")
    if kind == "team":
        team.set_active("b0", "gl")
    expect(f"{kind}: is up", "192.0.2.1",
           until("192.0.2.1", lambda: show("link", "show", "dev", "b0")[0]["address"]))
    until(True, lambda: "LOWER_UP" in show("link", "show", "dev", "b0")[0]["flags"])


def sent_by_master(u0, kind):
    # A team counts what it hands down, with our header in front of it.
    more = 28 * (kind == "team")

    def counts(size):
        return f"b0 tx_bytes={size + more} tx_packets=1; gl tx_bytes={size} tx_packets=1"

    goes(f"{kind}: a neighbour", u0, "b0", "198.51.100.130", "192.0.2.2", counts=counts(33))
    with socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, 0) as sock:
        to = ("b0", ETH_P_IP, 0, 0, socket.inet_aton("192.0.2.23"))
        addressed(f"{kind}: addressed by the sender", u0, counts(len(DATA)), DATA, "192.0.2.23", ETH_P_IP,
                  lambda: sock.sendto(DATA, to))


def under_a_master(u0, kind):
    enslave(kind)
    case(f"{kind}: received", f"b0 rx_bytes={len(DATA)} rx_packets=1; gl rx_bytes={len(DATA)} rx_packets=1", u0, CAME)
    if kind == "team" and IN_TREE:
        # It would read, and perhaps write, past the end of team's data.
        with differs("reads private data that is not its own"):
            expect(f"{kind}: sent", "tried", "not tried")
    else:
        sent_by_master(u0, kind)
    run_ip("link del b0", "link set gl down", "link set gl up", "addr replace 198.51.100.1/26 dev gl",
           "neigh replace 198.51.100.2 lladdr 192.0.2.2 dev gl nud permanent")
    goes(f"{kind}: released", u0, "gl", "198.51.100.2", "192.0.2.2")


def others_under_a_master(kind):
    """with another type of gre device: taken or not, it comes and goes"""
    for what, options in (("one remote", "local 192.0.2.1 remote 192.0.2.9"),
                          ("a group", "local 192.0.2.1 remote 233.252.0.5"),
                          ("external", "external")):
        run_ip(f"link add gq type gre {options}", add_master(kind))
        run_ip("link set gq master b0", "link set b0 up", force=True)
        run_ip("link del b0", "link del gq")
        expect(f"{kind}: gre, {what}, comes and goes", [],
               [d["ifname"] for d in show("link") if d["ifname"] in ("b0", "gq")])


def main():
    need_modules("ipip", "ip_gre")
    modprobe("tun", "bonding", "team", "team_mode_activebackup")
    with NetNs(ipv6=True) as n0, n0.inside():
        sysctl(net__ipv4__icmp_ratemask=0)
        u0 = Tun("u0", "192.0.2.1/24")
        add_devices()
        neighbours(u0, "gl", 0, 4)
        neighbours(u0, "ga", 64, 5)
        unknown_neighbours()
        routes(u0)
        with packet_socket(socket.SOCK_RAW) as sock, packet_socket(socket.SOCK_DGRAM) as dgram:
            sender_gives_the_address(u0, dgram)
            sender_gives_the_header(u0, sock)
            header_leads_nowhere(sock)
            header_is_cut_short(sock)
            checksum_begins_in_the_header(sock)
            received(u0, sock, dgram)
        for kind in ("bond", "team"):
            under_a_master(u0, kind)
            others_under_a_master(kind)


ksft_run(main)
