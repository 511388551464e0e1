#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Two processors work on one tunnel at the same time: no error is missing from its
counters, no sequence number is used twice, and a device that is shown while it
sends writes the same headers as before.

       n1                      n2
       | v1 192.0.2.1          | v2 192.0.2.2, FOU
       '-----------------------'
       x0   gre to where no route leads        tun  ipip from 192.0.2.1
       s0   gre seq, e0  erspan, to 192.0.2.2

Takes two processors; with one, the senders only take turns.
"""
import os
import socket
import struct
import threading

import links
from bulk import MAC, long_queue
from burst import FOU_IPIP, MOST, Batches, Watch, datagram
from ksft import NetNs, diag, differs, expect, ksft_run, modprobe, need_modules, until, veth_pair
from wire import fields

ERRORS, NUMBERS = 400, 80               # batches of each processor
CONGESTION = 3                          # in the outer header, and none inside: an error
PAYLOAD = [datagram(0, n) for n in range(MOST)]


def start(cpu, count, batches, packets, port):
    """-> a process that sends so many batches on that processor"""
    child = os.fork()
    if child:
        return child
    status = 1
    try:
        os.sched_setaffinity(0, {cpu})
        for _ in range(count):
            batches.send(packets, port)
        status = 0
    finally:
        os._exit(status)


def both(cpus, count, make, packets=PAYLOAD, port=FOU_IPIP):
    """The processors send so many batches each, by sockets of their own."""
    children = [start(cpu, count, make(), packets, port) for cpu in cpus]
    expect("both have sent", [0, 0], [os.waitpid(child, 0)[1] for child in children])
    return 2 * count * MOST


def counted(name, ns, dev, total, *counters):
    """Each of these counters has moved by total."""
    before = dict.fromkeys(counters, 0)

    def moved():
        return {counter: ns.stat(dev, counter) for counter in before}

    expect(name, dict.fromkeys(counters, total), until(dict.fromkeys(counters, total), moved))


# ------------------------------------------------------------------ counters

def errors_of_sending(n1, cpus):
    n1.ip("link add x0 type gre local 192.0.2.1 remote 198.18.0.1", "link set x0 up", "route add 203.0.113.0/24 dev x0")
    n1.offloads("x0", False, "gso")
    total = both(cpus, ERRORS, lambda: Batches(n1, "x0", "203.0.113.2"))
    with differs("loses counts", "6.1"):
        counted("sent where no route leads: each is counted", n1, "x0", total, "tx_errors", "tx_carrier_errors")
    n1.ip("link del x0")


def congested(n1):
    batches = Batches(n1, "v1", "192.0.2.2")
    batches.sock.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, CONGESTION)
    return batches


def errors_of_receiving(n1, n2, cpus):
    n2.ip(f"fou add port {FOU_IPIP} ipproto 4", "link add tun type ipip local 192.0.2.2 remote 192.0.2.1",
          "link set tun up")
    total = both(cpus, ERRORS, lambda: congested(n1))
    with differs("loses counts", "6.1"):
        counted("congestion outside, no ECN inside: each is counted", n2, "tun", total, "rx_errors", "rx_frame_errors")
    n2.ip("link del tun", f"fou del port {FOU_IPIP}")


# ---------------------------------------------------------- sequence numbers

def sequence_numbers(n1, n2, cpus):
    n1.ip("link add s0 type gre local 192.0.2.1 remote 192.0.2.2 oseq", "link set s0 up",
          "route add 203.0.113.0/24 dev s0")
    n1.offloads("s0", False, "gso")
    watch = Watch(n2, "v2")
    total = both(cpus, NUMBERS, lambda: Batches(n1, "s0", "203.0.113.2"))
    seen = []

    def count():
        seen.extend(fields(packet)["payload"][:8] for packet in watch.drain())
        return len(seen)

    expect("sequence numbers: each packet is on the wire", total, until(total, count))
    watch.close()
    expect("sequence numbers: each is used once", [],
           sorted(set(range(total)) ^ {struct.unpack_from("!I", head, 4)[0] for head in seen}))
    n1.ip("link del s0")


# ------------------------------------------------------- shown while it sends

def show_until(ns, dev, end):
    """netlink's dump of the device, over and over"""
    while not end.is_set():
        links.configuration(ns.name, dev)


def erspan_is_shown(n1, n2, cpus):
    """What a dump says of the key is not written to the device."""
    n1.ip(f"link add e0 address {MAC[0]} type erspan local 192.0.2.1 remote 192.0.2.2 seq key 5 erspan_ver 1",
          "link set e0 up", "route add 203.0.113.2 dev e0", f"neigh add 203.0.113.2 lladdr {MAC[1]} dev e0")
    watch, end, heads = Watch(n2, "v2"), threading.Event(), []
    child = start(cpus[-1], 2 * NUMBERS, Batches(n1, "e0", "203.0.113.2"), PAYLOAD, FOU_IPIP)
    shower = threading.Thread(target=show_until, args=(n1, "e0", end))
    shower.start()
    total = 2 * NUMBERS * MOST

    def count():
        heads.extend(fields(packet)["payload"][:12] for packet in watch.drain())
        return len(heads)

    expect("erspan, shown meanwhile: each packet is on the wire", total, until(total, count))
    end.set()
    shower.join()
    expect("erspan, shown meanwhile: all are sent", 0, os.waitpid(child, 0)[1])
    watch.close()
    want = {struct.pack("!HHIHH", 0x1000, 0x88be, number, 0x1000, 5) for number in range(total)}
    with differs("the dump sets the key's flag in the device", "6.1 >=7.2"):
        expect("erspan, shown meanwhile: each header is right", [],
               sorted(head.hex() for head in want ^ set(heads))[:9])
    n1.ip("link del e0")


def main():
    need_modules("ipip", "ip_gre")
    modprobe("fou")
    cpus = sorted(os.sched_getaffinity(0))
    diag(f"{len(cpus)} processors")
    cpus = cpus[0], cpus[-1]
    with NetNs() as n1, NetNs() as n2, long_queue():
        veth_pair(n1, "v1", "192.0.2.1/24", n2, "v2", "192.0.2.2/24")
        errors_of_sending(n1, cpus)
        errors_of_receiving(n1, n2, cpus)
        sequence_numbers(n1, n2, cpus)
        erspan_is_shown(n1, n2, cpus)


ksft_run(main)
