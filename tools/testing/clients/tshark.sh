#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# Every header that is sent, read by tshark: its dissectors find in it what was
# configured, each checksum right, and nothing malformed.
#
#	   the test (192.0.2.2), which writes what it gets into a capture
#	          | u0, a tun device
#	   n0: 192.0.2.1, one tunnel after the other

. "$(dirname "$0")/lib.sh"
need_modules ipip ip_gre
modprobe fou
new_ns n0

wire n0 "$TMP/headers.pcap" <<'END'
import itertools
import subprocess
import sys
from wire import *

FILE = sys.argv[1]
LINKTYPE_RAW = 101
FIELDS = ["frame.protocols", "ip.proto", "ip.flags.df", "ip.ttl",
          "ip.dsfield", "ip.checksum.status", "gre.flags_and_version",
          "gre.proto", "gre.key", "gre.sequence_number",
          "gre.checksum.status", "erspan.version", "erspan.spanid",
          "erspan.index", "erspan.hw", "erspan.direction", "mpls.label",
          "udp.dstport", "udp.checksum.status", "vlan.id", "data.data",
          "_ws.expert.severity"]
FOU_IP, FOU_GRE, GUE = 5555, 5556, 5557
SERIOUS = 0x600000              # tshark's warnings and errors
DATA = udp(4000, 4001) / raw(20)
V4 = ip("198.51.100.1", "198.51.100.2", tos=0x48) / DATA
V6 = ip6("2001:db8::1", "2001:db8::2") / udp(4000, 4001) / raw(20)
LABELS = mpls(100, bottom=0) / mpls(200) / V4
FRAME = eth() / V4
TAGGED = eth() / vlan(7) / V4

u0 = Tun("u0", "192.0.2.1/24")
frames = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
cases = []                      # (name, packet, fields that are expected)


def sent(seconds=60):
    """the next packet on the wire"""
    end = time.monotonic() + seconds
    packet = None
    while packet is None and time.monotonic() < end:
        packet = u0.recv()
    return packet or b""


def emit(name, kind, options, payload, **want):
    """what a tunnel makes of a payload"""
    run_ip(f"link add t1 type {kind} local 192.0.2.1 remote 192.0.2.2 "
           f"{options}", "link set t1 up")
    u0.drain()
    if kind in ("gretap", "erspan"):
        frames.sendto(payload.bytes(), ("t1", 0))
    else:
        transmit("t1", payload)
    cases.append((name, sent(), {"ip.checksum.status": OK, **{
        key.replace("__", "."): str(value) for key, value in want.items()}}))
    run_ip("link del t1")


def ok(number):
    """so many checksums, all of them good"""
    return ",".join("1" * number)


OK = ok(2)


def emit_all():
    emit("ipip", "ipip", "ttl 61", V4, frame__protocols="raw:ip:ip:udp:data",
         ip__proto="4,17", ip__ttl="61,64", ip__flags__df="1,0",
         udp__checksum__status=1)
    emit("ipip, TOS inherited", "ipip", "tos inherit ttl 5", V4,
         ip__dsfield="0x48,0x48", ip__ttl="5,64")
    emit("ipip, TOS", "ipip", "tos 0x10 ttl inherit nopmtudisc", V4,
         ip__dsfield="0x10,0x48", ip__ttl="64,64",
         ip__flags__df="0,0")
    emit("MPLS in IP", "ipip", "mode mplsip ttl 61", LABELS,
         ip__proto="137,17", mpls__label="100,200", udp__dstport=4001)
    for flags in itertools.product((0, 1), repeat=3):
        emit_gre(*flags)
    emit("gre, IPv6", "gre", "ttl 62 key 7 csum", V6,
         frame__protocols="raw:ip:gre:ipv6:udp:data", gre__proto="0x86dd",
         gre__checksum__status=1, ip__proto=47, ip__checksum__status=1)
    emit("gre, MPLS", "gre", "ttl 62", LABELS, gre__proto="0x8847",
         ip__proto="47,17", mpls__label="100,200", udp__dstport=4001)
    emit("gretap", "gretap", "ttl 62 key 9 csum", FRAME,
         frame__protocols="raw:ip:gre:eth:ethertype:ip:udp:data",
         gre__proto="0x6558", gre__key="0x00000009", gre__checksum__status=1)
    emit("gretap, VLAN", "gretap", "ttl 62", TAGGED, vlan__id=7,
         frame__protocols="raw:ip:gre:eth:ethertype:vlan:ethertype:ip:udp:"
         "data", gre__proto="0x6558")
    emit_erspan()
    emit_udp()


def emit_gre(csum, key, seq):
    words = [word for word, wanted in
             (("csum", csum), ("key 0x12345678", key), ("seq", seq)) if wanted]
    emit(" ".join(["gre", *words]), "gre", " ".join(["ttl 62", *words]), V4,
         frame__protocols="raw:ip:gre:ip:udp:data", gre__proto="0x0800",
         gre__flags_and_version="0x%04x" % (csum << 15 | key << 13 |
                                            seq << 12),
         gre__checksum__status="1" if csum else "",
         gre__key="0x12345678" if key else "",
         gre__sequence_number="0" if seq else "", ip__proto="47,17",
         ip__ttl="62,64", ip__flags__df="1,0")


def emit_erspan():
    emit("ERSPAN I", "erspan", "ttl 62 erspan_ver 0", FRAME,
         gre__proto="0x88be", gre__flags_and_version="0x0000")
    emit("ERSPAN II", "erspan",
         "ttl 62 seq key 100 erspan_ver 1 erspan 0xabcde", FRAME,
         gre__proto="0x88be", gre__flags_and_version="0x1000",
         gre__sequence_number=0, erspan__version=1, erspan__spanid=100,
         erspan__index=0xabcde)
    emit("ERSPAN III", "erspan", "ttl 62 seq key 101 erspan_ver 2 "
         "erspan_dir egress erspan_hwid 5", FRAME,
         gre__proto="0x22eb", gre__flags_and_version="0x1000",
         erspan__version=2, erspan__spanid=101, erspan__hw=5,
         erspan__direction=1)


def emit_udp():
    """FOU is what follows, read as such by the port; of GUE tshark has no
    dissector"""
    emit("FOU, ipip", "ipip", f"ttl 62 encap fou encap-sport 6000 "
         f"encap-dport {FOU_IP} encap-csum", V4,
         frame__protocols="raw:ip:udp:ip:udp:data", ip__proto="17,17",
         udp__dstport=f"{FOU_IP},4001", udp__checksum__status=OK)
    emit("FOU, gre", "gre", f"ttl 62 key 7 encap fou encap-sport 6000 "
         f"encap-dport {FOU_GRE} encap-csum", V4,
         frame__protocols="raw:ip:udp:gre:ip:udp:data", gre__proto="0x0800",
         gre__key="0x00000007", udp__checksum__status=OK)
    emit("GUE, ipip", "ipip", f"ttl 62 encap gue encap-sport 6000 "
         f"encap-dport {GUE} encap-csum", V4, ip__proto=17,
         ip__checksum__status=1, udp__checksum__status=1,
         udp__dstport=GUE, data__data="00040000" + V4.bytes().hex())


def capture_file(packets):
    with open(FILE, "wb") as file:
        file.write(struct.pack("=IHHiIII", 0xa1b2c3d4, 2, 4, 0, 0, 65536,
                               LINKTYPE_RAW))
        for packet in packets:
            file.write(struct.pack("=IIII", 0, 0, len(packet), len(packet)))
            file.write(packet)


def dissect():
    """-> for each packet what tshark found, by field"""
    words = ["tshark", "-n", "-r", FILE, "-T", "fields", "-E", "separator=;",
             "-E", "occurrence=a", "-E", "aggregator=,",
             "-d", f"udp.port=={FOU_IP},ip", "-d", f"udp.port=={FOU_GRE},gre"]
    for option in ("ip.check_checksum", "udp.check_checksum"):
        words += ["-o", f"{option}:TRUE"]
    for field in FIELDS:
        words += ["-e", field]
    text = subprocess.run(words, check=True, capture_output=True,
                          text=True).stdout
    # Some versions say True and False.
    text = text.replace("True", "1").replace("False", "0")
    return [dict(zip(FIELDS, line.split(";"))) for line in text.splitlines()]


emit_all()
capture_file([packet for _, packet, _ in cases])
found = dissect()
expect("tshark read every packet", len(cases), len(found))
for (name, packet, want), got in zip(cases, found):
    expect(f"{name}: tshark sees what was configured", want,
           {field: got[field] for field in want})
    severities = [int(n) for n in got["_ws.expert.severity"].split(",") if n]
    expect(f"{name}: nothing odd", [],
           [n for n in severities if n >= SERIOUS] +
           ["malformed"] * ("malformed" in got["frame.protocols"]))
END
finish
