# SPDX-License-Identifier: GPL-2.0-only
"""A device as RTM_GETLINK dumps it: what of it can be set, and how to say it."""

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
# Of the driver's attributes: link, local, remote, the flags and keys, external.
LINK_ATTR = 1
IPTUN_LOCAL, IPTUN_REMOTE, IPTUN_COLLECT = 2, 3, 19
GRE_IFLAGS, GRE_OFLAGS, GRE_IKEY, GRE_OKEY, GRE_LOCAL, GRE_REMOTE, GRE_COLLECT = 2, 3, 4, 5, 6, 7, 18
# Given when the device is made, and set again where it differs.
AT_BIRTH = (MTU, TXQLEN, LINKMODE, GROUP, GSO_MAX_SIZE, GSO_MAX_SEGS, GRO_MAX_SIZE, GSO_IPV4_MAX_SIZE,
            GRO_IPV4_MAX_SIZE)
ETHERNET_ONLY = (ADDRESS, BROADCAST)
# A bridge port's, but for those that only say how things are.
PORT = (2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 25, 27, 28, 29, 30, 31, 32, 33, 34, 37, 39, 40, 42, 43, 44)
PORT_STATE, PORT_NUMBER, PORT_BACKUP = 1, 18, 34
BRIDGE_FORWARD_DELAY, BRIDGE_STP, KERNELS_STP = 1, 5, 1
IPV4_CONF, IPV6_CONF, IPV6_TOKEN, IPV6_GEN_MODE = 1, 2, 7, 8


def words(array):
    return struct.unpack("=%dI" % (len(array) // 4), array)


class Link:
    """The message is kept as it came; the rest is read from it."""

    def __init__(self, body):
        self.body = body
        self.type, self.index, self.flags = struct.unpack_from("=HiI", body, 2)
        self.attrs = nl.table(body, 16)
        info = nl.table(self.attrs.get(LINKINFO, b""))
        self.name = nl.text(self.attrs[IFNAME])
        self.kind = nl.text(info.get(INFO_KIND, b""))
        self.data = info.get(INFO_DATA, b"")
        self.slave_kind = nl.text(info.get(INFO_SLAVE_KIND, b""))
        self._slave_data = info.get(INFO_SLAVE_DATA, b"")
        self.master = self.u32(MASTER)
        self.fallback = False

    @functools.cached_property
    def bridge_data(self):
        return nl.table(self.data) if self.kind == "bridge" else {}

    @property
    def runs_stp(self):
        """Whether it is a bridge whose ports' states are set by the kernel's STP alone"""
        return nl.number(self.bridge_data.get(BRIDGE_STP, b"")) == KERNELS_STP

    @functools.cached_property
    def slave_data(self):
        return nl.table(self._slave_data)

    def u32(self, number):
        return nl.number(self.attrs.get(number, b""))

    @property
    def is_up(self):
        return bool(self.flags & UP)

    @property
    def netnsid(self):
        """-> id of the link namespace, None if it is the device's own"""
        if LINK_NETNSID not in self.attrs:
            return None
        value = struct.unpack("=i", self.attrs[LINK_NETNSID])[0]
        return None if value < 0 else value

    @functools.cached_property
    def lower(self):
        """-> index of the device it was made on ("dev"), in the link namespace; 0 if none"""
        return nl.number(nl.table(self.data).get(LINK_ATTR, b""))

    @functools.cached_property
    def families(self):
        return {number: nl.table(value) for number, value in nl.attributes(self.attrs.get(AF_SPEC, b""))}

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
        return [nl.text(value) for number, value in nl.attributes(self.attrs.get(PROP_LIST, b""))
                if number == ALT_IFNAME]

    def is_plain(self):
        """Whether all its addresses and keys are none, as those of a fallback device are"""
        data = nl.table(self.data)
        some = (IPTUN_LOCAL, IPTUN_REMOTE) if self.kind == "ipip" else (GRE_IKEY, GRE_OKEY, GRE_LOCAL, GRE_REMOTE)
        collect = IPTUN_COLLECT if self.kind == "ipip" else GRE_COLLECT
        return collect not in data and not any(nl.number(data.get(number, b"")) for number in some)


def header(index, flags=0, change=0, family=0):
    return struct.pack("=BxHiII", family, 0, index, flags, change)


def links(sock):
    # RTEXT_FILTER_VF is left out; SKIP_STATS too, since it leaves out more than the statistics.
    return [Link(body) for body in sock.dump(GETLINK, header(0))]


def driver_data(link, remap):
    """The driver's attributes as dumped, "dev" following a device that got another number"""
    parts = []
    for number, value in nl.attributes(link.data):
        if number == LINK_ATTR and nl.number(value) in remap and link.netnsid is None:
            value = struct.pack("=I", remap[nl.number(value)])
        parts.append(nl.attribute(number, value))
    return b"".join(parts)


def birth(link, remap):
    """-> the attributes of the request that makes a tunnel, but for its name and place"""
    parts = [nl.attribute(number, link.attrs[number]) for number in AT_BIRTH if number in link.attrs]
    if link.type == ETHERNET:
        parts += [nl.attribute(number, link.attrs[number]) for number in ETHERNET_ONLY if number in link.attrs]
    for number in (NUM_TX_QUEUES, NUM_RX_QUEUES):
        if link.u32(number) > 1:
            parts.append(nl.attribute(number, link.attrs[number]))
    parts.append(nl.nested(LINKINFO, nl.string(INFO_KIND, link.kind),
                           nl.attribute(INFO_DATA | 0x8000, driver_data(link, remap))))
    return b"".join(parts)


def create(link, remap):
    """-> RTM_NEWLINK that makes it in its own namespace, by way of the id of its link namespace if need be"""
    body = header(link.index) + nl.string(IFNAME, link.name) + birth(link, remap)
    if link.netnsid is not None:
        body += nl.u32(LINK_NETNSID, link.netnsid)
    return NEWLINK, nl.CREATE | nl.EXCL, body


def corrections(old, new):
    """-> requests that make the device new what old was, all but master, flags and addresses"""
    parts = []
    numbers = AT_BIRTH + (ETHERNET_ONLY if old.type == ETHERNET else ()) + (PROTO_DOWN,)
    for number in numbers:
        if number in old.attrs and old.attrs[number] != new.attrs.get(number):
            parts.append(nl.attribute(number, old.attrs[number]))
    if old.attrs.get(PROTO_DOWN_REASON, b"") != new.attrs.get(PROTO_DOWN_REASON, b""):
        # { mask, value } in, only the value out
        value = nl.number(nl.table(old.attrs.get(PROTO_DOWN_REASON, b"")).get(2, b""))
        parts.append(nl.nested(PROTO_DOWN_REASON, nl.u32(1, 0xffffffff), nl.u32(2, value)))
    if old.attrs.get(IFALIAS, b"\0") != new.attrs.get(IFALIAS, b"\0"):
        parts.append(nl.attribute(IFALIAS, old.attrs.get(IFALIAS, b"")))
    families = []
    if old.ipv4_conf != new.ipv4_conf:
        conf = [nl.u32(i, a) for i, (a, b) in enumerate(zip(words(old.ipv4_conf), words(new.ipv4_conf)), 1) if a != b]
        families.append(nl.nested(AF_INET, nl.nested(IPV4_CONF, *conf)))
    old6, new6, conf = old.family(AF_INET6), new.family(AF_INET6), []
    # A fallback device has nothing of IPv6 until its MTU is set or it is up.
    for number in (IPV6_TOKEN, IPV6_GEN_MODE) if new6 else ():
        if number in old6 and old6[number] != new6.get(number):
            conf.append(nl.attribute(number, old6[number]))
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


def enslave(old, new, remap):
    return SETLINK, 0, header(new.index) + nl.u32(MASTER, remap.get(old.master, old.master))


def port_corrections(old, new):
    """-> requests for what differs of a bridge port; its state can only be set when it is up"""
    parts = [nl.attribute(number, old.slave_data[number]) for number in PORT
             if number in old.slave_data and old.slave_data[number] != new.slave_data.get(number)]
    if not parts or old.slave_kind != "bridge":
        return []
    return [(NEWLINK, 0, header(new.index) + nl.nested(LINKINFO, nl.string(INFO_SLAVE_KIND, "bridge"),
                                                       nl.nested(INFO_SLAVE_DATA, *parts)))]


def port_state(old, new):
    if old.slave_kind != "bridge" or old.slave_data.get(PORT_STATE) == new.slave_data.get(PORT_STATE):
        return []
    return [(NEWLINK, 0, header(new.index) + nl.nested(
        LINKINFO, nl.string(INFO_SLAVE_KIND, "bridge"),
        nl.nested(INFO_SLAVE_DATA, nl.attribute(PORT_STATE, old.slave_data[PORT_STATE]))))]


def flags(old, new, mask):
    if not (old.flags ^ new.flags) & mask:
        return []
    return [(SETLINK, 0, header(new.index, old.flags & mask, mask))]
