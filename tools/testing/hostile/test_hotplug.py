#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""A processor goes offline while packets of tunnels wait there to be delivered, and comes back while more arrive: each
flow goes on all the time.

    outside: a process sends numbered packets without end
       | v0
       | u0, 192.0.2.1, with RPS on all processors -> h0 gre, h1 ipip -> a socket

IPTNL_TIMES=N so often (default 25)
"""
import os
import socket
import struct

from hostile import processor
from ksft import NetNs, check, diag, expect, ksft_run, need_modules, no_reference_left
from pkt import gre, ip, raw, udp
from wire import ETH_P_IP, run_ip, until

TIMES = int(os.environ.get("IPTNL_TIMES", "25"))
FLOWS = 8
MAC = "02:00:00:00:00:01"
FROM = "192.0.2.2", "192.0.2.1"
PORT = 5000


def flood():
    """Numbered packets of each flow in turn; a few at once, so that some wait"""
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, 0)
    mac = bytes.fromhex(MAC.replace(":", ""))
    number = 0
    while True:
        for flow in range(FLOWS):
            inner = ip("198.51.100.2", "198.51.100.1") / udp(PORT + flow, PORT) / raw(struct.pack("=II", flow, number))
            packet = ip(*FROM) / gre() / inner if flow % 2 else ip(*FROM) / inner
            sock.sendto(packet.bytes(), ("v0", ETH_P_IP, 0, 0, mac))
        number += 1


class Receiver:
    """The numbers of each flow as they come"""

    def __init__(self):
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.setsockopt(socket.SOL_SOCKET, 33, 64 << 20)           # SO_RCVBUFFORCE
        self.sock.bind(("198.51.100.1", PORT))
        self.sock.setblocking(False)
        self.last, self.packets, self.disorder = [-1] * FLOWS, 0, 0

    def drain(self):
        """-> packets so far"""
        while True:
            try:
                flow, number = struct.unpack("=II", self.sock.recv(64))
            except BlockingIOError:
                return self.packets
            self.disorder += number <= self.last[flow]
            self.last[flow] = number
            self.packets += 1

    def goes_on(self):
        """-> whether more packets come, of each flow"""
        before = list(self.last)

        def more():
            self.drain()
            return all(now > then for now, then in zip(self.last, before))
        return until(True, more)


def handled(cpu):
    """-> packets that this processor was given by RPS or a device"""
    with open("/proc/net/softnet_stat") as file:
        rows = [[int(word, 16) for word in line.split()] for line in file]
    return sum(row[0] for row in rows if len(row) < 13 or row[12] == cpu)


def cycle(receiver):
    """-> what went wrong"""
    problems = []
    processor(1, False)
    if not receiver.goes_on():
        problems.append("nothing comes while it is offline")
    before = handled(1)
    processor(1, True)
    if not until(True, lambda: handled(1) > before):
        problems.append("it handles no packet")
    if not receiver.goes_on():
        problems.append("nothing comes when it is back")
    return problems


def main():
    need_modules("ipip", "ip_gre")
    if os.cpu_count() < 2:
        raise RuntimeError("needs two processors")
    with NetNs() as outside, NetNs() as ns, ns.inside():
        outside.ip(f"link add v0 type veth peer name u0 address {MAC} netns {ns.name}", "link set v0 up")
        ends = f"local {FROM[1]} remote {FROM[0]}"
        run_ip(f"addr add {FROM[1]}/24 dev u0", "link set u0 up", f"link add h0 type gre {ends}",
               f"link add h1 type ipip {ends}", "link set h0 up", "link set h1 up", "addr add 198.51.100.1/24 dev h0",
               "route add 198.51.100.2 dev h0")
        for dev in "u0", "h0", "h1":
            ns.rps(dev, range(os.cpu_count()))
        for dev in "all", "h0", "h1":
            ns.sysctl(**{f"net/ipv4/conf/{dev}/rp_filter": 0})
        receiver = Receiver()
        outside.start_function(flood)
        check("packets of each flow come", receiver.goes_on())
        problems = []
        for number in range(1, TIMES + 1):
            problems += [f"{number}: {text}" for text in cycle(receiver)]
            if number % 50 == 0:
                diag(f"{number} times")
        expect("offline and back, packets come all the time", [], problems)
        outside.stop()
        diag(f"{receiver.drain()} packets, {receiver.disorder} of them out of order, while a processor was taken off "
             f"{TIMES - len(problems)} times")
    no_reference_left()


ksft_run(main)
