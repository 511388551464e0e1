#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# The MTU of a tunnel device, and path MTU discovery through one: for its own
# packets and for forwarded ones, what the inner sender is told, what happens
# without discovery.
#
#	   a host: 198.51.100.2, 2001:db8:1::2
#	          | h0, a tun device
#	   n0: 198.51.100.1, 2001:db8:1::1
#	       tunnels to 192.0.2.2, with 203.0.113.0/24 and 2001:db8:2::/64
#	       192.0.2.1
#	          | u0, a tun device, MTU 1500
#	   a router (192.0.2.254) and the other end (192.0.2.2)

. "$(dirname "$0")/lib.sh"
need_modules ip_gre ipip
new_ns -6 n0 n1

# ------------------------------------------------------------ MTU when made

wire n1 <<'END'
from wire import *

Tun("u0", "192.0.2.1/24")
Tun("u1", "203.0.113.1/24", mtu=9000)
Tun("u2", "198.51.100.1/24", mtu=68)
NEAR, JUMBO, TINY, NOWHERE = (f"remote {net}." + "{}" for net in (
    "192.0.2", "203.0.113", "198.51.100", "198.18.0"))
# what is asked for -> the MTU that comes out, without GRE's own header
COMMON = [
    (NEAR, 1480), (JUMBO, 8980), (TINY, 68), (NOWHERE, 1480),
    ("local 192.0.2.1", 1480), (f"{JUMBO} local 192.0.2.1", 8980),
    (f"{NEAR} dev u0", 1480), (f"{NEAR} dev u1", 8980),
    (f"{NOWHERE} dev u1", 8980), ("local 192.0.2.1 dev u1", 8980),
    ("local 192.0.2.1 dev u2", 68),
]
# the link's own MTU, asked for -> given
ASKED = [(1000, 1000), (1500, 1500), (68, 68), (67, 68), (9999, 9999),
         (65535, 65515)]
GRE = [("key 5", 4), ("ikey 5", 0), ("okey 5", 4), ("csum", 4), ("icsum", 0),
       ("ocsum", 4), ("seq", 4), ("oseq", 4), ("iseq", 0), ("key 5 csum", 8),
       ("key 5 seq", 8), ("csum seq", 8), ("key 5 csum seq", 12)]
# MTU later -> whether it is taken
LATER = [(68, 1), (67, 0), (0, 0), (65515, 1), (65516, 0), (1476, 1)]


def rows(kind, less):
    for options, mtu in COMMON:
        yield "", options, max(mtu - less, 68)
    for asked, mtu in ASKED:
        yield f"mtu {asked}", NEAR, min(mtu, 65515 - less)
    for options, more in GRE if kind == "gre" else ():
        yield "", f"{NEAR} {options}", 1476 - more


def mtus():
    return {link["ifname"]: link["mtu"] for link in show("link", "show")}


for kind, less in (("ipip", 0), ("gre", 4)):
    table = list(enumerate(rows(kind, less), 10))
    run_ip(*(f"link add {kind}{n} {link} type {kind} " + options.format(n)
             for n, (link, options, _) in table))
    given = mtus()
    for n, (link, options, mtu) in table:
        expect(f"{kind} {link} " + options.format(n), mtu,
               given[f"{kind}{n}"])
    now = 1480 - less
    for mtu, taken in LATER:
        mtu -= less if mtu > 10000 else 0
        run_ip(f"link set {kind}10 mtu {mtu}", force=True)
        now = mtu if taken else now
        expect(f"{kind}, MTU {mtu} is set", now, mtus()[f"{kind}10"])
END

# --------------------------------------------------------------------- PMTU

wire n0 <<'END'
from wire import *

h0, u0 = router()
HERE, THERE, ROUTER = "192.0.2.1", "192.0.2.2", "192.0.2.254"


def add(kind, options="", mtu=1500, remote=THERE):
    """the tunnel "tun", with the routes through it"""
    run_ip(f"link add tun type {kind} local {HERE} remote {remote} {options}",
           f"link set tun mtu {mtu} up", "route add 203.0.113.0/24 dev tun")
    if kind == "gre":
        run_ip("route add 2001:db8:2::/64 dev tun")


def remove(underlay=u0):
    # The underlay forgets what its paths can take.
    run_ip("link del tun", f"link set {underlay.name} down",
           f"link set {underlay.name} up")


def packet(size, df=True, v6=False):
    if v6:
        return (ip6("2001:db8:1::2", "2001:db8:2::2") / udp() /
                bytes(size - 48)).bytes()
    return (ip("198.51.100.2", "203.0.113.2", flags=2 * df) / udp() /
            bytes(size - 28)).bytes()


def forward(name, want, size, **how):
    return case(name, want, h0, packet(size, **how))


def sent(size, outer, wire="u0"):
    return f"tun tx_bytes={size} tx_packets=1; {wire}: {outer}"


def too_big(mtu):
    return f"tun tx_errors=1; h0: icmp 3/4 mtu {mtu}"


def too_big6(mtu):
    return f"tun tx_errors=1; h0: icmp6 2/0 mtu {mtu}"


def learn(mtu, wire=u0, size=None):
    """Send one packet, and have a router say that its way is narrower."""
    h0.send(packet(100))
    for outer in wire.drain():
        inject(wire, ip(ROUTER, HERE) / icmp(3, 4, mtu) / outer[:size])


# ------------------------------------------------------- discovery, forwarded

for kind, options, over in (("ipip", "", 20), ("gre", "", 24),
                            ("gre", "key 5 csum", 32),
                            ("gre", "key 5 csum seq", 36)):
    what = f"{kind} {options}".strip()
    for pmtu in (1500, 1400):
        add(kind, options)
        if pmtu < 1500:
            learn(pmtu)
        fits = pmtu - over
        name = f"{what}, path MTU {pmtu}"
        forward(f"{name}: 1 byte too many", too_big(fits), fits + 1)
        forward(f"{name}: the largest", too_big(fits), 1500)
        forward(f"{name}: it just fits", sent(fits, f"{kind} {pmtu}"), fits)
        if kind == "gre":
            forward(f"{name}: IPv6, 1 byte too many", too_big6(fits),
                    fits + 1, v6=True)
            # Now the inner route knows.
            forward(f"{name}: IPv6, and again", f"h0: icmp6 2/0 mtu {fits}",
                    fits + 1, v6=True)
            forward(f"{name}: IPv6, it just fits",
                    sent(fits, f"{kind} {pmtu}"), fits, v6=True)
        if pmtu < 1500:
            learn(1450)
            forward(f"{name}: a larger one is not believed", too_big(fits),
                    fits + 1)
            learn(1000)
            forward(f"{name}, then 1000: 1 byte too many",
                    too_big(1000 - over), 1001 - over)
            learn(0)
            forward(f"{name}, then not even 552: 1 byte too many",
                    too_big(552 - over), 553 - over)
        remove()

for kind, over in (("ipip", 20), ("gre", 24)):
    for size, heard in ((20, False), (27, False), (28, True)):
        add(kind)
        learn(1400, size=size)
        forward(f"{kind}: an error that quotes {size} bytes",
                too_big(1400 - over) if heard else
                sent(1400, f"{kind} {1400 + over}"), 1400)
        remove()

# The outer packet would have to be fragmented and may not: the stack tells
# only itself.
STUCK = "lo rx_bytes=576 rx_packets=1 tx_bytes=576 tx_packets=1; " \
    "tun tx_dropped=1"
# IPv6 knows no MTU below 1280.
add("gre")
learn(1290)
for size in (1280, 1281):
    forward(f"path MTU 1290: IPv6 of {size}", STUCK, size, v6=True)
remove()
# Nor is a path MTU below 552 believed; packets may be fragmented then.
add("gre")
learn(300)
forward("path MTU 300: 552, and 1 byte too many", too_big(528), 529)
forward("path MTU 300: 552", sent(528, "gre 552"), 528)
forward("path MTU 300: not DF", "tun tx_bytes=620 tx_packets=2; "
        "u0: gre 548 frag, gre 44 frag, gre 96", 600, df=False)
remove()

# ---------------------------------------------------------- without discovery


def swap(fragment):
    """as the other end would have sent it"""
    head = fields(fragment)
    return ip(head["dst"], head["src"], head["proto"], id=head["id"],
              flags=head["frag"] >> 13, frag=head["frag"] & 0x1fff) / \
        head["payload"]


def there_and_back(name, kind, over, **how):
    came = forward(name, sent(1500, f"{kind} 1500 frag, {kind} {20 + over} "
                              "frag"), 1500, **how)
    if len(came[u0]) != 2:
        return
    for order, fragments in (("in order", came[u0]),
                             ("the other way round", came[u0][::-1])):
        heard = tap("tun")
        # It is not for us, and goes back.
        case(f"{name}: received {order}",
             "tun rx_bytes=1500 rx_packets=1 tx_bytes=1500 tx_packets=1; u0: "
             f"{kind} 1500 frag, {kind} {20 + over} frag", u0,
             *map(swap, fragments))
        expect(f"{name}: what is inside, {order}",
               [packet(1500, **how)[20:].hex()],
               [data[20:].hex() for _, _, data in heard.drain()])


for kind, over in (("ipip", 20), ("gre", 24)):
    add(kind)
    forward(f"{kind}: without DF, too large", STUCK, 1500, df=False)
    forward(f"{kind}: without DF, fits", sent(1470, f"{kind} {1470 + over}"),
            1470, df=False)
    remove()
    add(kind, "nopmtudisc")
    forward(f"{kind} nopmtudisc: DF, too large", too_big(1500 - over), 1500)
    there_and_back(f"{kind} nopmtudisc: without DF", kind, over, df=False)
    remove()
add("gre", "nopmtudisc ignore-df")
there_and_back("ignore-df: DF", "gre", 24)
there_and_back("ignore-df: IPv6", "gre", 24, v6=True)
forward("ignore-df: DF, fits", sent(1400, "gre 1424"), 1400)
remove()

# ------------------------------------------------------------- our own packets

IP_MTU_DISCOVER, IP_PMTUDISC_DO, IP_MTU = 10, 2, 14
IPV6_MTU_DISCOVER, IPV6_MTU = 23, 24


def local(name, family, address, over, reserve):
    v6 = family == socket.AF_INET6
    level = socket.IPPROTO_IPV6 if v6 else socket.IPPROTO_IP
    sock = socket.socket(family, socket.SOCK_DGRAM)
    sock.setsockopt(level, IPV6_MTU_DISCOVER if v6 else IP_MTU_DISCOVER,
                    IP_PMTUDISC_DO)
    sock.connect((address, 4001))

    def send(mtu):
        """-> errno of a packet of this size"""
        try:
            sock.send(bytes(mtu - reserve))
        except OSError as error:
            return errno.errorcode[error.errno]
        return None

    def knows():
        return sock.getsockopt(level, IPV6_MTU if v6 else IP_MTU)

    expect(f"{name}: the MTU of the device", 1500, knows())
    u0.drain()
    send(1500)
    expect(f"{name}: 1500 are not sent", [], u0.drain())
    expect(f"{name}: what the socket learns", 1500 - over,
           until(1500 - over, knows))
    send(1000)      # takes the error that is waiting
    expect(f"{name}: it is refused now", "EMSGSIZE", send(1501 - over))
    expect(f"{name}: what fits is sent", None, send(1500 - over))
    came = u0.drain()[-1:]
    expect(f"{name}: on the wire", [1500], [len(p) for p in came])
    for outer in came:
        inject(u0, ip(ROUTER, HERE) / icmp(3, 4, 1400) / outer)
    send(1500 - over)
    expect(f"{name}: path MTU 1400", 1400 - over,
           until(1400 - over, knows))


for kind, over in (("ipip", 20), ("gre", 24)):
    add(kind)
    run_ip("addr add 203.0.113.1/24 dev tun")
    local(f"{kind}, our own packets", socket.AF_INET, "203.0.113.2", over, 28)
    remove()
add("gre")
run_ip("addr add 2001:db8:2::1/64 dev tun nodad")
local("gre, our own packets, IPv6", socket.AF_INET6, "2001:db8:2::2", 24, 48)
remove()

# ------------------------------------------- bound to a device, and to a VRF

v0 = Tun("v0", "192.0.2.1/24")
run_ip("link add blue type vrf table 10", "link set blue up",
       "link set v0 master blue")
for kind, over in (("ipip", 20), ("gre", 24)):
    for bound, wire in (("u0", u0), ("v0", v0), ("blue", v0)):
        add(kind, f"dev {bound}")
        name = f"{kind} dev {bound}"
        forward(f"{name}: 1400", sent(1400, f"{kind} {1400 + over}",
                                      wire.name), 1400)
        learn(1400, wire)
        forward(f"{name}: path MTU 1400", too_big(1400 - over), 1401 - over)
        forward(f"{name}: it fits", sent(1400 - over, f"{kind} 1400",
                                         wire.name), 1400 - over)
        remove(wire)
END
finish
