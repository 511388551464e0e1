#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Whatever the dry run accepts is carried over: every writable file of a tunnel in sysfs and sysctl gets another value,
also those of bridge ports, with and without STP; "swap" and "restore" must preserve them. What cannot be carried over
is refused. A failed swap can be retried.

    n0
    i0 ipip, g0 gre seq, x0 erspan; br0 (STP): e0 gretap; br1: e1 gretap; br2 (VLANs): e2 gretap
"""

import os
import subprocess

import exchange
from exchange import begin_in_tree, expect_said, expect_status, output, remove_modules, whose
from ksft import NetNs, check, expect, ksft_run, until, write

TUNNELS = ("i0", "g0", "x0", "e0", "e1", "e2")
SYSFS = "/run/iptnl-test-sys"
PLACES = ("/proc/sys/net/ipv4/conf/", "/proc/sys/net/ipv6/conf/", "/proc/sys/net/ipv4/neigh/",
          "/proc/sys/net/ipv6/neigh/", "/proc/sys/net/mpls/conf/", SYSFS + "/class/net/")
CANDIDATES = ("1", "0", "2", "3", "7", "1300", "2001:db8::1")
# Actions; parts of other settings; limits of a queue that the device does not have
LEFT_OUT = ("uevent", "power", "statistics", "flush", "flags", "byte_queue_limits", "retrans_time",
            "base_reachable_time", "disable_ipv6", "addr_gen_mode", "stable_secret", "threaded", "carrier", "state")


def read(path):
    try:
        with open(path) as file:
            return file.read().strip()
    except OSError:
        return None


def writable(base):
    for directory, names, files in os.walk(base):
        names[:] = [name for name in names
                    if name not in LEFT_OUT and not os.path.islink(os.path.join(directory, name))]
        for name in files:
            path = os.path.join(directory, name)
            if name not in LEFT_OUT and os.stat(path).st_mode & 0o200:
                yield path


def alter(path):
    """Write another value. Return true if one was accepted."""
    before = read(path)
    for value in CANDIDATES:
        if before is None or value == before:
            continue
        try:
            write(path, value)
        except OSError:
            continue
        if read(path) != before:
            return True
    return False


class Sysfs:
    """Context with sysfs of the current namespace mounted"""

    def __enter__(self):
        os.makedirs(SYSFS, exist_ok=True)
        subprocess.run(["mount", "-t", "sysfs", "sysfs", SYSFS], check=True)

    def __exit__(self, *_):
        subprocess.run(["umount", "-l", SYSFS], check=True)


def every_file():
    for place in PLACES:
        for name in TUNNELS:
            # in sysfs it is a symlink
            if os.path.isdir(place + name):
                yield from writable(os.path.realpath(place + name))


def main():
    begin_in_tree()
    exchange.ksft.modprobe("bridge", "dummy", "mpls_router")
    try:
        with NetNs(ipv6=True) as n0:
            run(n0)
    finally:
        remove_modules()


def make(n0):
    n0.ip("link add d0 type dummy", "addr add 192.0.2.1/24 dev d0", "link set d0 up",
          "link add br0 type bridge stp_state 1 forward_delay 200",
          "link add br1 type bridge", "link add br2 type bridge vlan_filtering 1",
          "link add i0 numtxqueues 4 numrxqueues 4 type ipip local 192.0.2.1 remote 192.0.2.2",
          "link add g0 type gre local 192.0.2.1 remote 192.0.2.2 seq",
          "link add x0 type erspan local 192.0.2.1 remote 192.0.2.2 seq key 1 erspan_ver 1",
          *("link add e%d type gretap local 192.0.2.1 remote 192.0.2.2 key 1%d" % (i, i) for i in range(3)),
          *("link set e%d master br%d" % (i, i) for i in range(3)),
          *("link set br%d up" % i for i in range(3)), *("link set %s up" % name for name in TUNNELS))


def forwards(n0):
    return output(n0, "cat", "/sys/class/net/e0/brport/state") == "3"


def same(name, want, paths):
    got = {path: read(path) for path in paths}
    check(name, want == got, *("%s: was %s, is %s" % (path, want[path], got[path]) for path in paths
                               if want[path] != got[path]))


def run(n0):
    make(n0)
    check("the port of br0 forwards", until(True, lambda: forwards(n0), 60))
    expect_status("a port where STP runs: swap", 0, "swap")
    expect_said("a port where STP runs: says what follows", "port of br0, which runs STP: it forwards again after 4 s")
    expect("a port where STP runs: swapped", ["iptnl"], whose())
    check("a port where STP runs: it forwards again", until(True, lambda: forwards(n0), 60))
    expect_status("a port where STP runs: restore", 0, "restore")
    threaded(n0)
    everything(n0)
    again(n0)


def threaded(n0):
    for name in ("g0", "e0"):
        n0.run("sh", "-c", "echo 1 >/sys/class/net/%s/threaded" % name)
        for words in (["--dry-run"], []):
            expect_status("%s polled by a thread: swap %s is refused" % (name, " ".join(words)), 1, "swap", *words)
            expect_said("... and named", "%s in %s: is polled by a thread" % (name, n0.name))
        expect("... with nothing changed", ["in-tree"], whose())
        n0.run("sh", "-c", "echo 0 >/sys/class/net/%s/threaded" % name)


def everything(n0):
    with n0.enter, Sysfs():
        altered = [path for path in every_file() if alter(path)]
        want = {path: read(path) for path in altered}
    exchange.ksft.diag("%d files were altered" % len(altered))
    check("there are many settings", len(altered) > 400, len(altered))
    expect_status("everything altered: the dry run accepts", 0, "swap", "--dry-run")
    for word, side in (("swap", "iptnl"), ("restore", "in-tree")):
        expect_status("everything altered: %s" % word, 0, word)
        expect("everything altered: %s: whose" % word, [side], whose())
        with n0.enter, Sysfs():
            same("everything altered: %s leaves all as it was" % word, want, altered)


def again(n0):
    """A bridge is deleted during the swap: its port cannot be restored, not even by the rollback."""
    with subprocess.Popen(["ip", "netns", "exec", n0.name, "python3", "-c", """
import os, subprocess, time
print(flush=True)
while os.path.exists("/sys/module/ip_gre/initstate"):
    time.sleep(0.002)
subprocess.run(["ip", "link", "del", "br1"], check=True)
"""], stdout=subprocess.PIPE) as deleter:
        deleter.stdout.readline()
        expect_status("a bridge that goes meanwhile: not all could be given back", 4, "swap")
    expect_said("a bridge that goes meanwhile: what", "e1: master in %s: Invalid argument" % n0.name)
    expect_said("a bridge that goes meanwhile: where it is kept", "what there was is in /run/iptnl/left.json")
    expect("a bridge that goes meanwhile: back on the kernel's modules", ["in-tree"], whose())
    expect_status("another try", 0, "swap")
    expect("another try: ours are in", ["iptnl"], whose())
    expect_status("what is left is given up", 0, "recover", "--discard", "/run/iptnl/left.json")
    check("and is gone", not os.path.exists("/run/iptnl/left.json"))
    expect_status("restore in the end", 0, "restore")
    write("/run/iptnl/state.json", "{}")
    expect_status("an interrupted run in the way", 1, "swap")
    expect_said("it says how to give it up", "iptnl recover --discard")
    expect_status("and so it is", 0, "recover", "--discard")
    expect_status("a dry run agrees", 0, "swap", "--dry-run")


ksft_run(main)
