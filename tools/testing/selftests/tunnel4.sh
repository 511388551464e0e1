#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# The three protocols of tunnel4 (4, 41 and 137) and who gets their packets:
# ipip before sit, the next one when the first has no tunnel, ICMP port
# unreachable when nobody has.
#
#	   the test (192.0.2.2)
#	          | u0, a tun device
#	   n0: 192.0.2.1
#	       i1  ipip, remote 192.0.2.2
#	       s1  sit mode any, remote 192.0.2.2
#	       tunl0, sit0

. "$(dirname "$0")/lib.sh"
need_modules ipip
modprobe sit
new_ns n0

wire n0 <<'END'
from wire import *

sysctl(net__ipv4__icmp_ratemask=0)
u0 = Tun("u0", "192.0.2.1/24")
listener = tap()   # with it, no protocol is unknown and counted as dropped
UNREACHABLE = "u0: icmp 3/3"
PACKET = {4: ip() / icmp(), 41: ip6() / icmp(),
          137: mpls(100) / (ip() / icmp()).bytes()}
PACKET = {proto: packet.bytes() for proto, packet in PACKET.items()}


def got(dev, proto):
    return f"{dev} rx_bytes={len(PACKET[proto])} rx_packets=1"


def check(name, want, proto, payload=None, src="192.0.2.2"):
    case(f"{name}, protocol {proto}", want, u0,
         ip(src, "192.0.2.1", proto=proto) /
         (PACKET[proto] if payload is None else payload))


for proto in (4, 41, 137):
    check("no tunnel: port unreachable", UNREACHABLE, proto)

# Less than a whole inner header is not worth an answer.
for proto, least in ((4, 20), (41, 40), (137, 4)):
    for length in (0, 1, least - 1, least, least + 1):
        check(f"no tunnel, {length} bytes", UNREACHABLE * (length >= least),
              proto, PACKET[proto][:length])

ENDS = "local 192.0.2.1 remote 192.0.2.2"


def delete():
    run_ip("link del i1", "link set s1 down", "link set tunl0 down",
           "link set sit0 down")


MODES = {"ipip": {4}, "mplsip": {137}, "any": {4, 137}}
run_ip(f"link add s1 type sit mode any {ENDS}")
for mode, accepted in MODES.items():
    run_ip(f"link add i1 type ipip mode {mode} {ENDS}", "link set i1 up")
    for proto in (4, 137):
        # What the mode does not want is lost: the tunnel is known.
        check(f"{mode}, alone", got("i1", proto) if proto in accepted else "",
              proto)
    check(f"{mode}, alone", UNREACHABLE, 41)
    check(f"{mode}, a stranger", UNREACHABLE, 4, src="192.0.2.9")
    run_ip("link set s1 up")
    for proto in (4, 137):
        check(f"{mode}, with sit", got("i1", proto) if proto in accepted
              else "", proto)
    check(f"{mode}, with sit", got("s1", 41), 41)
    run_ip("link set i1 down")
    for proto in (4, 41, 137):
        check(f"{mode} down, with sit", got("s1", proto), proto)
    run_ip("link set tunl0 up")
    check(f"{mode} down, tunl0 before sit", got("tunl0", 4), 4)
    check(f"{mode} down, tunl0 before sit", got("s1", 41), 41)
    run_ip("link set i1 up")
    check(f"{mode}, before tunl0", got("i1", 4) if 4 in accepted else "", 4)
    check(f"{mode}, a stranger to tunl0", got("tunl0", 4), 4,
          src="192.0.2.9")
    run_ip("link set s1 down", "link set sit0 up")
    check(f"{mode}, sit0", got("sit0", 41), 41)
    delete()

run_ip("link del s1")
for proto in (4, 41, 137):
    check("they are gone: port unreachable", UNREACHABLE, proto)
END
check "sit can go" modprobe -r sit
finish
