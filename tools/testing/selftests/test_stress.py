#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Tunnels are made, changed, renamed, taken up and down and deleted while packets
go through them; the two that nobody touches lose nothing.

       n1                      n2
       | v1 192.0.2.1          | v2 192.0.2.2
       '-----------------------'
       stay0 === gre key 1 === stay0    198.51.100.1, 198.51.100.2
       stay1 ===== ipip ====== stay1    198.51.100.5, 198.51.100.6
       c0 .. c5, now and then           203.0.113.x
"""
import concurrent.futures
import contextlib
import random
import socket
import time

import xfer
from ksft import NetNs, Stats, check, diag, expect, ksft_run, need_modules, veth_pair
from pkt import icmp, raw

SIZE, COUNT = 500, 100          # of datagrams, at a time
SECONDS, FEWEST = 10, 60        # at least, and operations however slow they are
STAY = {"stay0": "198.51.100.2", "stay1": "198.51.100.6"}


def two_that_stay(n1, n2):
    for own, peer, ns in (1, 2, n1), (2, 1, n2):
        ends = f"local 192.0.2.{own} remote 192.0.2.{peer}"
        ns.ip(f"link add stay0 type gre {ends} key 1", f"link add stay1 type ipip {ends}",
              *(line for n in (0, 1) for line in (
                  f"link set stay{n} up",
                  f"addr add 198.51.100.{own + 4 * n} peer 198.51.100.{peer + 4 * n} dev stay{n}")))


class Churn:
    """Operations on tunnels of n1 or n2, by chance"""

    def __init__(self, ns, own):
        self.ns, self.own, self.peer = ns, own, 3 - own
        self.random = random.Random(own)

    def device(self):
        return f"c{self.random.randrange(6)}"

    def gre(self):
        options = self.random.sample(("csum", "seq", "ttl 64", "tos inherit", "icsum", "oseq"), 2)
        return f"type gre local 192.0.2.{self.own} remote 192.0.2.{self.peer} " \
            f"key {self.random.randrange(2, 5)} {' '.join(options)}"

    def ipip(self):
        return f"type ipip local 192.0.2.{self.own} remote 192.0.2.{self.random.randrange(10, 13)} mode any"

    def underlay(self):
        return f"192.0.2.{self.random.randrange(100, 110)}/32 dev v{self.own}"

    def operation(self):
        """-> a line for "ip", which may well fail"""
        dev = self.device()
        return self.random.choice((
            f"link add {dev} {self.gre()}", f"link add {dev} {self.gre()}", f"link add {dev} {self.ipip()}",
            f"link change {dev} {self.gre()}", f"link change {dev} {self.gre()}", f"link change {dev} {self.ipip()}",
            f"link set {dev} up", f"link set {dev} up", f"link set {dev} down",
            f"link set {dev} mtu {self.random.randrange(500, 1500)}", f"link set {dev} name {self.device()}",
            f"addr add 203.0.113.{self.own} peer 203.0.113.{self.peer} dev {dev}", f"addr flush dev {dev}",
            f"addr add {self.underlay()}", f"addr del {self.underlay()}",
            f"route replace 203.0.113.{self.peer} dev {dev}", f"link del {dev}"))

    def run(self):
        """-> how many operations there were"""
        end, done = time.monotonic() + SECONDS, 0
        while time.monotonic() < end or done < FEWEST:
            self.ns.ip(*(self.operation() for _ in range(10)), force=True)
            done += 10
        return done


def echo_requests(address):
    """all the time, whether there is a way to there or not"""
    request = (icmp() / raw(56)).bytes()
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as sock:
        while True:
            with contextlib.suppress(OSError):
                sock.sendto(request, (address, 0))
            time.sleep(0.005)


def send_meanwhile(n1, n2, churning):
    """-> how many datagrams for each of the two, what was wrong about them"""
    count, wrong = 0, []
    while not all(future.done() for future in churning):
        for address in STAY.values():
            error = xfer.attempt(xfer.udp, n1.name, n2.name, address, COUNT, SIZE)
            wrong += [f"{address}: {error}"] * bool(error)
        count += COUNT
    return count, wrong


def nothing_is_lost(n1, n2):
    before = {(ns, dev): Stats(ns, dev) for dev in STAY for ns in (n1, n2)}
    n1.start_function(echo_requests, "203.0.113.2")
    n2.start_function(echo_requests, "203.0.113.1")
    with concurrent.futures.ThreadPoolExecutor() as pool:
        churning = [pool.submit(Churn(ns, own).run) for own, ns in ((1, n1), (2, n2))]
        count, wrong = send_meanwhile(n1, n2, churning)
    errors = [repr(future.exception()) for future in churning if future.exception()]
    check("the churning runs to its end", not errors, *errors)
    diag(f"{count} datagrams by each, during operations: {[future.result() for future in churning if not errors]}")
    expect("not a datagram is lost or changed", [], wrong)
    size = count * (SIZE + 28)
    for dev in STAY:
        before[n1, dev].expect(f"{dev}: n1 has sent each", tx_packets=count, tx_bytes=size)
        before[n2, dev].expect(f"{dev}: n2 has received each", rx_packets=count, rx_bytes=size)


def main():
    need_modules("ip_gre", "ipip")
    with NetNs() as n1, NetNs() as n2:
        veth_pair(n1, "v1", "192.0.2.1/24", n2, "v2", "192.0.2.2/24")
        two_that_stay(n1, n2)
        nothing_is_lost(n1, n2)


ksft_run(main)
