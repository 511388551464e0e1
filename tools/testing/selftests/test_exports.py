#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""The functions that tunnel4, gre and ip_gre export: for each of their
parameters, what they return and fill in, on our modules and on the kernel's.

The module ip_tnl_exports_test (../kernel) calls them; what a call is to return
is written down here, as rules. Where ours differs from the kernel's own modules
the rule says so, for a reason that README gives under "Where it differs";
everything else is the same for both.
"""
import errno
import os
import struct

from ksft import IN_TREE, NetNs, check, diag, expect, is_loaded, ksft_run, load_test_module, need_modules, rmmod
from pkt import csum, ip

PARSE, ADD, DEL, REGISTER, DEREGISTER, FALLBACK = range(6)
CALL = struct.Struct("=BBHiHhBBH")
HANDLERS, NULL = 4, 255

CSUM, ROUTING, KEY, SEQ = 0x8000, 0x4000, 0x2000, 0x1000
WCCP, ERSPAN, ERSPAN2 = 0x883e, 0x88be, 0x22eb
PROTOCOLS = (0x0800, 0x86dd, 0x6558, WCCP, ERSPAN, ERSPAN2, 0)
PARAMETERS = (0x0800, 0x86dd, 0, WCCP, 0x1234)
ALL = 0xffff                    # of a packet is linear
NONE, UNNECESSARY, COMPLETE, PARTIAL = range(4)
INVALID = str(-errno.EINVAL)
MTU = 65497


class Exports:
    def __init__(self):
        load_test_module("ip_tnl_exports_test")
        self.fd = os.open("/proc/ip_tnl_exports", os.O_RDWR)

    def close(self):
        os.close(self.fd)
        rmmod("ip_tnl_exports_test")

    def call(self, what, index=0, number=0, priority=0, proto=0, nhs=0, csum=0, summed=0, linear=ALL, data=b""):
        os.write(self.fd, CALL.pack(what, index, number, priority, proto, nhs, csum, summed, linear) + data)
        return os.pread(self.fd, 1024, 0).decode()


# ------------------------------------------------------- gre_parse_header()

def refused(flags):
    """README: GRE bits 4 and 5 set"""
    return flags & (0x4007 if IN_TREE else 0x4c07)


def is_wccp(flags):
    """README: WCCP packet with reserved bits set"""
    return not (flags if IN_TREE else options(flags))


def options(flags):
    return 4 * sum(bool(flags & f) for f in (CSUM, KEY, SEQ))


def parse_rule(data, proto, nhs, want_csum, summed):
    """-> what gre_parse_header() is to return"""
    header = data[nhs:]
    if len(header) < 4:
        return INVALID
    flags, kind = struct.unpack_from("!HH", header)
    size = 4 + options(flags)
    if refused(flags) or len(header) < size:
        return INVALID
    if flags & CSUM and want_csum and csum(data) and summed != UNNECESSARY:
        return INVALID + " csum_err"
    words = struct.unpack_from(f"!{size // 4 - 1}I", header, 4)[bool(flags & CSUM):]
    key = words[0] if flags & KEY else 0
    seq = words[-1] if flags & SEQ else 0
    if kind == WCCP and is_wccp(flags):
        if len(header) == size:
            return INVALID
        kind = proto
        size += 4 * (header[size] >> 4 != 4)
    elif kind == ERSPAN2 or kind == ERSPAN and size > 4:
        if len(header) < size + 4:
            return INVALID
        key = struct.unpack_from("!I", header, size)[0] & 0x3ff
    text = "".join(f" {name}" for flag, name in ((CSUM, "csum"), (KEY, "keyed"), (SEQ, "numbered")) if flags & flag)
    return f"{size} hdr_len {size} proto {kind:04x} key {key:08x} seq {seq:08x}{text}"


def header(flags, kind, payload, right=True):
    """a GRE header with the options that the flags say, and a checksum"""
    rest = struct.pack("!I", 0x1a2b3c4d) if flags & KEY else b""
    rest += struct.pack("!I", 0x5e6f7a8b) if flags & SEQ else b""
    base = struct.pack("!HH", flags, kind)
    if not flags & CSUM:
        return base + rest + payload
    value = csum(base + bytes(4) + rest + payload)
    return base + struct.pack("!HH", value if right else value ^ 0x0101, 0) + rest + payload


def payload(first=0x45):
    return bytes([first]) + bytes(range(1, 24))


class Group:
    """Calls that make one result: what is wrong, if anything"""

    def __init__(self, exports, name):
        self.exports, self.name, self.count, self.wrong = exports, name, 0, []

    def parse(self, data, proto=0x0800, nhs=0, csum=False, summed=NONE, linear=ALL):
        want = parse_rule(data, proto, nhs, csum, summed)
        got = self.exports.call(PARSE, proto=proto, nhs=nhs, csum=int(csum), summed=summed, linear=linear, data=data)
        self.count += 1
        if want != got:
            self.wrong.append(f"@proto {proto:04x} @nhs {nhs} @csum_err {'given' if csum else 'NULL'} ip_summed "
                              f"{summed}, {min(linear, len(data))} of {len(data)} octets linear: "
                              f"{data[nhs:][:20].hex()}: want {want}, got {got}")

    def trouble(self):
        return [f"{len(self.wrong)} are wrong", *self.wrong[:3]] if self.wrong else []

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        if kind is None:
            check(f"{self.name}: {self.count} calls", not self.wrong, *self.trouble())


def every_flag(exports):
    """each bit of the first 16 with each of the options"""
    extra = [0] + [1 << bit for bit in range(12)]
    for kind in PROTOCOLS:
        for wanted, right in ((False, True), (False, False), (True, True), (True, False)):
            with Group(exports, f"gre_parse_header, protocol {kind:04x}, each flag, @csum_err "
                                f"{'given' if wanted else 'NULL'}, checksum {'right' if right else 'wrong'}") as group:
                for high in range(16):
                    for low in extra:
                        group.parse(header(high << 12 | low, kind, payload(), right), csum=wanted)


def options_of(kind):
    return [header(high << 12, kind, payload(first)) for high in range(16) if not high & 4
            for first in ((0x45, 0x60, 0x00) if kind == WCCP else (0x45,))]


OUTER = {0: b"", 20: ip("192.0.2.2", "192.0.2.1", proto=47).bytes(), 24: ip("192.0.2.2", "192.0.2.1", proto=47,
                                                                            options="01010101").bytes(), 40: bytes(40)}


def every_parameter(exports):
    for kind in PROTOCOLS:
        for proto in PARAMETERS:
            with Group(exports, f"gre_parse_header, protocol {kind:04x}, @proto {proto:04x}") as group:
                for nhs, outer in OUTER.items():
                    for data in options_of(kind):
                        for wanted in (False, True):
                            for linear in (ALL, 0, nhs, nhs + 3, nhs + 4, nhs + 6):
                                group.parse(outer + data, proto, nhs, wanted, linear=linear)


def every_length(exports):
    for kind in PROTOCOLS:
        with Group(exports, f"gre_parse_header, protocol {kind:04x}, cut short") as group:
            for nhs, outer in OUTER.items():
                for whole in options_of(kind):
                    for size in range(nhs + 25):
                        for wanted in (False, True):
                            group.parse((outer + whole)[:size], nhs=nhs, csum=wanted)


def every_checksum(exports):
    for summed, name in enumerate(("NONE", "UNNECESSARY", "COMPLETE", "PARTIAL")):
        with Group(exports, f"gre_parse_header, CHECKSUM_{name}") as group:
            for right in (True, False):
                for linear in (ALL, 0, 4, 9):
                    for flags in (CSUM, CSUM | KEY, CSUM | KEY | SEQ, 0):
                        for wanted in (True, False):
                            group.parse(header(flags, 0x0800, payload(), right), csum=wanted, summed=summed,
                                        linear=linear)


def every_erspan(exports):
    """each version, session and cut of what is behind the GRE header"""
    for kind in (ERSPAN, ERSPAN2):
        with Group(exports, f"gre_parse_header, protocol {kind:04x}, versions and sessions") as group:
            for version in range(16):
                for session in (0, 1, 0x3ff, 0x155):
                    head = struct.pack("!HHI", version << 12 | 5, 0x7c00 | session, 1)
                    for flags in (0, SEQ, KEY, KEY | SEQ):
                        for size in (0, 1, 3, 4, 8):
                            group.parse(header(flags, kind, head[:size]))


# ---------------------------------------- gre_add_protocol(), gre_del_protocol()

def protocols(exports):
    def calls(name, *steps):
        expect(name, [str(want) for *_, want in steps],
               [exports.call(what, index, version) for what, index, version, _ in steps])

    busy, invalid = -errno.EBUSY, -errno.EINVAL
    for version in (0, 1):
        calls(f"gre_add_protocol, gre_del_protocol: version {version}",
              (DEL, 0, version, busy), (ADD, 0, version, 0), (ADD, 0, version, busy), (ADD, 1, version, busy),
              (DEL, 1, version, busy), (DEL, NULL, version, busy), (ADD, NULL, version, busy),
              (DEL, 0, version, 0), (DEL, 0, version, busy), (ADD, 1, version, 0), (DEL, 1, version, 0))
    calls("gre_add_protocol: the versions are apart", (ADD, 0, 0, 0), (ADD, 0, 1, 0), (DEL, 0, 0, 0), (DEL, 0, 1, 0))
    for version in (2, 3, 7, 8, 255):
        calls(f"gre_add_protocol, gre_del_protocol: version {version}",
              (ADD, 0, version, invalid), (DEL, 0, version, invalid), (ADD, NULL, version, invalid))


# -------------------------- xfrm4_tunnel_register(), xfrm4_tunnel_deregister()

FAMILIES = {2: "AF_INET", 10: "AF_INET6", 28: "AF_MPLS"}
LOWEST, HIGHEST = -1 << 31, (1 << 31) - 1


def handlers(exports):
    def calls(name, *steps):
        """a step: function, handler, priority, family, result"""
        expect(name, [str(want) for *_, want in steps],
               [exports.call(what, index, family, priority) for what, index, priority, family, _ in steps])

    exists, absent = -errno.EEXIST, -errno.ENOENT
    for family, name in FAMILIES.items():
        others = [f for f in FAMILIES if f != family]
        calls(f"xfrm4_tunnel_register, deregister: {name}",
              (DEREGISTER, 0, 0, family, absent), (REGISTER, 0, 5, family, 0), (REGISTER, 1, 5, family, exists),
              *((DEREGISTER, 0, 5, f, absent) for f in others), (DEREGISTER, 1, 5, family, absent),
              (DEREGISTER, 0, 5, family, 0), (DEREGISTER, 0, 5, family, absent),
              (REGISTER, 1, 5, family, 0), (DEREGISTER, 1, 5, family, 0))
        priorities = (0, HIGHEST, LOWEST, -1)
        for order in ((0, 1, 2, 3), (3, 2, 1, 0), (2, 0, 3, 1)):
            calls(f"xfrm4_tunnel_register: {name}, priorities in the order {order}",
                  *((REGISTER, i, priorities[i], family, 0) for i in range(HANDLERS)),
                  *((DEREGISTER, i, priorities[i], family, 0) for i in order),
                  *((DEREGISTER, i, priorities[i], family, absent) for i in order))
    # README: xfrm4_tunnel_register() for another family
    for family in (0, 1, 3, 9, 11, 27, 29, 0xff, 0xffff):
        calls(f"xfrm4_tunnel_register, deregister: family {family}",
              (REGISTER, 0, 5, family, 0 if IN_TREE else -errno.EINVAL),
              (DEREGISTER, 0, 5, family, 0 if IN_TREE else absent))


# ------------------------------------------------------ gretap_fb_dev_create()

def fallback(exports, ns):
    """a device in external mode, of which a namespace has one"""
    def create(name, assign_type):
        with ns.enter:
            return exports.call(FALLBACK, number=assign_type, data=name.encode())

    if create("x0", 1) == "not there":
        diag("this kernel has no gretap_fb_dev_create()")
        return
    expect("gretap_fb_dev_create: a second one", str(-errno.EEXIST), create("x1", 1))
    ns.ip("link del x0")
    for assign_type in (0, 1, 2, 3, 4):
        expect(f"gretap_fb_dev_create: @name_assign_type {assign_type}",
               f"t{assign_type} gretap mtu {MTU} flags 1002 assign_type {assign_type}",
               create(f"t{assign_type}", assign_type))
        ns.ip(f"link del t{assign_type}")
    expect("gretap_fb_dev_create: @name is a pattern", f"n0 gretap mtu {MTU} flags 1002 assign_type 1",
           create("n%d", 1))
    ns.ip("link del n0", "link add t1 type dummy")
    before = set(ns.counters.read())
    for name, text, want in (("t1", "taken", errno.EEXIST), ("", "empty", errno.EINVAL),
                             ("a/b", "no name", errno.EINVAL), ("a%s", "another pattern", errno.EINVAL)):
        expect(f"gretap_fb_dev_create: @name is {text}", str(-want), create(name, 1))
        expect(f"gretap_fb_dev_create: @name is {text}: nothing is made", [],
               sorted(set(ns.counters.read()) - before))


def main():
    for name in ("ip_gre", "ipip"):     # which hold what is to be free
        if is_loaded(name):
            rmmod(name)
    need_modules("tunnel4", "gre")
    exports = Exports()
    every_flag(exports)
    every_parameter(exports)
    every_length(exports)
    every_checksum(exports)
    every_erspan(exports)
    protocols(exports)
    handlers(exports)
    with NetNs() as ns:
        with ns.enter:
            expect("gretap_fb_dev_create: without ip_gre", "not there", exports.call(FALLBACK, number=1, data=b"x0"))
        need_modules("ip_gre")
        fallback(exports, ns)
    exports.close()


ksft_run(main)
