#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Packets of one tunnel on several processors: RPS of the tunnel device goes by
the inner flow, which stays in order and on one of them; and the source port of
FOU and GUE is by the inner flow, or the one that was asked for.

    n1                      n2
    | v1 192.0.2.1          | v2 192.0.2.2
    '-----------------------'
    many flows, received by CPU A     tun 198.51.100.2, RPS: A, B, both

Takes two processors. With one, all packets must be on that one.
"""
import os
import socket
import struct

from bulk import long_queue
from burst import FOU_GRE, FOU_IPIP, PORT, Raw, Receiver, Watch, datagram
from ksft import ksft_run, need_modules, modprobe, NetNs, check, diag, differs, expect, until, veth_pair
from pkt import eth, gre, ip, udp
from wire import fields

FLOWS, TIMES = 24, 20
FIRST_PORT = 5000               # of the flows
MAC = "02:00:00:00:aa:02"
GUE = 5553


def outer(proto=None):
    return ip("192.0.2.1", "192.0.2.2", proto)


def one_port(dport):
    return outer() / udp(7000, dport, check=0)


# options of the tunnel, what is around a packet
KINDS = {
    "ipip": ("ipip", lambda p: outer(4) / p),
    "gre": ("gre", lambda p: outer() / gre(0x0800) / p),
    "gre key 5 csum": ("gre key 5 csum", lambda p: outer() / gre(0x0800, key=5, csum=True) / p),
    "gretap": ("gretap", lambda p: outer() / gre(0x6558) / eth(MAC) / p),
    "ipip in FOU, one port": ("ipip", lambda p: one_port(FOU_IPIP) / p),
    "gre in FOU, one port": ("gre", lambda p: one_port(FOU_GRE) / gre(0x0800) / p),
    "ipip in GUE, one port": ("ipip", lambda p: one_port(GUE) / bytes((0, 4, 0, 0)) / p),
}


class Bench:
    """Where the packets are sent, and where they are counted"""

    def __init__(self, n1, n2, cpus):
        self.n1, self.n2, self.cpus = n1, n2, cpus
        self.first, self.last, self.two = cpus[0], cpus[-1], cpus[:2]
        self.wire = Raw(n1.name, "v1", n2.name, "v2")
        n2.ip(f"fou add port {FOU_IPIP} ipproto 4", f"fou add port {FOU_GRE} ipproto 47", f"fou add port {GUE} gue",
              "addr add 198.51.100.2 dev lo")
        self.receiver = Receiver(n2)


# --------------------------------------------------------- which processor

def send_all(bench, wrap):
    """datagrams of all flows in turn -> {flow: [number] as they arrive}"""
    bench.receiver.forget()
    for number in range(TIMES):
        for flow in range(FLOWS):
            bench.wire.send(wrap(datagram(flow, number)))
    until(FLOWS * TIMES, bench.receiver.take)
    _, came = bench.receiver.forget()
    return {flow: [n for f, n in came if f == flow] for flow in range(FLOWS)}


def many(bench, name, wrap, cpus):
    """Each datagram arrives, each flow in order and on one processor, and all of
    these processors have worked."""
    taps = {cpu: Watch(bench.n2, "tun", cpu) for cpu in bench.cpus}
    before = bench.n2.counters.read()
    flows = send_all(bench, wrap)
    expect(f"{name}: each arrives, those of a flow in order", [],
           [f"{f}: {n}" for f, n in flows.items() if n != list(range(TIMES))])
    seen = {cpu: [int.from_bytes(p[20:22], "big") for p in tap.drain()] for cpu, tap in taps.items()}
    for tap in taps.values():
        tap.close()
    expect(f"{name}: each is seen once", FLOWS * TIMES, sum(map(len, seen.values())))
    expect(f"{name}: a flow has one processor", [],
           [port for port in range(FIRST_PORT, FIRST_PORT + FLOWS)
            if sum(port in found for found in seen.values()) != 1])
    expect(f"{name}: processors", sorted(cpus), [cpu for cpu in bench.cpus if seen[cpu]])
    counters = dict(c.split("=") for c in bench.n2.moved(before, "tun").split())
    counters.pop("rx_bytes", None)
    expect(f"{name}: counters", {"rx_packets": str(FLOWS * TIMES)}, counters)


def rps_of_the_underlay(bench, kind, wrap):
    """Now the outer packet has a hash, the same for all."""
    bench.n2.rps("v2", bench.two)
    with differs("goes on with the outer flow's hash"):
        many(bench, f"{kind}: RPS to two, and below", wrap, bench.two)
    bench.n2.rps("v2", [])


def receive_packet_steering(bench, kind, options, wrap):
    address = f"address {MAC} " * (options == "gretap")
    bench.n2.ip(f"link add tun {address}type {options} local 192.0.2.2 remote 192.0.2.1", "link set tun up")
    many(bench, f"{kind}: no RPS", wrap, [bench.first])
    bench.n2.rps("tun", [bench.last])
    many(bench, f"{kind}: RPS to another", wrap, [bench.last])
    bench.n2.rps("tun", bench.two)
    if "one port" in kind:
        rps_of_the_underlay(bench, kind, wrap)
    many(bench, f"{kind}: RPS to two", wrap, bench.two)
    bench.n2.rps("tun", [])
    many(bench, f"{kind}: RPS no more", wrap, [bench.first])
    bench.n2.ip("link del tun")


# ------------------------------------------------- entropy of the outer packet

def send_each_flow(n1):
    for flow in range(FLOWS):
        with n1.enter, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.bind(("198.51.100.1", FIRST_PORT + flow))
            sock.sendto(b"hello", ("198.51.100.2", PORT))


def ports(bench, name):
    """Two datagrams of each flow leave by n1's tunnel -> the outer source ports of
    the first ones, those of the second ones"""
    tap, seen = Watch(bench.n2, "v2"), []

    def count():
        seen.extend(tap.drain())
        return len(seen)

    for _ in range(2):
        send_each_flow(bench.n1)
    until(2 * FLOWS, count)
    tap.close()
    found = [struct.unpack_from("!H", p, 20)[0] for p in seen if fields(p)["proto"] == 17]
    expect(f"{name}: each leaves, in UDP", 2 * FLOWS, len(found))
    return found[:FLOWS], found[FLOWS:]


def source_ports(bench, kind, encap, dport, sport):
    name = f"{kind} in {encap}, port {sport}"
    bench.n1.ip(f"link add tun type {kind} local 192.0.2.1 remote 192.0.2.2 "
                f"encap {encap} encap-sport {sport} encap-dport {dport}",
                "link set tun up", "addr add 198.51.100.1/24 dev tun",
                *[f"neigh add 198.51.100.2 lladdr {MAC} dev tun"] * (kind == "gretap"))
    first, second = ports(bench, name)
    expect(f"{name}: a flow keeps its port", first, second)
    if sport == "auto":
        check(f"{name}: flows differ in it", len(set(first)) > FLOWS // 2, f"got:  {first}")
    else:
        expect(f"{name}: it is that of all", [int(sport)] * FLOWS, first)
    bench.n1.ip("link del tun")


def main():
    need_modules("ipip", "ip_gre")
    modprobe("fou")
    cpus = sorted(os.sched_getaffinity(0))
    diag(f"{len(cpus)} processors")
    # What is sent here is received here, unless RPS takes it elsewhere.
    os.sched_setaffinity(0, cpus[:1])
    with NetNs() as n1, NetNs() as n2, long_queue():
        veth_pair(n1, "v1", "192.0.2.1/24", n2, "v2", "192.0.2.2/24")
        bench = Bench(n1, n2, cpus)
        for kind, (options, wrap) in KINDS.items():
            receive_packet_steering(bench, kind, options, wrap)
        for kind in ("ipip", "gre", "gretap"):
            for encap, dport in ("fou", FOU_IPIP if kind == "ipip" else FOU_GRE), ("gue", GUE):
                for sport in ("auto", "7000"):
                    source_ports(bench, kind, encap, dport, sport)


ksft_run(main)
