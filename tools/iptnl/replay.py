# SPDX-License-Identifier: GPL-2.0-only
"""Restore a snapshot: first the tunnels of all namespaces, then their settings.

It can be repeated after a partial restore: existing tunnels are kept, and settings that differ are set.
"""

import errno
import struct
import time

import carry
import link as ln
import namespaces
import netlink as nl
import routing
import settings
import snapshot
import sysfs

DAD_TIMEOUT = 10               # seconds
DONE = (0, errno.EEXIST)
PROBE_NAME = "iptnl-probe%d"
TEMP_NAME = "iptnl-tmp"
MAX_PROBES = 4096


class Replay:
    """Restores the snapshots of all namespaces.

    failures    one line per error
    lenient     no rollback is possible, so create a tunnel with another interface index rather than not at all
    """

    def __init__(self, netns_list, ipv6_confs, taken_at, lenient=False):
        self.lenient = lenient
        self.netns_list = [netns for netns in netns_list if netns.links]
        self.by_ident = {netns.handle.ident: netns for netns in netns_list}
        self.ipv6_confs, self.taken_at = ipv6_confs, taken_at
        self.failures = []
        self.ended = 0                                  # time of the last change
        self.remaps = {netns: {} for netns in netns_list}       # netns -> {old index: new index}
        self.not_created = set()                        # (netns, old index)
        self.dad_disabled = []                          # (netns, name) with DAD temporarily off

    def fail(self, netns, what, error):
        message = error if isinstance(error, str) else error.strerror or str(error)
        self.failures.append("%s in %s: %s" % (what, netns.title, message))

    def send(self, netns, what, requests, done=(0,)):
        """Send requests, and record failures. -> [errno]"""
        results = netns.sock.batch(requests)
        for code, message in results:
            if code not in done:
                self.fail(netns, what, nl.Error(code, message))
        return [code for code, _ in results]

    def send_each(self, netns, requests):
        """Like send(), with a description for each request"""
        results = netns.sock.batch([request for _, request in requests])
        for (what, _), (code, message) in zip(requests, results):
            if code:
                self.fail(netns, what, nl.Error(code, message))

    # ---- the tunnels

    def conflicting_indexes(self):
        """-> {netns: indexes of its tunnels} where a fallback device took the index of a tunnel"""
        found = {}
        for netns in self.netns_list:
            wanted = {link.index for link in netns.tunnels()}
            took = {link.index for link in ln.dump_links(netns.sock)
                    if link.name in ln.FALLBACKS and link.index in wanted
                    and netns.links[link.index].name != link.name}
            if took:
                found[netns] = wanted
        return found

    def skip_indexes(self, taken):
        """Create dummy tunnels until the next free indexes are not needed. They are deleted with the module."""
        for netns, wanted in taken.items():
            kinds = sorted({link.kind for link in netns.links.values()})
            for count in range(MAX_PROBES):
                data = nl.attr(ln.IPTUN_REMOTE if kinds[0] == "ipip" else ln.GRE_REMOTE,
                               struct.pack(">I", 0xf0000001 + count))
                kind = "ipip" if kinds[0] == "ipip" else "gre"
                name = PROBE_NAME % count
                info = nl.nested(ln.LINKINFO, nl.string(ln.INFO_KIND, kind), nl.nested(ln.INFO_DATA, data))
                netns.sock.request(ln.NEWLINK, nl.CREATE | nl.EXCL,
                                   ln.header(0) + nl.string(ln.IFNAME, name) + info)
                index = index_of(netns, name)
                if not wanted & set(range(index, index + 2 * len(ln.FALLBACKS) + 1)):
                    break

    def creation_depth(self, netns, link, seen=()):
        """-> the number of underlay tunnels that must be created before it"""
        if not link.lower or link in seen:
            return 0
        home = self.link_netns(netns, link)
        lower = home.links.get(link.lower) if home else None
        return 1 + self.creation_depth(home, lower, seen + (link,)) if lower and lower is not link else 0

    def create_tunnels(self):
        """Create the tunnels."""
        rounds = {}
        for netns in self.netns_list:
            there = ln.dump_links(netns.sock)
            self.find_fallbacks(netns, there)
            now = {(link.name, link.kind): link for link in there}
            for link in netns.tunnels():
                same = now.get((link.name, link.kind))
                if same and same.index != link.index and self.lenient and same.data == link.data:
                    self.remaps[netns][link.index] = same.index         # by an earlier "recover"
                elif not same or same.index != link.index:
                    rounds.setdefault(self.creation_depth(netns, link), {}).setdefault(netns, []).append(link)
        for depth in sorted(rounds):
            for netns, links in rounds[depth].items():
                self.create_batch(netns, links)

    def find_fallbacks(self, netns, there):
        now = {link.name: link for link in there}
        for link in netns.fallbacks():
            new = now.get(link.name)
            if new is None or new.kind != link.kind:
                self.fail_to_create(netns, link, "the module did not create it")
            else:
                self.remaps[netns][link.index] = new.index

    def fail_to_create(self, netns, link, error):
        self.not_created.add((netns, link.index))
        self.fail(netns, link.name, error)

    def link_netns(self, netns, link):
        """-> the namespace of its underlay, None if that is not known"""
        return netns if link.netnsid is None else self.by_ident.get(netns.link_netns.get(link.netnsid))

    def create_batch(self, netns, links):
        for link in links:
            if (self.link_netns(netns, link), link.lower) in self.not_created:
                self.fail_to_create(netns, link, "the device below was not created")
        links = [link for link in links if (netns, link.index) not in self.not_created]
        results = netns.sock.batch([ln.newlink_request(link, self.remaps[netns]) for link in links])
        for link, (code, message) in zip(links, results):
            if code in (errno.EEXIST, errno.EBUSY) and link.netnsid is not None:
                # Its name or index may be taken in the link namespace, where it is created first.
                try:
                    self.create_and_move(netns, link)
                    continue
                except OSError as error:
                    code, message = error.errno, getattr(error, "message", "")
            if code in (errno.EEXIST, errno.EBUSY) and self.lenient and self.create_with_any_index(netns, link):
                self.fail(netns, link.name, "interface index %d is taken, it got another one" % link.index)
            elif code:
                self.fail_to_create(netns, link, nl.Error(code, message))

    def create_with_any_index(self, netns, link):
        """Create a tunnel with any index. Return true on success."""
        kind, flags, body = ln.newlink_request(link, self.remaps[netns])
        try:
            netns.sock.request(kind, flags, ln.header(0) + body[16:])
        except nl.Error:
            return False
        self.remaps[netns][link.index] = index_of(netns, link.name)
        return True

    def create_and_move(self, netns, link):
        home = self.by_ident[netns.link_netns[link.netnsid]]
        home.sock.request(ln.NEWLINK, nl.CREATE | nl.EXCL, ln.header(0) + nl.string(ln.IFNAME, TEMP_NAME) +
                          ln.newlink_attrs(link, {}))
        index = index_of(home, TEMP_NAME)
        try:
            home.sock.request(ln.SETLINK, 0, ln.header(index) + nl.string(ln.IFNAME, link.name) + nl.u32(
                ln.NET_NS_FD, netns.handle.fd) + nl.u32(ln.NEW_IFINDEX, link.index))
        except nl.Error:
            home.sock.batch([(ln.DELLINK, 0, ln.header(index))])
            raise

    def all_tunnels_exist(self):
        """Return true if all tunnels exist, whatever their settings."""
        return all(len(self.pairs(netns)) == len(netns.links) for netns in self.netns_list)

    def changed_indexes(self):
        """-> a line for each device that is up and whose index has changed"""
        return ["%s in %s has interface index %d now, it had %d" % (
            netns.links[old].name, netns.title, new, old) for netns in self.netns_list
            for old, new in sorted(self.remaps[netns].items()) if old != new and netns.links[old].is_up]

    def restore_sequence_numbers(self, netns, numbers):
        """Restore sequence numbers. A tunnel that is up already has them, and may have sent packets since."""
        down = {old.index for old, new in self.pairs(netns) if not new.is_up} if numbers else set()
        wanted = {index: value for index, value in numbers.items() if index in down}
        for index in carry.set_numbers(wanted, self.remaps[netns]):
            self.fail(netns, netns.links[index].name, "its sequence numbers could not be set")

    # ---- settings

    def pairs(self, netns):
        """-> [(link in the snapshot, current link)] of existing tunnels"""
        now = {(link.index, link.name, link.kind): link for link in ln.dump_links(netns.sock)}
        remap = self.remaps[netns]
        pairs = [(old, now.get((remap.get(index, index), old.name, old.kind)))
                 for index, old in sorted(netns.links.items())]
        return [(old, new) for old, new in pairs if new]

    def missing(self, netns):
        """-> old indexes of the tunnels that could not be created; other devices may have them by now"""
        return {index for where, index in self.not_created if where is netns}

    def restore_settings(self, netns):
        """Restore device settings, set the devices up, and restore addresses, routes and neighbours. The caller is in
        the namespace."""
        pairs = self.pairs(netns)
        for old, new in pairs:
            if old.index in netns.secrets:
                self.write_setting(netns, new, settings.set_ipv6, [("stable_secret", netns.secrets[old.index])])
        if netns.secrets:
            pairs = self.pairs(netns)           # a secret changes the mode of address generation
        requests = [(old.name, request) for old, new in pairs for request in ln.change_requests(old, new)]
        self.send_each(netns, requests)
        if requests and not netns.idle:
            pairs = self.pairs(netns)           # the requests may have changed sysctls
        self.restore_device(netns, pairs)
        if netns.idle:
            return
        self.restore_masters(netns, pairs)
        self.restore_flags(netns, pairs)
        self.restore_network(netns)
        if any(needs_late_settings(*pair) for pair in pairs):
            self.restore_late_settings(netns)

    def restore_flags(self, netns, pairs):
        """Restore flags, including up. A tunnel with a multicast remote needs a route to the group, maybe through
        another tunnel: if setting it up fails, try again after restoring the routes."""
        requests = [(old.name + ": flags", request) for old, new in pairs
                    for request in ln.flag_requests(old, new, ln.SETTABLE | ln.UP)]
        results = netns.sock.batch([request for _, request in requests])
        again = [request for request, (code, _) in zip(requests, results) if code]
        if again:
            failures = list(self.failures)
            self.restore_network(netns)
            self.failures = failures
            self.send_each(netns, again)

    def restore_late_settings(self, netns):
        """Restore settings that require a device to be up, or that are reset when it is set up."""
        if any(link.fallback for link in netns.links.values()):
            self.restore_neigh_parameters(netns)
        # With STP the bridge sets the port state.
        stp = {link.index for link in ln.dump_links(netns.sock) if link.runs_stp}
        for old, new in self.pairs(netns):
            if new.master not in stp:
                self.send(netns, "%s: state of the port" % old.name, ln.port_state_requests(old, new))
            if old.fallback:
                self.send(netns, old.name, ln.change_requests(old, new))
                self.write_setting(netns, new, settings.set_ipv6, self.ipv6_confs.differences(old, new))
            if old.ipv6_conf and new.ipv6_conf and settings.ipv6_mtu(new.ipv6_conf) != \
                    settings.ipv6_mtu(old.ipv6_conf) < old.u32(ln.MTU):
                self.write_setting(netns, new, settings.set_ipv6, [("mtu", str(settings.ipv6_mtu(old.ipv6_conf)))])

    def verify_parameters(self, netns, pairs):
        """Compare the driver's attributes, which may be dumped in another order."""
        for old, new in pairs:
            want, have = nl.parse_attrs(ln.driver_data(old, self.remaps[netns])), nl.parse_attrs(new.data)
            differ = sorted(n for n in want.keys() | have.keys() if want.get(n) != have.get(n))
            if old.kind != new.kind or differ:
                self.fail(netns, old.name, "restored with other parameters: " + "; ".join(
                    "attribute %d is %s, was %s" % (n, hex_text(have.get(n)), hex_text(want.get(n))) for n in differ))

    def restore_device(self, netns, pairs):
        usable = {a.index for a in netns.addresses if a.family == routing.AF_INET6 and not a.tentative}
        for old, new in pairs:
            try:
                settings.restore_features(netns.control, new.name, netns.features[old.index])
            except OSError as error:
                self.fail(netns, old.name, error)
            self.write_setting(netns, new, settings.set_ipv6, self.ipv6_confs.differences(old, new))
            if old.index in netns.mpls:
                self.write_setting(netns, new, settings.set_mpls, True)
            if old.index in usable and old.is_up and old.type == ln.ETHERNET:
                self.dad_disabled.append((netns, old.name))
                self.write_setting(netns, new, settings.set_ipv6, settings.NO_DAD)
        self.restore_neigh_parameters(netns)

    def restore_neigh_parameters(self, netns):
        """Restore the neighbour parameters of all devices that have them."""
        remap, tables, missing = self.remaps[netns], settings.neigh_parameters(netns.sock), self.missing(netns)
        self.send(netns, "neighbour parameters", [
            request for (name, index), value in netns.neigh_parameters.items()
            if index not in missing and (name, remap.get(index, index)) in tables
            for request in settings.set_neigh_parameters(name, remap.get(index, index), value,
                                                         tables[name, remap.get(index, index)])])

    def write_setting(self, netns, link, function, value):
        try:
            function(link.name, value)
        except OSError as error:
            self.fail(netns, "%s: %s" % (link.name, error.filename), error)

    def restore_masters(self, netns, pairs):
        ports = sorted((p for p in pairs if p[0].master and p[0].master != p[1].master),
                       key=lambda p: (p[0].master, nl.to_int(p[0].slave_data.get(ln.PORT_NUMBER, b""))))
        for old, new in ports:
            self.send(netns, "%s: master" % old.name, [ln.master_request(old, new, self.remaps[netns])])
        if not any(old.master for old, _ in pairs):
            return
        vlans = snapshot.bridge_vlans(netns.sock)
        for old, new in self.pairs(netns):
            requests = ln.port_requests(old, new)
            before, now = netns.vlans.get(old.index, []), vlans.get(new.index, [])
            # There is only one PVID, so a wrong one must be removed first.
            gone = [vlan for vlan in now if vlan not in before]
            if gone:
                requests.append(snapshot.vlan_request(ln.DELLINK, new.index, gone))
            missing = [vlan for vlan in before if vlan not in now]
            if missing:
                requests.append(snapshot.vlan_request(ln.SETLINK, new.index, missing))
            self.send(netns, "%s: bridge port" % old.name, requests)

    def restore_network(self, netns):
        remap = self.remaps[netns]
        elapsed = int(time.time() - self.taken_at)
        missing = self.missing(netns)
        addresses = [a for a in without(missing, netns.addresses) if not a.is_temporary()]
        self.send(netns, "address", [a.request(remap, elapsed) for a in addresses])
        self.restore_nexthops(netns, missing)
        self.add_routes(netns, [r for r in without(missing, netns.routes) if r.protocol != routing.PROTO_KERNEL])
        self.send(netns, "neighbour", [n.request(remap) for n in without(missing, netns.neighbours)], DONE)

    def restore_nexthops(self, netns, missing):
        remap = self.remaps[netns]
        single = [n for n in without(missing, netns.nexthops) if not n.members]
        groups = [n for n in netns.nexthops if n.members]
        for some in (single, groups):
            self.send(netns, "nexthop", [n.request(remap) for n in some], DONE)

    def add_routes(self, netns, routes):
        """Add routes. Some gateways are only reachable through other routes, so repeat as long as one more succeeds."""
        left = sorted(routes, key=routing.Route.sort_key)
        while left:
            results = netns.sock.batch([route.request(self.remaps[netns]) for route in left])
            again = [route for route, (code, _) in zip(left, results) if code not in DONE]
            if len(again) == len(left):
                for route, (code, message) in zip(left, results):
                    self.fail(netns, route_text(route), nl.Error(code, message))
                return
            left = again

    def restore_sysfs(self):
        try:
            wanted = {}
            for i, netns in enumerate(self.netns_list):
                names = {old.name for old, _ in self.pairs(netns)} if netns.sysfs else ()
                files = {name: values for name, values in netns.sysfs.items() if name in names}
                if files:
                    wanted[i] = netns.handle.fd, files
            for i, wrong in sysfs.write(wanted).items() if wanted else ():
                self.failures += ["%s in %s" % (line, self.netns_list[i].title) for line in wrong]
        except OSError as error:
            self.failures.append(error.strerror)

    # ---- final corrections

    def settle(self):
        """Wait for DAD, then remove addresses and routes that the kernel added by itself, and add missing ones. What
        others added meanwhile stays."""
        for netns in self.netns_list:
            pairs = self.pairs(netns)
            self.verify_parameters(netns, pairs)
            for index in netns.links.keys() - {old.index for old, _ in pairs}:
                if (netns, index) not in self.not_created:
                    self.fail(netns, netns.links[index].name, "it was deleted or renamed meanwhile")
        end = time.monotonic() + DAD_TIMEOUT
        while time.monotonic() < end and any(
                self.has_tentative_addresses(netns) for netns in self.netns_list if not netns.idle):
            time.sleep(0.02)
        for netns, name in self.dad_disabled:
            with namespaces.inside(netns.handle.fd):
                old = next(link for link in netns.links.values() if link.name == name)
                known = self.ipv6_confs.known[settings.conf_key(old.ipv6_conf)]
                self.write_setting(netns, old, settings.set_ipv6, [(item, known[item]) for item, _ in settings.NO_DAD])
        for netns in self.netns_list:
            if not netns.idle:
                ours, missing = {new.index for _, new in self.pairs(netns)}, self.missing(netns)
                others = self.tidy_addresses(netns, ours, missing)
                self.tidy_routes(netns, ours, missing, others)

    def has_tentative_addresses(self, netns):
        remap = self.remaps[netns]
        waiting = {(remap.get(a.index, a.index), a.value) for a in netns.addresses if not a.tentative}
        return any(a.tentative and (a.index, a.value) in waiting for a in routing.addresses(netns.sock))

    def tidy_addresses(self, netns, ours, missing):
        """-> addresses that others have added"""
        remap = self.remaps[netns]
        kept = without(missing, netns.addresses)
        wanted = {a.key(remap) for a in kept}
        now = [a for a in routing.addresses(netns.sock) if a.index in ours]
        # An address of the snapshot may also have been added by others, with other properties.
        same = {a.identity(remap) for a in kept}
        extra, others = [], []
        for address in now:
            if address.key({}) not in wanted:
                removed = not address.is_temporary() and (address.is_by_kernel() or address.identity({}) in same)
                (extra if removed else others).append(address)
        self.send(netns, "address", [a.removal() for a in extra], (0, errno.EADDRNOTAVAIL))
        there = {a.key({}) for a in now}
        again = [a for a in kept if a.key(remap) not in there and not a.is_temporary()]
        self.send(netns, "address", [a.request(remap) for a in again])
        self.mark_end(again)
        return others

    def mark_end(self, changed):
        if changed:
            self.ended = time.monotonic()

    def tidy_routes(self, netns, ours, missing, others):
        remap = self.remaps[netns]
        wanted = {r.key(remap) for r in netns.routes}
        now = netns.affected_routes(ours, {n.ident for n in netns.nexthops})
        extra = [r for r in now if r.devices & ours and r.key({}) not in wanted and
                 r.protocol in (routing.PROTO_KERNEL, routing.PROTO_RA) and not any(map(r.is_of, others))]
        self.send(netns, "route", [r.removal({}) for r in extra], (0, errno.ESRCH, errno.ENOENT))
        there = {r.key({}) for r in now} - {r.key({}) for r in extra}
        routes = without(missing, netns.routes)
        again = [r for r in routes if r.key(remap) not in there]
        # Routes that block these, such as IPv6 routes that lost a next hop.
        partly = {r.destination() for r in again if r.family == routing.AF_INET6}
        if partly:
            self.send(netns, "route", [r.removal({}) for r in routing.routes(netns.sock, routing.AF_INET6)
                                       if r.destination() in partly and r.key({}) not in wanted and
                                       any(is_subset(r, m) for m in again)], (0, errno.ESRCH))
        self.add_routes(netns, again)
        self.mark_end(again)
        self.order_routes(netns, routes)

    def order_routes(self, netns, routes):
        """Restore the order of IPv4 routes to the same destination, which decides between them."""
        remap = self.remaps[netns]
        wanted = {}
        for route in routes:
            if route.family == routing.AF_INET:
                wanted.setdefault(route.destination(), []).append(route)
        if not any(len(routes) > 1 for routes in wanted.values()):
            return
        now = {}
        for route in routing.routes(netns.sock, routing.AF_INET):
            now.setdefault(route.destination(), []).append(route.key({}))
        for place, some in wanted.items():
            keys = [route.key(remap) for route in some]
            if [key for key in now.get(place, []) if key in keys] != keys:
                self.send(netns, "route", [r.removal(remap) for r in some], (0, errno.ESRCH))
                self.add_routes(netns, some)


def without(missing, items):
    """-> the items that need none of the missing devices"""
    return [item for item in items if not item.devices & missing]


def is_subset(route, whole):
    """Return true if an IPv6 route has a subset of the next hops of another to the same destination."""
    return route.destination() == whole.destination() and route.devices <= whole.devices


def needs_late_settings(old, new):
    return old.slave_kind == "bridge" or old.ipv6_conf and (
        not new.ipv6_conf or settings.ipv6_mtu(old.ipv6_conf) < old.u32(ln.MTU))


def hex_text(value):
    return "not there" if value is None else value.hex() or "empty"


def index_of(netns, name):
    return next(link.index for link in ln.dump_links(netns.sock) if link.name == name)


def route_text(route):
    place = route.attrs.get(routing.RTA_DST)
    names = {routing.AF_INET: "IPv4", routing.AF_INET6: "IPv6", routing.AF_MPLS: "MPLS"}
    return "%s route to %s/%d (table %d)" % (names[route.family], address_text(route.family, place), route.length,
                                             route.table)


def address_text(family, value):
    if value is None:
        return "default"
    if family == routing.AF_MPLS:
        return str(struct.unpack(">I", value)[0] >> 12)
    return namespaces.address_text(family, value)
