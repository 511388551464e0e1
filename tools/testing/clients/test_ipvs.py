#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""IPVS forwards requests by tunnel to two servers, which answer the client directly. The director encapsulates by
itself; the servers have a tunnel device with the service's address on it.

    client 192.0.2.9 --[        ]
                       [ bridge ]-- 192.0.2.1 d, the director
                       [ of net ]-- 192.0.2.2 s1, 203.0.113.1 on its tunnel
                       [        ]-- 192.0.2.3 s2, likewise
"""
from client import IPPROTO_TCP, Capture, bridge, output
from ksft import Stats, expect, ksft_run, modprobe, namespaces, need_modules, until
import web

VIP = "203.0.113.1"
ADDRESSES = "192.0.2.2", "192.0.2.3"    # of the servers
GUE_PORT = 6080


class Server:
    """The service, with its address on the tunnel only: the answers come from there."""

    def __init__(self, name, ns, dev):
        self.ns, self.dev = ns, dev
        ns.ip(f"link set {dev} up", f"addr add {VIP}/32 dev {dev}")
        self.web = web.Server(ns, name, VIP)
        self.stats = Stats(ns, dev)

    def came(self):
        return self.stats.moved({}).get("rx_packets", 0)

    def others(self):
        """-> what else was counted"""
        moved = self.stats.moved({})
        moved.pop("rx_packets", 0)
        return moved


def topology(net, client, director, s1, s2):
    bridge(net, (client, "192.0.2.9"), (director, "192.0.2.1"), *zip((s1, s2), ADDRESSES))
    director.sysctl(net__ipv4__ip_forward=1)
    director.ip(f"addr add {VIP}/32 dev lo")
    client.ip(f"route add {VIP} via 192.0.2.1")


def forward(director, options=""):
    """Configure the director: how it forwards packets to each server."""
    lines = [f"-A -t {VIP}:80 -s rr", *(f"-a -t {VIP}:80 -r {address}:80 -i {options}" for address in ADDRESSES)]
    output(director, "ipvsadm", "-R", stdin="\n".join(lines) + "\n")


def wire(name, capture, proto, offset, header):
    """header: what the packets to a server have at this offset behind the outer IP header"""
    end = offset + len(header) // 2
    for number, address in enumerate(ADDRESSES, 1):
        got = {(packet["proto"], packet["payload"][offset:end].hex())
               for packet in capture.packets() if packet["dst"] == address}
        expect(f"{name}: on the wire to server {number}", {(proto, header)}, got)


def every_packet(name, capture, servers):
    def sent():
        destinations = [packet["dst"] for packet in capture.packets()]
        return [destinations.count(address) for address in ADDRESSES]

    def came():
        return [server.came() for server in servers]

    until(True, lambda: sent() == came())
    expect(f"{name}: every packet came out of a tunnel", sent(), came())
    expect(f"{name}: and none went in", [{}, {}], [server.others() for server in servers])


def requests(name, client, director, servers, proto, offset, header):
    """which both servers answer"""
    capture = Capture(director, "e0")
    expect(f"{name}: the servers take turns", {"s1": 3, "s2": 3}, web.ask(client, VIP, 6, 100))
    expect(f"{name}: large requests", {"s1": 1, "s2": 1}, web.ask(client, VIP, 2, 200000))
    for server in servers:
        server.web.stop()
    wire(name, capture, proto, offset, header)
    expect(f"{name}: no answer goes through the director", [],
           [packet for packet in capture.packets(IPPROTO_TCP) if packet["src"] == VIP])
    every_packet(name, capture, servers)
    capture.close()
    output(director, "ipvsadm", "-C")
    for server in servers:
        server.ns.ip(f"addr flush dev {server.dev}")


def ipip(client, director, s1, s2):
    forward(director)
    s2.ip("link add i1 type ipip local 192.0.2.3")
    servers = Server("s1", s1, "tunl0"), Server("s2", s2, "i1")
    requests("IP in IP", client, director, servers, 4, 0, "4500")


def gre(client, director, s1, s2):
    forward(director, "--tun-type gre --tun-nocsum")
    s2.ip("link add g1 type gre local 192.0.2.3")
    servers = Server("s1", s1, "gre0"), Server("s2", s2, "g1")
    requests("GRE", client, director, servers, 47, 0, "000008004500")
    s2.ip("link set g1 down")


def gre_csum(client, director, s1, s2):
    forward(director, "--tun-type gre --tun-csum")
    s1.ip("link add g2 type gre local 192.0.2.2 icsum")
    s2.ip("link add g2 type gre local 192.0.2.3 icsum remote 192.0.2.1")
    servers = Server("s1", s1, "g2"), Server("s2", s2, "g2")
    requests("GRE with a checksum", client, director, servers, 47, 0, "80000800")


def gue(client, director, s1, s2):
    """In the UDP header, only the destination port is known beforehand."""
    forward(director, f"--tun-type gue --tun-port {GUE_PORT} --tun-nocsum")
    for ns in s1, s2:
        ns.ip(f"fou add port {GUE_PORT} gue")
    servers = Server("s1", s1, "tunl0"), Server("s2", s2, "i1")
    requests("GUE", client, director, servers, 17, 2, f"{GUE_PORT:04x}")


def main():
    need_modules("ipip", "ip_gre")
    modprobe("ip_vs", "ip_vs_rr", "fou")
    with namespaces(5) as (net, client, director, s1, s2):
        topology(net, client, director, s1, s2)
        for encapsulation in ipip, gre, gre_csum, gue:
            encapsulation(client, director, s1, s2)


ksft_run(main)
