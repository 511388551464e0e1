#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""The device below a tunnel is suspended and resumed: what is sent meanwhile waits in its queue or is counted as lost,
tunnels are configured as ever, and afterwards everything is as before.

    n1                                        n2
    t1 198.51.100.1 ================= t1 198.51.100.2
    v1 192.0.2.1, a queue of 10 ----- v2 192.0.2.2
"""
import contextlib
import socket
import struct

from ksft import (NetNs, Stats, expect, ksft_run, load_test_module, modprobe, need_modules, no_reference_left, rmmod,
                  veth_pair, write)
from refuse import works_each

QUEUE, TOO_MANY = 10, 4
PORT = 4001
MODULE = "ip_tnl_suspend_test"
KINDS = ["ipip", "gre", "gre key 7 csum seq", "gretap", "ipip encap fou encap-dport 5555 encap-sport 5555"]


@contextlib.contextmanager
def topology(words):
    kind, _, options = words.partition(" ")
    with NetNs() as n1, NetNs() as n2:
        veth_pair(n1, "v1", "192.0.2.1/24", n2, "v2", "192.0.2.2/24")
        n1.tc(f"qdisc add dev v1 root pfifo limit {QUEUE}")
        for ns, own, peer in (n1, 1, 2), (n2, 2, 1):
            ns.ip("fou add port 5555 ipproto 4",
                  f"link add t1 type {kind} local 192.0.2.{own} remote 192.0.2.{peer} {options}",
                  f"addr add 198.51.100.{own}/24 dev t1", "link set t1 up")
        yield n1, n2


def switch(ns, what, dev):
    with ns.enter:
        write(f"/sys/module/{MODULE}/parameters/{what}", dev)


def udp(ns):
    with ns.enter:
        return socket.socket(socket.AF_INET, socket.SOCK_DGRAM)


def received(sock, count):
    """-> the numbers of so many datagrams, and of what is there besides"""
    numbers = [struct.unpack("!I", sock.recv(64))[0] for _ in range(count)]
    sock.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        while True:
            numbers.append(struct.unpack("!I", sock.recv(64))[0])
    sock.setblocking(True)
    return numbers


def suspended(words):
    with topology(words) as (n1, n2), udp(n1) as out, udp(n2) as sink:
        sink.bind(("198.51.100.2", PORT))
        out.connect(("198.51.100.2", PORT))
        expect(f"{words}: before", 3, n1.echo("198.51.100.2", 3))
        switch(n1, "suspend", "v1")
        near = Stats(n1, "t1")
        for number in range(QUEUE + TOO_MANY):
            out.send(struct.pack("!I", number))
        near.expect(f"{words}: suspended: sent as far as there is room", tx_packets=QUEUE, tx_dropped=TOO_MANY)
        works_each(n1, (f"{words}: suspended: another tunnel over the device",
                        "link add t2 type gre dev v1 remote 192.0.2.9"),
                   (f"{words}: suspended: up", "link set t2 up"), (f"{words}: suspended: down", "link set t2 down"),
                   (f"{words}: suspended: deleted", "link del t2"))
        switch(n1, "resume", "v1")
        expect(f"{words}: resumed: what was queued arrives in order", list(range(QUEUE)), received(sink, QUEUE))
        near, far = Stats(n1, "t1"), Stats(n2, "t1")
        expect(f"{words}: resumed: echo requests are answered", 3, n1.echo("198.51.100.2", 3))
        near.expect(f"{words}: resumed: counted as sent", tx_packets=3, rx_packets=3)
        far.expect(f"{words}: resumed: counted as received", tx_packets=3, rx_packets=3)


def changed(words):
    """What is changed while the device is suspended holds afterwards."""
    with topology(words) as (n1, _):
        expect(f"{words}: before a change", 1, n1.echo("198.51.100.2", 1))
        switch(n1, "suspend", "v1")
        n1.ip(f"link change t1 type {words.split()[0]} ttl 9")
        switch(n1, "resume", "v1")
        tap = n1.capture("v1", out=True)
        expect(f"{words}: after a change", 1, n1.echo("198.51.100.2", 1))
        expect(f"{words}: it holds", [9], [packet[8] for _, _, packet in tap.drain()])


def main():
    need_modules("ipip", "ip_gre")
    modprobe("fou")
    load_test_module(MODULE)
    for words in KINDS:
        suspended(words)
    for words in "ipip", "gre":
        changed(words)
    rmmod(MODULE)
    no_reference_left()


ksft_run(main)
