#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Names that are no text: of a tunnel, of another device, of a process. The swap carries them both ways.

    n0
    t0 ipip, up, with an altname; a dummy device with IPv6
"""
import ctypes
import os
import subprocess

from exchange import expect_status, in_tree
from ksft import NetNs, check, ksft_run

PR_SET_NAME = 15
ALTNAME, DUMMY, PROCESS = b"alt\xe9", b"d\x1c\xff", b"\xc3\x9cberwachungsd\xc3"


def ip(ns, *words):
    subprocess.run([b"ip", b"-n", ns.name.encode(), *words], check=True)


def shown(ns):
    return subprocess.run(["ip", "-n", ns.name, "link", "show"], check=True, stdout=subprocess.PIPE).stdout


def sleep_with_name():
    """A process in the namespace, until its end"""
    ctypes.CDLL(None).prctl(PR_SET_NAME, PROCESS, 0, 0, 0)
    os.read(os.pipe()[0], 1)


def main():
    with in_tree(), NetNs(ipv6=True) as n0:
        n0.ip("link add t0 type ipip local 192.0.2.1 remote 192.0.2.2", "addr add 198.51.100.1/24 dev t0",
              "link set t0 up", "link add d0 type dummy", "addr add 2001:db8::1/64 dev d0")
        ip(n0, b"link", b"property", b"add", b"dev", b"t0", b"altname", ALTNAME)
        ip(n0, b"link", b"set", b"d0", b"name", DUMMY)
        ip(n0, b"link", b"set", DUMMY, b"up")
        n0.start_function(sleep_with_name)
        for command in "status", "swap", "status", "restore":
            expect_status(command, 0, command)
            check(f"{command}: the altname is there", b"altname " + ALTNAME in shown(n0))
            check(f"{command}: the address is there", n0.answered("198.51.100.1"))
        n0.stop()


ksft_run(main)
