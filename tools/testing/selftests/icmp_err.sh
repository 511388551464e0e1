#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# What a tunnel makes of ICMP errors about the packets it has sent: which it
# heeds, what the inner sender is told and how often, redirects, the errors
# that are passed on to an inner IPv6 sender.
#
#	   a host: 198.51.100.2, 2001:db8:1::2
#	          | h0, a tun device
#	   n0: 198.51.100.1, 2001:db8:1::1
#	       tunnels to 192.0.2.2, with 203.0.113.0/24 and 2001:db8:2::/64
#	       192.0.2.1
#	          | u0, a tun device
#	   routers (192.0.2.253 and .254) and the other end (192.0.2.2)

. "$(dirname "$0")/lib.sh"
need_modules ip_gre ipip
new_ns -6 n0

wire n0 <<'END'
from wire import *

h0, u0 = router()
sysctl(net__ipv4__conf__all__accept_redirects=1,
       net__ipv4__conf__u0__accept_redirects=1,
       net__ipv4__conf__all__secure_redirects=0,
       net__ipv4__conf__u0__secure_redirects=0)
ROUTER, OTHER_ROUTER, HERE, THERE = \
    "192.0.2.254", "192.0.2.253", "192.0.2.1", "192.0.2.2"
INNER = (ip("198.51.100.2", "203.0.113.2") / udp() / bytes(72)).bytes()
INNER6 = (ip6("2001:db8:1::2", "2001:db8:2::2") / udp() / bytes(72)).bytes()


def add(kind, options="", remote=THERE):
    run_ip(f"link add tun type {kind} local {HERE} "
           f"remote {remote} {options}", "link set tun up",
           "route add 203.0.113.0/24 dev tun", "route add 2001:db8:2::/64 dev tun")


def remove():
    run_ip("link del tun")


def outer(inner=INNER):
    """what the tunnel sends for it now"""
    u0.drain()
    h0.send(inner)
    return next(p for p in u0.drain() if p.endswith(inner[40:]))


def error(kind, code, about, rest=0, size=None, router=ROUTER):
    return ip(router, HERE) / icmp(kind, code, rest) / about[:size]


def sent(size, kind):
    return f"tun tx_bytes={len(INNER)} tx_packets=1; " \
        "{}u0: " + f"{kind} {size}"


TOLD = "h0: icmp 3/1; "

# (type, code) -> does ipip heed it, does gre; "ttl": unless TTL is inherited
HEEDED = {(3, code): (True, True) for code in range(16)}
HEEDED.update({
    (3, 3): (True, False),      # no tunnel there, or is it gone for a while?
    (3, 4): (False, False),     # the path MTU is for mtu_pmtu.sh
    (3, 5): (False, False),     # it did not take our source route
    (4, 0): (False, False), (5, 0): (False, False), (5, 1): (False, False),
    (11, 0): ("ttl", "ttl"), (11, 1): (False, False),
    (12, 0): (False, False), (12, 1): (False, False)})

for which, kind in enumerate(("ipip", "gre")):
    size = len(INNER) + (20 if kind == "ipip" else 24)
    for ttl in ("inherit", "64"):
        add(kind, f"ttl {ttl}")
        about = outer()
        for (type_, code), heeded in HEEDED.items():
            heeds = heeded[which]
            if heeds == "ttl":
                heeds = ttl != "inherit"
            case(f"{kind} ttl {ttl}, ICMP {type_}/{code}: nothing yet", "",
                 u0, error(type_, code, about, 1480 if code == 4 else 0))
            for turn, told in (("the next packet", heeds), ("the one after",
                                                           False)):
                case(f"{kind} ttl {ttl}, ICMP {type_}/{code}: {turn}",
                     sent(size, kind).format(TOLD * told), h0, INNER)
        remove()

for kind, size in (("ipip", 120), ("gre", 124)):
    add(kind, "ttl 64")
    about = outer()
    inject(u0, *[error(3, 1, about)] * 3)
    for turn in range(5):
        case(f"{kind}: three errors, packet {turn + 1}",
             sent(size, kind).format(TOLD * (turn < 3)), h0, INNER)
    remove()

# ----------------------------------------------------- what must be in a quote

def heeds(name, heeded, message, kind, over):
    inject(u0, message)
    case(f"{kind}: {name}", sent(len(INNER) + over, kind).format(
        TOLD * heeded), h0, INNER)


for kind, options, over, least in (("ipip", "", 20, 28), ("gre", "", 24, 28),
                                   ("gre", "key 5", 28, 28),
                                   ("gre", "csum", 28, 28),
                                   ("gre", "key 5 csum seq", 36, 36)):
    add(kind, f"ttl 64 {options}")
    about = outer()
    for size in sorted({20, 24, 27, 28, 32, 35, 36, len(about)}):
        heeds(f"{options}, {size} bytes of the packet", size >= least,
              error(3, 1, about, size=size), kind, over)
    remove()

add("gre", "ttl 64 key 5")
for name, heeded, about in (
        ("the right key", True, gre(0x0800, key=5)),
        ("another key", False, gre(0x0800, key=6)),
        ("no key", False, gre(0x0800)),
        ("a key, and more that was never sent", True,
         gre(0x0800, key=5, seq=7)),
        ("version 1", False, gre(0x0800, key=5, ver=1))):
    heeds(name, heeded, error(3, 1, (ip(HERE, THERE, 47) / about /
                                     INNER).bytes()), "gre", 28)
for name, heeded, ends in (("of nobody", False, (HERE, "192.0.2.9")),
                           ("the other way round", False, (THERE, HERE))):
    heeds(f"a packet {name}", heeded, error(3, 1, (
        ip(*ends, 47) / gre(key=5) / INNER).bytes()), "gre", 28)
run_ip("link set tun down")
about = (ip(HERE, THERE, 47) / gre(key=5) / INNER).bytes()
inject(u0, error(3, 1, about))
run_ip("link set tun up", "route add 203.0.113.0/24 dev tun")
case("gre: a tunnel that was down then", sent(128, "gre").format(""), h0,
     INNER)
remove()

# Not for a tunnel with no remote address: whose error would it be?
for kind, over in (("ipip", 20), ("gre", 24)):
    run_ip(f"link add tun type {kind} local {HERE} ttl 64", "link set tun up")
    run_ip(f"route add 203.0.113.0/24 via {THERE} dev tun onlink")
    about = (ip(HERE, THERE) / (gre() / INNER if kind == "gre" else
                                raw(INNER))).bytes()
    if kind == "ipip":
        heeds("no remote address", False, error(3, 1, about), kind, over)
    remove()

# ------------------------------------------------------------------ redirects

for kind, over in (("ipip", 20), ("gre", 24)):
    run_ip(f"route replace 198.18.0.0/24 via {ROUTER} dev u0")
    add(kind, "ttl 64", remote="198.18.0.2")
    about = outer()

    def gateway():
        return show("route", "get", "198.18.0.2")[0].get("gateway")

    expect(f"{kind}: the route before", ROUTER, gateway())
    case(f"{kind}: a redirect", "", u0, error(
        5, 1, about, int.from_bytes(socket.inet_aton(OTHER_ROUTER), "big")))
    expect(f"{kind}: the route afterwards", OTHER_ROUTER, gateway())
    case(f"{kind}: packets are sent all the same",
         sent(len(INNER) + over, kind).format(""), h0, INNER)
    remove()
    run_ip("route del 198.18.0.0/24")

# ------------------------------------------------ errors about IPv6 inside
# Those whose quote is long enough are passed on at once, as ICMPv6 from the
# router's IPv4-mapped address, which the IPv6 stack does not let out. The
# others count like any error.

SENT6 = f"tun tx_bytes={len(INNER6)} tx_packets=1; {{}}" \
    f"u0: gre {len(INNER6) + 24}"
TOLD6 = "h0: icmp6 1/3; "
for ttl in ("inherit", "64"):
    add("gre", f"ttl {ttl}")
    about = outer(INNER6)
    for (type_, code) in HEEDED:
        name = f"IPv6 in gre ttl {ttl}, ICMP {type_}/{code}"
        case(name, "", u0, error(type_, code, about, 1480 if code == 4 else 0))
        case(f"{name}: the next packet", SENT6.format(""), h0, INNER6)
    for size, whole in ((28, False), (63, False), (64, False), (71, False),
                        (72, True)):
        name = f"IPv6 in gre ttl {ttl}, {size} bytes"
        case(name, "", u0, error(3, 1, about, size=size))
        case(f"{name}: the next packet", SENT6.format(TOLD6 * (not whole)),
             h0, INNER6)
    remove()
END
finish
