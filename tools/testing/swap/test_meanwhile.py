#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""What others do during a swap is theirs: addresses and routes that they add to a tunnel stay, and a device that took
the name and interface index of a tunnel keeps its own settings.

    n0
    g0 gre, i0 ipip, each with an address and a route
"""

import json
import os
import re
import signal
import subprocess

import exchange
import modules
from exchange import IPTNL, STATE, begin_in_tree, expect_said, expect_status, output, remove_modules, whose
from ksft import NetNs, check, expect, ksft_run, until

# Adds to g0 at once, or as soon as it is there again; says whether a swap was running. By ioctl, since a swap is faster
# than programs start.
ADDER = '''
import errno, fcntl, os, socket, struct, subprocess, sys
SIOCSIFADDR = 0x8916
def build():
    try:
        with open("/sys/module/ip_gre/srcversion") as file:
            return file.read()
    except OSError:
        return None
def until_done(family, request):
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        while True:
            try:
                return fcntl.ioctl(sock, SIOCSIFADDR, request())
            except OSError as error:
                if error.errno == errno.EEXIST:
                    return
v4 = struct.pack("16sHH4s8x", b"g0:9", socket.AF_INET, 0, socket.inet_aton("198.51.100.9"))
v6 = socket.inet_pton(socket.AF_INET6, "2001:db8:9::9")
first = build()
print(flush=True)
while len(sys.argv) > 1 and build() == first:
    os.sched_yield()
until_done(socket.AF_INET, lambda: v4)
until_done(socket.AF_INET6, lambda: v6 + struct.pack("=Ii", 64, socket.if_nametoindex("g0")))
print(len(sys.argv) > 1 and os.path.exists(sys.argv[1]), flush=True)
while subprocess.run("ip route add 198.18.0.0/16 dev g0".split(), capture_output=True).returncode:
    pass
'''
DELETED = "addr del 198.51.100.9/32 dev g0", "addr del 2001:db8:9::9/64 dev g0", "route del 198.18.0.0/16 dev g0"
TRIES = 10


def main():
    begin_in_tree()
    try:
        with NetNs(ipv6=True) as n0:
            n0.ip("link add g0 type gre local 192.0.2.1 remote 192.0.2.2 key 1",
                  "link add i0 type ipip local 192.0.2.1 remote 192.0.2.2",
                  "link set g0 up", "link set i0 up", "addr add 203.0.113.1/30 dev g0",
                  "addr add 203.0.113.9/30 dev i0", "route add 198.51.100.64/26 dev g0")
            n0.run("ip", "ntable", "change", "name", "arp_cache", "dev", "g0", "base_reachable", "50000")
            added(n0)
            taken(n0)
    finally:
        remove_modules()


def everything(n0):
    """-> addresses and routes, those that the kernel makes for the addresses, too"""
    return [sorted(output(n0, "ip", *words).splitlines()) for words in (
        ("-o", "addr", "show", "dev", "g0"), ("route", "show", "table", "all", "dev", "g0"),
        ("-6", "route", "show", "table", "all", "dev", "g0"))]


def picture(n0):
    """-> addresses, routes and a neighbour parameter"""
    ntable = output(n0, "ip", "ntable", "show", "name", "arp_cache", "dev", "g0")
    return [output(n0, "ip", "-o", "addr", "show", "dev", "g0"), output(n0, "ip", "route", "show", "dev", "g0"),
            re.findall("base_reachable [0-9]+", ntable)]


def added(n0):
    """Until it happened while the swap was running"""
    side = {"swap": "iptnl", "restore": "in-tree"}
    n0.run("python3", "-c", ADDER)
    want = everything(n0)
    n0.ip(*DELETED)
    for number in range(TRIES):
        word = "restore" if whose() == ["iptnl"] else "swap"
        with subprocess.Popen(["ip", "netns", "exec", n0.name, "python3", "-c", ADDER, STATE], stdout=subprocess.PIPE,
                              text=True) as adder:
            adder.stdout.readline()
            status = exchange.iptnl(word)
            during = adder.stdout.read().split()[0] == "True"
        expect(f"addresses and routes added meanwhile, {word} {number}", (0, [side[word]]), (status, whose()))
        expect("... are there, with the routes that the kernel makes for them", want, everything(n0))
        n0.ip(*DELETED)
        if during:
            break
    check("it was during the swap", during)
    if whose() == ["iptnl"]:
        expect_status("back", 0, "restore")


def taken(n0):
    """The swap is killed while there is no tunnel, and somebody makes a device of the name and index of g0."""
    index, was = output(n0, "cat", "/sys/class/net/g0/ifindex"), picture(n0)
    with subprocess.Popen([IPTNL, "swap"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        while process.poll() is None and modules.is_loaded("ip_gre"):
            pass
        process.send_signal(signal.SIGKILL)
    check("a swap killed without ip_gre", process.returncode == -signal.SIGKILL and os.path.exists(STATE))
    until(1, lambda: subprocess.run(["pgrep", "-x", "rmmod"], stdout=subprocess.DEVNULL, check=False).returncode)
    n0.ip(f"link add g0 mtu 1234 index {index} type dummy", "link set g0 up", "addr add 198.51.100.7/24 dev g0")
    foreign = picture(n0)
    expect_status("recover: one is missing", 4, "recover")
    expect_said("recover: it says which", "g0 in")
    expect("recover: the other device is as it was", foreign, picture(n0))
    link = json.loads(output(n0, "ip", "-j", "-d", "link", "show", "dev", "g0"))[0]
    expect("recover: in every respect", ("dummy", 1234, int(index)),
           (link["linkinfo"]["info_kind"], link["mtu"], link["ifindex"]))
    expect("recover: i0 is back", True, "203.0.113.9/30" in output(n0, "ip", "-o", "addr", "show", "dev", "i0"))
    n0.ip("link del g0")
    expect_status("recover, after that device has gone", 0, "recover")
    expect("recover: g0 is as before", was, picture(n0))
    expect_status("discard: nothing but its own files", 1, "recover", "--discard", "/etc/hostname")
    check("/etc/hostname is there", os.path.exists("/etc/hostname"))


ksft_run(main)
