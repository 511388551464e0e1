#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""A tunnel's life: made by ioctl or netlink, changed, renamed, looked up, moved up
and down, deleted, alone and by the hundred; and the fallback devices. What each
command prints exactly is the matter of test_dump.py.

    n0                               n1
      t1   198.51.100.1 ====== t1  198.51.100.2
      v0   192.0.2.1 ------------ v1  192.0.2.2
                                      192.0.2.3
"""
import os
import re

import links
from ksft import NetNs, check, differs, expect, is_running, ksft_run, modprobe, need_modules, remove_modules, until, \
    veth_pair, write
from refuse import batch, batches, ip, nl, refuse, tunctl, works, works_each

PEER = "198.51.100.2"
ENDPOINTS = "local 192.0.2.1 remote 192.0.2.2"
MOVED = "local 192.0.2.1 remote 192.0.2.3"
PROTO = {"ipip": 4, "gre": 47}
FALLBACK = {"ipip": "tunl0", "gre": "gre0"}
OTHER = {"ipip": "gre", "gre": "ipip"}
FIRST_NAMES = {"ipip": ("ipip0", "ipip1"), "gre": ("gre1", "gre2")}     # of devices that are given none
FB_TUNNELS = "/proc/sys/net/core/fb_tunnels_only_for_init_net"
# what the headers take, kind, options
HEADERS = ((20, "ipip", ""), (24, "gre", ""), (28, "gre", "seq"), (36, "gre", "key 1 csum seq"))
MANY = range(1, 201)


# ------------------------------------------------------------------- helpers

def shows(ns, dev, *cases):
    """(name, regular expression)..., all of one line of "ip -d -o link show" """
    text = ip(ns, f"-d -o link show dev {dev}")[1]
    for name, regex in cases:
        check(name, re.search(regex, text), f"want: /{regex}/", f"got:  {text}")


def expect_parms(name, ns, line, *fields):
    """what the tunnel ioctl returns has these fields"""
    _, text = tunctl(ns, line)
    missing = set(fields) - set(text.split())
    check(name, not missing, f"missing: {missing}", f"got: {text}")


def pair(n0, n1, add):
    """a request: t1 at both ends, added so"""
    return batches(*((ns, (f"{add} local 192.0.2.{own} remote 192.0.2.{peer}",
                           f"addr add 198.51.100.{own}/24 dev t1", "link set t1 up"))
                     for ns, own, peer in ((n0, 1, 2), (n1, 2, 1))))


def first_namespace_has(dev):
    return os.path.exists(f"/sys/class/net/{dev}")


# ---------------------------------------------------------- fallback devices

def fallback_shown(n0, kind, dev):
    shows(n0, dev, (f"{dev} exists and is down", "^(?!.*[<,]UP[,>])[0-9]+: "),
          (f"{dev} is NOARP and not point-to-point", "<NOARP>"),
          (f"{dev} is of kind {kind}", f" {kind} (any )?remote any local any ttl inherit"),
          (f"{dev} has no DF", " nopmtudisc"))
    works(f"{dev} goes up", ip, n0, f"link set {dev} up")
    shows(n0, dev, (f"{dev} is up", "<NOARP,UP,LOWER_UP>"))


def fallback_stays(n0, n1, kind, dev):
    works(f"{dev}: deleting by netlink does nothing", ip, n0, f"link del {dev}")
    check(f"{dev} is still there", n0.has_dev(dev))
    refuse(f"{dev} cannot be deleted by ioctl", ".", ip, n0, f"tunnel del {dev}", unchanged=n0)
    refuse(f"{dev} cannot be changed", ".", ip, n0, f"link set {dev} type {kind} local 192.0.2.1", unchanged=n0)
    refuse(f"{dev} cannot move to another namespace", ".", ip, n0, f"link set {dev} netns {n1.name}", unchanged=n0)


def fallback_renamed(n0, dev):
    works(f"{dev} can be renamed when down", batch, n0, (f"link set {dev} down", f"link set {dev} name other"))
    works(f"{dev}: deleting by netlink does nothing", ip, n0, "link del other")
    refuse("and stays undeletable", ".", ip, n0, "tunnel del other", unchanged=n0)
    works(f"{dev} gets its name back", ip, n0, f"link set other name {dev}")


def fallback(n0, n1):
    for kind, dev in FALLBACK.items():
        fallback_shown(n0, kind, dev)
        fallback_stays(n0, n1, kind, dev)
        fallback_renamed(n0, dev)
    expect("tunl0 has MTU 1480", 1480, n0.mtu("tunl0"))
    expect("gre0 has MTU 1476", 1476, n0.mtu("gre0"))


def new_namespace(mode):
    """and what there is in it when the sysctl has that value"""
    write(FB_TUNNELS, mode)
    with NetNs() as ns:
        for dev in "tunl0", "gre0":
            check(f"{dev} in a new namespace, mode {mode}: {'no_dev' if mode else 'has_dev'}",
                  ns.has_dev(dev) == (mode == 0))
        works_each(ns, (f"ipip can be made, mode {mode}", f"link add t1 type ipip {ENDPOINTS}"),
                   (f"gre can be made, mode {mode}", f"link add t2 type gre {ENDPOINTS}"),
                   (f"gre is deleted, mode {mode}", "link del t2"))
        if mode:
            refuse(f"no device for the ioctl, mode {mode}", "No such device",
                   ip, ns, "tunnel add t3 mode gre remote 192.0.2.3")
            works_each(ns, (f"tunl0 can be made and deleted, mode {mode}", "link add tunl0 type ipip"),
                       ("for it is no fallback device then", "link del tunl0"))


def loaded_in_mode(n0, mode):
    """In mode 1 the first namespace has fallback devices, in mode 2 none has."""
    write(FB_TUNNELS, mode)
    modprobe("ipip", "ip_gre")
    for dev in "tunl0", "gre0":
        check(f"{dev} after loading in mode {mode}", first_namespace_has(dev) == (mode == 1))
    check(f"none in n0, mode {mode}", not n0.has_dev("gre0"))
    remove_modules()


def fallback_sysctl(n0):
    with open(FB_TUNNELS) as file:
        was = file.read()
    try:
        for mode in 0, 1, 2:
            new_namespace(mode)
        write(FB_TUNNELS, 0)
        check("tunl0 in the first namespace is not touched", first_namespace_has("tunl0"))
        remove_modules()
        for mode in 2, 1:
            loaded_in_mode(n0, mode)
    finally:
        write(FB_TUNNELS, was)
    modprobe("ipip", "ip_gre")
    check("back in n0", n0.has_dev("gre0"))


# ------------------------------------------------------------------- netlink

def made_by_netlink(n0, n1, kind):
    works(f"{kind}: made by netlink", pair, n0, n1, f"link add t1 type {kind}")
    shows(n0, "t1", (f"{kind}: point-to-point, no ARP", "<POINTOPOINT,NOARP,UP,LOWER_UP>"),
          (f"{kind}: no queue", "qdisc noqueue"),
          (f"{kind}: addresses of the ends", f"link/{kind} 192.0.2.1 peer 192.0.2.2"))
    check(f"{kind}: passes a ping", n0.answered(PEER))


def no_second(n0, kind, add, ends):
    """while there is t1, which has these ends"""
    refuse(f"{kind}: no second one with the same ends", "exists", ip, n0, f"{add.format('t2')} {ends}", unchanged=n0)
    refuse(f"{kind}: no second one of that name", "exists",
           ip, n0, f"{add.format('t1')} local 192.0.2.1 remote 192.0.2.9", unchanged=n0)


def second_by_netlink(n0, kind):
    no_second(n0, kind, f"link add {{}} type {kind}", ENDPOINTS)
    works(f"{kind}: the other kind may have the same ends", ip, n0, f"link add t2 type {OTHER[kind]} {ENDPOINTS}")
    n0.ip("link del t2")
    works(f"{kind}: the same ends by another device", ip, n0, f"link add t2 type {kind} {ENDPOINTS} dev v0")
    n0.ip("link del t2")
    refuse(f"{kind}: no change to the other kind", ".",
           ip, n0, f"link set t1 type {OTHER[kind]} {ENDPOINTS}", unchanged=n0)


def changed_by_netlink(n0, n1, kind):
    works(f"{kind}: change the remote", ip, n0, f"link set t1 type {kind} {MOVED}")
    works(f"{kind}: both ends", ip, n1, f"link set t1 type {kind} local 192.0.2.3 remote 192.0.2.1")
    shows(n0, "t1", (f"{kind}: shows the new one", "remote 192.0.2.3 "),
          (f"{kind}: peer is the new one", "peer 192.0.2.3 "))
    check(f"{kind}: passes a ping afterwards", n0.answered(PEER))
    works(f"{kind}: change while up, ttl and tos", ip, n0, f"link set t1 type {kind} {MOVED} ttl 9 tos 0x10")
    shows(n0, "t1", (f"{kind}: shows them", " ttl 9 tos 0x10 "))
    check(f"{kind}: still passes a ping", n0.answered(PEER))
    works(f"{kind}: what is not given is reset", nl, n0, f"set t1 {kind} LOCAL=192.0.2.1 REMOTE=192.0.2.3")
    shows(n0, "t1", (f"{kind}: to the defaults", f"{kind} (any )?remote 192.0.2.3 local 192.0.2.1 ttl inherit "
                     "(pmtudisc )?addrgen"))


def down_and_up(n0, kind):
    works(f"{kind}: down and up", ip, n0, "link set t1 down")
    check(f"{kind}: no ping when down", n0.silent(PEER))
    n0.ip("link set t1 up")
    check(f"{kind}: ping when up", n0.answered(PEER))


def renamed(n0, kind):
    """from t1 to r1"""
    works(f"{kind}: rename", batch, n0, ("link set t1 down", "link set t1 name r1"))
    n0.ip("link set r1 up")
    check(f"{kind}: no old name", not n0.has_dev("t1"))
    check(f"{kind}: passes a ping under the new name", n0.answered(PEER))
    expect_parms(f"{kind}: to the ioctl it keeps the first name", n0, "r1 get",
                 "name=t1", "saddr=192.0.2.1", "daddr=192.0.2.3")
    works(f"{kind}: the old name is free", ip, n0, f"link add t1 type {kind} local 192.0.2.1 remote 192.0.2.7")
    n0.ip("link del t1")


def underlay_down_and_up(n0, kind):
    works(f"{kind}: the underlay goes down and comes back", ip, n0, "link set v0 down")
    check(f"{kind}: no ping meanwhile", n0.silent(PEER))
    n0.ip("link set v0 up", "neigh replace 192.0.2.3 lladdr 02:00:00:00:01:01 nud permanent dev v0")
    check(f"{kind}: passes a ping after", n0.answered(PEER))
    until(True, lambda: is_running(n0, "v0"))       # the next comparison is of its operational state, too


def deleted_by_netlink(n0, n1, kind):
    n0.ip("link del r1")
    n1.ip("link del t1")
    check(f"{kind}: gone", not n0.has_dev("r1"))
    refuse(f"{kind}: cannot be deleted twice", "Cannot find device", ip, n0, "link del r1")


def by_netlink(n0, n1, kind):
    made_by_netlink(n0, n1, kind)
    second_by_netlink(n0, kind)
    changed_by_netlink(n0, n1, kind)
    down_and_up(n0, kind)
    renamed(n0, kind)
    underlay_down_and_up(n0, kind)
    deleted_by_netlink(n0, n1, kind)


# --------------------------------------------------------------------- ioctl

def made_by_ioctl(n0, n1, kind):
    dev, proto = FALLBACK[kind], PROTO[kind]
    works(f"{kind}: made by ioctl", pair, n0, n1, f"tunnel add t1 mode {kind}")
    check(f"{kind}: passes a ping", n0.answered(PEER))
    expect_parms(f"{kind}: SIOCGETTUNNEL on it", n0, "t1 get", "name=t1", "saddr=192.0.2.1", "daddr=192.0.2.2",
                 f"protocol={proto}", "ver_ihl=69", "frag_off=0x4000", "ttl=0", "tos=0", "link=0", "i_flags=0x0000",
                 "i_key=0")
    expect_parms(f"{kind}: SIOCGETTUNNEL by its ends on {dev}", n0,
                 f"{dev} get protocol={proto} saddr=192.0.2.1 daddr=192.0.2.2", "name=t1")
    expect_parms(f"{kind}: SIOCGETTUNNEL of no tunnel gives the fallback", n0,
                 f"{dev} get protocol={proto} saddr=192.0.2.1 daddr=192.0.2.8", f"name={dev}")


def changed_by_ioctl(n0, n1, kind):
    works(f"{kind}: change by ioctl", ip, n0, f"tunnel change t1 mode {kind} {MOVED} ttl 5 tos 0x10")
    n1.ip(f"tunnel change t1 mode {kind} local 192.0.2.3 remote 192.0.2.1")
    expect_parms(f"{kind}: SIOCGETTUNNEL shows it", n0, "t1 get", "name=t1", "daddr=192.0.2.3", "ttl=5", "tos=16")
    shows(n0, "t1", (f"{kind}: so does netlink", "remote 192.0.2.3 local 192.0.2.1 ttl 5 tos 0x10"))
    check(f"{kind}: passes a ping", n0.answered(PEER))


def changed_through_the_fallback(n0, kind):
    """named by its ends: it is the tunnel that changes"""
    dev, proto = FALLBACK[kind], PROTO[kind]
    before = links.configuration(n0.name, dev)
    works(f"{kind}: change by ioctl through {dev}", tunctl, n0,
          f"{dev} chg protocol={proto} saddr=192.0.2.1 daddr=192.0.2.3 ttl=6")
    expect_parms(f"{kind}: the tunnel has changed", n0, "t1 get", "daddr=192.0.2.3", "ttl=6")
    with differs("copies the tunnel's addresses and MTU to it"):
        expect(f"{kind}: {dev} has not changed", before, links.configuration(n0.name, dev))


def second_by_ioctl(n0, kind):
    no_second(n0, kind, f"tunnel add {{}} mode {kind}", MOVED)
    works(f"{kind}: a second one", ip, n0, f"tunnel add t2 mode {kind} local 192.0.2.1 remote 192.0.2.9")
    refuse(f"{kind}: cannot change to the ends of another", "exists",
           ip, n0, f"tunnel change t2 mode {kind} {MOVED}", unchanged=n0)
    refuse(f"{kind}: cannot change what is not there", "No such",
           ip, n0, f"tunnel change t3 mode {kind} local 192.0.2.1 remote 192.0.2.9", unchanged=n0)


def both_ways(n0, kind):
    """What one interface made the other changes and deletes."""
    works(f"{kind}: netlink changes what the ioctl made",
          ip, n0, f"link set t2 type {kind} local 192.0.2.1 remote 192.0.2.10")
    expect_parms(f"{kind}: the ioctl sees it", n0, "t2 get", "daddr=192.0.2.10")
    works(f"{kind}: delete by ioctl", ip, n0, "tunnel del t2")
    check(f"{kind}: gone", not n0.has_dev("t2"))
    works_each(n0, (f"{kind}: delete one made by netlink", f"link add t2 type {kind} remote 192.0.2.44"),
               (f"{kind}: by ioctl", "tunnel del t2"))
    check(f"{kind}: gone", not n0.has_dev("t2"))


def named_by_the_kernel(n0, kind):
    first, second = FIRST_NAMES[kind]
    works_each(n0, (f"{kind}: no name given: the first", f"tunnel add mode {kind} remote 192.0.2.20"),
               (f"{kind}: no name given: the second", f"tunnel add mode {kind} remote 192.0.2.21"))
    shows(n0, first, (f"{kind}: {first}", "remote 192.0.2.20 "))
    shows(n0, second, (f"{kind}: {second}", "remote 192.0.2.21 "))
    works(f"{kind}: delete by ends", ip, n0, f"tunnel del mode {kind} remote 192.0.2.20")
    check(f"{kind}: {first} gone", not n0.has_dev(first))
    check(f"{kind}: {second} there", n0.has_dev(second))
    works(f"{kind}: the free name is used again", ip, n0, f"tunnel add mode {kind} remote 192.0.2.22")
    shows(n0, first, (f"{kind}: {first}", "remote 192.0.2.22 "))
    works(f"{kind}: a name with %d", ip, n0, f"tunnel add my%d mode {kind} remote 192.0.2.23")
    check(f"{kind}: my0", n0.has_dev("my0"))
    n0.ip("link del my0", f"link del {first}", f"link del {second}")


def by_ioctl(n0, n1, kind):
    made_by_ioctl(n0, n1, kind)
    changed_by_ioctl(n0, n1, kind)
    changed_through_the_fallback(n0, kind)
    second_by_ioctl(n0, kind)
    both_ways(n0, kind)
    named_by_the_kernel(n0, kind)
    for ns in n0, n1:
        ns.ip("link del t1")


# ----------------------------------------------------------------------- MTU

def mtu_range(n0, name, low, high):
    for mtu in low, high:
        works(f"{name}: MTU {mtu}", ip, n0, f"link set t1 mtu {mtu}")
        expect(f"{name}: MTU is {mtu}", mtu, n0.mtu("t1"))
    for mtu in low - 1, high + 1:
        refuse(f"{name}: MTU {mtu} is refused", ".", ip, n0, f"link set t1 mtu {mtu}", unchanged=n0, dev="t1")


def mtu_limits(n0):
    for number, (size, kind, options) in enumerate(HEADERS, 31):
        name, ends = f"{kind} {options}", f"local 192.0.2.1 remote 192.0.2.{number}"
        n0.ip(f"link add t1 type {kind} {ends} {options}")
        expect(f"{name}: MTU from the route", 1500 - size, n0.mtu("t1"))
        mtu_range(n0, name, 68, 65535 - size)
        n0.ip("link del t1", f"tunnel add t1 mode {kind} {ends} {options}")
        mtu_range(n0, f"ioctl {name}", 68, 65535 - size)
        n0.ip("link del t1")


def mtu_follows(n0):
    made = "t1 type gre local 192.0.2.1 remote 192.0.2.40"
    n0.ip("link set v0 mtu 1300", f"link add {made}")
    expect("MTU follows the route at creation", 1276, n0.mtu("t1"))
    n0.ip("link set v0 mtu 1400")
    expect("and not later", 1276, n0.mtu("t1"))
    n0.ip(f"link set {made} dev v0")
    expect("but when the device is changed", 1376, n0.mtu("t1"))
    n0.ip(f"link set {made} dev v0 key 9")
    expect("and by what the header takes", 1372, n0.mtu("t1"))
    n0.ip("link set v0 mtu 1500", "link del t1")


# ------------------------------------------------------------ all the others

def any_device(n0, kind):
    """what works for any device"""
    n0.ip(f"link add t1 type {kind} {ENDPOINTS}")
    works_each(n0, (f"{kind}: alias", 'link set t1 alias "to n1"'),
               (f"{kind}: group", "link set t1 group 5"),
               (f"{kind}: address", "link set t1 txqueuelen 7"),
               (f"{kind}: alternative name", "link property add dev t1 altname a-long-name-for-a-tunnel"),
               (f"{kind}: delete by it", "link del a-long-name-for-a-tunnel"))
    check(f"{kind}: gone", not n0.has_dev("t1"))


def device_goes(n0, kind):
    """the one that the tunnel is bound to"""
    n0.ip("link add d0 type dummy", "link set d0 up", f"link add t1 type {kind} {ENDPOINTS} dev d0")
    works(f"{kind}: its device goes", ip, n0, "link del d0")
    check(f"{kind}: the tunnel stays", n0.has_dev("t1"))
    works(f"{kind}: and can be shown", ip, n0, "-d link show t1")
    works(f"{kind}: and changed", ip, n0, f"link set t1 type {kind} {ENDPOINTS} dev v0")
    n0.ip("link del t1")


def many(n0, kind):
    listing = f"-o link show type {kind}"
    works(f"{kind}: 200 are made", batch, n0, [
        f"link add many{number} type {kind} local 192.0.2.1 remote 203.0.113.{number}" for number in MANY])
    works(f"{kind}: 200 go up", batch, n0, [f"link set many{number} up" for number in MANY])
    expect(f"{kind}: 200 are listed", 200, ip(n0, listing)[1].count(": many"))
    expect(f"{kind}: 200 are listed by the ioctl", 200, len(re.findall("^many", ip(n0, "tunnel show")[1], re.M)))
    expect_parms(f"{kind}: the 137th is found by its ends", n0,
                 f"{FALLBACK[kind]} get protocol={PROTO[kind]} saddr=192.0.2.1 daddr=203.0.113.137", "name=many137")
    works(f"{kind}: 200 are deleted", batch, n0, [f"link del many{number}" for number in (*MANY[1::2], *MANY[::2])])
    expect(f"{kind}: none is left", 0, ip(n0, listing)[1].count(": many"))


def main():
    need_modules()
    with NetNs() as n0, NetNs() as n1:
        veth_pair(n0, "v0", "192.0.2.1/24", n1, "v1", "192.0.2.2/24")
        n1.ip("addr add 192.0.2.3/24 dev v1")
        fallback(n0, n1)
        for kind in PROTO:
            by_netlink(n0, n1, kind)
        for kind in PROTO:
            by_ioctl(n0, n1, kind)
        mtu_limits(n0)
        mtu_follows(n0)
        for kind in PROTO:
            any_device(n0, kind)
            device_goes(n0, kind)
        for kind in PROTO:
            many(n0, kind)
        fallback_sysctl(n0)


ksft_run(main)
