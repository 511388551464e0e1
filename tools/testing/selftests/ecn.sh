#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Explicit congestion notification, the whole matrix: RFC 6040 4.2 for packets
# that come out of a tunnel, RFC 3168 (as in the in-tree drivers) for those
# that go into one.
#
#	   the test (192.0.2.2)
#	          | u0, a tun device
#	   n0: 192.0.2.1
#	       i1  ipip mode any	g1  gre
#	       the same with "tos inherit" (i2, g2) and "tos 0xb8" (i3, g3)

. "$(dirname "$0")/lib.sh"
need_modules ip_gre ipip
new_ns n0

wire n0 <<'END'
import re
from wire import *

u0 = Tun("u0", "192.0.2.1/24")
TUNNELS = {kind + n: f"{options} local 192.0.2.1 remote 192.0.2.{n}1 tos {tos}"
           for kind, options in (("i", "type ipip mode any"),
                                 ("g", "type gre"))
           for n, tos in (("1", "0"), ("2", "inherit"), ("3", "0xb8"))}
for name, options in TUNNELS.items():
    run_ip(f"link add {name} {options}", f"link set {name} up")

ECN = ("Not-ECT", "ECT(1)", "ECT(0)", "CE")
NOT_ECT, ECT1, ECT0, CE = range(4)
DSCP = 0x68
INNER = {"IPv4": (lambda ecn: ip(tos=DSCP | ecn) / icmp(), ETH_P_IP),
         "IPv6": (lambda ecn: ip6(tc=DSCP | ecn) / icmp(), ETH_P_IPV6),
         "MPLS": (lambda ecn: mpls(100) / ip(tos=DSCP | ecn), ETH_P_MPLS)}

# ----------------------------------------------------------------- receive
# [inner][outer] -> inner afterwards, None: dropped, as the mark would be lost
EGRESS = {NOT_ECT: (NOT_ECT, NOT_ECT, NOT_ECT, None),
          ECT1: (ECT1, ECT1, ECT1, CE),
          ECT0: (ECT0, ECT1, ECT0, CE),
          CE: (CE, CE, CE, CE)}


def wrap(dev, inner, tos):
    outer = ip("192.0.2.11", "192.0.2.1", tos=tos)
    return outer / gre() / inner if dev[0] == "g" else outer / inner


class KernelLog:
    """the lines since the last look"""

    def __init__(self):
        self.fd = os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK)
        os.lseek(self.fd, 0, os.SEEK_END)

    def read(self):
        lines = []
        while True:
            try:
                lines.append(os.read(self.fd, 8192).decode())
            except BlockingIOError:
                return lines
            except BrokenPipeError:
                pass


def set_log(on):
    for module in ("ipip", "ip_gre"):
        with open(f"/sys/module/{module}/parameters/log_ecn_error", "w") as f:
            f.write("NY"[on])


set_log(False)
for dev in ("i1", "g1"):
    for what, (build, proto) in INNER.items():
        if dev == "i1" and what == "IPv6":
            continue
        for inner in range(4):
            for outer in range(4):
                after = EGRESS[inner][outer] if what != "MPLS" else inner
                heard = tap(dev)
                size = len(build(0).bytes())
                name = f"{dev}: {ECN[inner]} {what} in {ECN[outer]}"
                case(name, f"{dev} {FRAME}" if after is None else
                     f"{dev} rx_bytes={size} rx_packets=1", u0,
                     wrap(dev, build(inner), 0x28 | outer))
                expect(name + ", the bytes", [] if after is None else
                       [build(after).bytes().hex()],
                       [data.hex() for _, _, data in heard.drain()])

# --------------------------------------------------------------------- log

log = KernelLog()
for on in (False, True):
    set_log(on)
    log.read()
    for dev in ("i1", "g1"):
        for outer, text in ((CE, "0x3"), (ECT0, "0x2"), (ECT1, "0x1"),
                            (NOT_ECT, None)):
            inject(u0, wrap(dev, ip(tos=NOT_ECT), outer))
            lines = [line for line in log.read() if "non-ECT" in line]
            want = [f"from 192.0.2.11 with TOS={text}"] * bool(on and text)
            expect(f"{dev}: log_ecn_error {on}, {ECN[outer]}", want,
                   [re.search(r"from \S+ with TOS=\S+", line).group()
                    for line in lines])

# -------------------------------------------------------------------- send
# A mark that says "congestion was met" stays inside.
INGRESS = {NOT_ECT: NOT_ECT, ECT1: ECT1, ECT0: ECT0, CE: ECT0}

for dev in TUNNELS:
    for what, (build, proto) in INNER.items():
        if dev[0] == "i" and what == "IPv6":
            continue
        for inner in range(4):
            ecn, dscp = INGRESS[inner], {"1": 0, "2": DSCP, "3": 0xb8}[dev[1]]
            if what == "MPLS":
                ecn, dscp = 0, 0 if dev[1] == "2" else dscp
            name = f"{dev}: {ECN[inner]} {what} is sent"
            packet = build(inner)
            kind = {"g": "gre", "i": "ipip"}[dev[0]]
            if kind == "ipip" and what == "MPLS":
                kind = "mpls"
            size = len(packet.bytes()) + (24 if dev[0] == "g" else 20)
            sent = sends(name, f"{kind} {size}", u0, dev, packet, proto)
            if sent:
                expect(name, f"0x{dscp | ecn:02x}", f"0x{sent[1]:02x}")
END
finish
