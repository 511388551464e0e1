#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Every header that is sent, read by tshark: its dissectors find what was configured, valid checksums and nothing
malformed.

       the test (192.0.2.2), which writes what is sent to a capture file
              | u0, a tun device
       n0: 192.0.2.1, one tunnel after the other
"""
import itertools
import struct
import subprocess

from client import Files
from ksft import NetNs, expect, ksft_run, modprobe, need_modules, until
from pkt import eth, ip, ip6, mpls, packet_socket, raw, udp, vlan
from wire import Tun, run_ip, transmit

LINKTYPE_RAW = 101
FIELDS = ["frame.protocols", "ip.proto", "ip.flags.df", "ip.ttl", "ip.dsfield", "ip.checksum.status",
          "gre.flags_and_version", "gre.proto", "gre.key", "gre.sequence_number", "gre.checksum.status",
          "erspan.version", "erspan.spanid", "erspan.index", "erspan.hw", "erspan.direction", "mpls.label",
          "udp.dstport", "udp.checksum.status", "vlan.id", "data.data", "_ws.expert.severity"]
FOU_IP, FOU_GRE, GUE = 5555, 5556, 5557
SERIOUS = 0x600000              # tshark's warnings and errors
ONE_OK, TWO_OK = "1", "1,1"     # so many checksums, all of them good
CSUM, KEY, SEQ = 0x8000, 0x2000, 0x1000
V4 = ip("198.51.100.1", "198.51.100.2", tos=0x48) / udp(4000, 4001) / raw(20)
V6 = ip6("2001:db8::1", "2001:db8::2") / udp(4000, 4001) / raw(20)
LABELS = mpls(100, bottom=0) / mpls(200) / V4
FRAME = eth() / V4
TAGGED = eth() / vlan(7) / V4


class Wire:
    """Records what the tunnels send."""

    def __init__(self):
        self.u0 = Tun("u0", "192.0.2.1/24")
        self.cases = []         # (name, packet, fields that are expected)

    def sent(self):
        """the next packet"""
        came = []

        def some():
            came.extend(self.u0.drain())
            return bool(came)

        until(True, some)
        return came[0] if came else b""

    def emit(self, name, kind, options, payload, **want):
        """a payload by a new tunnel, which replaces the one before"""
        run_ip(*["link del t1"] * bool(self.cases),
               f"link add t1 type {kind} local 192.0.2.1 remote 192.0.2.2 {options}", "link set t1 up")
        self.u0.drain()
        if kind in ("gretap", "erspan"):
            with packet_socket("-", "t1", 0) as sock:
                sock.send(payload.bytes())
        else:
            transmit("t1", payload)
        self.cases.append((name, self.sent(), {"ip.checksum.status": TWO_OK, **{
            key.replace("__", "."): str(value) for key, value in want.items()}}))


# ----------------------------------------------------------- what is emitted

def ipip(wire):
    wire.emit("ipip", "ipip", "ttl 61", V4, frame__protocols="raw:ip:ip:udp:data", ip__proto="4,17", ip__ttl="61,64",
              ip__flags__df="1,0", udp__checksum__status=ONE_OK)
    wire.emit("ipip, TOS inherited", "ipip", "tos inherit ttl 5", V4, ip__dsfield="0x48,0x48", ip__ttl="5,64")
    wire.emit("ipip, TOS", "ipip", "tos 0x10 ttl inherit nopmtudisc", V4, ip__dsfield="0x10,0x48", ip__ttl="64,64",
              ip__flags__df="0,0")
    wire.emit("MPLS in IP", "ipip", "mode mplsip ttl 61", LABELS, ip__proto="137,17", mpls__label="100,200",
              udp__dstport=4001)


def gre_flags(wire):
    for csum, key, seq in itertools.product((0, 1), repeat=3):
        words = " ".join(["csum"] * csum + ["key 0x12345678"] * key + ["seq"] * seq)
        wire.emit(f"gre {words}".rstrip(), "gre", f"ttl 62 {words}", V4, frame__protocols="raw:ip:gre:ip:udp:data",
                  gre__proto="0x0800", gre__flags_and_version=f"0x{csum * CSUM | key * KEY | seq * SEQ:04x}",
                  gre__checksum__status=ONE_OK * csum, gre__key="0x12345678" * key, gre__sequence_number="0" * seq,
                  ip__proto="47,17", ip__ttl="62,64", ip__flags__df="1,0")


def gre_payloads(wire):
    wire.emit("gre, IPv6", "gre", "ttl 62 key 7 csum", V6, frame__protocols="raw:ip:gre:ipv6:udp:data",
              gre__proto="0x86dd", gre__checksum__status=ONE_OK, ip__proto=47, ip__checksum__status=ONE_OK)
    wire.emit("gre, MPLS", "gre", "ttl 62", LABELS, gre__proto="0x8847", ip__proto="47,17", mpls__label="100,200",
              udp__dstport=4001)


def gretap(wire):
    wire.emit("gretap", "gretap", "ttl 62 key 9 csum", FRAME,
              frame__protocols="raw:ip:gre:eth:ethertype:ip:udp:data", gre__proto="0x6558", gre__key="0x00000009",
              gre__checksum__status=ONE_OK)
    wire.emit("gretap, VLAN", "gretap", "ttl 62", TAGGED, vlan__id=7, gre__proto="0x6558",
              frame__protocols="raw:ip:gre:eth:ethertype:vlan:ethertype:ip:udp:data")


def erspan(wire):
    wire.emit("ERSPAN I", "erspan", "ttl 62 erspan_ver 0", FRAME, gre__proto="0x88be",
              gre__flags_and_version="0x0000")
    wire.emit("ERSPAN II", "erspan", "ttl 62 seq key 100 erspan_ver 1 erspan 0xabcde", FRAME, gre__proto="0x88be",
              gre__flags_and_version="0x1000", gre__sequence_number=0, erspan__version=1, erspan__spanid=100,
              erspan__index=0xabcde)
    wire.emit("ERSPAN III", "erspan", "ttl 62 seq key 101 erspan_ver 2 erspan_dir egress erspan_hwid 5", FRAME,
              gre__proto="0x22eb", gre__flags_and_version="0x1000", erspan__version=2, erspan__spanid=101,
              erspan__hw=5, erspan__direction=1)


def fou_and_gue(wire):
    """tshark decodes FOU as told by dissect(), and has no dissector for GUE."""
    def encap(kind, port):
        return f"encap {kind} encap-sport 6000 encap-dport {port} encap-csum"

    wire.emit("FOU, ipip", "ipip", f"ttl 62 {encap('fou', FOU_IP)}", V4, ip__proto="17,17",
              frame__protocols="raw:ip:udp:ip:udp:data", udp__dstport=f"{FOU_IP},4001", udp__checksum__status=TWO_OK)
    wire.emit("FOU, gre", "gre", f"ttl 62 key 7 {encap('fou', FOU_GRE)}", V4, gre__proto="0x0800",
              frame__protocols="raw:ip:udp:gre:ip:udp:data", gre__key="0x00000007", udp__checksum__status=TWO_OK)
    wire.emit("GUE, ipip", "ipip", f"ttl 62 {encap('gue', GUE)}", V4, ip__proto=17, ip__checksum__status=ONE_OK,
              udp__checksum__status=ONE_OK, udp__dstport=GUE, data__data="00040000" + V4.bytes().hex())


# ----------------------------------------------------------- what tshark says

def capture_file(path, packets):
    with open(path, "wb") as file:
        file.write(struct.pack("=IHHiIII", 0xa1b2c3d4, 2, 4, 0, 0, 65536, LINKTYPE_RAW))
        for packet in packets:
            file.write(struct.pack("=IIII", 0, 0, len(packet), len(packet)) + packet)


def dissect(path):
    """-> for each packet what tshark found, by field"""
    words = ["tshark", "-n", "-r", path, "-T", "fields", "-E", "separator=;", "-E", "occurrence=a",
             "-E", "aggregator=,", "-d", f"udp.port=={FOU_IP},ip", "-d", f"udp.port=={FOU_GRE},gre",
             "-o", "ip.check_checksum:TRUE", "-o", "udp.check_checksum:TRUE"]
    for field in FIELDS:
        words += ["-e", field]
    text = subprocess.run(words, check=True, capture_output=True, text=True).stdout
    # Some versions say True and False.
    text = text.replace("True", "1").replace("False", "0")
    return [dict(zip(FIELDS, line.split(";"))) for line in text.splitlines()]


def read(name, want, got):
    expect(f"{name}: tshark sees what was configured", want, {field: got[field] for field in want})
    severities = [int(number) for number in got["_ws.expert.severity"].split(",") if number]
    expect(f"{name}: nothing odd", [], [number for number in severities if number >= SERIOUS] +
           ["malformed"] * ("malformed" in got["frame.protocols"]))


def main():
    need_modules("ipip", "ip_gre")
    modprobe("fou", "tun")
    with Files() as files, NetNs() as n0, n0.inside():
        wire = Wire()
        for emits in ipip, gre_flags, gre_payloads, gretap, erspan, fou_and_gue:
            emits(wire)
        capture_file(files.path("headers.pcap"), [packet for _, packet, _ in wire.cases])
        found = dissect(files.path("headers.pcap"))
        expect("tshark read every packet", len(wire.cases), len(found))
        for (name, _, want), got in zip(wire.cases, found):
            read(name, want, got)


ksft_run(main)
