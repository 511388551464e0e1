#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# A tunnel is changed: each option, in both directions, for each kind; all
# that is sent, received and shown afterwards is the new, and after a change
# that is refused, the old.
#
#	   the test (192.0.2.x, 203.0.113.x)
#	      | u0	   | u1, mtu 1400	tun devices
#	   n0: 192.0.2.1, 203.0.113.1
#	       i0, g0, t0, e0	ipip, gre, gretap, erspan

. "$(dirname "$0")/lib.sh"
need_modules ipip ip_gre
modprobe fou
new_ns n0

wire n0 "$(ns n0)" <<'END'
import contextlib
import io
import sys
import tunctl
from wire import *
from ether import *

sysctl(net__ipv4__icmp_ratemask=0, net__ipv4__ip_default_ttl=99)
u0 = Tun("u0", "192.0.2.1/24")
u1 = Tun("u1", "203.0.113.1/24", mtu=1400)
run_ip("rule add fwmark 7 lookup 100", "route add 192.0.2.0/24 dev u1 table 100")
U1 = socket.if_nametoindex("u1")
KINDS = {"i0": "ipip", "g0": "gre", "t0": "gretap", "e0": "erspan"}
HEAD = {"ipip": 20, "gre": 24, "gretap": 38, "erspan": 50}
PAYLOAD = ip(ttl=33, tos=0x54) / udp() / b"hello"
FRAMED = frame(ip(ttl=33, tos=0x54) / udp() / b"hello")
FOU, GUE = 1, 2


class State:
    """a configuration, in attributes; what is not in it is the default"""

    def __init__(self, kind, **change):
        self.kind = kind
        # Of these, what is not mentioned would stay.
        self.attributes = {"LOCAL": "192.0.2.1", "REMOTE": "192.0.2.2",
                           "FWMARK": "0", "ENCAP_TYPE": "0",
                           "IGNORE_DF": "0"}
        if kind == "ipip":
            self.attributes["PROTO"] = "0"
        if kind == "erspan":
            self.attributes.update(IFLAGS="0x3000", OFLAGS="0x3000",
                                   IKEY="5", OKEY="5", ERSPAN_VER="1",
                                   ERSPAN_INDEX="0")
        self.attributes.update(change)
        if kind == "ipip":
            self.attributes.pop("IGNORE_DF", None)

    def texts(self):
        return [f"{k}={v}" for k, v in self.attributes.items()]

    def number(self, name, default=0):
        return int(self.attributes.get(name, str(default)), 0)

    def head(self, way, seq):
        """the tunnel's own header"""
        if self.kind == "ipip":
            return b""
        flags = self.number("OI"[way == "I"] + "FLAGS")
        key = self.number("OI"[way == "I"] + "KEY")
        if self.kind == "erspan":
            cos = 2 if way == "O" else 0        # of the payload's TOS
            return (gre(0x88be, seq=seq) / erspan(
                key, cos=cos, index=self.number("ERSPAN_INDEX"))).bytes()
        proto = 0x6558 if self.kind == "gretap" else 0x0800
        head = gre(proto, key=key if flags & 0x2000 else None,
                   csum=True if flags & 0x8000 else None,
                   seq=seq if flags & 0x1000 else None)
        data = self.payload().bytes()
        return (head / data).bytes()[:-len(data)]

    def payload(self):
        return FRAMED if self.kind in ("gretap", "erspan") else PAYLOAD

    def overhead(self):
        extra = 0
        if self.kind in ("gre", "gretap"):
            extra = 4 * bin(self.number("OFLAGS")).count("1")
        return HEAD[self.kind] + extra + \
            {0: 0, FOU: 8, GUE: 12}[self.number("ENCAP_TYPE")]

    def outer(self):
        """TTL, TOS, DF, addresses"""
        tos, ttl = self.number("TOS"), self.number("TTL")
        df = self.number("PMTUDISC", 1) or (self.kind == "ipip" and ttl)
        return {"ttl": ttl or 33, "tos": 0x54 if tos & 1 else tos,
                "df": int(bool(df)), "src": self.attributes["LOCAL"],
                "dst": self.attributes["REMOTE"]}

    def shown(self):
        """what "ip" says of it"""
        flags = self.number("IFLAGS"), self.number("OFLAGS")
        want = {"remote": self.attributes["REMOTE"],
                "local": self.attributes["LOCAL"],
                "ttl": self.number("TTL"),
                "pmtudisc": bool(self.outer()["df"])}
        for way, bits in zip("io", flags):
            key = self.number(way.upper() + "KEY")
            if bits & 0x2000:
                want[way + "key"] = socket.inet_ntoa(struct.pack("!I", key))
            for bit, name in ((0x1000, "seq"), (0x8000, "csum")):
                if bits & bit:
                    want[way + name] = True
        return want


def wire_of(state):
    return u1 if state.number("LINK") or state.number("FWMARK") else u0


def check(name, dev, state, seq, mtu, late=False, longer=False):
    """dev is what state says, in every respect"""
    kind = state.kind
    got = info(dev)
    want = state.shown()
    expect(f"{name}: is shown", want, {k: got.get(k) for k in want})
    expect(f"{name}: what else is shown",
           (hex(state.number("TOS")), state.number("FWMARK"),
            bool(state.number("IGNORE_DF")),
            {0: None, FOU: "fou", GUE: "gue"}[state.number("ENCAP_TYPE")]),
           (hex({"inherit": 1}.get(got.get("tos", "0x0")) or
                int(got.get("tos", "0x0"), 0)),
            int(str(got.get("fwmark", 0)), 0), bool(got.get("ignore_df")),
            got.get("encap", {}).get("type")))
    with differs("does not count all headers") \
            if late or (kind == "erspan" and seq) else differs("", ""):
        expect(f"{name}: MTU", mtu, show("link", "show", "dev", dev)[0]["mtu"])

    # One packet each way
    data = state.payload().bytes()
    tunnel = state.head("O", seq) + data
    encap = state.number("ENCAP_TYPE")
    body = tunnel
    if encap:
        if encap == GUE:
            body = bytes((0, 4 if kind == "ipip" else 47, 0, 0)) + body
        what, size = "udp", 28 + len(body)
    else:
        what, size = "ipip" if kind == "ipip" else "gre", 20 + len(body)
    sent = None
    wire = wire_of(state)
    if kind in ("gretap", "erspan"):
        with differs("adds to the length of an Ethernet header") \
                if longer else differs("", ""):
            sent = sends_frame(f"{name}: sent", wire, f"{what} {size}",
                               Port(dev), data)
    else:
        sent = sends(f"{name}: sent", f"{what} {size}", wire, dev, PAYLOAD)
    if sent:
        want = state.outer()
        expect(f"{name}: the outer header", want,
               {k: fields(sent)[k] for k in want})
        at = 20
        if encap:
            at = 28
            expect(f"{name}: the UDP ports",
                   (state.number("ENCAP_SPORT"), state.number("ENCAP_DPORT")),
                   struct.unpack_from("!HH", sent, 20))
        expect(f"{name}: the packet", body.hex(), sent[at:].hex())
    count = f"{dev} rx_bytes={len(data)} rx_packets=1"
    case(f"{name}: received", count, wire, ip(
        state.attributes["REMOTE"], state.attributes["LOCAL"],
        4 if kind == "ipip" else 47) / (state.head("I", seq) + data))


BOTH = {"IFLAGS": "0x2000", "OFLAGS": "0x2000"}
ALL = {"IFLAGS": "0xb000", "OFLAGS": "0xb000"}
CHANGES = {
    "another remote": {"REMOTE": "192.0.2.3"},
    "another local address": {"LOCAL": "203.0.113.1"},
    "a TTL": {"TTL": "7"}, "TTL 255": {"TTL": "255"},
    "a TOS": {"TOS": "0x20"}, "the payload's TOS": {"TOS": "1"},
    "no path MTU discovery": {"PMTUDISC": "0"},
    "a TTL without path MTU discovery": {"TTL": "9", "PMTUDISC": "0"},
    "a mark": {"FWMARK": "7"}, "a device": {"LINK": str(U1)},
    "FOU": {"ENCAP_TYPE": "1", "ENCAP_SPORT": "7001", "ENCAP_DPORT": "5555"},
    "GUE": {"ENCAP_TYPE": "2", "ENCAP_SPORT": "7002", "ENCAP_DPORT": "5556"},
}
GRE_CHANGES = {
    "a key": {**BOTH, "IKEY": "5", "OKEY": "5"},
    "two keys": {**BOTH, "IKEY": "6", "OKEY": "0xfedcba98"},
    "everything": {**ALL, "IKEY": "5", "OKEY": "6", "TTL": "3", "TOS": "4"},
    "an output key": {"OFLAGS": "0x2000", "OKEY": "9"},
    "an input key": {"IFLAGS": "0x2000", "IKEY": "9"},
    "a checksum": {"IFLAGS": "0x8000", "OFLAGS": "0x8000"},
    "a sequence number": {"IFLAGS": "0x1000", "OFLAGS": "0x1000"},
    "no look at DF": {"PMTUDISC": "0", "IGNORE_DF": "1"},
}
ERSPAN_CHANGES = {
    "another session": {"IKEY": "6", "OKEY": "1023"},
    "an index": {"ERSPAN_INDEX": "0xfffff"},
}
numbers = dict.fromkeys(KINDS, 0)


def changes(kind):
    more = {"gre": GRE_CHANGES, "gretap": GRE_CHANGES,
            "erspan": ERSPAN_CHANGES, "ipip": {}}[kind]
    yield from {**CHANGES, **more}.items()


def step(name, dev, state, mtu, late=False):
    expect(name, ("", ""), netlink("set", dev, state.kind, *state.texts()))
    check(name, dev, state, numbers[dev], mtu, late,
          state.kind == "gretap" and state.number("OFLAGS"))
    if state.number("OFLAGS") & 0x1000:
        numbers[dev] += 1


for dev, kind in KINDS.items():
    base = State(kind)
    mac = ["@ADDRESS=hex:020000000009"] * (kind in ("gretap", "erspan"))
    netlink("new", dev, kind, *mac, *base.texts())
    run_ip(*put_up(dev))
    check(f"{kind}: new", dev, base, numbers[dev], 1500 - HEAD[kind])
    numbers[dev] += kind == "erspan"
    for name, change in changes(kind):
        state = State(kind, **change)
        # The MTU follows what the header takes; and a new device below.
        room = 1400 if "LINK" in change or "FWMARK" in change else 1500
        late = "ENCAP_TYPE" in change
        # A number that is expected starts where the last one was.
        step(f"{kind}: {name}", dev, state, room - state.overhead(), late)
        with differs("compares with what was before") \
                if "IGNORE_DF" in change else differs("", ""):
            step(f"{kind}: {name}, and back", dev, base, 1500 - HEAD[kind],
                 late)
        # Which in two steps it does understand.
        netlink("set", dev, kind, *base.texts(), "PMTUDISC=0")
        netlink("set", dev, kind, *base.texts())

# What is not said is the default again.
for dev, kind in KINDS.items():
    state = State(kind, TTL="9", TOS="0x20")
    if kind in ("gre", "gretap"):
        state = State(kind, TTL="9", TOS="0x20", **ALL, IKEY="5", OKEY="5")
    netlink("set", dev, kind, *state.texts())
    step(f"{kind}: all is taken back", dev, State(kind), 1500 - HEAD[kind])

for dev, kind in KINDS.items():
    state = State(kind, **CHANGES["FOU"], **CHANGES["a mark"])
    netlink("set", dev, kind, *state.texts())
    silent = [t for t in state.texts() if not t.startswith(("ENCAP", "FW"))]
    expect(f"{kind}: no word of mark and encapsulation", ("", ""),
           netlink("set", dev, kind, *silent, "TTL=8"))
    expect(f"{kind}: they stay", ("fou", "0x7", 8),
           (info(dev).get("encap", {}).get("type"), info(dev).get("fwmark"),
            info(dev)["ttl"]))
    if kind != "ipip":
        netlink("set", dev, kind, *State(kind, IGNORE_DF="1",
                                         PMTUDISC="0").texts())
        silent = [t for t in State(kind, PMTUDISC="0").texts()
                  if not t.startswith("IGNORE")]
        expect(f"{kind}: no word of DF", ("", ""),
               netlink("set", dev, kind, *silent))
        expect(f"{kind}: it is not looked at still", True,
               info(dev).get("ignore_df"))
        netlink("set", dev, kind, *State(kind, PMTUDISC="0").texts())
    if kind == "erspan":
        netlink("set", dev, kind, *State(kind, ERSPAN_INDEX="7").texts())
        silent = [t for t in State(kind).texts()
                  if not t.startswith("ERSPAN_INDEX")]
        expect(f"{kind}: no word of the index", ("", ""),
               netlink("set", dev, kind, *silent))
        expect(f"{kind}: it stays", 7, info(dev).get("erspan_index"))

# ------------------------------------------------------------ who may not

FULL = {"TTL": "9", "TOS": "0x20", "ENCAP_TYPE": "1", "ENCAP_SPORT": "7001",
        "ENCAP_DPORT": "5555", "FWMARK": "7", "PMTUDISC": "0"}
OTHERS = {"ENCAP_TYPE": "2", "ENCAP_SPORT": "1", "ENCAP_DPORT": "2",
          "IGNORE_DF": "1", "PMTUDISC": "0", "TTL": "77", "TOS": "0x80",
          "FWMARK": "1"}
REFUSED = {
    "the ends of another": ("EEXIST", {**OTHERS, "REMOTE": "192.0.2.99"}),
    "an unknown encapsulation": ("EINVAL", {**OTHERS, "ENCAP_TYPE": "77"}),
}
POINT = {
    "no remote": ("EINVAL", {**OTHERS, "REMOTE": "0.0.0.0"}),
    "a group": ("EINVAL", {**OTHERS, "REMOTE": "233.252.0.1"}),
}
GRE_REFUSED = {
    "a flag of another version":
        ("EINVAL", {**OTHERS, "IFLAGS": "0x2001", "OFLAGS": "0x2000"}),
    "routing": ("EINVAL", {**OTHERS, "IFLAGS": "0x2000", "OFLAGS": "0x6000"}),
    "DF, looked at and not":
        ("EINVAL", {**OTHERS, "PMTUDISC": "1", "IGNORE_DF": "1"}),
    "external": ("EOPNOTSUPP", {"TTL": "77", "FWMARK": "1",
                                "COLLECT_METADATA": ""}),
}
GRETAP_REFUSED = {"a remote of zeros": ("EINVAL", {**OTHERS,
                                                   "REMOTE": "0.0.0.0"})}
ERSPAN_REFUSED = {
    "version 3": ("EINVAL", {**OTHERS, "ERSPAN_VER": "3"}),
    "an index too large": ("EINVAL", {**OTHERS, "ERSPAN_INDEX": "0x100000"}),
    "no key": ("EINVAL", {**OTHERS, "IFLAGS": "0x1000", "OFLAGS": "0x1000"}),
    "a session too large": ("EINVAL", {**OTHERS, "OKEY": "1024"}),
}
IPIP_REFUSED = {
    "another protocol": ("EINVAL", {**OTHERS, "PROTO": "17"}),
    "external": ("EINVAL", {**OTHERS, "COLLECT_METADATA": ""}),
}


def refused(kind):
    yield from {**REFUSED, **{
        "ipip": {**POINT, **IPIP_REFUSED}, "gre": {**POINT, **GRE_REFUSED},
        "gretap": {**GRE_REFUSED, **GRETAP_REFUSED},
        "erspan": {**GRE_REFUSED, **GRETAP_REFUSED, **ERSPAN_REFUSED},
    }[kind]}.items()


for dev, kind in KINDS.items():
    full = State(kind, **FULL)
    netlink("new", "o" + dev, kind, *State(kind, REMOTE="192.0.2.99").texts())
    for name, (error, change) in refused(kind):
        expect(f"{kind}: set up", "", netlink("set", dev, kind,
                                              *full.texts())[0])
        before = info(dev), show("link", "show", "dev", dev)[0]
        got, words = netlink("set", dev, kind, *State(kind, **change).texts())
        expect(f"{kind}, {name}: refused", error, got)
        with differs("says no reason"):
            expect(f"{kind}, {name}: a reason", True, bool(words))
        with differs("changes some of it all the same"):
            expect(f"{kind}, {name}: nothing has changed", before,
                   (info(dev), show("link", "show", "dev", dev)[0]))
            check(f"{kind}, {name}", dev, full, numbers[dev],
                  before[1]["mtu"])
        numbers[dev] += kind == "erspan"
    run_ip(f"link del o{dev}")

# By ioctl: gretap and erspan have none; ipip and gre keep their encapsulation.
for dev, kind in KINDS.items():
    if kind in ("gretap", "erspan"):
        for command in ("get", "add", "chg", "del"):
            output = io.StringIO()
            with contextlib.redirect_stdout(output):
                tunctl.main([sys.argv[1], dev, command, f"name={dev}",
                             "protocol=47", "daddr=192.0.2.5"])
            expect(f"{kind}: ioctl {command}", "EOPNOTSUPP",
                   output.getvalue().strip())
END
finish
