#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Where packets are lost, by the tracepoint skb:kfree_skb: of every way to lose one that a test can take, the function
that the tracepoint names is in the table of doc/troubleshooting.md, and of each line of that table a function has been
seen, but for those that need a machine without memory or with a full queue.

    n0
    u0 192.0.2.1, a tun device: the test is the far end
    g0 gre to 192.0.2.2, g1 with csum iseq key 1; i0 ipip to 192.0.2.2, mode ipip; x0 gre to where no route leads;
    y0 gre and z0 ipip, external, which take all that no other takes: made last
"""
import os
import re
import subprocess

from ksft import NetNs, SERIES, check, diag, expect, ksft_run, modprobe, need_modules, write
from pkt import gre, ip, ip6, raw
from wire import Tun

HERE = os.path.dirname(os.path.abspath(__file__))
DOCUMENT = os.path.join(HERE, "../../../doc/troubleshooting.md")
TRACING = "/sys/kernel/tracing/"
NOT_HERE = {"ip_tnl_backlog_enqueue", "ip_tnl_backlog_poll", "ip_tnl_tx_send"}


def inner():
    return ip("203.0.113.2", "203.0.113.1", ttl=9)


def documented():
    """-> a set of functions for each line that names any"""
    with open(DOCUMENT) as file:
        text = file.read()
    table = text[text.index("| function | dropped packets |"):]
    cells = [line.split("|")[1] for line in table[:table.index("\n\n")].split("\n")]
    return [names for names in (set(re.findall(r"`(\w+)`", cell)) for cell in cells) if names]


class Trace:
    """The tracepoint, of this machine"""

    def __enter__(self):
        if not os.path.exists(TRACING + "trace"):
            subprocess.run(["mount", "-t", "tracefs", "tracefs", TRACING], check=True)
        write(TRACING + "trace", "")
        write(TRACING + "options/hash-ptr", "0")
        write(TRACING + "events/skb/kfree_skb/enable", "1")
        return self

    def __exit__(self, *_):
        write(TRACING + "events/skb/kfree_skb/enable", "0")

    @staticmethod
    def functions():
        """-> those of our modules since the last time"""
        with open(TRACING + "trace") as file:
            found = re.findall(r"location=(?:0x)?(\S+)", file.read())
        write(TRACING + "trace", "")
        return {name for name in map(symbol, found) if name}


def symbol(location):
    """A function of a module of ours, from its name (6.12) or its address (6.1)"""
    name = location.split("+")[0].split(".")[0]
    if not re.fullmatch("[0-9a-f]{16}", name):
        return name if name in OURS.values() else ""
    at = int(name, 16)
    below = [address for address in OURS if address <= at]
    return OURS[max(below)] if below and at - max(below) < 0x4000 else ""


def our_functions():
    """-> {address: name}"""
    found = {}
    with open("/proc/kallsyms") as file:
        for line in file:
            words = line.split()
            if words[-1] in ("[ip_tunnel_core]", "[ip_gre]", "[ipip]", "[gre]", "[tunnel4]"):
                found[int(words[0], 16)] = words[2].split(".")[0]
    return found


OURS = {}


def send(n0, device, protocol, data):
    n0.run("python3", "-c", "import socket, sys\n"
           "s = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, 0)\n"
           "s.sendto(bytes.fromhex(sys.argv[3]), (sys.argv[1], int(sys.argv[2]), 0, 0, bytes(4)))",
           device, str(protocol), data.hex())


def ways(n0, wire):
    """-> (what, function that loses it)"""
    def far():
        return ip("192.0.2.2", "192.0.2.1")

    yield "GRE of version 2", lambda: wire.send(far() / gre(ver=2) / inner())
    yield "GRE with a key that no tunnel has", lambda: wire.send(far() / gre(key=99) / inner())
    yield "a wrong checksum", lambda: wire.send(far() / gre(key=1, seq=1, csum=0x1234) / inner())
    yield "no checksum where one is wanted", lambda: wire.send(far() / gre(key=1, seq=1) / inner())
    yield "a payload that is cut short", lambda: wire.send(far() / gre() / raw("4500"))
    yield "congestion marked on what knows no ECN", \
        lambda: wire.send(ip("192.0.2.2", "192.0.2.1", tos=3) / gre() / inner())
    yield "ipip that no tunnel takes", lambda: wire.send(ip("192.0.2.9", "192.0.2.1") / inner())
    yield "ipip, congestion marked on what knows no ECN", \
        lambda: wire.send(ip("192.0.2.2", "192.0.2.1", tos=3) / inner())
    yield "MPLS for a tunnel of IPv4", \
        lambda: wire.send(ip("192.0.2.2", "192.0.2.1", proto=137) / raw("00001140") / inner())
    yield "MPLS that no tunnel takes", \
        lambda: wire.send(ip("192.0.2.9", "192.0.2.1", proto=137) / raw("00001140") / inner())
    yield "no route", lambda: send(n0, "x0", 0x0800, inner().bytes())
    yield "IPv6 in ipip", lambda: send(n0, "i0", 0x86dd, ip6().bytes())
    n0.ip("link add y0 type gre external", "link add z0 type ipip external", "link set y0 up", "link set z0 up")
    yield "gre, external, without metadata", lambda: send(n0, "y0", 0x0800, inner().bytes())
    yield "ipip, external, without metadata", lambda: send(n0, "z0", 0x0800, inner().bytes())


def main():
    modprobe("tun")
    need_modules()
    write("/proc/sys/kernel/kptr_restrict", "0")
    OURS.update(our_functions())
    seen, rows = set(), documented()
    table = set().union(*rows)
    with NetNs() as n0:
        with n0.enter:
            wire = Tun("u0", "192.0.2.1/24")
        n0.ip("link add g0 type gre local 192.0.2.1 remote 192.0.2.2",
              "link add g1 type gre local 192.0.2.1 remote 192.0.2.2 key 1 csum seq",
              "link add i0 type ipip mode ipip local 192.0.2.1 remote 192.0.2.2",
              "link add x0 type gre local 192.0.2.1 remote 198.51.100.2",
              *("link set %s up" % name for name in ("g0", "g1", "i0", "x0")))
        with Trace() as trace:
            for what, lose in ways(n0, wire):
                trace.functions()
                lose()
                found = trace.functions()
                diag("%s: %s" % (what, " ".join(sorted(found))))
                check("%s: it is seen" % what, found)
                check("%s: in the table" % what, found <= table, *(found - table))
                seen |= found
    expect("of every line of the table a function was seen (%s)" % SERIES, [],
           [" ".join(sorted(names)) for names in rows if not names & (seen | NOT_HERE)])


ksft_run(main)
