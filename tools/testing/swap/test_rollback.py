#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""A swap that fails on its way leaves everything as it was; one that is killed on its way is finished by "iptnl
recover"; one that is interrupted ends first.

    n0                                  n1
    16 tunnels                          16 tunnels
    v0 192.0.2.1 ---------------------- v0 192.0.2.2
"""

import contextlib
import os
import re
import signal
import subprocess
import threading
import time

from exchange import IPTNL, STATE, UPDATES, expect_exit, expect_line, expect_same, expect_status, get, in_tree, put, \
    said, whose
import modules
import nl
import picture
from ksft import NetNs, check, diag, is_loaded, ksft_run, modprobe, until, veth_pair

IP_GRE = UPDATES + "/ip_gre.ko"
DEVICES = [f"{kind}{number}" for kind, count in (("i", 6), ("g", 5), ("e", 5)) for number in range(count)]
FAR = "203.0.113.2", "203.0.113.6", "203.0.113.10"      # over i0, g0 and e0


# ------------------------------------------------------------------- network

def side(near, far):
    """-> lines of ip for one side; near and far are 1 and 2, or 2 and 1"""
    for number in range(6):
        here, there = (f"192.0.2.{one + 4 * number}" for one in (near, far))
        yield f"link add i{number} type ipip local {here} remote {there} ttl 64"
        yield f"addr add {here}/24 dev v0"
    for number in range(5):
        endpoints = f"local 192.0.2.{near} remote 192.0.2.{far}"
        yield f"link add g{number} type gre {endpoints} key {number}"
        yield f"link add e{number} type gretap {endpoints} key 10{number}"
    yield from (f"link set {device} up" for device in DEVICES)
    yield f"addr add 203.0.113.{near}/30 dev i0"
    yield f"addr add 203.0.113.{4 + near}/30 dev g0"
    yield f"addr add 203.0.113.{8 + near}/30 dev e0"
    yield f"route add 198.51.100.0/24 via 203.0.113.{4 + far}"
    yield "link set v0 arp on"


@contextlib.contextmanager
def topology():
    with NetNs() as n0, NetNs() as n1:
        veth_pair(n0, "v0", None, n1, "v0", None)
        n0.ip(*side(1, 2))
        n1.ip(*side(2, 1))
        yield n0, n1


class Former:
    """What there was to begin with"""

    def __init__(self, n0, n1):
        self.n0, self.n1 = n0, n1
        self.traffic("traffic passes to begin with")
        self.picture = picture.of(n0, n1)

    def traffic(self, name):
        check(name, all(self.n0.answered(address) for address in FAR))

    def expect(self, name, owner):
        """Nothing is different from then, and the modules are of that owner."""
        expect_same(f"{name}: everything is as before", self.picture, picture.of(self.n0, self.n1))
        check(f"{name}: the modules are {'ours' if owner == modules.OURS else 'theirs'}", whose() == [owner], whose())
        self.traffic(f"{name}: traffic passes")
        check(f"{name}: nothing is left in /run", not saved())


# ---------------------------------------------------------------- conditions

def saved():
    return os.path.exists(STATE)


def gone(name):
    """in the course of an exchange"""
    return saved() and not modules.is_loaded(name)


def ours(name):
    return "O" in modules.read(f"/sys/module/{name}/taint")


# --------------------------------------------------------------------- tests

def module_does_not_load(before):
    """Ours makes one device's name twice."""
    data = get(IP_GRE)
    assert b"\0erspan0\0" in data
    put(IP_GRE, data.replace(b"\0erspan0\0", b"\0gretap0\0"))
    expect_status("a module that does not load: rolled back", 3, "swap")
    expect_line("a module that does not load: says which", f"^failed: cannot load {re.escape(IP_GRE)}: ")
    expect_line("a module that does not load: says that all is as before",
                "^32 tunnels in 2 namespaces are as before, interruption [0-9]+ ms$")
    before.expect("a module that does not load", modules.THEIRS)
    check("ip_tunnel_core is not left", not is_loaded("ip_tunnel_core"))
    put(IP_GRE, data)


class Squatter(threading.Thread):
    """Takes the name of a tunnel when ip_gre goes; gives it up when ip_gre goes again, if it is to leave."""

    def __init__(self, ns, name, leaves):
        super().__init__(daemon=True)
        self.ns, self.device, self.leaves = ns, name, leaves

    @staticmethod
    def wait(there):
        while modules.is_loaded("ip_gre") != there:
            time.sleep(0.002)

    def run(self):
        self.wait(False)
        nl.ask(self.ns.name, "new", self.device, "dummy")
        if self.leaves:
            self.wait(True)
            self.wait(False)
            self.ns.ip(f"link del {self.device}")

    def __enter__(self):
        self.start()

    def __exit__(self, *_):
        self.join()


def name_is_taken(before):
    """A tunnel cannot be made, until those of ours are gone again."""
    with Squatter(before.n0, "g3", leaves=True):
        expect_status("a name that is taken: rolled back", 3, "swap")
        expect_line("a name that is taken: which", f"^failed: g3 in {before.n0.name}: File exists")
        before.expect("a name that is taken", modules.THEIRS)


def name_stays_taken(before):
    """Nothing can bring that tunnel back, but all the others are brought back."""
    with Squatter(before.n0, "g3", leaves=False):
        expect_status("a name that stays taken: not all could be restored", 4, "swap")
    expect_line("a name that stays taken: which", f"^failed: g3 in {before.n0.name}: File exists")
    expect_line("a name that stays taken: says what to do", "'iptnl recover' tries again$")
    check("a name that stays taken: the modules are the kernel's", whose() == [modules.THEIRS], whose())
    before.traffic("a name that stays taken: the others pass traffic")
    expect_status("a name that stays taken: recover", 4, "recover")
    before.n0.ip("link del g3")
    expect_status("a name that was given up: recover", 0, "recover")
    before.expect("a name that was given up", modules.THEIRS)


def kill_when(condition, command):
    """-> whether it was killed, and not too quick"""
    with subprocess.Popen([IPTNL, command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        while process.poll() is None:
            if condition():
                process.kill()
                break
    return process.returncode == -signal.SIGKILL


def killed(before, text, condition, command="swap"):
    """Whatever is there when it is killed, "recover" finishes."""
    name = f"{command} killed when {text}"
    if not check(name, kill_when(condition, command), "it was too quick"):
        return
    check(f"{name}: it has left what recover needs", saved() and os.path.getsize(STATE))
    expect_status(f"{name}: another swap is refused", 1, "swap")
    expect_status(f"{name}: recover", 0, "recover")
    diag(said[-1])
    if whose() == [modules.THEIRS]:
        before.expect(name, modules.THEIRS)
    else:
        before.expect(name, modules.OURS)
        expect_status(f"{name}: restore afterwards", 0, "restore")
    before.expect(f"{name}, in the end", modules.THEIRS)


def killed_on_the_way(before):
    killed(before, "saved()", saved)
    killed(before, "saved() and not loaded('ip_gre')", lambda: gone("ip_gre"))
    killed(before, "saved() and not loaded('ipip')", lambda: gone("ipip"))
    killed(before, "ours('tunnel4')", lambda: ours("tunnel4"))
    killed(before, "ours('ip_gre')", lambda: ours("ip_gre"))
    expect_status("swap, to kill the way back", 0, "swap")
    killed(before, "saved() and not loaded('tunnel4')", lambda: gone("tunnel4"), "restore")


def interrupt():
    """Swap, with SIGINT, SIGTERM and SIGHUP on the way. -> exit status"""
    with subprocess.Popen([IPTNL, "swap"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True) as process:
        until(True, saved)
        while process.poll() is None and saved():
            for number in signal.SIGINT, signal.SIGTERM, signal.SIGHUP:
                process.send_signal(number)
        said[:] = process.communicate()[0].splitlines()
    return process.returncode


def interrupted(before):
    """Signals have to wait."""
    expect_exit("interrupted on the way: it ends first", 0, interrupt())
    expect_line("interrupted on the way: carried over", "^32 tunnels in 2 namespaces carried over")
    check("interrupted on the way: ours are in", whose() == [modules.OURS], whose())
    before.expect("interrupted on the way", modules.OURS)


def nothing_to_recover():
    expect_status("nothing to recover", 0, "recover")
    expect_line("nothing to recover: says so", "^nothing to recover$")


def main():
    modprobe("dummy")
    with in_tree(), topology() as nets:
        before = Former(*nets)
        module_does_not_load(before)
        name_is_taken(before)
        name_stays_taken(before)
        killed_on_the_way(before)
        interrupted(before)
        nothing_to_recover()


ksft_run(main)
