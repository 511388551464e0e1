#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""A tunnel between namespaces: moved away from its underlay, made with its
underlay elsewhere, and either namespace deleted first, under traffic.

    n2                   (n2 and n3 have no underlay;
      t1 198.51.100.1     the tunnels' packets go through n0)
       :
    n0                               n1
      v0   192.0.2.1 ------------ v1  192.0.2.2
                                  t1  198.51.100.2
"""
import contextlib
import os
import re

import pkt
from ksft import Stats, check, delete, expect, ksft_run, modprobe, namespaces, need_modules, \
    no_reference_left, until, veth_pair
from refuse import batch, command, ip, refuse, works, works_each

NEAR, FAR = "198.51.100.1", "198.51.100.2"
ENDPOINTS = "local 192.0.2.1 remote 192.0.2.2"
PING = {"rx_packets": 1, "rx_bytes": 84, "tx_packets": 1, "tx_bytes": 84}
UP = f"addr add {NEAR}/24 dev t1", "link set t1 up"     # the near end, wherever it is
MANY = 50


@contextlib.contextmanager
def topology():
    with namespaces(4) as (n0, n1, n2, n3):
        veth_pair(n0, "v0", "192.0.2.1/24", n1, "v1", "192.0.2.2/24")
        yield n0, n1, n2, n3


def far_end(kind):
    return (f"link add t1 type {kind} local 192.0.2.2 remote 192.0.2.1", f"addr add {FAR}/24 dev t1",
            "link set t1 up")


def make_moved(kind, n0, n1, n2):
    """t1 is made in n0 and moved to n2"""
    n1.ip(*far_end(kind))
    n0.ip(f"link add t1 type {kind} {ENDPOINTS}", f"link set t1 netns {n2.name}")
    n2.ip(*UP)


def counted(ns, n1, name):
    """one ping is one packet each way, at each endpoint"""
    near, far = Stats(ns, "t1"), Stats(n1, "t1")
    expect(f"{name}: a ping", 1, ns.echo(FAR, 1))
    near.expect(f"{name}: counters at the near end", **PING)
    far.expect(f"{name}: counters at the far end", **PING)


def moved_and_used(kind, n0, n1, n2):
    works(f"{kind}: far end", batch, n1, far_end(kind))
    works(f"{kind}: made in n0, moved to n2", batch, n0,
          (f"link add t1 type {kind} {ENDPOINTS}", f"link set t1 netns {n2.name}"))
    check(f"{kind}: left n0", not n0.has_dev("t1"))
    works(f"{kind}: is in n2", batch, n2, UP)
    shows(n2, f"{kind}: n2 sees where its underlay is", "link-netns(id)? ")
    counted(n2, n1, f"{kind} moved")
    refuse(f"{kind}: n0 still knows these ends", "exists", ip, n0, f"link add t2 type {kind} {ENDPOINTS}",
           unchanged=n0)
    works_each(n2, (f"{kind}: n2 does not, they are free there", f"link add t2 type {kind} {ENDPOINTS}"),
               (f"{kind}: and that is another tunnel", "link set t2 up"))
    counted(n2, n1, f"{kind} beside that")
    n2.ip("link del t2")


def moved_and_changed(kind, n1, n2):
    works_each(n2, (f"{kind}: changed from n2", f"link set t1 type {kind} {ENDPOINTS} ttl 33"))
    shows(n2, f"{kind}: shows it", " ttl 33 ")
    counted(n2, n1, f"{kind} changed")
    works_each(n2, (f"{kind}: changed by ioctl from n2", f"tunnel change t1 mode {kind} {ENDPOINTS} ttl 44"))
    shows(n2, f"{kind}: shows it", " ttl 44 ")


def moved_on_and_back(kind, n0, n1, n2, n3):
    works_each(n2, (f"{kind}: on to n3", f"link set t1 netns {n3.name}"))
    n3.ip(*UP)
    counted(n3, n1, f"{kind} moved again")
    works_each(n3, (f"{kind}: back to n0", f"link set t1 netns {n0.name}"))
    n0.ip(*UP)
    check(f"{kind}: no other namespace is shown then", "link-netns" not in n0.shown("t1"))
    counted(n0, n1, f"{kind} at home")


def moved_and_deleted(kind, n0, n2):
    n0.ip(f"link set t1 netns {n2.name}")
    n2.ip(*UP)
    works_each(n2, (f"{kind}: deleted from n2", "link del t1"))
    works_each(n0, (f"{kind}: its ends are free in n0", f"link add t2 type {kind} {ENDPOINTS}"))


def moved(kind):
    with topology() as (n0, n1, n2, n3):
        moved_and_used(kind, n0, n1, n2)
        moved_and_changed(kind, n1, n2)
        moved_on_and_back(kind, n0, n1, n2, n3)
        moved_and_deleted(kind, n0, n2)


def shows(ns, name, regex):
    text = ns.shown("t1")
    check(name, re.search(regex, text), text)


def link_netns(kind):
    """made from n2 or n3 in n2, with n0 as underlay"""
    for number in 2, 3:
        with topology() as made:
            n0, n1, n2, _ = made
            n1.ip(*far_end(kind))
            # 6.1 takes the number to be n2's, whoever gives it
            for ns in made[2:]:
                ns.ip(f"netns set {n0.name} 77")
            works_each(made[number], (f"{kind}: n{number} makes t1 in n2 over n0",
                                      f"link add t1 netns {n2.name} link-netns {n0.name} type {kind} {ENDPOINTS}"))
            works(f"{kind}: is in n2", batch, n2, UP)
            shows(n2, f"{kind}: n2 sees where its underlay is", "link-netns(id)? ")
            check(f"{kind}: passes a ping", n2.answered(FAR))
            refuse(f"{kind}: n0 knows these ends", "exists", ip, n0, f"link add t2 type {kind} {ENDPOINTS}",
                   unchanged=n0)


def made_elsewhere(kind):
    with topology() as (n0, n1, _, n3):
        n1.ip(*far_end(kind))
        works_each(n3, (f"{kind}: n3 makes t1 in n0", f"link add t1 netns {n0.name} type {kind} {ENDPOINTS}"))
        works(f"{kind}: is in n0", batch, n0, UP)
        check(f"{kind}: passes a ping", n0.answered(FAR))


def start_traffic(kind, ns, n1):
    """pings both ways, and a stream of raw packets from n1, until they arrive"""
    packet = pkt.ip("192.0.2.2", "192.0.2.1")
    if kind == "gre":
        packet /= pkt.gre()
    packet /= pkt.ip() / pkt.udp()
    ns.start("ping", "-q", "-f", FAR)
    n1.start("ping", "-q", "-f", NEAR)
    n1.start_function(pkt.stream, "v1", packet)
    assert until(True, lambda: ns.stat("t1", "rx_packets") >= 50)


def not_in_first_namespace():
    return not os.path.exists("/sys/class/net/t1")


def underlay_goes_first(kind):
    with topology() as (n0, n1, n2, _):
        make_moved(kind, n0, n1, n2)
        start_traffic(kind, n2, n1)
        check(f"{kind}: the underlay's namespace goes, under traffic", n0.remove())
        check(f"{kind}: the tunnel goes with it", until(True, lambda: not n2.has_dev("t1")))
        n1.stop()
        n2.stop()
        check(f"{kind}: and is not in the first namespace", not_in_first_namespace())
        works(f"{kind}: n2 is alive", ip, n2, "link show")


def tunnel_goes_first(kind):
    with topology() as (n0, n1, n2, _):
        make_moved(kind, n0, n1, n2)
        start_traffic(kind, n2, n1)
        check(f"{kind}: the tunnel's namespace goes, under traffic", n2.remove())
        check(f"{kind}: its ends become free in n0",
              until(0, lambda: ip(n0, f"link add t1 type {kind} {ENDPOINTS}")[0]) == 0)
        n1.stop()
        check(f"{kind}: is not in the first namespace", not_in_first_namespace())
        n0.ip(*UP)
        counted(n0, n1, f"{kind} made anew")


def tunnel_and_underlay_go(kind):
    with topology() as (n0, n1, *_):
        n1.ip(*far_end(kind))
        n0.ip(f"link add t1 type {kind} {ENDPOINTS}", *UP)
        start_traffic(kind, n0, n1)
        check(f"{kind}: both in one namespace, under traffic", n0.remove())


def all_go_at_once(kind):
    """Both endpoints' namespaces, and 20 more tunnels, go in one batch of cleanup_net()."""
    with topology() as made:
        n0, n1, n2, n3 = made
        make_moved(kind, n0, n1, n2)
        lines = []
        for number in range(1, 21):
            lines += [f"link add x{number} type {kind} local 192.0.2.1 remote 203.0.113.{number}",
                      f"link set x{number} netns {(n2, n3)[number % 2].name}"]
        n0.ip(*lines)
        check(f"{kind}: all namespaces at once", delete(*made))


def many_made_and_deleted():
    """-> the errors, if there were any"""
    with namespaces(MANY) as made:
        text = "".join(ns.ip("link add t1 type ipip local 192.0.2.1 remote 192.0.2.2",
                             "link add t2 type gre local 192.0.2.1 remote 192.0.2.2",
                             f"link add t3 type gre local 192.0.2.1 key {number}",
                             "link set t1 up", "link set t2 up", "link set gre0 up", force=True)
                       for number, ns in enumerate(made, 1))
        return text if delete(*made) else text + "not all could be deleted"


def many():
    for name in f"{MANY} namespaces with tunnels made and deleted", "and once more while those go":
        text = many_made_and_deleted()
        check(name, not text, text)
    for module in "ipip", "ip_gre":
        check(f"all of them are gone: {module} unloads",
              until(0, lambda: command("rmmod", module)[0]) == 0)
    modprobe("ipip", "ip_gre")


def main():
    need_modules()
    for kind in "ipip", "gre":
        moved(kind)
        link_netns(kind)
        made_elsewhere(kind)
        underlay_goes_first(kind)
        tunnel_goes_first(kind)
        tunnel_and_underlay_go(kind)
        all_go_at_once(kind)
    many()
    no_reference_left()


ksft_run(main)
