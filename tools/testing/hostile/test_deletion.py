#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Very many tunnels are deleted while packets for them arrive: one by one, many at once, and with their namespaces.

    outside: a process sends without end, to every tunnel in turn
       | v0
       | u0, 192.0.2.1
    a namespace with most of the tunnels; another to which the rest were moved; "stays" is not deleted

IPTNL_TUNNELS=N so many (default 10000)
"""
import os
import socket

from hostile import unreclaimable
from ksft import NetNs, SLOW, check, diag, expect, ksft_run, modprobe, need_modules, no_reference_left
from pkt import eth, gre, ip, raw, udp
from wire import COUNTERS, ETH_P_IP, until

TUNNELS = int(os.environ.get("IPTNL_TUNNELS", "10000"))
ALONE = max(10, TUNNELS // 20)          # deleted one by one, and so many moved
LIMIT = 4 << 20                         # bytes
GROUP = 7
MAC = "02:00:00:00:00:01"
INNER = ip() / udp() / raw(64)
STAYS = 99999999


def remote(number):
    return f"10.1.{number // 250}.{number % 250 + 1}"


def tunnel(number):
    """-> arguments of "ip link add", a packet for it"""
    sender = remote(number)
    ends = f"local 192.0.2.1 remote {sender}"
    match number % 3:
        case 0:
            return f"gre {ends} key {number}", ip(sender, "192.0.2.1") / gre(key=number) / INNER
        case 1:
            return f"ipip {ends}", ip(sender, "192.0.2.1") / INNER
        case _:
            return f"gretap {ends} key {number}", ip(sender, "192.0.2.1") / gre(key=number) / eth() / INNER


def flood(packets):
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, 0)
    mac = bytes.fromhex(MAC.replace(":", ""))
    while True:
        for packet in packets:
            try:
                sock.sendto(packet, ("v0", ETH_P_IP, 0, 0, mac))
            except OSError:
                os.sched_yield()


def fill(ns, elsewhere):
    """-> packets, one for each tunnel, and as many for that which stays"""
    packets, staying = [], (ip("192.0.2.2", "192.0.2.1") / gre(key=STAYS) / INNER).bytes()
    ns.ip(f"link add stays type gre local 192.0.2.1 remote 192.0.2.2 key {STAYS}", "link set stays up")
    lines = []
    for number in range(TUNNELS):
        words, packet = tunnel(number)
        lines += [f"link add k{number} group {GROUP} type {words}", f"link set k{number} up"]
        packets += [packet.bytes(), staying]
    ns.ip(*lines)
    ns.ip(*(f"link set k{number} netns {elsewhere.name}" for number in moved()))
    return packets


def alone():
    return range(ALONE)


def moved():
    return range(ALONE, 2 * ALONE)


def arriving(ns):
    """Wait until more packets have arrived for the tunnel that stays. -> whether they do"""
    before = ns.stat("stays", "rx_packets")
    return until(True, lambda: ns.stat("stays", "rx_packets") > before + 100)


def receiving(ns):
    """-> how many of the tunnels have received a packet, as soon as all have"""
    def some():
        with ns.enter:
            return sum(values[0] > 0 for name, values in COUNTERS.read().items() if name[0] == "k")
    wanted = TUNNELS - len(moved())
    return until(wanted, some)


def left(ns):
    """-> how many of the tunnels are there"""
    with ns.enter:
        return sum(name[0] == "k" and name[1:].isdigit() for _, name in socket.if_nameindex())


def main():
    need_modules("ipip", "ip_gre")
    before = unreclaimable()
    with NetNs() as outside, NetNs() as ns:
        outside.ip(f"link add v0 type veth peer name u0 address {MAC} netns {ns.name}", "link set v0 up")
        ns.ip("addr add 192.0.2.1/24 dev u0", "link set u0 up", "route add 10.1.0.0/16 dev u0")
        elsewhere = NetNs()
        packets = fill(ns, elsewhere)
        diag(f"{TUNNELS} tunnels are there")
        outside.start_function(flood, packets)
        expect("packets arrive for each", TUNNELS - len(moved()), receiving(ns))
        before_that = left(ns) + left(elsewhere)
        ns.ip(*(f"link del k{number}" for number in alone()))
        expect("deleted one by one", TUNNELS - len(alone()) - len(moved()), left(ns))
        check("packets arrive still", arriving(ns))
        check("deleted with their namespace", elsewhere.remove())
        check("packets arrive after that", arriving(ns))
        ns.ip(f"link del group {GROUP}")
        expect("deleted at once", 0, left(ns))
        check("packets arrive at the end", arriving(ns))
        diag(f"{ns.stat('stays', 'rx_packets')} packets received while {before_that - left(ns)} tunnels were deleted")
        outside.stop()
    no_reference_left()
    if SLOW == 1:       # KASAN keeps what was freed; kmemleak looks for leaks there
        expect("memory is given back", True, until(True, lambda: unreclaimable() - before < LIMIT))
    diag(f"{unreclaimable() - before} bytes more at the end")


modprobe("veth")
ksft_run(main)
