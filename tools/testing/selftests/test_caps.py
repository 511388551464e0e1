#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Who may do what: root of a user namespace may configure the tunnels of its own
network namespaces, but not those whose underlay is in another's; without
privilege one may look.

    u0 (a user namespace's)   t1, t2: made in n0, moved to u0
       :
    n0 (the first user namespace's)
      v0 192.0.2.1 ------------ v1 192.0.2.2   n1
"""
import json
import os
import re
import signal
import subprocess
import traceback

import links
from ksft import NetNs, check, expect_match, ksft_run, need_modules, veth_pair, write
from pkt import CLONE_NEWNET, libc_call
from refuse import batch, ip, refuse, tunctl, works

CLONE_NEWUSER = 0x10000000
PR_SET_PDEATHSIG = 1
NOBODY = 65534
HERE = None             # the present namespace
PERM = "not permitted|^EPERM"
ENDPOINTS = "local 192.0.2.1 remote 192.0.2.2"
IOCTL_ENDPOINTS = "saddr=192.0.2.1 daddr=192.0.2.2"


# -------------------------------------------------------------- credentials

def unshare_as_root():
    """Move to new user and network namespaces, as root of them."""
    libc_call("unshare", CLONE_NEWUSER | CLONE_NEWNET)
    write("/proc/self/setgroups", "deny")
    write("/proc/self/uid_map", "0 0 1")
    write("/proc/self/gid_map", "0 0 1")


class Somebody:
    """whose requests are made by a process of their own, after become()"""

    def ask(self, request, *args):
        """-> what the request returns"""
        reader, writer = os.pipe()
        child = os.fork()
        if not child:
            try:
                self.become()
                os.write(writer, json.dumps(request(*args)).encode())
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(0)
        os.close(writer)
        with open(reader) as answer:
            text = answer.read()
        os.waitpid(child, 0)
        return json.loads(text)     # which there is none of if the child has failed

    def ip(self, line):
        return self.ask(ip, HERE, line)

    def ioctl(self, line):
        return self.ask(tunctl, HERE, line)


class User(Somebody):
    """Root of a user namespace that a process holds; ns is its network namespace."""

    def __init__(self):
        reader, writer = os.pipe()
        self.holder = os.fork()
        if not self.holder:
            self.hold(writer)
        os.close(writer)
        with open(reader) as ready:
            assert ready.read() == "ready"
        name = NetNs.next_name()
        subprocess.run(["ip", "netns", "attach", name, str(self.holder)], check=True)
        self.ns = NetNs(name=name)

    @staticmethod
    def hold(writer):
        try:
            unshare_as_root()
            libc_call("prctl", PR_SET_PDEATHSIG, signal.SIGKILL)        # unshare() would reset it
            os.write(writer, b"ready")
            os.close(writer)
            signal.pause()
        finally:
            os._exit(1)

    def become(self):
        files = [(os.open(f"/proc/{self.holder}/ns/{kind}", os.O_RDONLY), flag)
                 for kind, flag in (("user", CLONE_NEWUSER), ("net", CLONE_NEWNET))]
        for file, flag in files:
            libc_call("setns", file, flag)

    def inner(self, *lines):
        """the same in a user namespace inside"""
        def request():
            unshare_as_root()
            return batch(HERE, lines)
        return self.ask(request)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.ns.remove()
        os.kill(self.holder, signal.SIGKILL)
        os.waitpid(self.holder, 0)


class Nobody(Somebody):
    """A user without any privilege, in a namespace"""

    def __init__(self, ns):
        self.ns = ns

    def become(self):
        self.ns.enter.enter()
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)


# -------------------------------------------------------------------- tests

def both_gone(kind, ns, *devices):
    for dev in devices:
        check(f"{kind}: both gone", not ns.has_dev(dev))


def own_tunnels(user, kind, fallback):
    check(f"{kind}: the user's {fallback} is there", user.ns.has_dev(fallback))
    works(f"{kind}: the user makes one by netlink", user.ip, f"link add x1 type {kind} {ENDPOINTS}")
    works(f"{kind}: and changes it", user.ip, f"link set x1 type {kind} local 192.0.2.1 remote 192.0.2.3")
    works(f"{kind}: and makes one by ioctl", user.ip, f"tunnel add x2 mode {kind} {ENDPOINTS}")
    works(f"{kind}: and changes it", user.ip, f"tunnel change x2 mode {kind} local 192.0.2.1 remote 192.0.2.4")
    works(f"{kind}: and looks at it", user.ioctl, "x2 get")
    works(f"{kind}: and brings it up", user.ip, "link set x2 up")
    works(f"{kind}: and deletes it", user.ip, "tunnel del x2")
    works(f"{kind}: and the other", user.ip, "link del x1")
    both_gone(kind, user.ns, "x1", "x2")


def give_tunnels(n0, user, kind):
    n0.ip(f"link add t1 type {kind} {ENDPOINTS} ttl 9",
          f"link add t2 type {kind} local 192.0.2.1 remote 192.0.2.3 ttl 9",
          f"link set t1 netns {user.ns.name}", f"link set t2 netns {user.ns.name}")


def given_is_a_device(user, kind):
    """The user may do what works for any device."""
    works(f"{kind}: the user sees it", user.ip, "-d link show t1")
    works(f"{kind}: the user may bring it up", user.ip, "link set t1 up")
    works(f"{kind}: and give it an address", user.ip, "addr add 198.51.100.1/24 dev t1")
    works(f"{kind}: and another MTU", user.ip, "link set t1 mtu 1300")


def given_is_not_a_tunnel(n0, user, kind, proto):
    """The user may not configure the tunnel, nor others through it."""
    u0, other = user.ns, f"protocol={proto} saddr=192.0.2.1 daddr=192.0.2.9"
    refuse(f"{kind}: but not change its ends", PERM,
           user.ip, f"link set t1 type {kind} local 192.0.2.1 remote 192.0.2.9", unchanged=u0)
    refuse(f"{kind}: nor anything else", PERM, user.ip, f"link set t1 type {kind} {ENDPOINTS} ttl 10", unchanged=u0)
    refuse(f"{kind}: nor do so by ioctl", PERM, user.ioctl, f"t1 chg name=t1 {other}", unchanged=u0)
    refuse(f"{kind}: nor change t2 through t1", PERM, user.ioctl, f"t1 chg name=t2 {other}", unchanged=u0)
    refuse(f"{kind}: nor delete it by ioctl", PERM,
           user.ioctl, f"t1 del name=t1 protocol={proto} {IOCTL_ENDPOINTS}", unchanged=u0)
    for name, where in ("nor make one in n0 through it", n0), ("nor in u0", u0):
        refuse(f"{kind}: {name}", PERM, user.ioctl, f"t1 add name=t3 protocol={proto} daddr=192.0.2.9",
               unchanged=where)
    works(f"{kind}: the user may look at it", user.ioctl, "t1 get")
    expect_match(f"{kind}: and sees it", "name=t1 .* daddr=192.0.2.2$", user.ioctl("t1 get")[1])
    refuse(f"{kind}: and make none with n0 as underlay", PERM, user.ip,
           f"link add t3 link-netnsid {netnsid(u0)} type {kind} local 192.0.2.1 remote 192.0.2.9", unchanged=u0)


def netnsid(u0):
    """n0's number in u0: attribute 37 is IFLA_LINK_NETNSID"""
    return int(re.search(" 37:(..)", links.configuration(u0.name, "t1")[0])[1], 16)


def given_and_root(user, kind, proto):
    u0 = user.ns
    works(f"{kind}: root in u0 may change it", ip, u0, f"link set t1 type {kind} local 192.0.2.1 remote 192.0.2.9")
    works(f"{kind}: root in u0 may change it by ioctl", tunctl, u0,
          f"t1 chg name=t1 protocol={proto} saddr=192.0.2.1 daddr=192.0.2.8")
    works(f"{kind}: the user may delete the device he was given", user.ip, "link del t1")
    works(f"{kind}: root may by ioctl", tunctl, u0,
          f"t2 del name=t2 protocol={proto} saddr=192.0.2.1 daddr=192.0.2.3")
    both_gone(kind, u0, "t1", "t2")


def given_tunnels(n0, user, kind, proto):
    give_tunnels(n0, user, kind)
    given_is_a_device(user, kind)
    given_is_not_a_tunnel(n0, user, kind, proto)
    given_and_root(user, kind, proto)


def without_privilege(n0, kind, proto, fallback):
    nobody = Nobody(n0)
    n0.ip(f"link add t1 type {kind} {ENDPOINTS}")
    for name, line in (("nobody may make one", f"link add t3 type {kind} remote 192.0.2.9"),
                       ("nor by ioctl", f"tunnel add t3 mode {kind} remote 192.0.2.9"),
                       ("nor change one", f"link set t1 type {kind} remote 192.0.2.9"),
                       ("nor by ioctl", f"tunnel change t1 mode {kind} remote 192.0.2.9"),
                       ("nor delete one", "link del t1"),
                       ("nor by ioctl", "tunnel del t1")):
        refuse(f"{kind}: {name}", PERM, nobody.ip, line, unchanged=n0)
    refuse(f"{kind}: nor through {fallback}", PERM,
           nobody.ioctl, f"{fallback} del protocol={proto} {IOCTL_ENDPOINTS}", unchanged=n0)
    works(f"{kind}: nobody may look by netlink", nobody.ip, "-d link show t1")
    works(f"{kind}: nobody may look by ioctl", nobody.ioctl, "t1 get")
    n0.ip("link del t1")


def inner_user(user, kind):
    works(f"{kind}: in a namespace within the namespace", user.inner,
          f"link add x1 type {kind} {ENDPOINTS}", "link set x1 up",
          f"tunnel change x1 mode {kind} local 192.0.2.1 remote 192.0.2.3", "link del x1")


def main():
    need_modules()
    with NetNs() as n0, NetNs() as n1, User() as user:
        veth_pair(n0, "v0", "192.0.2.1/24", n1, "v1", "192.0.2.2/24")
        for kind, proto, fallback in ("ipip", 4, "tunl0"), ("gre", 47, "gre0"):
            own_tunnels(user, kind, fallback)
            given_tunnels(n0, user, kind, proto)
            without_privilege(n0, kind, proto, fallback)
            inner_user(user, kind)


ksft_run(main)
