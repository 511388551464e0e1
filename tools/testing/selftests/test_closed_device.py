#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""A packet that has left its tunnel, but is still queued when the device goes down: it is dropped, so that nobody can
take a reference to a device that is about to go.

    n0: "in", 192.0.2.1, a card of ../kernel/card.c: it holds back the softirqs of one processor, in which the packet is
        to be delivered, until the device is down
        t0  the tunnel; the payload is for 203.0.113.1, where a socket listens

With one processor, the card makes it look as if the device were down.
"""
import os
import socket
import sys
import threading

sys.path.append(os.path.join(os.path.dirname(os.path.abspath(__file__)), "../segments"))

import card                     # noqa: E402
from ksft import NetNs, check, expect, ksft_run, load_test_module, need_modules, rmmod, until    # noqa: E402
from pkt import eth, gre, ip, raw, udp          # noqa: E402
from wire import differs, run_ip                # noqa: E402

MAC = "02:00:00:00:aa:01"
FAR = "192.0.2.2", "192.0.2.1"
INNER = ip("203.0.113.2", "203.0.113.1") / udp(5000, 5000) / raw(20)
KINDS = {"ipip": ("ipip", ip(*FAR) / INNER), "gre": ("gre key 7", ip(*FAR) / gre(key=7) / INNER),
         "gretap": ("gretap", ip(*FAR) / gre(0x6558) / eth(MAC) / INNER)}


class Listener:
    def __init__(self):
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.bind(("203.0.113.1", 5000))
        self.sock.setblocking(False)

    def came(self):
        """-> datagrams since the last time"""
        count = 0
        while True:
            try:
                self.sock.recv(100)
                count += 1
            except BlockingIOError:
                return count


def held_back(ns, cards, index, frame):
    """The packet is received, and is still queued when the device is down."""
    def write():
        cards.write(card.order(index, card.RECEIVE, frame, flags=card.UNTIL_DOWN, protocol=socket.if_nametoindex("t0")))

    def elsewhere():
        os.sched_setaffinity(0, {1})
        write()

    before = ns.stat("t0", "rx_packets")
    if os.cpu_count() == 1:
        write()
        return ns.stat("t0", "rx_packets") > before
    thread = threading.Thread(target=elsewhere)
    thread.start()
    queued = until(True, lambda: ns.stat("t0", "rx_packets") > before)
    run_ip("link set t0 down")
    thread.join()
    return queued


def case(ns, cards, listener, kind, gro):
    words, packet = KINDS[kind]
    name = f"{kind}, {'through' if gro else 'without'} GRO"
    mac = f"address {MAC} " if kind == "gretap" else ""
    run_ip(f"link add t0 {mac}type {words} local {FAR[1]} remote {FAR[0]}", "link set t0 up")
    ns.offloads("t0", gro, "gro")
    index = socket.if_nametoindex("in")
    frame = card.ETHERNET + packet.bytes()
    cards.write(card.order(index, card.RECEIVE, frame))
    expect(f"{name}: a packet is delivered", 1, until(1, listener.came))
    dropped = ns.stat("t0", "rx_dropped")
    check(f"{name}: one is queued when the device goes down", held_back(ns, cards, index, frame))
    with differs("delivers it"):
        expect(f"{name}: it is dropped", (0, 1), (listener.came(), ns.stat("t0", "rx_dropped") - dropped))
    run_ip("link set t0 up")
    cards.write(card.order(index, card.RECEIVE, frame))
    expect(f"{name}: the next one is delivered when it is up again", 1, until(1, listener.came))
    run_ip("link del t0")


def main():
    need_modules("ipip", "ip_gre")
    os.sched_setaffinity(0, {0})
    with NetNs() as ns, ns.inside():
        load_test_module("ip_tnl_card")
        run_ip("addr add 192.0.2.1/24 dev in", "link set in up", "addr add 203.0.113.1 dev lo",
               "route add 203.0.113.2 dev lo")
        cards, listener = card.Cards(), Listener()
        for kind in KINDS:
            for gro in True, False:
                case(ns, cards, listener, kind, gro)
        os.close(cards.fd)
        listener.sock.close()
        rmmod("ip_tnl_card")


ksft_run(main)
