#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""ip_gre hooks the kernel's GRE segmenter while it is loaded, to number the segments of
GSO packets. Another module hooks it in front of that: each can go first, no code is called
that is not there any more, and in the end the kernel's own segmenter is back.

    tun u0 192.0.2.1 ====== t0, gre seq ====== 192.0.2.2, which is this program
"""
import os
import socket
import struct
import subprocess

from ksft import CORE, NetNs, is_loaded, ksft_run, modprobe, need_modules, remove_modules, rmmod
from wire import Tun, differs, expect, run_ip

OTHER = "ip_tnl_hook_test"
UDP_SEGMENT = 103
SIZE, COUNT = 1000, 4


def numbers(u0):
    """-> the sequence numbers of the packets that a GSO packet of UDP becomes"""
    u0.drain()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.sendmsg([bytes(SIZE * COUNT)], [(socket.IPPROTO_UDP, UDP_SEGMENT, struct.pack("=H", SIZE))],
                     0, ("198.51.100.2", 9))
    return [struct.unpack_from("!I", packet, 24)[0] for packet in u0.drain()]


def sends(ns, name):
    """a tunnel that is made and goes again: its packets are numbered"""
    with ns.inside():
        u0 = Tun("u0", "192.0.2.1/24")
        run_ip("link add t0 type gre seq local 192.0.2.1 remote 192.0.2.2", "link set t0 up",
               "addr add 198.51.100.1/24 dev t0")
        expect(f"{name}: each segment has its number", list(range(COUNT)), numbers(u0))
        run_ip("link del t0")
        os.close(u0.fd)


def calls():
    """-> how many packets the other module's hook has seen"""
    with open(f"/sys/module/{OTHER}/parameters/calls") as file:
        return int(file.read())


def goes(module):
    """-> whether it can be unloaded"""
    return not subprocess.run(["rmmod", module], stderr=subprocess.DEVNULL).returncode


def other_is_passed(ns, name):
    before = calls()
    sends(ns, name)
    with differs("segments before the tunnel"):
        expect(f"{name}: the other hook has seen one packet", 1, calls() - before)


def main():
    remove_modules()        # nothing but ip_gre is to hold the core
    need_modules("ip_gre")
    modprobe("tun")
    with NetNs() as ns:
        sends(ns, "no other hook")
        modprobe(OTHER)
        other_is_passed(ns, "another hook in front")
        expect("ip_gre goes first", True, goes("ip_gre"))
        with differs("has no hook"):
            expect("what the other one still calls stays", False, goes(CORE))
        need_modules("ip_gre")
        other_is_passed(ns, "ip_gre is loaded again")
        rmmod(OTHER)
        sends(ns, "the other hook has gone")
        expect("ip_gre goes again", True, goes("ip_gre"))
        expect("and the core with it", True, not is_loaded(CORE) or goes(CORE))
        modprobe(OTHER)
        need_modules("ip_gre")
        sends(ns, "another hook behind")
        expect("ip_gre goes from in front of it", True, goes("ip_gre"))
        expect("and the core", True, not is_loaded(CORE) or goes(CORE))
        rmmod(OTHER)
        need_modules("ip_gre")
        sends(ns, "alone again")


ksft_run(main)
