#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""TCP into an underlay that is narrower than the tunnel's MTU: no segment is lost
to that, neither while what was learned of the path MTU is about to expire, nor
when it has expired. GSO packets of UDP are refused segment by segment, and so are
forwarded ones of TCP that GRO has made: their sender is told.

    n0                                         n1
    | v0 192.0.2.1  --- route mtu 1400 --->    | v1 192.0.2.2
    t0 198.51.100.1 ======= tunnel ======= t0 198.51.100.2
    u0 203.0.113.1 --- n2: u1 203.0.113.2
"""
import contextlib
import socket
import struct
import subprocess
import threading
import time

from ksft import ksft_run, need_modules, check, expect, NetNs, SLOW, differs, until, veth_pair
from pkt import csum, eth, ip, raw, vlan

KINDS = ("ipip", "gre", "gre key 5 csum", "gre seq", "gretap", "gre fou")
LOST = "loses GSO packets that meet an expired value"
EXPIRES = 2             # seconds
NARROW = 1400           # the underlay's MTU
SEGMENT = 1400          # bytes of TCP's payload: fits into the tunnel's MTU, not into the underlay's
CHUNK = bytes(range(250)) * 16


class Stream:
    """a TCP connection through the tunnel, both ends in hand"""

    def __init__(self, n0, n1, address):
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        with n1.enter, socket.socket(family) as server:
            server.bind((address, 4001))
            server.listen()
            with n0.enter:
                self.out = socket.create_connection((address, 4001), 30 * SLOW)
            self.came = server.accept()[0]
        self.came.settimeout(30 * SLOW)
        self.got = 0
        self.thread = threading.Thread(target=self.receive, daemon=True)
        self.thread.start()

    def receive(self):
        with contextlib.suppress(OSError):
            for data in iter(lambda: self.came.recv(1 << 18), b""):
                self.got += len(data)

    def close(self):
        self.out.shutdown(socket.SHUT_WR)
        self.thread.join(30 * SLOW)
        self.out.close()
        self.came.close()
        return self.got


def tunnel(n0, n1, kind):
    options = kind.replace("gre fou", "gre")
    more = "encap fou encap-sport 5555 encap-dport 5555" if "fou" in kind else ""
    for ns, own, peer in (n0, 1, 2), (n1, 2, 1):
        mac = f"address 02:00:00:00:aa:0{own} " * (kind == "gretap")
        ns.ip(f"link add t0 {mac}type {options} local 192.0.2.{own} remote 192.0.2.{peer} {more}",
              "link set t0 up", f"addr add 198.51.100.{own}/24 dev t0",
              *[f"addr add 2001:db8::{own}/64 dev t0 nodad"] * (kind != "ipip"))
        if kind == "gretap":
            ns.ip(f"neigh add 198.51.100.{peer} lladdr 02:00:00:00:aa:0{peer} dev t0",
                  f"neigh add 2001:db8::{peer} lladdr 02:00:00:00:aa:0{peer} dev t0")


def trouble(n0):
    return {name: n0.snmp(*name.split()) for name in ("Tcp RetransSegs", "Ip FragFails")}


def learned(n0, address):
    """whether a path MTU is remembered for an inner destination"""
    words = ["ip", "-n", n0.name, *["-6"] * (":" in address), "route", "get", address]
    return "expires" in subprocess.run(words, check=True, text=True, stdout=subprocess.PIPE).stdout


def wait_until_forgotten(n0, address):
    end = time.monotonic() + 60 * SLOW
    while learned(n0, address):
        if time.monotonic() > end:
            raise RuntimeError("the path MTU does not expire")
        time.sleep(0.1)


def transfer(n0, n1, kind, address):
    name = f"{kind} to {address}"
    stream = Stream(n0, n1, address)
    stream.out.sendall(CHUNK * 16)
    before, sent = trouble(n0), 16 * len(CHUNK)
    end = time.monotonic() + 3 * EXPIRES + 1        # the value would expire three times; longer does no harm
    while time.monotonic() < end:
        stream.out.sendall(CHUNK)
        sent += len(CHUNK)
        time.sleep(0.02)
    expect(f"{name}: nothing is lost while it sends", before, trouble(n0))
    lossless = 0
    for _ in range(3):
        wait_until_forgotten(n0, address)
        before = trouble(n0)
        stream.out.sendall(CHUNK * 4)
        sent += 4 * len(CHUNK)
        end = time.monotonic() + 30 * SLOW
        while stream.got < sent and time.monotonic() < end:
            time.sleep(0.01)
        lossless += before["Tcp RetransSegs"] == trouble(n0)["Tcp RetransSegs"]
    # What TCP had built already the inner IP layer may refuse, before it comes to the tunnel.
    with differs(LOST):
        check(f"{name}: nothing is lost after the value expired", lossless > 1, f"{lossless} of 3 times")
    expect(f"{name}: all of it arrives", sent, stream.close())


def datagrams(n0, n1, kind):
    """UDP_SEGMENT: a datagram cannot become smaller"""
    with n0.enter:
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with sock:
        sock.setsockopt(socket.IPPROTO_IP, 10, 3)           # IP_MTU_DISCOVER, IP_PMTUDISC_PROBE
        before, fails = n0.stat("t0", "tx_errors"), n0.snmp("Ip", "FragFails")
        sock.sendmsg([bytes(4 * 1400)], [(socket.SOL_UDP, 103, struct.pack("=H", 1400))], 0, ("198.51.100.2", 9))
    with differs("sends what the underlay then drops"):
        expect(f"{kind}: too long datagrams of a GSO packet are refused", (4, 0),
               (n0.stat("t0", "tx_errors") - before, n0.snmp("Ip", "FragFails") - fails))


def drain(tap, protocol):
    """-> packets of one protocol over IPv4; neighbours and routers are looked for at any time"""
    return [data for _, ethertype, data in tap.drain() if ethertype == 0x0800 and data[9] == protocol]


def tcp(ends, number, size, partial=False):
    """-> a segment with nothing but data; partial: its checksum is left to the device"""
    head = struct.pack("!HHIIBBHHH", 5000, 9, number, 0, 0x50, 0x10, 1000, 0, 0) + bytes(size)
    pseudo = b"".join(map(socket.inet_aton, ends)) + struct.pack("!HH", 6, len(head))
    return head[:16] + struct.pack("!H", ~csum(pseudo) & 0xffff if partial else csum(pseudo + head)) + head[18:]


def segment(number, size=SEGMENT, same_id=False):
    """-> a packet of TCP"""
    ends = "203.0.113.2", "198.51.100.2"
    head = ip(*ends, proto=6, flags=2, id=0 if same_id else number // size & 0xffff)
    return (head / raw(tcp(ends, number, size))).bytes()


@contextlib.contextmanager
def merging(n0):
    """Another namespace and a socket: TCP from there is merged by n0."""
    with NetNs() as n2:
        veth_pair(n0, "u0", "203.0.113.1/24", n2, "u1", "203.0.113.2/24")
        n0.sysctl(net__ipv4__ip_forward=1)
        n0.offloads("u0", True, "gro")
        n2.offloads("u1", False, "tso")             # veth has GRO only for what was not merged before
        n0.offloads("v0", False, "tso", "gso")
        n0.sysfs("u0/gro_flush_timeout", 10000000)
        with n2.enter:
            sock = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, 0)
        with sock:
            yield n2, sock


def send_segments(sock, number, *size, **how):
    """-> the number of the next one"""
    for _ in range(16):
        sock.sendto(segment(number, *size, **how), ("u1", 0x0800, 0, 0, bytes.fromhex("020000000100")))
        number += size[0] if size else SEGMENT
    return number


def forwarded(n0, kind):
    """Segments that GRO merges into a list of packets, since none of them has pages: that list cannot be segmented at
    other places."""
    with merging(n0) as (n2, sock):
        sent, told = n0.capture("t0", out=True), n2.capture("u1")
        merged, answers, number = 0, set(), 1
        end = time.monotonic() + 60 * SLOW
        while (merged < 20 or not answers) and time.monotonic() < end:
            number = send_segments(sock, number)
            merged += sum(len(data) > 1476 for data in drain(sent, 6))
            answers |= {data[20:28] for data in drain(told, 1)}
        check(f"{kind}: merged segments that are too long", merged >= 20, f"{merged} packets")
        want = NARROW - 20 - (0 if kind == "ipip" else 4)
        expect(f"{kind}: their sender is told the path MTU", {(3, 4, want)},
               {(data[0], data[1], int.from_bytes(data[6:8], "big")) for data in answers})


def locked(n0, n1, kind):
    """A route with a locked MTU takes DF off the outer header, whose identification then has to be unique, also
    where all segments of the payload have the same."""
    n0.ip("route change 192.0.2.2/32 dev v0 mtu lock 1500")
    with merging(n0) as (_, sock):
        sent, came = n0.capture("t0", out=True), n1.capture("v1")
        merged, number, outer = 0, 1, []
        end = time.monotonic() + 60 * SLOW
        while merged < 20 and time.monotonic() < end:
            number = send_segments(sock, number, 1000, same_id=True)
            merged += sum(len(data) > 1476 for data in drain(sent, 6))
            outer += [data for data in drain(came, 47) if len(data) > 1000]
        check(f"{kind}: merged segments with one identification", merged >= 20, f"{merged} packets")
        expect(f"{kind}: with a locked MTU they leave without DF", {0}, {data[6] >> 6 & 1 for data in outer})
        twice = len(outer) - len({data[4:6] for data in outer})
        expect(f"{kind}: and with different identifications", (True, 0), (len(outer) > 20, twice))
    n0.ip(f"route change 192.0.2.2/32 dev v0 mtu {NARROW}")


def too_long(n0, n1):
    """A frame with a VLAN tag may be longer than the MTU, by which it would fit into an IPv4 packet."""
    n0.ip("link set t0 mtu 65497 type gretap local 192.0.2.1 remote 192.0.2.2 nopmtudisc")
    came, before = n1.capture("v1"), n0.stat("t0", "tx_errors")
    head = (eth(dst="02:00:00:00:aa:02", src="02:00:00:00:aa:01") / vlan(5)).bytes()
    with n0.enter, socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as sock:
        sock.bind(("t0", 0x8100))
        lengths = []

        def arrived():
            lengths.extend(len(data) - 20 for data in drain(came, 47)
                           if int.from_bytes(data[6:8], "big") & 0x3fff)
            return sum(lengths)
        for size in 65497, 65493:
            sock.send(head + bytes(size))
        with differs("sends it with a length of a few bytes"):
            expect("gretap: the longest frame is sent in fragments", 65535 - 20, until(65535 - 20, arrived))
            expect("gretap: what no IPv4 packet can hold is an error", 1, n0.stat("t0", "tx_errors") - before)


def tagged(n0, n1):
    """A frame with a VLAN tag: the tag counts, too."""
    ends, size = ("198.51.100.1", "198.51.100.2"), 3 * SEGMENT
    frame = eth(dst="02:00:00:00:aa:02", src="02:00:00:00:aa:01") / vlan(5) / ip(*ends, proto=6, flags=2) / \
        raw(tcp(ends, 1, size, partial=True))
    came = n1.capture("t0")
    with n0.enter, socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as sock:
        sock.bind(("t0", 0x8100))
        sock.setsockopt(263, 15, 1)                         # SOL_PACKET, PACKET_VNET_HDR
        sock.send(struct.pack("=BBHHHH", 1, 1, 58, SEGMENT, 38, 16) + frame.bytes())
    seen = []

    def arrived():
        seen.extend(len(data) - 40 for data in drain(came, 6))
        return sum(seen)
    with differs("the underlay drops them"):
        expect("gretap: segments with a VLAN tag are made to fit", size, until(size, arrived))


def main():
    need_modules()
    with NetNs(ipv6=True) as n0, NetNs(ipv6=True) as n1:
        veth_pair(n0, "v0", "192.0.2.1/24", n1, "v1", "192.0.2.2/24")
        n0.ip(f"route add 192.0.2.2/32 dev v0 mtu {NARROW}")
        for ns in n0, n1:
            ns.run("sh", "-c", "modprobe fou; ip fou add port 5555 ipproto 47")
            ns.sysctl(net__ipv4__route__mtu_expires=EXPIRES, net__ipv6__route__mtu_expires=EXPIRES,
                      net__ipv4__tcp_early_retrans=0)
        for kind in KINDS:
            tunnel(n0, n1, kind)
            transfer(n0, n1, kind, "198.51.100.2")
            if kind in ("gre", "gretap"):
                transfer(n0, n1, kind, "2001:db8::2")
            datagrams(n0, n1, kind)
            if kind in ("ipip", "gre"):
                forwarded(n0, kind)
            if kind in ("gre", "gre key 5 csum"):
                locked(n0, n1, kind)
            if kind == "gretap":
                tagged(n0, n1)
                too_long(n0, n1)
            for ns in n0, n1:
                ns.ip("link del t0")


ksft_run(main)
