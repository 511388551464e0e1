#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""gre and ipip refuse bad input with a reason. A refused request changes nothing
and makes nothing, and what a driver does not understand is not stored.

    n0                               n1
      g1, i1 198.51.100.1 =====      g1, i1
      v0   192.0.2.1 ------------ v1  192.0.2.2

g2 and i2 are two more tunnels of n0.
"""
import re

from ksft import NetNs, differs, expect, expect_match, ksft_run, need_modules, remove_modules, veth_pair
from refuse import bad, bad_ioctl, ip, mute, nl, tunctl, works

ENDPOINTS = "LOCAL=192.0.2.1 REMOTE=192.0.2.9"
OF_FIRST = "LOCAL=192.0.2.1 REMOTE=192.0.2.2"          # the endpoints of g1 and i1
GRE_FIRST = OF_FIRST + " IFLAGS=0x2000 IKEY=5"
IOCTL_FIRST = "saddr=192.0.2.1 daddr=192.0.2.2"
SECOND = ("link add g2 type gre local 192.0.2.1 remote 192.0.2.3 key 5 ttl 9",
          "link add i2 type ipip local 192.0.2.1 remote 192.0.2.3 ttl 9")
FIRST_OF = {"gre": "g1", "ipip": "i1"}
NO_FLAGS = "i_flags=0x0000 o_flags=0x0000"
SHORT = ("LINK=hex:01", "LOCAL=hex:c000", "REMOTE=hex:c00002", "TTL=hex:", "TOS=hex:", "PMTUDISC=hex:",
         "FWMARK=hex:0102", "ENCAP_TYPE=hex:00", "ENCAP_SPORT=hex:00")
SHORT_GRE = ("IFLAGS=hex:20", "OFLAGS=hex:20", "IKEY=hex:0000", "OKEY=hex:00", "IGNORE_DF=hex:")
BAD_HEADER = ("version=0", "version=6", "version=15", "ihl=4", "ihl=6", "ihl=0", "frag_off=0x2000",
              "frag_off=0x0001", "frag_off=0x8000", "frag_off=0x6000", "protocol=17", "protocol=41")
BAD_GRE_FLAGS = ("i_flags=0x4000", "i_flags=0x0007", "i_flags=0x0001",
                 "o_flags=0x4000", "o_flags=0x0007", "o_flags=0x0002")
OTHER_IOCTLS = "getprl addprl delprl chgprl get6rd add6rd del6rd chg6rd 0x89fc 0x89ff".split()


def flags_of(n0, dev):
    """-> "i_flags=... o_flags=..." """
    return " ".join(re.findall("[io]_flags=[^ ]*", tunctl(n0, dev + " get")[1]))


def with_or_without(n0, request, attributes):
    """The attributes may be refused, but then the request works without them."""
    status, text = nl(n0, f"{request} {attributes}")
    return (status, text) if status == 0 else nl(n0, request)


def set_up(n0):
    n0.ip("link add g1 type gre local 192.0.2.1 remote 192.0.2.2 key 5 ttl 9",
          "link add i1 type ipip local 192.0.2.1 remote 192.0.2.2 ttl 9",
          "link set g1 up", "link set i1 up", *SECOND)


def make_second_again(n0):
    """The in-tree drivers changed them although they refused."""
    n0.ip("link del g2", "link del i2", *SECOND)


def gre_flags(n0):
    for bit in 0x0001, 0x0002, 0x0004, 0x0007, 0x4000:
        for side in "IFLAGS", "OFLAGS":
            bad(n0, "EINVAL", f"gre: new with {side} {bit:#06x}", f"new x gre {ENDPOINTS} {side}={bit}")
            bad(n0, "EINVAL", f"gre: set with {side} {bit:#06x}", f"set g1 gre {ENDPOINTS} {side}={bit}")
        bad(n0, "EINVAL", f"gre: {bit:#06x} beside good flags",
            f"new x gre {ENDPOINTS} IFLAGS={0xb000 | bit} OFLAGS=0xb000")


def gre_unknown_flags(n0):
    """Strict route and recursion are in no GRE header of today."""
    for bit in 0x0800, 0x0400, 0x0200, 0x0100, 0x0080, 0x0078:
        works(f"gre: made with or without unknown flag {bit:#06x}",
              with_or_without, n0, f"new x gre {ENDPOINTS}", f"IFLAGS={bit} OFLAGS={bit}")
        with differs("they are stored"):
            expect(f"gre: flag {bit:#06x} is not stored", NO_FLAGS, flags_of(n0, "x"))
        n0.ip("link del x")


def lengths(n0):
    for kind, attributes in ("gre", SHORT), ("ipip", SHORT), ("gre", SHORT_GRE):
        for attribute in attributes:
            bad(n0, "ERANGE", f"{kind}: new with short {attribute}", f"new x {kind} {attribute}")
            bad(n0, "ERANGE", f"{kind}: set with short {attribute}", f"set {FIRST_OF[kind]} {kind} {attribute}")
    for kind in FIRST_OF:
        bad(n0, "ERANGE", f"{kind}: a flag that has a value", f"new x {kind} {ENDPOINTS} COLLECT_METADATA=hex:00")
    bad(n0, "ERANGE", "ipip: short PROTO", "new x ipip PROTO=hex:")


def ipip_protocol(n0):
    for proto in 1, 6, 41, 47, 99, 255:
        bad(n0, "EINVAL", f"ipip: new with protocol {proto}", f"new x ipip {ENDPOINTS} PROTO={proto}")
        bad(n0, "EINVAL", f"ipip: set to protocol {proto}", f"set i1 ipip {ENDPOINTS} PROTO={proto}")


def ipip_flags(n0):
    """IFLA_IPTUN_FLAGS is sit's."""
    for flags in "0x8000", "0x1000", "0x2000", "0xffff":
        works(f"ipip: made with or without FLAGS {flags}",
              with_or_without, n0, f"new x ipip {ENDPOINTS}", f"FLAGS={flags}")
        with differs("IFLA_IPTUN_FLAGS becomes i_flags"):
            expect(f"ipip: FLAGS {flags} are not stored", NO_FLAGS, flags_of(n0, "x"))
        n0.ip("link del x")
        nl(n0, f"set i1 ipip {OF_FIRST} FLAGS={flags}")         # may be refused
        with differs("IFLA_IPTUN_FLAGS becomes i_flags"):
            expect(f"ipip: set FLAGS {flags} are not stored", "i_flags=0x0000", flags_of(n0, "i1").split()[0])
    assert nl(n0, f"set i1 ipip {OF_FIRST} TTL=9")[0] == 0


def df(n0):
    bad(n0, "EINVAL", "gre: new with ignore-df and pmtudisc", f"new x gre {ENDPOINTS} IGNORE_DF=1 PMTUDISC=1")
    bad(n0, "EINVAL", "gre: new with ignore-df and pmtudisc by default", f"new x gre {ENDPOINTS} IGNORE_DF=1")
    bad(n0, "EINVAL", "gre: set ignore-df and pmtudisc", f"set g1 gre {ENDPOINTS} IGNORE_DF=1 PMTUDISC=1")
    works("gre: ignore-df without pmtudisc", nl, n0, f"new x gre {ENDPOINTS} IGNORE_DF=1 PMTUDISC=0")
    with differs("R6: ignore-df goes before the check"):
        bad(n0, "EINVAL", "gre: ignore-df is kept when pmtudisc comes",
            f"set x gre {ENDPOINTS} IGNORE_DF=0 PMTUDISC=1 IFLAGS=0x4000")
    n0.ip("link del x")
    works("ipip: pmtudisc off with a ttl is overridden", nl, n0, f"new x ipip {ENDPOINTS} TTL=5 PMTUDISC=0")
    expect_match("ipip: pmtudisc is on", "ttl 5 pmtudisc", ip(n0, "-d link show x")[1])
    n0.ip("link del x")


def fallback_devices(n0):
    for dev, kind in ("gre0", "gre"), ("tunl0", "ipip"):
        bad(n0, "EINVAL", f"{dev} cannot be changed", f"set {dev} {kind} {ENDPOINTS}")
        bad(n0, "EINVAL", f"{dev} cannot be changed to nothing", f"set {dev} {kind}")
    bad_ioctl(n0, "EPERM", "gre0 cannot be deleted", "gre0 del protocol=47")
    bad_ioctl(n0, "EPERM", "tunl0 cannot be deleted", "tunl0 del protocol=4")
    bad_ioctl(n0, "EPERM", "gre0 cannot be deleted by its name", "gre0 del protocol=47 name=gre0")
    for dev, proto in ("gre0", 47), ("tunl0", 4):
        bad_ioctl(n0, "ENOENT", f"{dev}: change what is not there", f"{dev} chg protocol={proto} daddr=192.0.2.77")
        bad_ioctl(n0, "ENOENT", f"{dev}: delete what is not there", f"{dev} del protocol={proto} daddr=192.0.2.77")


def class_of_remote(n0):
    """A change between unicast, multicast and no remote would change the device's type."""
    n0.ip("link add m1 type gre local 192.0.2.1 remote 233.252.0.1", "link add w1 type gre local 192.0.2.1 key 77")
    group = "LOCAL=192.0.2.1 REMOTE=233.252.0.2"
    bad(n0, "EINVAL", "gre: unicast to multicast", f"set g1 gre {group}")
    bad(n0, "EINVAL", "gre: multicast to unicast", f"set m1 gre {ENDPOINTS}")
    bad(n0, "EINVAL", "ipip: unicast to multicast", f"set i1 ipip {group}")
    bad(n0, "EINVAL", "gre: unicast to any", "set g1 gre LOCAL=192.0.2.1")
    bad(n0, "EINVAL", "ipip: unicast to any", "set i1 ipip LOCAL=192.0.2.1")
    bad(n0, "EINVAL", "gre: any to unicast", f"set w1 gre {ENDPOINTS}")
    bad_ioctl(n0, "EINVAL", "gre: unicast to multicast",
              "g1 chg protocol=47 saddr=192.0.2.1 daddr=233.252.0.2 name=g1 ttl=1")
    bad_ioctl(n0, "EINVAL", "gre: unicast to any", "g1 chg protocol=47 saddr=192.0.2.1 name=g1")
    bad(n0, "EINVAL", "gre: multicast without a local address", "new x gre REMOTE=233.252.0.9")
    n0.ip("link del m1", "link del w1")


def duplicates(n0):
    key = "i_flags=0x2000 i_key=5"
    bad(n0, "EEXIST", "gre: the same ends and key", f"new x gre {GRE_FIRST}")
    bad(n0, "EEXIST", "ipip: the same ends", f"new x ipip {OF_FIRST}")
    bad(n0, "EEXIST", "gre: changed to the ends of another", f"set g2 gre {GRE_FIRST} TTL=33")
    bad(n0, "EEXIST", "ipip: changed to the ends of another", f"set i2 ipip {OF_FIRST} TTL=33")
    bad_ioctl(n0, "EEXIST", "gre: add with the ends of another", f"gre0 add protocol=47 {IOCTL_FIRST} {key} name=x")
    bad_ioctl(n0, "EEXIST", "ipip: add with the ends of another", f"tunl0 add protocol=4 {IOCTL_FIRST} name=x")
    bad_ioctl(n0, "EEXIST", "gre: change to the ends of another",
              f"g2 chg protocol=47 {IOCTL_FIRST} {key} name=g2 ttl=33")
    bad_ioctl(n0, "EEXIST", "ipip: change to the ends of another", f"i2 chg protocol=4 {IOCTL_FIRST} name=i2 ttl=33")
    mute(n0, "EEXIST", "gre: a name that is taken", f"new i1 gre {ENDPOINTS}")
    mute(n0, "EEXIST", "ipip: a name that is taken", f"new g1 ipip {ENDPOINTS}")
    bad_ioctl(n0, "EEXIST", "gre: a name that is taken", "gre0 add protocol=47 daddr=192.0.2.9 name=i1")
    bad_ioctl(n0, "EEXIST", "ipip: a name that is taken", "tunl0 add protocol=4 daddr=192.0.2.9 name=g1")


def partial_changes(n0):
    """What is refused late in a change must not leave the early part behind."""
    ports = "ENCAP_TYPE=0 ENCAP_SPORT=7 ENCAP_DPORT=8"
    with differs("R6: ignore-df is applied first"):
        bad(n0, "EEXIST", "gre: duplicate with ignore-df", f"set g2 gre {GRE_FIRST} IGNORE_DF=1 PMTUDISC=0")
    make_second_again(n0)
    with differs("R6: encapsulation is applied first"):
        bad(n0, "EEXIST", "gre: duplicate with encapsulation ports", f"set g2 gre {GRE_FIRST} {ports}")
        bad(n0, "EEXIST", "ipip: duplicate with encapsulation ports", f"set i2 ipip {OF_FIRST} {ports}")
    make_second_again(n0)
    bad(n0, "EEXIST", "gre: duplicate with a new MTU", f"set g2 gre @MTU=1000 {GRE_FIRST}")
    for kind, dev in FIRST_OF.items():
        bad(n0, "EINVAL", f"{kind}: multicast with another mark",
            f"set {dev} {kind} LOCAL=192.0.2.1 REMOTE=233.252.0.2 FWMARK=99 TTL=1")


def external(n0):
    bad(n0, "EOPNOTSUPP", "gre: cannot become external", "set g1 gre COLLECT_METADATA=")
    bad(n0, "EINVAL", "ipip: cannot become external", "set i1 ipip COLLECT_METADATA=")
    bad(n0, "EINVAL", "gre: external with encapsulation", "new x gre COLLECT_METADATA= ENCAP_TYPE=1 ENCAP_DPORT=5555")


def encapsulation(n0):
    """An unknown type, and those of the module fou, which is not loaded."""
    bad(n0, "EINVAL", "gre: unknown encapsulation", f"new x gre {ENDPOINTS} ENCAP_TYPE=77")
    bad(n0, "EINVAL", "ipip: unknown encapsulation", f"new x ipip {ENDPOINTS} ENCAP_TYPE=77")
    bad(n0, "EINVAL", "gre: change to unknown encapsulation", f"set g1 gre {OF_FIRST} ENCAP_TYPE=77")
    remove_modules("fou")       # another test may have left it
    for kind in FIRST_OF:
        for number, name in (1, "fou"), (2, "gue"):
            bad(n0, "EINVAL", f"{kind}: {name}",
                f"new x {kind} REMOTE=192.0.2.9 ENCAP_TYPE={number} ENCAP_DPORT=5555")


def link_attributes(n0):
    for kind, dev in FIRST_OF.items():
        mute(n0, "EINVAL", f"{kind}: MTU 67", f"set {dev} {kind}- @MTU=67")
        mute(n0, "EINVAL", f"{kind}: MTU 0", f"set {dev} - @MTU=0")
        mute(n0, "EINVAL", f"{kind}: MTU 65536", f"set {dev} - @MTU=65536")
        mute(n0, "EINVAL", f"{kind}: MTU -1", f"set {dev} - @MTU=4294967295")
        mute(n0, "EINVAL", f"{kind}: address of 2 bytes", f"set {dev} - @ADDRESS=hex:c000")
        mute(n0, "EINVAL", f"{kind}: broadcast of 2 bytes", f"set {dev} - @BROADCAST=hex:c000")
        mute(n0, "EINVAL", f"{kind}: negative namespace", f"new x {kind} @LINK_NETNSID=-1 {ENDPOINTS}")
        mute(n0, "EINVAL", f"{kind}: unknown namespace", f"new x {kind} @LINK_NETNSID=77 {ENDPOINTS}")
        mute(n0, "EINVAL", f"{kind}: no name at all, but a bad one", f"new a/b {kind} {ENDPOINTS}")
    mute(n0, "EOPNOTSUPP", "gre is not ipip", "set g1 ipip REMOTE=192.0.2.9")
    mute(n0, "EOPNOTSUPP", "ipip is not gre", "set i1 gre REMOTE=192.0.2.9")


def ioctl_parameters(n0):
    for kind, proto, dev, fallback in ("gre", 47, "g1", "gre0"), ("ipip", 4, "i1", "tunl0"):
        whom = f"daddr=192.0.2.9 protocol={proto}"
        for field in BAD_HEADER:
            bad_ioctl(n0, "EINVAL", f"{kind}: add with {field}", f"{fallback} add name=x {whom} {field}")
            bad_ioctl(n0, "EINVAL", f"{kind}: change with {field}", f"{dev} chg name={dev} {whom} {field}")
        for command in OTHER_IOCTLS:
            bad_ioctl(n0, "EINVAL", f"{kind}: {command}", f"{dev} {command} protocol={proto}")
        for command in "get", "add", "chg", "del":
            bad_ioctl(n0, "EFAULT", f"{kind}: {command} with a bad pointer", f"{fallback} {command} pointer=8")
        bad_ioctl(n0, "E2BIG", f"{kind}: add with a bad name", f"{fallback} add {whom} name=a/b")
        bad_ioctl(n0, "EINVAL", f"{kind}: add with two %d", f"{fallback} add {whom} name=%d%d")


def ioctl_gre_parameters(n0):
    whom = "daddr=192.0.2.9 protocol=47"
    for field in BAD_GRE_FLAGS:
        bad_ioctl(n0, "EINVAL", f"gre: add with {field}", f"gre0 add name=x {whom} {field}")
        bad_ioctl(n0, "EINVAL", f"gre: change with {field}", f"g1 chg name=g1 {whom} {field}")
    bad_ioctl(n0, "EINVAL", "gre: add with protocol 4", "gre0 add name=x protocol=4")
    bad_ioctl(n0, "EINVAL", "ipip: add with protocol 47", "tunl0 add name=x protocol=47")
    bad_ioctl(n0, "EEXIST", "gre: add on a tunnel, not the fallback", f"g1 add name=g1 {whom}")


def main():
    need_modules()
    with NetNs() as n0, NetNs() as n1:
        veth_pair(n0, "v0", "192.0.2.1/24", n1, "v1", "192.0.2.2/24")
        set_up(n0)
        gre_flags(n0)
        gre_unknown_flags(n0)
        lengths(n0)
        ipip_protocol(n0)
        ipip_flags(n0)
        df(n0)
        fallback_devices(n0)
        class_of_remote(n0)
        duplicates(n0)
        partial_changes(n0)
        external(n0)
        encapsulation(n0)
        link_attributes(n0)
        ioctl_parameters(n0)
        ioctl_gre_parameters(n0)


ksft_run(main)
