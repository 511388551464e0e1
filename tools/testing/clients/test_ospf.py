#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""BIRD's OSPF over a gre tunnel: the adjacency becomes full, and the routes are learned, used, and follow the state of
the tunnel.

    n0                                      n1
    lan 203.0.113.1/26                      lan 203.0.113.65/26
    gre1 198.51.100.1 ====== OSPF ======= 198.51.100.2 gre1
       v0 192.0.2.1 ------------------- 192.0.2.2 v1
"""
import re

from client import IPPROTO_GRE, Capture, Files, Program, arrives
from ksft import Stats, check, expect, ksft_run, namespaces, need_modules, until, veth_pair
from refuse import command
from wire import fields
import xfer

LAN = {"n0": "203.0.113.1", "n1": "203.0.113.65"}
PREFIX = {"n0": "203.0.113.0/26", "n1": "203.0.113.64/26"}
KEY = 5
IPPROTO_OSPF, HELLO = 89, 1
CONFIG = """
router id 198.51.100.%d;
log stderr all;
protocol device {
    scan time 1;
}
protocol kernel {
    ipv4 {
        export all;
    };
}
protocol ospf v2 o {
    debug { states };
    area 0 {
        interface "gre1" {
            type ptp;
            hello 1;
            dead 10;
        };
        interface "lan" {
            stub;
        };
    };
}
"""


def router(ns, files, number, peer, address):
    """Make its tunnel and the network behind it, run its daemon. -> the daemon's socket"""
    ns.ip(f"link add gre1 type gre local 192.0.2.{number} remote 192.0.2.{peer} key {KEY} ttl 64",
          f"addr add 198.51.100.{number}/24 dev gre1", "link set gre1 up",
          "link add lan type dummy", f"addr add {address}/26 dev lan", "link set lan up")
    control = files.path(f"{number}.ctl")
    Program(ns, "bird", "-f", "-c", files.add(f"{number}.conf", CONFIG % number), "-s", control).wait_for(control)
    return control


def full(control):
    return bool(re.search("Full/PtP .*gre1", command("birdc", "-s", control, "show", "ospf", "neighbors")[1]))


def learnt(ns, prefix, peer):
    """whether the kernel has a route from OSPF"""
    return f"via {peer} dev gre1 proto bird" in command("ip", "-n", ns.name, "route", "show", prefix)[1]


def n1_learnt(n1):
    return learnt(n1, PREFIX["n0"], "198.51.100.1")


def hellos(capture):
    """-> {(outer source, inner source, inner destination, key)}"""
    found = set()
    for packet in capture.packets(IPPROTO_GRE):
        inside = fields(packet["payload"][8:])
        if inside["proto"] == IPPROTO_OSPF and inside["payload"][1] == HELLO:
            found.add((packet["src"], inside["src"], inside["dst"], int.from_bytes(packet["payload"][4:8], "big")))
    return found


def neighbours(n0, n1, files):
    capture = Capture(n0, "v0")
    controls = router(n0, files, 1, 2, LAN["n0"]), router(n1, files, 2, 1, LAN["n1"])
    for number, control in enumerate(controls):
        check(f"the neighbour of n{number} is full", until(True, lambda: full(control)))
    check("n0 has the route", until(True, lambda: learnt(n0, PREFIX["n1"], "198.51.100.2")))
    check("n1 has the route", until(True, lambda: n1_learnt(n1)))
    expect("hellos on the wire: to 224.0.0.5, from both, in GRE with the key",
           {(f"192.0.2.{number}", f"198.51.100.{number}", "224.0.0.5", KEY) for number in (1, 2)}, hellos(capture))
    capture.close()


def used(n0, n1):
    stats = Stats(n1, "gre1")
    check("the route is used", n0.echo(LAN["n1"], 3, source=LAN["n0"]) == 3)
    check("by way of the tunnel", stats.moved({}).get("rx_packets", 0) >= 3)
    for ns in n0, n1:
        ns.ip("link set gre1 mtu 1400")
    arrives("TCP by the route", xfer.tcp, n0, n1, LAN["n1"], 16, 65536)
    arrives("TCP, the other way", xfer.tcp, n1, n0, LAN["n0"], 16, 65536)


def lost_and_found(n0, n1):
    """Without hellos the route goes, with them it comes back."""
    n0.ip("link set gre1 down")
    check("n1 loses the route when the tunnel fails", until(False, lambda: n1_learnt(n1), seconds=300) is False)
    n0.ip("link set gre1 up")
    check("and has it again", until(True, lambda: n1_learnt(n1), seconds=300))
    check("which is used", n1.answered(LAN["n0"], source=LAN["n1"]))


def main():
    need_modules("ipip", "ip_gre")
    with Files() as files, namespaces(2) as (n0, n1):
        veth_pair(n0, "v0", "192.0.2.1/24", n1, "v1", "192.0.2.2/24")
        neighbours(n0, n1, files)
        used(n0, n1)
        lost_and_found(n0, n1)


ksft_run(main)
