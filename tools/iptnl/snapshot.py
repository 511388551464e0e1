# SPDX-License-Identifier: GPL-2.0-only
"""All there is of the tunnels of one network namespace: taken from the kernel, kept in a file, read back."""

import errno
import struct

import link as ln
import namespaces
import netlink as nl
import routing
import settings

RTEXT_BRVLAN = 0x2
BRIDGE_VLAN_INFO = 2


class Space:
    """A network namespace with sockets in it, and what was found there.

    links       the tunnels, the fallback devices among them, by index
    The rest are lists of messages, or by index, as their module gives them.
    """

    def __init__(self, namespace):
        self.namespace, self.title = namespace, namespace.title
        with namespaces.inside(namespace.fd):
            self.sock, self.control = nl.Socket(), settings.control_socket()
        self.links, self.addresses, self.nexthops, self.routes, self.neighbours = {}, [], [], [], []
        self.features, self.secrets, self.parameters, self.mpls, self.vlans = {}, {}, {}, [], {}
        self.sysfs = {}                 # name -> file -> what it says
        self.link_space = {}            # netnsid -> ident of that namespace
        self.idle = True

    def close(self):
        self.sock.close()
        self.control.close()

    def tunnels(self):
        """-> those that have to be made, in order of their index"""
        return [self.links[i] for i in sorted(self.links) if not self.links[i].fallback]

    def fallbacks(self):
        return [self.links[i] for i in sorted(self.links) if self.links[i].fallback]

    # ---- from the kernel

    def look(self, kinds):
        """Find the tunnels of those kinds. -> all links, for whoever wants to see what is around them"""
        every = ln.links(self.sock)
        self.links = {link.index: link for link in every if link.kind in kinds}
        for link in self.links.values():
            link.fallback = self.is_fallback(link)
        return every

    def is_fallback(self, link):
        """The device the module made by itself has no addresses or keys, and cannot leave its namespace. Nothing
        else has both; its name says nothing, since it can be changed."""
        if not link.is_plain() or link.netnsid is not None:
            return False
        if ln.NETNS_IMMUTABLE in link.attrs:
            return bool(link.u32(ln.NETNS_IMMUTABLE))
        # To move it to where it is changes nothing, and is refused to one that cannot be moved.
        try:
            self.sock.request(ln.SETLINK, 0, ln.header(link.index) + nl.u32(ln.NET_NS_FD, self.namespace.fd))
        except nl.Error as error:
            if error.errno != errno.EINVAL:
                raise
            return True
        return False

    def take(self, shapes):
        """Read all that belongs to the tunnels; the caller is inside."""
        ours = set(self.links)
        self.addresses = [a for a in routing.addresses(self.sock) if a.index in ours]
        self.idle = not self.addresses and all(link.fallback and not link.is_up for link in self.links.values())
        for index, link in self.links.items():
            self.features[index] = settings.features(self.control, link.name)
            shapes.learn(link)
            secret = settings.ipv6_secret(link)
            if secret:
                self.secrets[index] = secret
        tables = settings.neighbour_tables(self.sock)
        self.parameters = {key: value for key, value in tables.items() if key[1] in ours}
        if self.idle:
            return
        self.mpls = sorted(ours & settings.mpls_inputs(self.sock))
        self.neighbours = [n for n in routing.neighbours(self.sock)
                           if n.index in ours and n.is_kept(self.links[n.index])]
        self.take_routes(ours)
        self.vlans = {i: v for i, v in bridge_vlans(self.sock).items() if i in ours}

    def take_routes(self, ours):
        every = routing.nexthops(self.sock)
        lost = {n.ident for n in every if n.device in ours}
        lost |= {n.ident for n in every if n.members & lost}
        self.nexthops = [n for n in every if n.ident in lost]
        self.routes = self.affected(ours, lost)

    def affected(self, ours, lost):
        """-> the routes that go with the devices: by them, by their nexthop objects, from their addresses"""
        sources = {a.value for a in self.addresses}
        found = []
        for family in routing.families():
            for route in routing.routes(self.sock, family):
                if route.devices & ours or nl.number(route.attrs.get(routing.RTA_NH_ID, b"")) in lost or \
                        route.attrs.get(routing.RTA_PREFSRC) in sources:
                    found.append(route)
        return found

    # ---- to and from a file

    def freeze(self):
        """-> what json can keep"""
        return {
            "ident": self.namespace.ident, "title": self.title, "idle": self.idle,
            "links": [[link.body.hex(), link.fallback] for link in self.links.values()],
            "addresses": [a.body.hex() for a in self.addresses],
            "nexthops": [n.body.hex() for n in self.nexthops],
            "routes": [r.body.hex() for r in self.routes],
            "neighbours": [n.body.hex() for n in self.neighbours],
            "features": list(self.features.items()), "secrets": list(self.secrets.items()),
            "parameters": [[name, index, value.hex()] for (name, index), value in self.parameters.items()],
            "mpls": self.mpls, "sysfs": self.sysfs,
            "vlans": [[index, value] for index, value in self.vlans.items()],
            "link_space": list(self.link_space.items())}

    def thaw(self, kept):
        for body, fallback in kept["links"]:
            link = ln.Link(bytes.fromhex(body))
            link.fallback = fallback
            self.links[link.index] = link
        self.idle = kept["idle"]
        for name, kind in (("addresses", routing.Address), ("nexthops", routing.Nexthop), ("routes", routing.Route),
                           ("neighbours", routing.Neighbour)):
            setattr(self, name, [kind(bytes.fromhex(body)) for body in kept[name]])
        self.features, self.secrets = dict(kept["features"]), dict(kept["secrets"])
        self.parameters = {(name, index): bytes.fromhex(value) for name, index, value in kept["parameters"]}
        self.mpls, self.sysfs = kept["mpls"], kept["sysfs"]
        self.vlans = {index: [tuple(v) for v in value] for index, value in kept["vlans"]}
        self.link_space = {ident: tuple(where) for ident, where in kept["link_space"]}


def bridge_vlans(sock):
    """-> {index: [(flags, number)]} of the ports of bridges"""
    found = {}
    body = ln.header(0, family=routing.AF_BRIDGE) + nl.u32(ln.EXT_MASK, RTEXT_BRVLAN)
    for message in sock.dump_if_known(ln.GETLINK, body):
        link = ln.Link(message)
        found[link.index] = sorted(struct.unpack("=HH", value)
                                   for number, value in nl.attributes(link.attrs.get(ln.AF_SPEC, b""))
                                   if number == BRIDGE_VLAN_INFO)
    return found


def vlan_request(kind, index, vlans):
    return kind, 0, ln.header(index, family=routing.AF_BRIDGE) + nl.nested(
        ln.AF_SPEC, *(nl.attribute(BRIDGE_VLAN_INFO, struct.pack("=HH", *vlan)) for vlan in vlans))
