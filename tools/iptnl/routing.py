# SPDX-License-Identifier: GPL-2.0-only
"""Addresses, routes, nexthop objects and neighbours: parsed dumps, and the requests that restore them"""

import os
import struct

import netlink as nl

AF_INET, AF_INET6, AF_BRIDGE, AF_MPLS = 2, 10, 7, 28
NEWADDR, DELADDR, GETADDR = 20, 21, 22
NEWROUTE, DELROUTE, GETROUTE = 24, 25, 26
NEWNEIGH, GETNEIGH = 28, 30
NEWNEXTHOP, DELNEXTHOP, GETNEXTHOP = 104, 105, 106
FOREVER = 0xffffffff

# ---- addresses

IFA_ADDRESS, IFA_LOCAL, IFA_CACHEINFO, IFA_FLAGS, IFA_PROTO = 1, 2, 6, 8, 11
IFA_KEPT = (1, 2, 3, 4, 8, 9, 11)
# NODAD HOMEADDRESS MANAGETEMPADDR NOPREFIXROUTE MCAUTOJOIN
IFA_SETTABLE = 0x02 | 0x10 | 0x100 | 0x200 | 0x400
IFAPROT_KERNEL = (1, 2, 3)              # loopback, router advertisement, link-local
TEMPORARY, DADFAILED, TENTATIVE = 0x01, 0x08, 0x40


class Address:
    """RTM_NEWADDR"""

    def __init__(self, body):
        self.body = body
        self.family, self.length, flags, self.scope, self.index = struct.unpack_from("=BBBBI", body)
        self.attrs = nl.parse_attrs(body, 8)
        self.flags = nl.to_int(self.attrs[IFA_FLAGS]) if IFA_FLAGS in self.attrs else flags

    @property
    def value(self):
        return self.attrs.get(IFA_LOCAL) or self.attrs[IFA_ADDRESS]

    @property
    def tentative(self):
        return self.family == AF_INET6 and bool(self.flags & TENTATIVE) and not self.flags & DADFAILED

    @property
    def devices(self):
        return {self.index}

    def is_temporary(self):
        return self.family == AF_INET6 and bool(self.flags & TEMPORARY)

    def is_by_kernel(self):
        """Return true if the kernel may have added it by itself: IPv6 link-local, IPv4-compatible, autoconfigured."""
        return self.family == AF_INET6 and (self.value[:2] == b"\xfe\x80" or not any(self.value[:12]) or
                                            nl.to_int(self.attrs.get(IFA_PROTO, b"")) in IFAPROT_KERNEL)

    def key(self, remap):
        """-> what must be the same after the swap"""
        return (remap.get(self.index, self.index), self.family, self.length, self.scope, self.flags & IFA_SETTABLE,
                self.has_infinite_lifetime(),
                tuple(sorted((n, v) for n, v in self.attrs.items() if n in IFA_KEPT and n != IFA_FLAGS)))

    def identity(self, remap):
        """-> what no two addresses have in common"""
        return (remap.get(self.index, self.index), self.family, self.length, self.value, self.attrs.get(IFA_ADDRESS))

    def covers(self, destination):
        """Return true if a destination is in its prefix, seen from either end of a point-to-point link."""
        return any(len(own) == len(destination) and not (
            int.from_bytes(own, "big") ^ int.from_bytes(destination, "big")) >> 8 * len(own) - self.length
            for own in (self.value, self.attrs.get(IFA_ADDRESS, b"")))

    def has_infinite_lifetime(self):
        life = self.attrs.get(IFA_CACHEINFO)
        return life is None or struct.unpack_from("=II", life) == (FOREVER, FOREVER)

    def request(self, remap, elapsed=0):
        parts = []
        for number, value in nl.iter_attrs(self.body, 8):
            if number == IFA_FLAGS:
                value = struct.pack("=I", self.flags & IFA_SETTABLE)
            elif number == IFA_CACHEINFO:
                lives = [v if v == FOREVER else max(v - elapsed, 0) for v in struct.unpack_from("=II", value)]
                value = struct.pack("=IIII", lives[0], max(lives[1], 1), 0, 0)
            elif number not in IFA_KEPT:
                continue
            parts.append(nl.attr(number, value))
        head = struct.pack("=BBBBI", self.family, self.length, 0, self.scope, remap.get(self.index, self.index))
        return NEWADDR, nl.CREATE | nl.REPLACE, head + b"".join(parts)

    def removal(self):
        parts = [nl.attr(n, self.attrs[n]) for n in (IFA_LOCAL, IFA_ADDRESS) if n in self.attrs]
        return DELADDR, 0, self.body[:2] + b"\0" + self.body[3:8] + b"".join(parts)


def addresses(sock):
    return [Address(body) for body in sock.dump(GETADDR, bytes(8))]

# ---- routes


(RTA_DST, RTA_IIF, RTA_OIF, RTA_GATEWAY, RTA_PRIORITY, RTA_PREFSRC, RTA_MULTIPATH, RTA_CACHEINFO, RTA_TABLE, RTA_VIA,
 RTA_ENCAP_TYPE, RTA_ENCAP, RTA_EXPIRES, RTA_NH_ID) = 1, 3, 4, 5, 6, 7, 9, 12, 15, 18, 21, 22, 23, 30
NEXTHOP_ATTRS = (RTA_OIF, RTA_GATEWAY, RTA_MULTIPATH, RTA_VIA, RTA_ENCAP_TYPE, RTA_ENCAP)
ONLINK, CLONED, PROTO_KERNEL, PROTO_RA = 0x4, 0x200, 2, 9


def hops(data):
    """Yield (flags, weight, index, attributes) of each next hop of a multipath route."""
    at = 0
    while at + 8 <= len(data):
        size, flags, weight, index = struct.unpack_from("=HBBi", data, at)
        if size < 8:
            return
        yield flags, weight, index, data[at + 8:at + size]
        at += (size + 3) & ~3


class Route:
    """RTM_NEWROUTE of IPv4, IPv6 or MPLS"""

    def __init__(self, body):
        self.body = body
        (self.family, self.length, self.source_length, self.tos, table, self.protocol, self.scope, self.type,
         self.flags) = struct.unpack_from("=BBBBBBBBI", body)
        self.attrs = nl.parse_attrs(body, 12)
        self.table = nl.to_int(self.attrs[RTA_TABLE]) if RTA_TABLE in self.attrs else table

    @property
    def devices(self):
        found = {nl.to_int(self.attrs[RTA_OIF])} if RTA_OIF in self.attrs else set()
        return found | {index for _, _, index, _ in hops(self.attrs.get(RTA_MULTIPATH, b""))}

    def is_of(self, address):
        """Return true if the kernel may have made it for this address."""
        destination = self.attrs.get(RTA_DST, b"")
        return self.family == address.family and address.index in self.devices and (
            address.covers(destination) or self.attrs.get(RTA_PREFSRC) == address.value)

    def destination(self):
        """-> what two routes to the same destination have in common; only their order decides between them"""
        return (self.family, self.table, self.length, self.attrs.get(RTA_DST), self.tos,
                self.attrs.get(RTA_PRIORITY), self.attrs.get(2))

    def _attributes(self, remap):
        by_nexthop = RTA_NH_ID in self.attrs
        for number, value in nl.iter_attrs(self.body, 12):
            if number == RTA_IIF or by_nexthop and number in NEXTHOP_ATTRS:
                continue
            if number == RTA_CACHEINFO:
                expires = struct.unpack_from("=III", value)[2] if len(value) >= 12 else 0
                if expires:                             # in units of 10 ms
                    yield RTA_EXPIRES, struct.pack("=I", max(expires // 100, 1))
            elif number == RTA_OIF:
                yield number, struct.pack("=I", remap.get(nl.to_int(value), nl.to_int(value)))
            elif number == RTA_MULTIPATH:
                yield number, b"".join(self._hop(remap, *hop) for hop in hops(value))
            else:
                yield number, value

    @staticmethod
    def _hop(remap, flags, weight, index, rest):
        return struct.pack("=HBBi", 8 + len(rest), flags & ONLINK, weight, remap.get(index, index)) + rest + \
            bytes(-len(rest) % 4)

    def _header(self):
        flags = 0 if RTA_NH_ID in self.attrs or self.family == AF_MPLS else self.flags & ONLINK
        return self.body[:8] + struct.pack("=I", flags)

    def key(self, remap):
        """-> what must be the same after the swap"""
        kept = ((n, v) for n, v in self._attributes(remap) if n != RTA_EXPIRES)
        return self._header(), tuple(sorted(kept))

    def request(self, remap, flags=None):
        if flags is None:
            flags = {AF_INET: nl.CREATE | nl.APPEND, AF_MPLS: nl.CREATE | nl.REPLACE}.get(self.family, nl.CREATE)
        return NEWROUTE, flags, self._header() + b"".join(nl.attr(n, v) for n, v in self._attributes(remap))

    def removal(self, remap):
        return DELROUTE, 0, self.request(remap)[2]

    def sort_key(self):
        """Sort routes through which the gateways of others are resolved first."""
        return -self.scope, -self.length, self.family


def families():
    """-> address families with routes in this kernel"""
    return [AF_INET] + [family for family, name in ((AF_INET6, "ipv6"), (AF_MPLS, "mpls"))
                        if os.path.exists("/proc/sys/net/" + name)]


def routes(sock, family):
    body = struct.pack("=BBBBBBBBI", family, 0, 0, 0, 0, 0, 0, 0, 0)
    return [route for route in map(Route, sock.dump(GETROUTE, body))
            if route.family == family and not route.flags & CLONED]

# ---- nexthop objects


NHA_ID, NHA_GROUP, NHA_OIF, NHA_RES_GROUP = 1, 2, 5, 12
NHA_KEPT = (1, 2, 3, 4, 5, 6, 7, 8, 11)         # ID GROUP GROUP_TYPE BLACKHOLE OIF GATEWAY ENCAP_TYPE ENCAP FDB
RES_KEPT = (1, 2, 3)                            # BUCKETS IDLE_TIMER UNBALANCED_TIMER


class Nexthop:
    """RTM_NEWNEXTHOP"""

    def __init__(self, body):
        self.body = body
        self.attrs = nl.parse_attrs(body, 8)
        self.ident = nl.to_int(self.attrs[NHA_ID])
        self.device = nl.to_int(self.attrs.get(NHA_OIF, b""))
        group = self.attrs.get(NHA_GROUP, b"")
        self.devices = {self.device} - {0}
        self.members = {struct.unpack_from("=I", group, at)[0] for at in range(0, len(group), 8)}

    def request(self, remap):
        parts = []
        for number, value in nl.iter_attrs(self.body, 8):
            if number == NHA_OIF:
                value = struct.pack("=I", remap.get(nl.to_int(value), nl.to_int(value)))
            elif number == NHA_RES_GROUP:
                value = b"".join(nl.attr(n, v) for n, v in nl.iter_attrs(value) if n in RES_KEPT)
                number |= 0x8000
            elif number not in NHA_KEPT:
                continue
            parts.append(nl.attr(number, value))
        family, _, protocol, _, flags = struct.unpack_from("=BBBBI", self.body)
        head = struct.pack("=BBBBI", family, 0, protocol, 0, flags & ONLINK)
        return NEWNEXTHOP, nl.CREATE | nl.REPLACE, head + b"".join(parts)

    def key(self, remap):
        return self.request(remap)[2]


def nexthops(sock):
    return [Nexthop(body) for body in sock.dump_if_supported(GETNEXTHOP, bytes(8))]

# ---- neighbours and forwarding entries


NDA_DST, NDA_LLADDR, NDA_VLAN, NDA_MASTER = 1, 2, 5, 9
NDA_KEPT = (1, 2, 5, 12, 15)                    # DST LLADDR VLAN PROTOCOL FLAGS_EXT
REACHABLE, STALE, DELAY, PROBE, NOARP, PERMANENT = 0x02, 0x04, 0x08, 0x10, 0x40, 0x80
NTF_SELF, NTF_MASTER, NTF_PROXY, NTF_KEPT = 0x02, 0x04, 0x08, 0x10 | 0x40 | 0x80


class Neighbour:
    """RTM_NEWNEIGH, of IPv4, IPv6 or a bridge's forwarding table"""

    def __init__(self, body):
        self.body = body
        self.family, self.index, self.state, self.flags, self.type = struct.unpack_from("=BxxxiHBB", body)
        self.attrs = nl.parse_attrs(body, 12)

    @property
    def devices(self):
        return {self.index}

    def is_kept(self, link):
        """Return false for entries that the kernel creates by itself."""
        if self.flags & NTF_PROXY:
            return True
        address = self.attrs.get(NDA_LLADDR, b"")
        if self.family == AF_BRIDGE:
            own = address in (link.attrs.get(1), b"")
            return not own and (NDA_MASTER in self.attrs or not address[0] & 1)
        if self.state & NOARP:
            return address not in (link.attrs.get(1), link.attrs.get(2), b"") and self.type in (0, 1)
        return bool(self.state & (PERMANENT | REACHABLE | STALE | DELAY | PROBE))

    def is_static(self):
        return bool(self.state & (PERMANENT | NOARP) or self.flags & NTF_PROXY)

    def key(self, remap):
        return (self.family, remap.get(self.index, self.index), self.state if self.is_static() else 0,
                self.flags & (NTF_PROXY | NTF_KEPT),
                tuple(sorted((n, v) for n, v in self.attrs.items() if n in NDA_KEPT)))

    def request(self, remap):
        state, flags = self.state, self.flags & (NTF_PROXY | NTF_KEPT)
        if self.family == AF_BRIDGE:
            flags |= NTF_MASTER if NDA_MASTER in self.attrs else NTF_SELF
            state = state if state & (NOARP | PERMANENT) else REACHABLE
        elif state & (DELAY | PROBE):
            state = STALE
        head = struct.pack("=BxxxiHBB", self.family, remap.get(self.index, self.index), state, flags, 0)
        parts = [nl.attr(n, v) for n, v in nl.iter_attrs(self.body, 12) if n in NDA_KEPT]
        return NEWNEIGH, nl.CREATE | nl.REPLACE, head + b"".join(parts)


def neighbours(sock):
    found = []
    for family, flags in ((0, 0), (0, NTF_PROXY), (AF_BRIDGE, 0)):
        found += [Neighbour(body) for body in sock.dump(GETNEIGH, struct.pack("=BxxxiHBB", family, 0, 0, flags, 0))]
    return found
