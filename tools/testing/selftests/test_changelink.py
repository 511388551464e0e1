#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""A tunnel is changed: each option, set and taken back, for each kind. What is
sent, received and shown afterwards is the new configuration, and after a change
that is refused the old one.

       the test (192.0.2.x, 203.0.113.x)
          | u0           | u1, mtu 1400    tun devices
       n0: 192.0.2.1, 203.0.113.1
           i0, g0, t0, e0    ipip, gre, gretap, erspan
"""
import contextlib
import socket
import struct

from ksft import ksft_run, need_modules, modprobe, NetNs
from ether import Port, erspan, frame, info, netlink, put_up, sends_frame
from pkt import gre, ip, udp
from wire import Tun, case, differs, expect, fields, run_ip, sends, show, sysctl
import tunctl

KINDS = {"i0": "ipip", "g0": "gre", "t0": "gretap", "e0": "erspan"}
HEAD = {"ipip": 20, "gre": 24, "gretap": 38, "erspan": 50}
PAYLOAD = ip(ttl=33, tos=0x54) / udp() / b"hello"
FRAMED = frame(ip(ttl=33, tos=0x54) / udp() / b"hello")
CSUM, KEY, SEQ = 0x8000, 0x2000, 0x1000
FOU, GUE = 1, 2
ENCAP = {0: None, FOU: "fou", GUE: "gue"}
ENCAP_SIZE = {0: 0, FOU: 8, GUE: 12}

BOTH = {"IFLAGS": "0x2000", "OFLAGS": "0x2000"}
ALL = {"IFLAGS": "0xb000", "OFLAGS": "0xb000"}
CHANGES = {
    "another remote": {"REMOTE": "192.0.2.3"},
    "another local address": {"LOCAL": "203.0.113.1"},
    "a TTL": {"TTL": "7"}, "TTL 255": {"TTL": "255"},
    "a TOS": {"TOS": "0x20"}, "the payload's TOS": {"TOS": "1"},
    "no path MTU discovery": {"PMTUDISC": "0"},
    "a TTL without path MTU discovery": {"TTL": "9", "PMTUDISC": "0"},
    "a mark": {"FWMARK": "7"}, "a device": {"LINK": "u1"},
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
MORE_CHANGES = {"ipip": {}, "gre": GRE_CHANGES, "gretap": GRE_CHANGES, "erspan": ERSPAN_CHANGES}

FULL = {"TTL": "9", "TOS": "0x20", "ENCAP_TYPE": "1", "ENCAP_SPORT": "7001", "ENCAP_DPORT": "5555",
        "FWMARK": "7", "PMTUDISC": "0"}
# The valid part of a change that is refused
OTHERS = {"ENCAP_TYPE": "2", "ENCAP_SPORT": "1", "ENCAP_DPORT": "2", "IGNORE_DF": "1", "PMTUDISC": "0",
          "TTL": "77", "TOS": "0x80", "FWMARK": "1"}
REFUSED = {
    "the ends of another": ("EEXIST", {**OTHERS, "REMOTE": "192.0.2.99"}),
    "an unknown encapsulation": ("EINVAL", {**OTHERS, "ENCAP_TYPE": "77"}),
}
POINT_REFUSED = {
    "no remote": ("EINVAL", {**OTHERS, "REMOTE": "0.0.0.0"}),
    "a group": ("EINVAL", {**OTHERS, "REMOTE": "233.252.0.1"}),
}
IPIP_REFUSED = {
    "another protocol": ("EINVAL", {**OTHERS, "PROTO": "17"}),
    "external": ("EINVAL", {**OTHERS, "COLLECT_METADATA": ""}),
}
GRE_REFUSED = {
    "a flag of another version": ("EINVAL", {**OTHERS, "IFLAGS": "0x2001", "OFLAGS": "0x2000"}),
    "routing": ("EINVAL", {**OTHERS, "IFLAGS": "0x2000", "OFLAGS": "0x6000"}),
    "DF, looked at and not": ("EINVAL", {**OTHERS, "PMTUDISC": "1", "IGNORE_DF": "1"}),
    "external": ("EOPNOTSUPP", {"TTL": "77", "FWMARK": "1", "COLLECT_METADATA": ""}),
}
GRETAP_REFUSED = {"a remote of zeros": ("EINVAL", {**OTHERS, "REMOTE": "0.0.0.0"})}
ERSPAN_REFUSED = {
    "version 3": ("EINVAL", {**OTHERS, "ERSPAN_VER": "3"}),
    "an index too large": ("EINVAL", {**OTHERS, "ERSPAN_INDEX": "0x100000"}),
    "no key": ("EINVAL", {**OTHERS, "IFLAGS": "0x1000", "OFLAGS": "0x1000"}),
    "a session too large": ("EINVAL", {**OTHERS, "OKEY": "1024"}),
}
MORE_REFUSED = {
    "ipip": {**POINT_REFUSED, **IPIP_REFUSED},
    "gre": {**POINT_REFUSED, **GRE_REFUSED},
    "gretap": {**GRE_REFUSED, **GRETAP_REFUSED},
    "erspan": {**GRE_REFUSED, **GRETAP_REFUSED, **ERSPAN_REFUSED},
}


class State:
    """A configuration, in attributes; what is not in it has its default."""

    def __init__(self, kind, **change):
        self.kind = kind
        # Of these, what is not mentioned would stay as it is.
        self.attributes = {"LOCAL": "192.0.2.1", "REMOTE": "192.0.2.2", "FWMARK": "0", "ENCAP_TYPE": "0"}
        if kind == "ipip":
            self.attributes["PROTO"] = "0"
        else:
            self.attributes["IGNORE_DF"] = "0"
        if kind == "erspan":
            self.attributes.update(IFLAGS="0x3000", OFLAGS="0x3000", IKEY="5", OKEY="5", ERSPAN_VER="1",
                                   ERSPAN_INDEX="0")
        self.attributes.update(change)
        if kind == "ipip":
            self.attributes.pop("IGNORE_DF", None)

    def texts(self, *without):
        """for nl.py, without attributes that begin so"""
        return [f"{k}={socket.if_nametoindex(v) if k == 'LINK' else v}" for k, v in self.attributes.items()
                if not k.startswith(without)]

    def number(self, name, default=0):
        return int(self.attributes.get(name, str(default)), 0)

    def framed(self):
        return self.kind in ("gretap", "erspan")

    def payload(self):
        return FRAMED if self.framed() else PAYLOAD

    def head(self, way, seq):
        """the tunnel's own header; way: "I" or "O" """
        if self.kind == "ipip":
            return b""
        flags, key = self.number(way + "FLAGS"), self.number(way + "KEY")
        if self.kind == "erspan":
            cos = 2 if way == "O" else 0        # of the payload's TOS
            return (gre(0x88be, seq=seq) / erspan(key, cos=cos, index=self.number("ERSPAN_INDEX"))).bytes()
        head = gre(0x6558 if self.kind == "gretap" else 0x0800, key=key if flags & KEY else None,
                   csum=True if flags & CSUM else None, seq=seq if flags & SEQ else None)
        data = self.payload().bytes()
        return (head / data).bytes()[:-len(data)]

    def overhead(self):
        options = 0
        if self.kind in ("gre", "gretap"):
            options = 4 * bin(self.number("OFLAGS")).count("1")
        return HEAD[self.kind] + options + ENCAP_SIZE[self.number("ENCAP_TYPE")]

    def mtu(self):
        """by the route's device"""
        return (1400 if self.by_u1() else 1500) - self.overhead()

    def by_u1(self):
        return "LINK" in self.attributes or bool(self.number("FWMARK"))

    def outer(self):
        """TTL, TOS, DF, addresses"""
        tos, ttl = self.number("TOS"), self.number("TTL")
        df = self.number("PMTUDISC", 1) or (self.kind == "ipip" and ttl)
        return {"ttl": ttl or 33, "tos": 0x54 if tos & 1 else tos, "df": int(bool(df)),
                "src": self.attributes["LOCAL"], "dst": self.attributes["REMOTE"]}

    def shown(self):
        """what "ip" says of it"""
        want = {"remote": self.attributes["REMOTE"], "local": self.attributes["LOCAL"],
                "ttl": self.number("TTL"), "pmtudisc": bool(self.outer()["df"])}
        for way in "io":
            bits, key = self.number(way.upper() + "FLAGS"), self.number(way.upper() + "KEY")
            if bits & KEY:
                want[way + "key"] = socket.inet_ntoa(struct.pack("!I", key))
            for bit, name in ((SEQ, "seq"), (CSUM, "csum")):
                if bits & bit:
                    want[way + name] = True
        return want


class Tunnel:
    """One of the devices"""

    def __init__(self, dev, u0, u1):
        self.dev, self.kind = dev, KINDS[dev]
        self.u0, self.u1 = u0, u1
        self.seq = 0                    # the next sequence number

    def new(self, state):
        mac = ["@ADDRESS=hex:020000000009"] * state.framed()
        netlink("new", self.dev, self.kind, *mac, *state.texts())
        run_ip(*put_up(self.dev))

    def set(self, *texts):
        return netlink("set", self.dev, self.kind, *texts)

    def is_as(self, name, state, mtu, late=False):
        """It is what the state says, in every respect."""
        self.is_shown(name, state)
        with differs("does not count all headers") if late or (self.kind == "erspan" and self.seq) \
                else contextlib.nullcontext():
            expect(f"{name}: MTU", mtu, show("link", "show", "dev", self.dev)[0]["mtu"])
        wire = self.u1 if state.by_u1() else self.u0
        self.sends(name, state, wire)
        self.receives(name, state, wire)
        if state.number("OFLAGS") & SEQ:
            self.seq += 1

    def is_shown(self, name, state):
        got, want = info(self.dev), state.shown()
        expect(f"{name}: is shown", want, {k: got.get(k) for k in want})
        tos = got.get("tos", "0x0")
        expect(f"{name}: what else is shown",
               (hex(state.number("TOS")), state.number("FWMARK"), bool(state.number("IGNORE_DF")),
                ENCAP[state.number("ENCAP_TYPE")]),
               (hex(1 if tos == "inherit" else int(tos, 0)), int(str(got.get("fwmark", 0)), 0),
                bool(got.get("ignore_df")), got.get("encap", {}).get("type")))

    def sends(self, name, state, wire):
        data, encap = state.payload().bytes(), state.number("ENCAP_TYPE")
        body = state.head("O", self.seq) + data
        if encap == GUE:
            body = bytes((0, 4 if self.kind == "ipip" else 47, 0, 0)) + body
        if encap:
            outcome = f"udp {28 + len(body)}"
        else:
            outcome = f"{'ipip' if self.kind == 'ipip' else 'gre'} {20 + len(body)}"
        if state.framed():
            longer = self.kind == "gretap" and state.number("OFLAGS")
            with differs("adds to the length of an Ethernet header") if longer else contextlib.nullcontext():
                sent = sends_frame(f"{name}: sent", wire, outcome, Port(self.dev), data)
        else:
            sent = sends(f"{name}: sent", outcome, wire, self.dev, PAYLOAD)
        if sent:
            self.packet_is(name, state, sent, body)

    @staticmethod
    def packet_is(name, state, sent, body):
        want, got, at = state.outer(), fields(sent), 20
        expect(f"{name}: the outer header", want, {k: got[k] for k in want})
        if state.number("ENCAP_TYPE"):
            at = 28
            expect(f"{name}: the UDP ports", (state.number("ENCAP_SPORT"), state.number("ENCAP_DPORT")),
                   struct.unpack_from("!HH", sent, 20))
        expect(f"{name}: the packet", body.hex(), sent[at:].hex())

    def receives(self, name, state, wire):
        data = state.payload().bytes()
        outer = ip(state.attributes["REMOTE"], state.attributes["LOCAL"], 4 if self.kind == "ipip" else 47)
        case(f"{name}: received", f"{self.dev} rx_bytes={len(data)} rx_packets=1", wire,
             outer / (state.head("I", self.seq) + data))


# ------------------------------------------------------------------- accepted

def step(tunnel, name, state, late=False):
    expect(name, ("", ""), tunnel.set(*state.texts()))
    tunnel.is_as(name, state, state.mtu(), late)


def there_and_back(tunnel):
    """each option"""
    kind, base = tunnel.kind, State(tunnel.kind)
    for name, change in {**CHANGES, **MORE_CHANGES[kind]}.items():
        late = "ENCAP_TYPE" in change
        step(tunnel, f"{kind}: {name}", State(kind, **change), late)
        with differs("compares with what was before") if "IGNORE_DF" in change else contextlib.nullcontext():
            step(tunnel, f"{kind}: {name}, and back", base, late)
        # In two steps, in-tree takes IGNORE_DF back, too.
        tunnel.set(*base.texts(), "PMTUDISC=0")
        tunnel.set(*base.texts())


def every_option(tunnel):
    base = State(tunnel.kind)
    tunnel.new(base)
    tunnel.is_as(f"{tunnel.kind}: new", base, base.mtu())
    there_and_back(tunnel)


def taken_back(tunnel):
    """What is not said has its default again."""
    kind = tunnel.kind
    more = {**ALL, "IKEY": "5", "OKEY": "5"} if kind in ("gre", "gretap") else {}
    tunnel.set(*State(kind, TTL="9", TOS="0x20", **more).texts())
    step(tunnel, f"{kind}: all is taken back", State(kind))


# ------------------------------------------------------- what stays if not said

def encapsulation_stays(tunnel):
    dev, kind = tunnel.dev, tunnel.kind
    state = State(kind, **CHANGES["FOU"], **CHANGES["a mark"])
    tunnel.set(*state.texts())
    expect(f"{kind}: no word of mark and encapsulation", ("", ""), tunnel.set(*state.texts("ENCAP", "FW"), "TTL=8"))
    got = info(dev)
    expect(f"{kind}: they stay", ("fou", "0x7", 8),
           (got.get("encap", {}).get("type"), got.get("fwmark"), got["ttl"]))


def ignore_df_stays(tunnel):
    kind = tunnel.kind
    tunnel.set(*State(kind, IGNORE_DF="1", PMTUDISC="0").texts())
    expect(f"{kind}: no word of DF", ("", ""), tunnel.set(*State(kind, PMTUDISC="0").texts("IGNORE")))
    expect(f"{kind}: it is not looked at still", True, info(tunnel.dev).get("ignore_df"))
    tunnel.set(*State(kind, PMTUDISC="0").texts())


def index_stays(tunnel):
    kind = tunnel.kind
    tunnel.set(*State(kind, ERSPAN_INDEX="7").texts())
    expect(f"{kind}: no word of the index", ("", ""), tunnel.set(*State(kind).texts("ERSPAN_INDEX")))
    expect(f"{kind}: it stays", 7, info(tunnel.dev).get("erspan_index"))


def unmentioned(tunnel):
    encapsulation_stays(tunnel)
    if tunnel.kind != "ipip":
        ignore_df_stays(tunnel)
    if tunnel.kind == "erspan":
        index_stays(tunnel)


# -------------------------------------------------------------------- refused

def refuses(tunnel, name, error, change):
    dev, kind = tunnel.dev, tunnel.kind
    full = State(kind, **FULL)
    expect(f"{kind}: set up", "", tunnel.set(*full.texts())[0])
    before = info(dev), show("link", "show", "dev", dev)[0]
    got, words = tunnel.set(*State(kind, **change).texts())
    expect(f"{kind}, {name}: refused", error, got)
    with differs("says no reason"):
        expect(f"{kind}, {name}: a reason", True, bool(words))
    with differs("changes some of it all the same"):
        expect(f"{kind}, {name}: nothing has changed", before, (info(dev), show("link", "show", "dev", dev)[0]))
        tunnel.is_as(f"{kind}, {name}", full, before[1]["mtu"])


def refusals(tunnel):
    kind = tunnel.kind
    netlink("new", "other", kind, *State(kind, REMOTE="192.0.2.99").texts())
    for name, (error, change) in {**REFUSED, **MORE_REFUSED[kind]}.items():
        refuses(tunnel, name, error, change)
    run_ip("link del other")


def no_ioctls(kind, dev):
    """gretap and erspan have none."""
    for command in ("get", "add", "chg", "del"):
        _, text = tunctl.ask("-", dev, command, f"name={dev}", "protocol=47", "daddr=192.0.2.5")
        expect(f"{kind}: ioctl {command}", "EOPNOTSUPP", text)


def main():
    need_modules("ipip", "ip_gre")
    modprobe("tun", "fou")
    with NetNs() as n0, n0.inside():
        sysctl(net__ipv4__icmp_ratemask=0, net__ipv4__ip_default_ttl=99)
        u0 = Tun("u0", "192.0.2.1/24")
        u1 = Tun("u1", "203.0.113.1/24", mtu=1400)
        run_ip("rule add fwmark 7 lookup 100", "route add 192.0.2.0/24 dev u1 table 100")
        tunnels = [Tunnel(dev, u0, u1) for dev in KINDS]
        for behaviour in every_option, taken_back, unmentioned, refusals:
            for tunnel in tunnels:
                behaviour(tunnel)
        no_ioctls("gretap", "t0")
        no_ioctls("erspan", "e0")


ksft_run(main)
