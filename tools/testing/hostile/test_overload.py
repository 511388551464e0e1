#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""A tunnel that gets ten times what can be processed: another tunnel on the same processor loses nothing, tunnels are
made, changed and deleted as ever, and when the flood ends everything is as before.

    n1                                    n2
    pktgen -> d0 -> f1 ==== v1 ==== v2 -> f1 -> a program that takes its time -> d2
    echo requests   b1 ==== w1 ==== w2 -> b1

One processor sends the flood, the other (by RPS of v2) receives it and has all the rest to do. How many packets of f1
are delivered between the arrival of a packet of b1 and its delivery is counted by BPF programs.
"""
import os
import struct

from hostile import add_pktgen, start_pktgen
from bpf import Array, Program, attach, call, insn, leave, mov, on_stack, store
from burst import keep, machine
from ksft import NetNs, check, diag, expect, ksft_run, modprobe, need_modules, no_reference_left, until, veth_pair
from wire import differs, sysctl

ECHOES = 10
ROUNDS = 5                      # of making, changing and deleting a tunnel
TIMES = 10                      # more packets than are delivered
WAITING = 1000                  # net.core.netdev_max_backlog
WORK = 300, 600, 1200, 2400     # checksums of 512 bytes for each packet of f1: the first that is slow enough
MAC = "02:00:00:00:00:d0"
LOOKUP_ELEM, CSUM_DIFF = 1, 28
LOAD, STORE, ADD, SUB, NOT_EQUAL, NOT_GREATER = 0x79, 0x7b, 0x07, 0x1f, 0x55, 0xbd
# Offsets: packets of f1 so far; when one of b1 came; most in between; packets of b1
DELIVERED, ARRIVED, MOST, OTHERS = 0, 8, 16, 24


class Counts:
    """What the programs count"""

    VALUE = struct.Struct("=QQQQ")

    def __init__(self):
        self.array = Array(self.VALUE.size)

    def program(self, code, before=b""):
        """With r0 at the counts"""
        return Program(before + self.array.arguments() + call(LOOKUP_ELEM) + insn(NOT_EQUAL, 0, off=2) + leave(0) +
                       code + leave(0))

    def slow(self, times):
        """Take long, and count a packet of f1."""
        body = on_stack(1, -512) + mov(2, 512) + mov(3, 0) + mov(4, 0) + mov(5, 0) + call(CSUM_DIFF) + \
            insn(ADD, 7, imm=-1)
        work = store(-512, bytes(512)) + mov(7, times) + body + insn(NOT_EQUAL, 7, off=-(len(body) // 8 + 1))
        return self.program(insn(LOAD, 1, 0, DELIVERED) + insn(ADD, 1, imm=1) + insn(STORE, 0, 1, DELIVERED), work)

    def arrival(self):
        return self.program(insn(LOAD, 1, 0, DELIVERED) + insn(STORE, 0, 1, ARRIVED))

    def delivery(self):
        return self.program(insn(LOAD, 1, 0, OTHERS) + insn(ADD, 1, imm=1) + insn(STORE, 0, 1, OTHERS) +
                            insn(LOAD, 1, 0, DELIVERED) + insn(LOAD, 2, 0, ARRIVED) + insn(SUB, 1, 2) +
                            insn(LOAD, 3, 0, MOST) + insn(NOT_GREATER, 1, 3, 1) + insn(STORE, 0, 1, MOST))

    def read(self):
        """-> packets of f1 delivered so far, most of them that one of b1 waited for, packets of b1"""
        delivered, _, most, others = self.VALUE.unpack(self.array.read())
        return delivered, most, others


def build(n1, n2):
    veth_pair(n1, "v1", "192.0.2.1/24", n2, "v2", "192.0.2.2/24")
    veth_pair(n1, "w1", "203.0.113.1/24", n2, "w2", "203.0.113.2/24")
    for ns, dev, own, peer in (n1, "w1", 1, 2), (n2, "w2", 2, 1):
        # A NAPI context of their own, so that no queue is shared before the tunnel.
        ns.offloads(dev, True, "gro")
        ns.offloads(dev, False, "tso")
        ns.ip(f"link add f1 type gre local 192.0.2.{own} remote 192.0.2.{peer} key 1",
              f"link add b1 type gre local 203.0.113.{own} remote 203.0.113.{peer} key 2",
              f"addr add 198.51.100.{own} peer 198.51.100.{peer} dev f1",
              f"addr add 198.51.100.{own + 4} peer 198.51.100.{peer + 4} dev b1",
              f"link add d0 address {MAC} type dummy", *(f"link set {name} up" for name in ("f1", "b1", "d0")),
              f"route add 198.18.0.0/16 dev {'f1' if ns is n1 else 'd0'}")
        with ns.enter:
            sysctl(net__ipv4__ip_forward=1)
    n2.tc(*(f"qdisc add dev {dev} clsact" for dev in ("f1", "w2", "b1")))


def run_at(n2, dev, program):
    """What is received by this device runs this program."""
    with n2.enter:
        attach(dev, "ingress", program)


def slow_down(n1, n2, counts):
    """Make the delivery so slow that much more than TIMES as much is sent, however fast that is on this machine."""
    for times in WORK:
        run_at(n2, "f1", counts.slow(times))
        sent, delivered = n1.stat("f1", "tx_packets"), counts.read()[0]
        until(True, lambda first=delivered: counts.read()[0] - first > WAITING)
        ratio = (n1.stat("f1", "tx_packets") - sent) / (counts.read()[0] - delivered)
        diag(f"{times} checksums a packet: {ratio:.1f} times as many are sent as are delivered")
        if ratio > 2 * TIMES:
            break


def flood():
    os.sched_setaffinity(0, {1})
    add_pktgen("d0", MAC, "count 0", "burst 16", cpu=1)
    start_pktgen()


def control_plane(n2):
    """Make, change and delete tunnels. -> what "ip" complains of"""
    return "".join(n2.ip(f"link add c1 type gre remote 192.0.2.9 key {number + 10}", "link set c1 up",
                         "link change c1 type gre ttl 9", "link del c1", force=True) for number in range(ROUNDS))


def flooded(n1, n2, counts):
    slow_down(n1, n2, counts)
    sent, (delivered, _, others) = n1.stat("f1", "tx_packets"), counts.read()
    lost = n2.stat("b1", "rx_dropped"), n1.stat("b1", "rx_dropped")
    expect("echo requests of the other tunnel: each is answered", ECHOES, n1.echo("198.51.100.6", ECHOES))
    expect("a tunnel is made, changed and deleted", "", control_plane(n2))
    expect("the other tunnel: nothing is dropped", lost, (n2.stat("b1", "rx_dropped"), n1.stat("b1", "rx_dropped")))
    sent, (done, most, seen) = n1.stat("f1", "tx_packets") - sent, counts.read()
    done -= delivered
    check("the other tunnel's packets were looked at", seen - others >= ECHOES, seen - others)
    diag(f"{sent} packets into the tunnel that is flooded, {done} delivered; the other's waited for at most {most}")
    check(f"there was {TIMES} times as much as could be delivered", sent > TIMES * done, sent, done)
    with differs("a queue for each device"):
        check("a packet of the other tunnel waits for no more of them than may be queued", most <= WAITING + 1, most)


def main():
    need_modules("gre", "ip_gre")
    modprobe("pktgen", "dummy")
    keep("netdev_max_backlog", "dev_weight_rx_bias")
    machine("netdev_max_backlog", WAITING)
    machine("dev_weight_rx_bias", 16)
    if os.cpu_count() < 2:
        raise RuntimeError("needs two processors")
    os.sched_setaffinity(0, {0})
    with NetNs() as n1, NetNs() as n2:
        build(n1, n2)
        n2.rps("v2", [0])
        counts = Counts()
        run_at(n2, "w2", counts.arrival())
        run_at(n2, "b1", counts.delivery())
        expect("before: echo requests are answered", [10, 10], [n1.echo(f"198.51.100.{n}", 10) for n in (2, 6)])
        n1.start_function(flood)
        flooded(n1, n2, counts)
        n1.stop()
        expect("after the flood: each echo request is answered", [ECHOES, ECHOES],
               [n1.echo(f"198.51.100.{n}", ECHOES) for n in (2, 6)])
    no_reference_left()


ksft_run(main)
