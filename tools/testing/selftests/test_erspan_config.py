#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""What is refused when a device is made is refused when it is changed, for each
kind and by each way in; and erspan: Ethernet addresses, changes of the version, a
frame that is cut with its checksum still to be filled in.
"""
import itertools
import socket
import struct
import subprocess

from ksft import ksft_run, need_modules, modprobe, check, expect, NetNs, differs, run_ip
from pkt import csum
from wire import Tun, show

ENDS = "local 192.0.2.1 remote 192.0.2.2"
VERSIONS = {0: "erspan_ver 0", 1: "seq key 5 erspan_ver 1", 2: "seq key 5 erspan_ver 2"}


def refused(line):
    """-> what ip said, or None if it was accepted"""
    done = subprocess.run(["ip", *line.split()], text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    return done.stdout.strip() or "no word" if done.returncode else None


def devices():
    return [{k: v for k, v in link.items() if k not in ("stats64", "flags")} for link in show("link")]


def is_refused(name, line):
    before = devices()
    said = refused(line)
    check(f"{name}: is refused", said is not None, line)
    expect(f"{name}: nothing changed", before, devices())
    if said is None and " x " in line and "add" in line:
        run_ip("link del x")


def addresses():
    for version, options in VERSIONS.items():
        for mac in "01:00:5e:00:00:01", "00:00:00:00:00:00", "ff:ff:ff:ff:ff:ff":
            is_refused(f"erspan version {version}, made with address {mac}",
                       f"link add x address {mac} type erspan {ENDS} {options}")
            run_ip(f"link add e1 type erspan {ENDS} {options}")
            is_refused(f"erspan version {version}, changed to address {mac}", f"link set e1 address {mac}")
            is_refused(f"erspan version {version}, changed with address {mac}",
                       f"link set e1 address {mac} type erspan {ENDS} {options}")
            run_ip("link del e1")


def duplicates():
    """No two tunnels have the same packets, however they came to be what they are."""
    for (a, one), (b, two) in itertools.permutations(VERSIONS.items(), 2):
        run_ip(f"link add e1 type erspan {ENDS} {one}")
        run_ip(f"link add e2 type erspan {ENDS} {two}", force=True)
        there = {link["ifname"]: link for link in show("link", "show", "type", "erspan")}
        if "e2" in there:       # versions whose packets can be told apart
            with differs("two tunnels with the same parameters"):
                is_refused(f"version {a} beside version {b}, changed to {b}", f"link set e1 type erspan {ENDS} {two}")
                is_refused(f"version {b} beside version {a}, changed to {a}", f"link set e2 type erspan {ENDS} {one}")
        else:                   # all of these packets have the session in the same place
            check(f"version {a}: version {b} is the same", {a, b} == {1, 2}, there)
        run_ip("link del e1", "link del e2", force=True)


def kinds():
    """each kind, by ip link and ip tunnel: what another tunnel is already"""
    for kind in "ipip", "gre", "gre key 7", "gretap", "gretap key 7":
        ways = ["link set e1 type"] + ["tunnel change e1 mode"] * ("tap" not in kind)
        makes = ["link add x type"] + ["tunnel add x mode"] * ("tap" not in kind)
        run_ip(f"link add e1 type {kind} {ENDS}", f"link add e2 type {kind} {ENDS.replace('2.2', '2.3')}")
        for way in ways + makes:
            is_refused(f"{way} {kind}: a duplicate", f"{way} {kind} {ENDS.replace('2.2', '2.3')}")
        run_ip("link del e1", "link del e2")
    bad = {"gre": "csum ignore-df pmtudisc", "gretap": "csum ignore-df pmtudisc",
           "erspan": "seq key 1024 erspan_ver 1"}
    for kind, options in bad.items():
        run_ip(f"link add e1 type {kind} {ENDS} {VERSIONS[1] if kind == 'erspan' else ''}")
        is_refused(f"{kind} {options}, made", f"link add x type {kind} {ENDS} {options}")
        is_refused(f"{kind} {options}, changed", f"link set e1 type {kind} {ENDS} {options}")
        run_ip("link del e1")


def cut(ns, u0):
    """The checksum covers the frame as it was, wherever it is cut."""
    modprobe("dummy", "act_mirred", "cls_matchall", "sch_ingress")
    run_ip("link add d0 mtu 1500 type dummy", "link set d0 up",
           f"link add e1 type erspan {ENDS} {VERSIONS[1]}", "link set e1 up")
    ns.tc("qdisc add dev d0 clsact", "filter add dev d0 egress matchall action mirred egress mirror dev e1")
    frame = bytes(12) + b"\x88\xb5" + bytes(range(250)) + bytes(36)
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as sock:
        sock.bind(("d0", 0x88b5))
        sock.setsockopt(263, 15, 1)             # PACKET_VNET_HDR
        for mtu, offset in itertools.product((100, 150, 1400), (0, 6, 100)):
            run_ip(f"link set e1 mtu {mtu}")
            u0.drain()
            sock.send(struct.pack("<BBHHHH", 1, 0, 0, 0, 100, offset) + frame)
            sent = u0.drain()
            filled = bytearray(frame)
            filled[100 + offset:102 + offset] = struct.pack("!H", csum(frame[100:]) or 0xffff)
            with differs("computes the checksum of what is left, and warns of a place that is not") \
                    if mtu < len(frame) else differs("", ""):
                expect(f"mtu {mtu}, checksum at {100 + offset}: what is mirrored", [bytes(filled[:mtu + 14]).hex()],
                       [p[20 + 8 + 8:].hex() for p in sent])


def main():
    need_modules()
    modprobe("tun")
    with NetNs() as ns, ns.inside():
        u0 = Tun("u0", "192.0.2.1/24")
        addresses()
        duplicates()
        kinds()
        cut(ns, u0)


ksft_run(main)
