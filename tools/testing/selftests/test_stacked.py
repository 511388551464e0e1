#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Devices on top of a tunnel: what one of them is given leaves by the tunnels as
often as it should, and what a tunnel receives reaches it. A bond whose tunnels
lead back into the bond comes to an end.

       the test: 192.0.2.2, 192.0.2.3
          | u0, a tun device
       n0: 192.0.2.1
           l0, l1   gre, to these two
           t0, t1   gretap, to these two
           p0       the device on top; teql0
"""
import socket

from ether import MAC_B, Port, frame, put_up, tc
from ksft import NetNs, diag, differs, expect, ksft_run, modprobe, need_modules, rmmod
from pkt import gre, ip, udp
from wire import COUNTERS, Tun, fields, one_processor, run_ip, show, transmit, until
import team

ENDS = ("192.0.2.2", "192.0.2.3")
TIMES = 4
INNER = ip("203.0.113.1", "203.0.113.2") / udp() / b"hello"
FIRST, EACH, TURNS = (TIMES, 0), (TIMES, TIMES), (TIMES // 2, TIMES // 2)
# The device, the lines that make it, its team mode, how many packets leave by each of the two tunnels
PORTS = "link set t0 master p0", "link set t1 master p0"
PARENTS = {
    "vlan": (("link add link t0 name p0 type vlan id 5",), None, FIRST),
    "macvlan": (("link add link t0 name p0 type macvlan mode bridge",), None, FIRST),
    "ipvlan": (("link add link t0 name p0 type ipvlan mode l2",), None, FIRST),
    "bridge": (("link add p0 type bridge mcast_snooping 0", *PORTS), None, EACH),
    "bond active-backup": (("link add p0 type bond mode active-backup", *PORTS,
                            "link set p0 type bond primary t0"), None, FIRST),
    "bond broadcast": (("link add p0 type bond mode broadcast", *PORTS), None, EACH),
    "bond balance-rr": (("link add p0 type bond mode balance-rr", *PORTS), None, TURNS),
    "team broadcast": (("link add p0 type team", *PORTS), "broadcast", EACH),
    "team roundrobin": (("link add p0 type team", *PORTS), "roundrobin", TURNS),
}


def make(kind):
    lines, mode, _ = PARENTS[kind]
    run_ip("link set t0 down", "link set t1 down", lines[0])
    if mode:
        team.set_mode("p0", mode)
    run_ip(*lines[1:], *put_up("t0", "t1", "p0"), "addr add 203.0.113.1/24 dev p0")
    up = {"UP", "LOWER_UP"}
    expect(f"{kind}: is up", up, until(up, lambda: up & set(show("link", "show", "dev", "p0")[0]["flags"])))


def errors(before):
    """-> {device: counters that moved}, of those that count losses"""
    lost = {dev: [c for c in text.split() if "error" in c or "dropped" in c or "collisions" in c]
            for dev, text in COUNTERS.moved(before, COUNTERS.read()).items()}
    return {dev: found for dev, found in lost.items() if found}


def leaves(name, u0, give, inner, want):
    """What is given TIMES times leaves by the two tunnels so often."""
    u0.drain()
    before = COUNTERS.read()
    with one_processor():
        for _ in range(TIMES):
            give()
    sent = u0.drain()
    expect(f"{name}: sent to each end", want, tuple(sum(fields(p)["dst"] == end for p in sent) for end in ENDS))
    expect(f"{name}: what is sent", {inner.hex()}, {p[-len(inner):].hex() for p in sent})
    expect(f"{name}: no loss is counted", {}, errors(before))


def arrives(name, u0, packet):
    """It reaches the device on top."""
    before = COUNTERS.read()
    with one_processor():
        u0.send(packet)
    moved = COUNTERS.moved(before, COUNTERS.read())
    expect(f"{name}: received", True, "rx_packets=1" in moved.get("p0", ""))


def on_top(u0, kind):
    make(kind)
    address = show("link", "show", "dev", "p0")[0]["address"]
    out = frame(INNER, src=address)
    leaves(kind, u0, lambda: Port("p0").give(out), INNER.bytes(), PARENTS[kind][2])
    into = frame(ip("203.0.113.2", "203.0.113.1") / udp() / b"hello", dst=address)
    if kind == "vlan":
        into = into.bytes()[:12] + bytes.fromhex("81000005") + into.bytes()[12:]
    arrives(kind, u0, ip(ENDS[0], "192.0.2.1") / gre(0x6558) / into)
    run_ip("link del p0")


# ---------------------------------------------------------------------- teql

def under_teql(u0):
    """It hands packets to a tunnel that name teql0 as their device."""
    for kind, devices in ("gre", ("l0", "l1")), ("gretap", ("t0", "t1")):
        tc(*(f"qdisc add dev {dev} root teql0" for dev in devices))
        run_ip(*put_up(*devices, "teql0"), "route add 203.0.113.0/24 dev teql0",
               *(f"neigh add 203.0.113.2 lladdr {MAC_B} dev {dev}" for dev in devices if kind == "gretap"))
        leaves(f"teql of {kind}, a packet socket's", u0, lambda: transmit("teql0", INNER), INNER.bytes(), TURNS)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            leaves(f"teql of {kind}, a socket's", u0, lambda: sock.sendto(b"hello", ("203.0.113.2", 9)),
                   b"hello", TURNS)
        run_ip("link set teql0 down")
        tc(*(f"qdisc del dev {dev} root" for dev in devices))


# ---------------------------------------------------- back into the bond

def back_into_itself(u0):
    """Each packet becomes two, and each of those is to go by the bond again."""
    run_ip("link set t0 down", "link set t1 down",
           *(f"link set t{n} type gretap local 192.0.2.1 remote 198.51.100.{n + 2}" for n in range(2)),
           "link add p0 type bond mode broadcast", *PORTS, *put_up("t0", "t1", "p0"), "link set p0 arp off",
           "addr add 198.51.100.1/24 dev p0")
    tc("qdisc replace dev t0 root noqueue", "qdisc replace dev t1 root noqueue")
    before = COUNTERS.read()
    with one_processor():
        Port("p0").give(frame(INNER, dst="ff:ff:ff:ff:ff:ff"))
    moved = COUNTERS.moved(before, COUNTERS.read())
    diag(moved)
    # One becomes two, these become four, and of the next eight each is one tunnel too many.
    with differs("limits nothing", "6.1"):
        expect("a bond whose tunnels lead back into it: sent, and lost", {dev: "tx_errors=4 tx_packets=3"
                                                                          for dev in ("t0", "t1")},
               {dev: " ".join(moved.get(dev, "").split()[1:]) for dev in ("t0", "t1")})
    run_ip("link del p0")


def on_the_wire():
    u0 = Tun("u0", "192.0.2.1/24")
    run_ip(*(line for n, end in enumerate(ENDS) for line in (
        f"link add l{n} type gre local 192.0.2.1 remote {end}",
        f"link add t{n} address 02:00:00:00:00:0{n + 1} type gretap local 192.0.2.1 remote {end}")),
        *put_up("l0", "l1", "t0", "t1"))
    for kind in PARENTS:
        on_top(u0, kind)
    under_teql(u0)
    back_into_itself(u0)


def main():
    need_modules("ip_gre")
    modprobe("tun", "8021q", "bridge", "bonding", "team", "team_mode_broadcast", "team_mode_roundrobin", "macvlan",
             "ipvlan", "sch_teql")
    with NetNs() as n0:
        run_ip(f"link set teql0 netns {n0.name}")     # which was made in the first namespace
        with n0.inside():
            on_the_wire()
    rmmod("sch_teql")


ksft_run(main)
