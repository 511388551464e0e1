#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""The MTU of a tunnel device, and path MTU discovery through one: for its own
packets and for forwarded ones, what the inner sender is told, and what happens
without discovery.

    a host: 198.51.100.2, 2001:db8:1::2
       | h0, a tun device
    n0: 198.51.100.1, 2001:db8:1::1
        tunnels to 192.0.2.2, with 203.0.113.0/24 and 2001:db8:2::/64
        192.0.2.1
       | u0, a tun device, MTU 1500
    a router (192.0.2.254) and the other endpoint (192.0.2.2)

    n1: u0, u1 and u2, tun devices with MTU 1500, 9000 and 68
"""
import contextlib
import errno
import re
import socket

from ether import tc
from ksft import ksft_run, need_modules, modprobe, NetNs, expect, run_ip, until
from pkt import icmp, ip, ip6, udp
from wire import Tun, attempt, case, differs, fields, inject, router, show, tap, transmit

HERE, THERE, ROUTER = "192.0.2.1", "192.0.2.2", "192.0.2.254"
OVERHEAD = {"ipip": 20, "gre": 24}
# What is asked for, {} being one host of many -> the MTU of an ipip device
NEAR, JUMBO, TINY, NOWHERE = "remote 192.0.2.{}", "remote 203.0.113.{}", "remote 198.51.100.{}", "remote 198.18.0.{}"
COMMON = ((NEAR, 1480), (JUMBO, 8980), (TINY, 68), (NOWHERE, 1480), ("local 192.0.2.1", 1480),
          (f"{JUMBO} local 192.0.2.1", 8980), (f"{NEAR} dev u0", 1480), (f"{NEAR} dev u1", 8980),
          (f"{NOWHERE} dev u1", 8980), ("local 192.0.2.1 dev u1", 8980), ("local 192.0.2.1 dev u2", 68))
# The MTU that is asked for when it is made -> the one that is given
ASKED = ((1000, 1000), (1500, 1500), (68, 68), (67, 68), (9999, 9999), (65535, 65515))
# Options of gre -> bytes of its header besides the first four
GRE = (("key 5", 4), ("ikey 5", 0), ("okey 5", 4), ("csum", 4), ("icsum", 0), ("ocsum", 4), ("seq", 4), ("oseq", 4),
       ("iseq", 0), ("key 5 csum", 8), ("key 5 seq", 8), ("csum seq", 8), ("key 5 csum seq", 12))
# The MTU that is set later -> whether it is taken
LATER = ((68, True), (67, False), (0, False), (65515, True), (65516, False), (1476, True))
DISCOVERY = (("ipip", "", 20), ("gre", "", 24), ("gre", "key 5 csum", 32), ("gre", "key 5 csum seq", 36))
# The outer packet would have to be fragmented and may not be: the stack tells
# only itself.
STUCK = "lo rx_bytes=576 rx_packets=1 tx_bytes=576 tx_packets=1; tun tx_dropped=1"
IP_MTU_DISCOVER, IP_PMTUDISC_DO, IP_MTU = 10, 2, 14
IPV6_MTU_DISCOVER, IPV6_MTU = 23, 24


@contextlib.contextmanager
def tunnel(kind, options="", underlay="u0"):
    """The tunnel "tun", with routes through it. Afterwards the underlay forgets
    what its paths can take."""
    lines = [f"link add tun type {kind} local {HERE} remote {THERE} {options}", "link set tun mtu 1500 up",
             "route add 203.0.113.0/24 dev tun"]
    if kind == "gre":
        lines.append("route add 2001:db8:2::/64 dev tun")
    run_ip(*lines)
    yield
    run_ip("link del tun", f"link set {underlay} down", f"link set {underlay} up")


def packet(size, df=True, v6=False):
    if v6:
        return (ip6("2001:db8:1::2", "2001:db8:2::2") / udp() / bytes(size - 48)).bytes()
    return (ip("198.51.100.2", "203.0.113.2", flags=2 * df) / udp() / bytes(size - 28)).bytes()


def forward(h0, name, want, size, **how):
    return case(name, want, h0, packet(size, **how))


def sent(size, outer, wire="u0"):
    return f"tun tx_bytes={size} tx_packets=1; {wire}: {outer}"


def too_big(mtu):
    return f"tun tx_errors=1; h0: icmp 3/4 mtu {mtu}"


def too_big6(mtu):
    return f"tun tx_errors=1; h0: icmp6 2/0 mtu {mtu}"


def learn(h0, wire, mtu, size=None):
    """Send one packet, and have a router say that its path is narrower; size: of what it quotes"""
    h0.send(packet(100))
    for outer in wire.drain():
        inject(wire, ip(ROUTER, HERE) / icmp(3, 4, mtu) / outer[:size])


# ------------------------------------------------------- discovery, forwarded

def ipv4_limit(h0, name, kind, pmtu, fits):
    forward(h0, f"{name}: 1 byte too many", too_big(fits), fits + 1)
    forward(h0, f"{name}: the largest", too_big(fits), 1500)
    forward(h0, f"{name}: it just fits", sent(fits, f"{kind} {pmtu}"), fits)


def ipv6_limit(h0, name, kind, pmtu, fits):
    forward(h0, f"{name}: IPv6, 1 byte too many", too_big6(fits), fits + 1, v6=True)
    # Now the inner route knows.
    forward(h0, f"{name}: IPv6, and again", f"h0: icmp6 2/0 mtu {fits}", fits + 1, v6=True)
    forward(h0, f"{name}: IPv6, it just fits", sent(fits, f"{kind} {pmtu}"), fits, v6=True)


def later_errors(h0, u0, name, overhead):
    """about a path MTU that was 1400 before"""
    learn(h0, u0, 1450)
    forward(h0, f"{name}: a larger one is not believed", too_big(1400 - overhead), 1401 - overhead)
    learn(h0, u0, 1000)
    forward(h0, f"{name}, then 1000: 1 byte too many", too_big(1000 - overhead), 1001 - overhead)
    learn(h0, u0, 0)
    forward(h0, f"{name}, then not even 552: 1 byte too many", too_big(552 - overhead), 553 - overhead)


def discovery(h0, u0, kind, options, overhead, pmtu):
    name = f"{kind} {options}".strip() + f", path MTU {pmtu}"
    fits = pmtu - overhead
    with tunnel(kind, options):
        if pmtu < 1500:
            learn(h0, u0, pmtu)
        ipv4_limit(h0, name, kind, pmtu, fits)
        if kind == "gre":
            ipv6_limit(h0, name, kind, pmtu, fits)
        if pmtu < 1500:
            later_errors(h0, u0, name, overhead)


def length_of_the_quote(h0, u0, kind, size):
    overhead = OVERHEAD[kind]
    with tunnel(kind):
        learn(h0, u0, 1400, size)
        forward(h0, f"{kind}: an error that quotes {size} bytes",
                too_big(1400 - overhead) if size >= 28 else sent(1400, f"{kind} {1400 + overhead}"), 1400)


def each_size(h0, u0, kind, v6=False):
    """An error quotes the packet it is about, however large that is."""
    pmtu, wrong = 1400 if v6 else 600, []
    with tunnel(kind):
        learn(h0, u0, pmtu)
        h0.drain()
        for size in range(pmtu - OVERHEAD[kind] + 1, 1501):
            data = packet(size, v6=v6)
            h0.send(data)
            came = [answer[48:] if v6 else answer[28:] for answer in h0.drain()]
            if len(came) != 1 or len(came[0]) < 28 or came[0][12:] != data[12:len(came[0])]:
                wrong.append((size, [quote.hex() for quote in came]))
    expect(f"{kind}{', IPv6' if v6 else ''}: errors about each size up to 1500", [], wrong[:3])


def smallest_of_ipv6(h0, u0):
    """IPv6 knows no MTU below 1280."""
    with tunnel("gre"):
        learn(h0, u0, 1290)
        for size in (1280, 1281):
            forward(h0, f"path MTU 1290: IPv6 of {size}", STUCK, size, v6=True)


def smallest_of_ipv4(h0, u0):
    """Nor is a path MTU below 552 believed; packets may be fragmented then."""
    with tunnel("gre"):
        learn(h0, u0, 300)
        forward(h0, "path MTU 300: 552, and 1 byte too many", too_big(528), 529)
        forward(h0, "path MTU 300: 552", sent(528, "gre 552"), 528)
        forward(h0, "path MTU 300: not DF", "tun tx_bytes=620 tx_packets=2; u0: gre 548 frag, gre 44 frag, gre 96",
                600, df=False)


# ---------------------------------------------------------- without discovery

def swap(fragment):
    """as the other endpoint would have sent it"""
    head = fields(fragment)
    return ip(head["dst"], head["src"], head["proto"], id=head["id"], flags=head["frag"] >> 13,
              frag=head["frag"] & 0x1fff) / head["payload"]


def there_and_back(h0, u0, name, kind, **how):
    """Fragments of the outer packet leave, and are put together again."""
    outer = f"{kind} 1500 frag, {kind} {20 + OVERHEAD[kind]} frag"
    came = forward(h0, name, sent(1500, outer), 1500, **how)
    if len(came[u0]) != 2:
        return
    for order, fragments in ("in order", came[u0]), ("the other way round", came[u0][::-1]):
        heard = tap("tun")
        # It is not for us, and goes back.
        case(f"{name}: received {order}",
             f"tun rx_bytes=1500 rx_packets=1 tx_bytes=1500 tx_packets=1; u0: {outer}", u0, *map(swap, fragments))
        expect(f"{name}: what is inside, {order}", [packet(1500, **how)[20:].hex()],
               [data[20:].hex() for _, _, data in heard.drain()])


def without_df(h0, kind):
    with tunnel(kind):
        forward(h0, f"{kind}: without DF, too large", STUCK, 1500, df=False)
        forward(h0, f"{kind}: without DF, fits", sent(1470, f"{kind} {1470 + OVERHEAD[kind]}"), 1470, df=False)


def nopmtudisc(h0, u0, kind):
    with tunnel(kind, "nopmtudisc"):
        forward(h0, f"{kind} nopmtudisc: DF, too large", too_big(1500 - OVERHEAD[kind]), 1500)
        there_and_back(h0, u0, f"{kind} nopmtudisc: without DF", kind, df=False)


def ignore_df(h0, u0):
    with tunnel("gre", "nopmtudisc ignore-df"):
        there_and_back(h0, u0, "ignore-df: DF", "gre")
        there_and_back(h0, u0, "ignore-df: IPv6", "gre", v6=True)
        forward(h0, "ignore-df: DF, fits", sent(1400, "gre 1424"), 1400)


def sent_on_by_tc():
    """larger than the device's MTU, which tc does not ask for"""
    run_ip("link add d0 type dummy", "link set d0 mtu 9000 up")
    cases = {"without DF": {"df": False}, "DF": {}, "IPv6": {"v6": True}}
    for kind, options, names in ("ipip", "nopmtudisc", ["without DF"]), ("gre", "nopmtudisc ignore-df", list(cases)):
        with tunnel(kind, options):
            run_ip(f"link set tun mtu {1500 - OVERHEAD[kind]}")
            tc("qdisc add dev d0 clsact", "filter add dev d0 egress matchall action mirred egress redirect dev tun")
            outer = f"{kind} 1500 frag, {kind} {20 + OVERHEAD[kind]} frag"
            for what in names:
                with differs("drops what is larger than the device's MTU", when=what != "without DF"):
                    proto, data = 0x86dd if what == "IPv6" else 0x0800, packet(1500, **cases[what])
                    want, got, _ = attempt(sent(1500, outer), lambda: transmit("d0", data, proto))
                    expect(f"{kind} {options}, sent on by tc: {what}", want, got)
            tc("qdisc del dev d0 clsact")
    run_ip("link del d0")


# ----------------------------------------------------------- our own packets

class Sender:
    """A UDP socket whose packets are not fragmented"""

    def __init__(self, address):
        v6 = ":" in address
        self.headers = 48 if v6 else 28
        self.level = socket.IPPROTO_IPV6 if v6 else socket.IPPROTO_IP
        self.option = IPV6_MTU if v6 else IP_MTU
        self.sock = socket.socket(socket.AF_INET6 if v6 else socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.setsockopt(self.level, IPV6_MTU_DISCOVER if v6 else IP_MTU_DISCOVER, IP_PMTUDISC_DO)
        self.sock.connect((address, 4001))

    def send(self, size):
        """-> errno for a packet of this size"""
        try:
            self.sock.send(bytes(size - self.headers))
        except OSError as error:
            return errno.errorcode[error.errno]
        return None

    def mtu(self):
        return self.sock.getsockopt(self.level, self.option)


def own_packets(u0, name, address, overhead):
    sender = Sender(address)
    fits = 1500 - overhead
    expect(f"{name}: the MTU of the device", 1500, sender.mtu())
    u0.drain()
    sender.send(1500)
    expect(f"{name}: 1500 are not sent", [], u0.drain())
    expect(f"{name}: what the socket learns", fits, until(fits, sender.mtu))
    sender.send(1000)       # takes the error that is waiting
    expect(f"{name}: it is refused now", "EMSGSIZE", sender.send(fits + 1))
    expect(f"{name}: what fits is sent", None, sender.send(fits))
    came = u0.drain()[-1:]
    expect(f"{name}: on the wire", [1500], [len(p) for p in came])
    for outer in came:
        inject(u0, ip(ROUTER, HERE) / icmp(3, 4, 1400) / outer)
    sender.send(fits)
    expect(f"{name}: path MTU 1400", 1400 - overhead, until(1400 - overhead, sender.mtu))


def own_ipv4(u0, kind):
    with tunnel(kind):
        run_ip("addr add 203.0.113.1/24 dev tun")
        own_packets(u0, f"{kind}, our own packets", "203.0.113.2", OVERHEAD[kind])


def own_ipv6(u0):
    with tunnel("gre"):
        run_ip("addr add 2001:db8:2::1/64 dev tun nodad")
        own_packets(u0, "gre, our own packets, IPv6", "2001:db8:2::2", 24)


# ------------------------------------------- bound to a device, and to a VRF

def bound(h0, kind, dev, wire):
    name, overhead = f"{kind} dev {dev}", OVERHEAD[kind]
    with tunnel(kind, f"dev {dev}", wire.name):
        forward(h0, f"{name}: 1400", sent(1400, f"{kind} {1400 + overhead}", wire.name), 1400)
        learn(h0, wire, 1400)
        forward(h0, f"{name}: path MTU 1400", too_big(1400 - overhead), 1401 - overhead)
        forward(h0, f"{name}: it fits", sent(1400 - overhead, f"{kind} 1400", wire.name), 1400 - overhead)


def bound_to_each(h0, u0):
    v0 = Tun("v0", "192.0.2.1/24")
    run_ip("link add blue type vrf table 10", "link set blue up", "link set v0 master blue")
    for kind in OVERHEAD:
        for dev, wire in ("u0", u0), ("v0", v0), ("blue", v0):
            bound(h0, kind, dev, wire)


# ------------------------------------------------------------ MTU when made

def rows(kind):
    """-> what is asked of the link, options of the tunnel, the MTU that comes out"""
    less = OVERHEAD[kind] - 20
    for options, mtu in COMMON:
        yield "", options, max(mtu - less, 68)
    for asked, mtu in ASKED:
        yield f"mtu {asked}", NEAR, min(mtu, 65515 - less)
    for options, more in GRE if kind == "gre" else ():
        yield "", f"{NEAR} {options}", 1476 - more


def made(kind):
    table = [(n, link, options.format(n), mtu) for n, (link, options, mtu) in enumerate(rows(kind), 10)]
    run_ip(*(f"link add {kind}{n} {link} type {kind} {options}" for n, link, options, _ in table))
    given = {link["ifname"]: link["mtu"] for link in show("link", "show")}
    for n, link, options, mtu in table:
        expect(f"{kind} {link} {options}", mtu, given[f"{kind}{n}"])


def set_later(kind):
    dev, less = f"{kind}10", OVERHEAD[kind] - 20
    asked = [(mtu - less if mtu > 10000 else mtu, taken) for mtu, taken in LATER]
    text = run_ip(*(line for mtu, _ in asked for line in (f"link set {dev} mtu {mtu}", f"link show dev {dev}")),
                  force=True)
    now = 1480 - less
    for (mtu, taken), got in zip(asked, re.findall(rf"^\d+: {dev}[@:].* mtu (\d+)", text, re.M), strict=True):
        now = mtu if taken else now
        expect(f"{kind}, MTU {mtu} is set", now, int(got))


def on_the_wire():
    h0, u0 = router()
    for row in DISCOVERY:
        for pmtu in (1500, 1400):
            discovery(h0, u0, *row, pmtu)
    for kind in OVERHEAD:
        for size in (20, 27, 28):
            length_of_the_quote(h0, u0, kind, size)
        each_size(h0, u0, kind)
    each_size(h0, u0, "gre", v6=True)
    smallest_of_ipv6(h0, u0)
    smallest_of_ipv4(h0, u0)
    for kind in OVERHEAD:
        without_df(h0, kind)
        nopmtudisc(h0, u0, kind)
    ignore_df(h0, u0)
    sent_on_by_tc()
    for kind in OVERHEAD:
        own_ipv4(u0, kind)
    own_ipv6(u0)
    bound_to_each(h0, u0)


def when_made():
    for name, address, mtu in ("u0", HERE, 1500), ("u1", "203.0.113.1", 9000), ("u2", "198.51.100.1", 68):
        Tun(name, f"{address}/24", mtu=mtu)
    for kind in OVERHEAD:
        made(kind)
        set_later(kind)


def main():
    need_modules("ip_gre", "ipip")
    modprobe("tun", "dummy", "sch_ingress", "cls_matchall", "act_mirred")
    with NetNs(ipv6=True) as n0, n0.inside():
        on_the_wire()
    with NetNs(ipv6=True) as n1, n1.inside():
        when_made()


ksft_run(main)
