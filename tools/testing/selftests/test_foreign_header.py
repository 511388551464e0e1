#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""A gre device without a remote address has the outer header as its link-layer
header. A packet that tc, BPF or a packet socket brings there without one is not
read as if it had: it is dropped and counted, and nothing of it decides where
something goes.

    d0 --- tc redirect --> n0: gre, local 192.0.2.1, no remote --- u0
"""
import socket
import struct

from ksft import ksft_run, need_modules, modprobe, expect, NetNs, differs, run_ip
import bpf
from pkt import gre, ip, ip6, raw, udp
from wire import COUNTERS, Tun, fields, one_processor

READ = "reads the payload as a header"
INNER4 = ip("198.51.100.1", "198.51.100.2") / udp(1, 2) / raw(60)
INNER6 = ip6("fd00::a09:42:0:1", "fd00::2") / udp(1, 2) / raw(60)
FOREIGN = {
    "IPv4": INNER4, "IPv6": INNER6,
    "IPv4, no more than a header": ip("198.51.100.1", "198.51.100.2", 17),
    "somebody else's GRE packet": ip("203.0.113.1", "203.0.113.2", 47) / gre(0x0800, key=4) / INNER4,
    "an ipip packet": ip("203.0.113.1", "203.0.113.2", 4) / INNER4,
    "zeros": raw(bytes(80)), "ones": raw(b"\xff" * 80),
}


def frame(packet):
    return bytes(12) + struct.pack("!H", packet.ethertype or 0x0800) + packet.bytes()


def redirect_by_bpf(dev, to):
    """bpf_redirect(), as tc redirects"""
    program = bpf.mov(1, socket.if_nametoindex(to)) + bpf.mov(2, 0) + bpf.call(23) + bpf.insn(0x95)
    bpf.attach(dev, "egress", bpf.Program(program))


def outcome(u0, sock, data):
    """-> what the device counted, and what left"""
    u0.drain()
    before = COUNTERS.read()
    with one_processor():
        sock.send(data)
    return COUNTERS.moved(before, COUNTERS.read()).get("gl"), u0.drain()


def foreign(u0, how, sock):
    for name, packet in FOREIGN.items():
        with differs(READ):
            expect(f"{how}: {name}: dropped and counted", ("tx_dropped=1", []), outcome(u0, sock, frame(packet)))


def own_header(u0, sock, ns):
    """A packet socket may write the header itself: then it is one."""
    head = ip("192.0.2.1", "192.0.2.22", 47, ttl=5, tos=0x10) / gre(0x0800, key=4)
    for name, inner in (("long", INNER4), ("short", ip("198.51.100.1", "198.51.100.2", 17))):
        u0.drain()
        sock.send((head / inner.bytes()).bytes())
        expect(f"a header of the sender's, {name}: taken", [("192.0.2.22", 5, 0x10)],
               [(f["dst"], f["ttl"], f["tos"]) for f in map(fields, u0.drain())])
        head = ip("192.0.2.1", "192.0.2.22", 47, ttl=5, tos=0x10) / gre(0x0800, key=4)
    for name, bad in (("of another protocol", ip("192.0.2.1", "192.0.2.22", 17)),
                      ("of another version", ip("192.0.2.1", "192.0.2.22", 47, version=6)),
                      ("with options", ip("192.0.2.1", "192.0.2.22", 47, ihl=6))):
        data = (bad / gre(0x0800, key=4) / INNER4.bytes()).bytes()
        with differs(READ):
            expect(f"a header of the sender's, {name}: dropped and counted", ("tx_dropped=1", []),
                   outcome(u0, sock, data))


def main():
    need_modules()
    modprobe("tun", "dummy", "act_mirred", "cls_matchall", "sch_ingress", "cls_bpf")
    with NetNs() as ns, ns.inside():
        u0 = Tun("u0", "192.0.2.1/24")
        run_ip("link add gl type gre local 192.0.2.1 key 4", "link set gl up",
               "link add d0 type dummy", "link set d0 up", "link add d1 type dummy", "link set d1 up")
        sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        sock.bind(("gl", 0x0800))
        own_header(u0, sock, ns)
        ns.tc("qdisc add dev d0 clsact", "filter add dev d0 egress matchall action mirred egress redirect dev gl",
              "qdisc add dev d1 clsact")
        redirect_by_bpf("d1", "gl")
        for dev, how in ("d0", "tc"), ("d1", "BPF"):
            sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
            sock.bind((dev, 0x0800))
            foreign(u0, how, sock)


ksft_run(main)
