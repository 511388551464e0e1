#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""gretap, erspan and external devices refuse bad input with a reason. A refused
request changes nothing and makes nothing. (gre and ipip: test_bad_input.py)

    n0  d0 192.0.2.1, a dummy
        t1, t2  gretap          e1, e2  erspan
"""
from ksft import NetNs, check, differs, ksft_run, modprobe, need_modules
from refuse import bad, drop_x, ip, mute, nl, refuse, tunctl, works

ENDPOINTS = "LOCAL=192.0.2.1 REMOTE=192.0.2.9"
OF_FIRST = "LOCAL=192.0.2.1 REMOTE=192.0.2.2"          # the endpoints of t1 and e1
KEY = "IFLAGS=0x2000 OFLAGS=0x2000 IKEY=5 OKEY=5"
SESSION = "IFLAGS=0x3000 OFLAGS=0x3000 IKEY=5 OKEY=5"  # erspan's
FIRST_OF = {"gretap": "t1", "erspan": "e1"}
FALLBACK_OF = {"gretap": "gretap0", "erspan": "erspan0"}
SHORT = ("LINK=hex:01", "IFLAGS=hex:20", "OFLAGS=hex:20", "IKEY=hex:0000", "OKEY=hex:00", "LOCAL=hex:c000",
         "REMOTE=hex:c00002", "TTL=hex:", "TOS=hex:", "PMTUDISC=hex:", "ENCAP_TYPE=hex:00", "ENCAP_FLAGS=hex:00",
         "ENCAP_SPORT=hex:00", "ENCAP_DPORT=hex:00", "IGNORE_DF=hex:", "FWMARK=hex:0102", "ERSPAN_VER=hex:",
         "ERSPAN_INDEX=hex:0000", "ERSPAN_DIR=hex:", "ERSPAN_HWID=hex:00")
LARGEST_MTU = {"gretap": 65493, "erspan": 65485}


def set_up(n0):
    n0.ip("link add d0 type dummy", "addr add 192.0.2.1/24 dev d0", "link set d0 up", *(
        f"link add {dev}{n} type {kind} local 192.0.2.1 remote 192.0.2.{n + 1} key 5 ttl 9 {more}"
        for n in (1, 2)
        for dev, kind, more in (("t", "gretap", ""), ("e", "erspan", "seq erspan_ver 1 erspan 7"))))


def restore(n0):
    """t1 and e1 as they were"""
    for line in (f"set t1 gretap {OF_FIRST} {KEY} TTL=9",
                 f"set e1 erspan {OF_FIRST} {SESSION} ERSPAN_VER=1 ERSPAN_INDEX=7 TTL=9"):
        assert nl(n0, line)[0] == 0


def bad_both(n0, errno, name, kind, attributes):
    """Neither a new device nor a change. The in-tree drivers may have changed a part
    before they refuse."""
    bad(n0, errno, f"{kind}: new with {name}", f"new x {kind} {ENDPOINTS} {attributes}")
    with differs("changes some of it all the same"):
        bad(n0, errno, f"{kind}: set with {name}", f"set {FIRST_OF[kind]} {kind} {OF_FIRST} {attributes}")


def flags(n0):
    for bit in 0x0001, 0x0007, 0x4000:
        for side in "IFLAGS", "OFLAGS":
            for kind in FIRST_OF:
                bad_both(n0, "EINVAL", f"{side} {bit:#06x}", kind, f"{SESSION} {side}={0x3000 | bit}")


def lengths(n0):
    for kind in FIRST_OF:
        for attribute in SHORT:
            bad_both(n0, "ERANGE", f"short {attribute}", kind, f"{SESSION} {attribute}")
        bad_both(n0, "ERANGE", "a flag that has a value", kind, f"{SESSION} COLLECT_METADATA=hex:00")


def addresses(n0):
    for kind in FIRST_OF:
        new = f"new x {kind} {ENDPOINTS} {SESSION}"
        for address in "010000000001", "ffffffffffff", "000000000000":
            mute(n0, "EADDRNOTAVAIL", f"{kind}: address {address}", f"{new} @ADDRESS=hex:{address}")
        mute(n0, "EINVAL", f"{kind}: an address of 4 bytes", f"{new} @ADDRESS=hex:c0000201")
        bad_both(n0, "EINVAL", "a remote of zeros", kind, f"{SESSION} REMOTE=0.0.0.0")


def df(n0):
    for kind in FIRST_OF:
        bad_both(n0, "EINVAL", "DF looked at and not", kind, f"{SESSION} IGNORE_DF=1 PMTUDISC=1")
        bad_both(n0, "EINVAL", "DF looked at by default, and not", kind, f"{SESSION} IGNORE_DF=1")


def mtu(n0):
    for kind, largest in LARGEST_MTU.items():
        for value in 0, 67, largest + 1, 65535, 65536, 4294967295:
            mute(n0, "EINVAL", f"{kind}: MTU {value}", f"set {FIRST_OF[kind]} - @MTU={value}")
            with differs("changes the rest"):
                bad(n0, "EINVAL", f"{kind}: MTU {value}, and a TTL",
                    f"set {FIRST_OF[kind]} {kind} {OF_FIRST} {SESSION} TTL=77 @MTU={value}")
    restore(n0)


def duplicates(n0):
    bad(n0, "EEXIST", "gretap: the ends and key of t1", f"new x gretap {OF_FIRST} {KEY}")
    bad(n0, "EEXIST", "gretap: set to the ends and key of t1", f"set t2 gretap {OF_FIRST} {KEY}")
    bad(n0, "EEXIST", "erspan: the ends and session of e1", f"new x erspan {OF_FIRST} {SESSION}")
    bad(n0, "EEXIST", "erspan: set to the ends and session of e1", f"set e2 erspan {OF_FIRST} {SESSION}")
    works("gre with the ends and key of a gretap", nl, n0, f"new x gre {OF_FIRST} {KEY}")
    drop_x(n0)


def fallback_devices(n0):
    for kind, dev in FALLBACK_OF.items():
        bad(n0, "EINVAL", f"{dev}: cannot be changed", f"set {dev} {kind} {ENDPOINTS} {SESSION}")
        status, text = ip(n0, f"link del {dev}")
        check(f"{dev}: cannot be deleted all the same", status != 0 or n0.has_dev(dev), text)
        check(f"{dev} is there still", n0.has_dev(dev))
        refuse(f"{dev}: cannot be moved", ".", ip, n0, f"link set {dev} netns 1", unchanged=n0)


def external(n0):
    for kind in "gre", "gretap", "erspan":
        new = f"new x {kind} COLLECT_METADATA="
        bad(n0, "EINVAL", f"{kind}: external with encapsulation", f"{new} ENCAP_TYPE=1 ENCAP_DPORT=5555")
        works(f"{kind}: external with an encapsulation of none", nl, n0, f"{new} ENCAP_TYPE=0")
        drop_x(n0)
    for kind, dev in FIRST_OF.items():
        bad(n0, "EOPNOTSUPP", f"{kind}: becomes external",
            f"set {dev} {kind} {OF_FIRST} {SESSION} COLLECT_METADATA=")


def other_kind(n0):
    mute(n0, "EOPNOTSUPP", "gretap is not erspan", f"set t1 erspan {SESSION}")
    mute(n0, "EOPNOTSUPP", "erspan is not gretap", "set e1 gretap")
    mute(n0, "EOPNOTSUPP", "gretap is not gre", "set t1 gre")


def ioctls(n0):
    """The tunnel ioctls are for gre and ipip only."""
    for dev in "t1", "e1", "gretap0", "erspan0":
        for command in "get", "add", "chg", "del":
            refuse(f"{dev}: ioctl {command}: EOPNOTSUPP", "^EOPNOTSUPP$", tunctl, n0,
                   f"{dev} {command} name={dev} protocol=47 daddr=192.0.2.9", unchanged=n0)


def main():
    need_modules("ip_gre", "ipip")
    modprobe("dummy", "fou")
    with NetNs() as n0:
        set_up(n0)
        flags(n0)
        restore(n0)
        lengths(n0)
        addresses(n0)
        df(n0)
        restore(n0)
        mtu(n0)
        duplicates(n0)
        fallback_devices(n0)
        external(n0)
        other_kind(n0)
        ioctls(n0)


ksft_run(main)
