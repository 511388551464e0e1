# SPDX-License-Identifier: GPL-2.0-only
"""Snapshot of the tunnels of a network namespace: read from the kernel, saved to and loaded from a file"""

import errno
import struct

import link as ln
import namespaces
import netlink as nl
import routing
import settings

RTEXT_BRVLAN = 0x2
BRIDGE_VLAN_INFO = 2


class NetNs:
    """A network namespace, with sockets in it and the snapshot of its tunnels

    links       tunnels by index, including fallback devices
    The other members are lists of messages, or dictionaries by index.
    """

    def __init__(self, namespace):
        self.handle, self.title = namespace, namespace.title
        with namespaces.inside(namespace.fd):
            self.sock, self.control = nl.Socket(), settings.control_socket()
        self.links, self.addresses, self.nexthops, self.routes, self.neighbours = {}, [], [], [], []
        self.features, self.secrets, self.neigh_parameters, self.mpls, self.vlans = {}, {}, {}, [], {}
        self.sysfs = {}                 # name -> file -> value
        self.link_netns = {}            # netnsid -> ident of that namespace
        self.idle = True

    def close(self):
        self.sock.close()
        self.control.close()

    def tunnels(self):
        """-> tunnels that must be created, by index"""
        return [self.links[i] for i in sorted(self.links) if not self.links[i].fallback]

    def fallbacks(self):
        return [self.links[i] for i in sorted(self.links) if self.links[i].fallback]

    # ---- from the kernel

    def find_tunnels(self, kinds):
        """Find the tunnels of these kinds. -> all links of the namespace"""
        all_links = ln.dump_links(self.sock)
        self.links = {link.index: link for link in all_links if link.kind in kinds}
        for link in self.links.values():
            link.fallback = self.is_fallback(link)
        return all_links

    def is_fallback(self, link):
        """Return true for a fallback device: it has no addresses or keys and cannot leave its namespace. The name does
        not tell, since it can be changed."""
        if not link.is_plain() or link.netnsid is not None:
            return False
        if ln.NETNS_IMMUTABLE in link.attrs:
            return bool(link.u32(ln.NETNS_IMMUTABLE))
        # Moving it to its own namespace has no effect, but fails if it cannot be moved.
        try:
            self.sock.request(ln.SETLINK, 0, ln.header(link.index) + nl.u32(ln.NET_NS_FD, self.handle.fd))
        except nl.Error as error:
            if error.errno != errno.EINVAL:
                raise
            return True
        return False

    def capture(self, ipv6_confs):
        """Read everything that belongs to the tunnels; the caller is in the namespace."""
        ours = set(self.links)
        self.addresses = [a for a in routing.addresses(self.sock) if a.index in ours]
        self.idle = not self.addresses and all(
            link.fallback and not link.is_up and not link.master for link in self.links.values())
        for index, link in self.links.items():
            self.features[index] = settings.features(self.control, link.name)
            ipv6_confs.add(link)
            secret = settings.ipv6_secret(link)
            if secret:
                self.secrets[index] = secret
        tables = settings.neigh_parameters(self.sock)
        self.neigh_parameters = {key: value for key, value in tables.items() if key[1] in ours}
        if self.idle:
            return
        self.mpls = sorted(ours & settings.mpls_inputs(self.sock))
        self.neighbours = [n for n in routing.neighbours(self.sock)
                           if n.index in ours and n.is_kept(self.links[n.index])]
        self.capture_routes(ours)
        self.vlans = {i: v for i, v in bridge_vlans(self.sock).items() if i in ours}

    def capture_routes(self, ours):
        all_nexthops = routing.nexthops(self.sock)
        lost = {n.ident for n in all_nexthops if n.device in ours}
        lost |= {n.ident for n in all_nexthops if n.members & lost}
        self.nexthops = [n for n in all_nexthops if n.ident in lost]
        self.routes = self.affected_routes(ours, lost)

    def affected_routes(self, ours, lost):
        """-> routes that are deleted with the devices: through them, their nexthop objects or with their addresses"""
        sources = {a.value for a in self.addresses}
        found = []
        for family in routing.families():
            for route in routing.routes(self.sock, family):
                if route.devices & ours or nl.to_int(route.attrs.get(routing.RTA_NH_ID, b"")) in lost or \
                        route.attrs.get(routing.RTA_PREFSRC) in sources:
                    found.append(route)
        return found

    # ---- to and from a file

    def to_dict(self):
        """-> the snapshot for JSON"""
        return {
            "ident": self.handle.ident, "title": self.title, "idle": self.idle,
            "links": [[link.body.hex(), link.fallback] for link in self.links.values()],
            "addresses": [a.body.hex() for a in self.addresses],
            "nexthops": [n.body.hex() for n in self.nexthops],
            "routes": [r.body.hex() for r in self.routes],
            "neighbours": [n.body.hex() for n in self.neighbours],
            "features": list(self.features.items()), "secrets": list(self.secrets.items()),
            "neigh_parameters": [[name, index, value.hex()] for (name, index), value in self.neigh_parameters.items()],
            "mpls": self.mpls, "sysfs": self.sysfs,
            "vlans": [[index, value] for index, value in self.vlans.items()],
            "link_netns": list(self.link_netns.items())}

    def load_dict(self, kept):
        for body, fallback in kept["links"]:
            link = ln.Link(bytes.fromhex(body))
            link.fallback = fallback
            self.links[link.index] = link
        self.idle = kept["idle"]
        for name, kind in (("addresses", routing.Address), ("nexthops", routing.Nexthop), ("routes", routing.Route),
                           ("neighbours", routing.Neighbour)):
            setattr(self, name, [kind(bytes.fromhex(body)) for body in kept[name]])
        self.features, self.secrets = dict(kept["features"]), dict(kept["secrets"])
        self.neigh_parameters = {(name, index): bytes.fromhex(value) for name, index, value in kept["neigh_parameters"]}
        self.mpls, self.sysfs = kept["mpls"], kept["sysfs"]
        self.vlans = {index: [tuple(v) for v in value] for index, value in kept["vlans"]}
        self.link_netns = {ident: tuple(where) for ident, where in kept["link_netns"]}


def bridge_vlans(sock):
    """-> {index: [(flags, VLAN ID)]} of bridge ports"""
    found = {}
    body = ln.header(0, family=routing.AF_BRIDGE) + nl.u32(ln.EXT_MASK, RTEXT_BRVLAN)
    for message in sock.dump_if_supported(ln.GETLINK, body):
        link = ln.Link(message)
        found[link.index] = sorted(struct.unpack("=HH", value)
                                   for number, value in nl.iter_attrs(link.attrs.get(ln.AF_SPEC, b""))
                                   if number == BRIDGE_VLAN_INFO)
    return found


def vlan_request(kind, index, vlans):
    return kind, 0, ln.header(index, family=routing.AF_BRIDGE) + nl.nested(
        ln.AF_SPEC, *(nl.attr(BRIDGE_VLAN_INFO, struct.pack("=HH", *vlan)) for vlan in vlans))
