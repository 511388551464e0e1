# SPDX-License-Identifier: GPL-2.0-only
"""A device as dumped by RTM_GETLINK, and the requests that create it again or restore its settings."""

import functools
import struct

import netlink as nl

NEWLINK, DELLINK, GETLINK, SETLINK, NEWLINKPROP = 16, 17, 18, 19, 108
(ADDRESS, BROADCAST, IFNAME, MTU, LINK, MASTER, TXQLEN, LINKMODE, LINKINFO, NET_NS_FD, IFALIAS, AF_SPEC, GROUP,
 EXT_MASK, NUM_TX_QUEUES, NUM_RX_QUEUES, LINK_NETNSID, PROTO_DOWN, GSO_MAX_SEGS, GSO_MAX_SIZE, XDP, NEW_IFINDEX,
 PROP_LIST, ALT_IFNAME, PROTO_DOWN_REASON, GRO_MAX_SIZE, GSO_IPV4_MAX_SIZE, GRO_IPV4_MAX_SIZE, NETNS_IMMUTABLE) = (
     1, 2, 3, 4, 5, 10, 13, 17, 18, 28, 20, 26, 27, 29, 31, 32, 37, 39, 40, 41, 43, 49, 52, 53, 55, 58, 63, 64, 67)
INFO_KIND, INFO_DATA, INFO_SLAVE_KIND, INFO_SLAVE_DATA = 1, 2, 4, 5
AF_INET, AF_INET6 = 2, 10
UP = 0x1
# DEBUG NOTRAILERS NOARP PROMISC ALLMULTI MULTICAST PORTSEL AUTOMEDIA DYNAMIC
SETTABLE = 0x4 | 0x20 | 0x80 | 0x100 | 0x200 | 0x1000 | 0x2000 | 0x4000 | 0x8000
ETHERNET = 1
KINDS = {"ipip": "ipip", "gre": "ip_gre", "gretap": "ip_gre", "erspan": "ip_gre"}
FALLBACKS = {"tunl0": "ipip", "gre0": "gre", "gretap0": "gretap", "erspan0": "erspan"}
# Attributes of the tunnel drivers
LINK_ATTR = 1
IPTUN_LOCAL, IPTUN_REMOTE, IPTUN_COLLECT = 2, 3, 19
GRE_IFLAGS, GRE_OFLAGS, GRE_IKEY, GRE_OKEY, GRE_LOCAL, GRE_REMOTE, GRE_COLLECT = 2, 3, 4, 5, 6, 7, 18
# Set at creation, and again later if they differ
CREATION_ATTRS = (MTU, TXQLEN, LINKMODE, GROUP, GSO_MAX_SIZE, GSO_MAX_SEGS, GRO_MAX_SIZE, GSO_IPV4_MAX_SIZE,
                  GRO_IPV4_MAX_SIZE)
ETHERNET_ONLY = (ADDRESS, BROADCAST)
# Attributes of a bridge port that can be set
PORT_SETTINGS = (2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 25, 27, 28, 29, 30, 31, 32, 33, 34, 37, 39, 40, 42, 43, 44)
PORT_STATE, PORT_NUMBER, PORT_BACKUP = 1, 18, 34
BRIDGE_FORWARD_DELAY, BRIDGE_STP, KERNEL_STP = 1, 5, 1
IPV4_CONF, IPV6_CONF, IPV6_TOKEN, IPV6_GEN_MODE = 1, 2, 7, 8


def u32_array(array):
    return struct.unpack("=%dI" % (len(array) // 4), array)


class Link:
    """A parsed RTM_NEWLINK message, which is kept unchanged in body"""

    def __init__(self, body):
        self.body = body
        self.type, self.index, self.flags = struct.unpack_from("=HiI", body, 2)
        self.attrs = nl.parse_attrs(body, 16)
        info = nl.parse_attrs(self.attrs.get(LINKINFO, b""))
        self.name = nl.to_str(self.attrs[IFNAME])
        self.kind = nl.to_str(info.get(INFO_KIND, b""))
        self.data = info.get(INFO_DATA, b"")
        self.slave_kind = nl.to_str(info.get(INFO_SLAVE_KIND, b""))
        self._slave_data = info.get(INFO_SLAVE_DATA, b"")
        self.master = self.u32(MASTER)
        self.fallback = False

    @functools.cached_property
    def bridge_data(self):
        return nl.parse_attrs(self.data) if self.kind == "bridge" else {}

    @property
    def runs_stp(self):
        """Return true for a bridge where the kernel's STP sets the port states."""
        return nl.to_int(self.bridge_data.get(BRIDGE_STP, b"")) == KERNEL_STP

    @functools.cached_property
    def slave_data(self):
        return nl.parse_attrs(self._slave_data)

    def u32(self, number):
        return nl.to_int(self.attrs.get(number, b""))

    @property
    def is_up(self):
        return bool(self.flags & UP)

    @property
    def netnsid(self):
        """-> nsid of the link namespace, None if it is the namespace of the device"""
        if LINK_NETNSID not in self.attrs:
            return None
        value = struct.unpack("=i", self.attrs[LINK_NETNSID])[0]
        return None if value < 0 else value

    @functools.cached_property
    def lower(self):
        """-> index of the underlay device ("dev") in the link namespace, 0 if none"""
        return nl.to_int(nl.parse_attrs(self.data).get(LINK_ATTR, b""))

    @functools.cached_property
    def families(self):
        return {number: nl.parse_attrs(value) for number, value in nl.iter_attrs(self.attrs.get(AF_SPEC, b""))}

    def family(self, number):
        return self.families.get(number, {})

    @functools.cached_property
    def ipv4_conf(self):
        return self.family(AF_INET).get(IPV4_CONF, b"")

    @functools.cached_property
    def ipv6_conf(self):
        return self.family(AF_INET6).get(IPV6_CONF, b"")

    @property
    def altnames(self):
        return [nl.to_str(value) for number, value in nl.iter_attrs(self.attrs.get(PROP_LIST, b""))
                if number == ALT_IFNAME]

    def is_plain(self):
        """Return true if it has neither addresses nor keys, like a fallback device."""
        data = nl.parse_attrs(self.data)
        some = (IPTUN_LOCAL, IPTUN_REMOTE) if self.kind == "ipip" else (GRE_IKEY, GRE_OKEY, GRE_LOCAL, GRE_REMOTE)
        collect = IPTUN_COLLECT if self.kind == "ipip" else GRE_COLLECT
        return collect not in data and not any(nl.to_int(data.get(number, b"")) for number in some)


def header(index, flags=0, change=0, family=0):
    return struct.pack("=BxHiII", family, 0, index, flags, change)


def dump_links(sock):
    # No RTEXT_FILTER_SKIP_STATS: it omits more than the statistics.
    return [Link(body) for body in sock.dump(GETLINK, header(0))]


def driver_data(link, remap):
    """-> IFLA_INFO_DATA as dumped, with "dev" mapped to the device's new index"""
    parts = []
    for number, value in nl.iter_attrs(link.data):
        if number == LINK_ATTR and nl.to_int(value) in remap and link.netnsid is None:
            value = struct.pack("=I", remap[nl.to_int(value)])
        parts.append(nl.attr(number, value))
    return b"".join(parts)


def newlink_attrs(link, remap):
    """-> attributes of an RTM_NEWLINK request for a tunnel, without name and namespace"""
    parts = [nl.attr(number, link.attrs[number]) for number in CREATION_ATTRS if number in link.attrs]
    if link.type == ETHERNET:
        parts += [nl.attr(number, link.attrs[number]) for number in ETHERNET_ONLY if number in link.attrs]
    for number in (NUM_TX_QUEUES, NUM_RX_QUEUES):
        if link.u32(number) > 1:
            parts.append(nl.attr(number, link.attrs[number]))
    parts.append(nl.nested(LINKINFO, nl.string(INFO_KIND, link.kind),
                           nl.attr(INFO_DATA | 0x8000, driver_data(link, remap))))
    return b"".join(parts)


def newlink_request(link, remap):
    """-> RTM_NEWLINK request that creates a tunnel, with IFLA_LINK_NETNSID if its link namespace is another one"""
    body = header(link.index) + nl.string(IFNAME, link.name) + newlink_attrs(link, remap)
    if link.netnsid is not None:
        body += nl.u32(LINK_NETNSID, link.netnsid)
    return NEWLINK, nl.CREATE | nl.EXCL, body


def change_requests(old, new):
    """-> requests that give new the settings of old, except master, flags and addresses"""
    parts = []
    numbers = CREATION_ATTRS + (ETHERNET_ONLY if old.type == ETHERNET else ()) + (PROTO_DOWN,)
    for number in numbers:
        if number in old.attrs and old.attrs[number] != new.attrs.get(number):
            parts.append(nl.attr(number, old.attrs[number]))
    if old.attrs.get(PROTO_DOWN_REASON, b"") != new.attrs.get(PROTO_DOWN_REASON, b""):
        # Set as mask and value, dumped as value only
        value = nl.to_int(nl.parse_attrs(old.attrs.get(PROTO_DOWN_REASON, b"")).get(2, b""))
        parts.append(nl.nested(PROTO_DOWN_REASON, nl.u32(1, 0xffffffff), nl.u32(2, value)))
    if old.attrs.get(IFALIAS, b"\0") != new.attrs.get(IFALIAS, b"\0"):
        parts.append(nl.attr(IFALIAS, old.attrs.get(IFALIAS, b"")))
    families = []
    if old.ipv4_conf != new.ipv4_conf:
        values = zip(u32_array(old.ipv4_conf), u32_array(new.ipv4_conf))
        conf = [nl.u32(i, a) for i, (a, b) in enumerate(values, 1) if a != b]
        families.append(nl.nested(AF_INET, nl.nested(IPV4_CONF, *conf)))
    old6, new6, conf = old.family(AF_INET6), new.family(AF_INET6), []
    # A fallback device has no IPv6 settings until its MTU is set or it is up.
    for number in (IPV6_TOKEN, IPV6_GEN_MODE) if new6 else ():
        if number in old6 and old6[number] != new6.get(number):
            conf.append(nl.attr(number, old6[number]))
    if conf:
        families.append(nl.nested(AF_INET6, *conf))
    if families:
        parts.append(nl.nested(AF_SPEC, *families))
    requests = []
    if parts:
        requests.append((SETLINK, 0, header(new.index) + b"".join(parts)))
    missing = [name for name in old.altnames if name not in new.altnames]
    if missing:
        requests.append((NEWLINKPROP, nl.CREATE | nl.EXCL | nl.APPEND, header(new.index) + nl.nested(
            PROP_LIST, *(nl.string(ALT_IFNAME, name) for name in missing))))
    return requests


def master_request(old, new, remap):
    return SETLINK, 0, header(new.index) + nl.u32(MASTER, remap.get(old.master, old.master))


def port_requests(old, new):
    """-> requests for bridge port settings that differ, except the state, which requires the port to be up"""
    parts = [nl.attr(number, old.slave_data[number]) for number in PORT_SETTINGS
             if number in old.slave_data and old.slave_data[number] != new.slave_data.get(number)]
    if not parts or old.slave_kind != "bridge":
        return []
    return [(NEWLINK, 0, header(new.index) + nl.nested(LINKINFO, nl.string(INFO_SLAVE_KIND, "bridge"),
                                                       nl.nested(INFO_SLAVE_DATA, *parts)))]


def port_state_requests(old, new):
    if old.slave_kind != "bridge" or old.slave_data.get(PORT_STATE) == new.slave_data.get(PORT_STATE):
        return []
    return [(NEWLINK, 0, header(new.index) + nl.nested(
        LINKINFO, nl.string(INFO_SLAVE_KIND, "bridge"),
        nl.nested(INFO_SLAVE_DATA, nl.attr(PORT_STATE, old.slave_data[PORT_STATE]))))]


def flag_requests(old, new, mask):
    if not (old.flags ^ new.flags) & mask:
        return []
    return [(SETLINK, 0, header(new.index, old.flags & mask, mask))]
