#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""A newer build is installed while an older one is loaded: "status" says so, "swap" replaces it and keeps the tunnels,
also if it is killed, and rolls back to the in-tree modules if the new one fails. Foreign modules are detected.

    n0
    g0 gre, e0 gretap, i0 ipip, each with an address
"""

import json
import os
import re
import signal
import subprocess

import exchange
import modules
from exchange import AnotherBuild, IPTNL, begin_in_tree, expect_said, expect_status, iptnl, output, \
    remove_modules, said, whose
from ksft import NetNs, check, expect, ksft_run, rmmod

STATE = "/run/iptnl/state.json"


def versions():
    return sorted({modules.version(name) for name in modules.MODULES})


def addresses(n0):
    return sorted(line.split() for line in output(n0, "ip", "-br", "addr").splitlines() if "203.0.113." in line)


def main():
    begin_in_tree()
    try:
        with NetNs() as n0:
            n0.ip("link add g0 type gre local 192.0.2.1 remote 192.0.2.2 key 1",
                  "link add e0 type gretap local 192.0.2.1 remote 192.0.2.2 key 2",
                  "link add i0 type ipip local 192.0.2.1 remote 192.0.2.2",
                  *("link set %s up" % name for name in ("g0", "e0", "i0")),
                  "addr add 203.0.113.1/30 dev g0", "addr add 203.0.113.5/30 dev e0",
                  "addr add 203.0.113.9/30 dev i0")
            run(n0)
        core_alone()
        foreign()
    finally:
        remove_modules()


def run(n0):
    was = addresses(n0)
    expect_status("swap", 0, "swap")
    version = modules.information(modules.our_file("ip_gre"))["version"]
    for name, kind in (("g0", "gre"), ("e0", "gretap"), ("i0", "ipip")):
        expect("ethtool -i %s" % name, ["driver: " + kind, "version: " + version],
               output(n0, "ethtool", "-i", name).splitlines()[:2])
    expect_status("once more: nothing to do", 0, "swap")
    expect_said("once more: says so", "nothing to do")
    with AnotherBuild() as newer:
        number = newer.version.decode()
        iptnl("status")
        expect_said("status tells that another build is installed", "another build of iptnl is installed")
        expect_status("upgrade", 0, "swap")
        expect("upgrade: all of the new version", [number], versions())
        expect("upgrade: the tunnels are as before", was, addresses(n0))
        iptnl("status")
        check("status has nothing to say of it any more", not any("another build" in line for line in said), *said)
    expect_status("and back to the other build, as an upgrade", 0, "swap")
    with AnotherBuild(headers_only=True):
        iptnl("status")
        expect_said("status tells of a build that differs in headers only", "another build of iptnl is installed")
        expect_status("it is an upgrade", 0, "swap")
        check("and all of it is loaded", not any(map(modules.is_stale, modules.MODULES)))
    expect_status("and back from that", 0, "swap")
    expect("the tunnels are as before", was, addresses(n0))
    failing(n0, was)
    expect_status("swap, to be killed", 0, "swap")
    for name, condition in (("as it has saved all", saved), ("without ip_gre", lambda: saved() and gone("ip_gre")),
                            ("without ip_tunnel_core", lambda: saved() and gone("ip_tunnel_core"))):
        killed(n0, name, condition, was)
    with AnotherBuild():
        expect_status("restore under another build", 0, "restore")
    expect("restore under another build: in-tree", ["in-tree"], whose())
    expect("restore under another build: the tunnels are as before", was, addresses(n0))


def failing(n0, was):
    """A new ip_gre that fails to load, because it uses a device name twice"""
    with AnotherBuild():
        path = modules.our_file("ip_gre")
        with open(path, "rb") as file:
            data = file.read()
        exchange.put(path, data.replace(b"\0erspan0\0", b"\0gretap0\0"))
        expect_status("a new build that fails: rolled back", 3, "swap")
    expect_said("a new build that fails: to what", "are as before, on the kernel's own modules")
    expect("a new build that fails: the tunnels are as before", was, addresses(n0))
    expect("a new build that fails: in-tree", ["in-tree"], whose())
    check("a new build that fails: ip_tunnel_core is gone", gone("ip_tunnel_core"))


def saved():
    return os.path.exists(STATE)


def gone(name):
    return not modules.is_loaded(name)


def killed(n0, name, condition, was):
    """An upgrade is killed when condition() is true."""
    with AnotherBuild() as newer:
        with subprocess.Popen([IPTNL, "swap"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            while process.poll() is None:
                if condition():
                    process.send_signal(signal.SIGKILL)
                    break
        check("an upgrade killed " + name, process.returncode == -signal.SIGKILL, process.returncode)
        expect_status("... recover", 0, "recover")
        if modules.is_stale("ip_gre"):                  # nothing was unloaded yet
            expect_status("... and upgrade", 0, "swap")
        expect("... to the new version", [newer.version.decode()], versions())
        expect("... with the tunnels as before", was, addresses(n0))
    expect_status("... and back", 0, "swap")


def core_alone():
    """No kind of the new build can be loaded on an old core, so one that nothing uses goes."""
    remove_modules()
    exchange.ksft.modprobe("ipip", "ip_gre")
    with AnotherBuild(headers_only=True):
        rmmod("ip_gre", "ipip", "gre", "tunnel4")
        expect_status("an old core alone: a dry run", 0, "swap", "--dry-run")
        check("an old core alone: stays", modules.is_loaded("ip_tunnel_core"))
        expect_status("an old core alone: swap", 0, "swap")
        expect_said("an old core alone: says so", "ip_tunnel_core of another build is unloaded")
        check("an old core alone: is gone", gone("ip_tunnel_core"))


def foreign():
    """A foreign gre.ko: iptnl's without its mark"""
    remove_modules()
    path = modules.our_file("gre")
    with open(path, "rb") as file:
        data = file.read()
    alien = "/run/iptnl-test-gre.ko"
    exchange.put(alien, data.replace(b".note.iptnl\0", b".note.other\0"))
    subprocess.run(["insmod", alien], check=True)
    os.unlink(alien)
    iptnl("status", "--json")
    state = {one["name"]: one["state"] for one in json.loads("\n".join(said))["modules"]}
    expect("a foreign gre is called so", "foreign", state["gre"])
    expect_status("and is not swapped", 1, "swap")
    expect_said("and named", "module gre is neither the kernel's nor iptnl's")
    rmmod("gre")
    done = subprocess.run(["setpriv", "--reuid", "65534", "--clear-groups", IPTNL, "status"], capture_output=True,
                          text=True, check=False)
    expect("status, as an ordinary user: works", 0, done.returncode)
    check("... lists the modules", re.search("^ip_gre +not loaded", done.stdout, re.M), done.stdout, done.stderr)
    check("... and says what is not shown", "tunnels are not shown: must be root" in done.stdout, done.stdout)
    expect_status("--version", 0, "--version")
    expect("... is that of the modules", "iptnl " + modules.information(modules.our_file("ip_gre"))["version"],
           "".join(said))


ksft_run(main)
