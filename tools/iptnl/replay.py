# SPDX-License-Identifier: GPL-2.0-only
"""Give back what a snapshot holds: the tunnels first, in every namespace, then all that was on them.

It may be called again after half of it was done: what is there already stays, what differs is set.
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

SETTLE = 10                     # seconds for addresses to get usable
DONE = (0, errno.EEXIST)
PROBE = "iptnl-probe%d"
PASSING = "iptnl-tmp"
MOST_PROBES = 4096


class Replay:
    """One giving back, to all spaces.

    failures    what did not work, a line each
    lenient     there is nothing to go back to: rather a tunnel with another index than none
    """

    def __init__(self, spaces, shapes, taken_at, lenient=False):
        self.lenient = lenient
        self.spaces = [space for space in spaces if space.links]
        self.by_ident = {space.namespace.ident: space for space in spaces}
        self.shapes, self.taken_at = shapes, taken_at
        self.failures = []
        self.ended = 0                                  # when the last was given back
        self.remaps = {space: {} for space in spaces}   # space -> {old index: new index} of the fallback devices
        self.hasty = []                                 # (space, name): duplicate address detection is off for now

    def fail(self, space, what, error):
        words = error if isinstance(error, str) else error.strerror or str(error)
        self.failures.append("%s in %s: %s" % (what, space.title, words))

    def send(self, space, what, requests, done=(0,)):
        """Send them; what is refused is a failure. -> the errno of each"""
        results = space.sock.batch(requests)
        for code, words in results:
            if code not in done:
                self.fail(space, what, nl.Error(code, words))
        return [code for code, _ in results]

    def send_each(self, space, requests):
        """As send, each request with a name of its own for what it is"""
        results = space.sock.batch([request for _, request in requests])
        for (what, _), (code, words) in zip(requests, results):
            if code:
                self.fail(space, what, nl.Error(code, words))

    # ---- the tunnels

    def taken_indexes(self):
        """-> {space: indexes} of tunnels to be made whose number the module took for a device of its own"""
        found = {}
        for space in self.spaces:
            wanted = {link.index for link in space.tunnels()}
            took = {link.index for link in ln.links(space.sock) if link.name in ln.FALLBACKS and link.index in wanted
                    and space.links[link.index].name != link.name}
            if took:
                found[space] = wanted
        return found

    def step_over(self, taken):
        """Make devices, to go with the module, until the numbers that come next are free."""
        for space, wanted in taken.items():
            kinds = sorted({link.kind for link in space.links.values()})
            for count in range(MOST_PROBES):
                data = nl.attribute(ln.IPTUN_REMOTE if kinds[0] == "ipip" else ln.GRE_REMOTE,
                                    struct.pack(">I", 0xf0000001 + count))
                kind = "ipip" if kinds[0] == "ipip" else "gre"
                name = PROBE % count
                info = nl.nested(ln.LINKINFO, nl.string(ln.INFO_KIND, kind), nl.nested(ln.INFO_DATA, data))
                space.sock.request(ln.NEWLINK, nl.CREATE | nl.EXCL,
                                   ln.header(0) + nl.string(ln.IFNAME, name) + info)
                index = index_of(space, name)
                if not wanted & set(range(index, index + 2 * len(ln.FALLBACKS) + 1)):
                    break

    def depth(self, space, link, seen=()):
        """-> how many tunnels are to be made before it, being its links"""
        if not link.lower or link in seen:
            return 0
        home = space if link.netnsid is None else self.by_ident.get(space.link_space.get(link.netnsid))
        lower = home.links.get(link.lower) if home else None
        return 1 + self.depth(home, lower, seen + (link,)) if lower and lower is not link else 0

    def make(self):
        """Make the tunnels."""
        rounds = {}
        for space in self.spaces:
            there = ln.links(space.sock)
            self.find_fallbacks(space, there)
            there = {(link.index, link.name, link.kind) for link in there}
            for link in space.tunnels():
                if (link.index, link.name, link.kind) not in there:
                    rounds.setdefault(self.depth(space, link), {}).setdefault(space, []).append(link)
        for depth in sorted(rounds):
            for space, links in rounds[depth].items():
                self.make_some(space, links)

    def find_fallbacks(self, space, there):
        now = {link.name: link for link in there}
        for link in space.fallbacks():
            new = now.get(link.name)
            if new is None or new.kind != link.kind:
                self.fail(space, link.name, "the module did not make it")
            else:
                self.remaps[space][link.index] = new.index

    def make_some(self, space, links):
        results = space.sock.batch([ln.create(link, self.remaps[space]) for link in links])
        for link, (code, words) in zip(links, results):
            if code in (errno.EEXIST, errno.EBUSY) and link.netnsid is not None:
                # Its name or number may be taken there, where it begins.
                try:
                    self.make_and_move(space, link)
                    continue
                except OSError as error:
                    code, words = error.errno, getattr(error, "words", "")
            if code in (errno.EEXIST, errno.EBUSY) and self.lenient and self.make_elsewhere(space, link):
                self.fail(space, link.name, "its interface index %d is taken, it got another" % link.index)
            elif code:
                self.fail(space, link.name, nl.Error(code, words))

    def make_elsewhere(self, space, link):
        """Make it with whatever index is free. -> whether that was possible"""
        kind, flags, body = ln.create(link, self.remaps[space])
        try:
            space.sock.request(kind, flags, ln.header(0) + body[16:])
        except nl.Error:
            return False
        self.remaps[space][link.index] = index_of(space, link.name)
        return True

    def make_and_move(self, space, link):
        home = self.by_ident[space.link_space[link.netnsid]]
        home.sock.request(ln.NEWLINK, nl.CREATE | nl.EXCL, ln.header(0) + nl.string(ln.IFNAME, PASSING) +
                          ln.birth(link, {}))
        index = index_of(home, PASSING)
        try:
            home.sock.request(ln.SETLINK, 0, ln.header(index) + nl.string(ln.IFNAME, link.name) + nl.u32(
                ln.NET_NS_FD, space.namespace.fd) + nl.u32(ln.NEW_IFINDEX, link.index))
        except nl.Error:
            home.sock.batch([(ln.DELLINK, 0, ln.header(index))])
            raise

    def complete(self):
        """Whether every tunnel is there, whatever it lacks"""
        return all(len(self.pairs(space)) == len(space.links) for space in self.spaces)

    def moved(self):
        """-> a line for each device that is up and has another index than before"""
        return ["%s in %s has interface index %d now, it had %d" % (
            space.links[old].name, space.title, new, old) for space in self.spaces
            for old, new in sorted(self.remaps[space].items()) if old != new and space.links[old].is_up]

    def count_on(self, space, numbers):
        """The sequence numbers go on. A tunnel that is up has had them, and has gone on from there."""
        down = {old.index for old, new in self.pairs(space) if not new.is_up} if numbers else set()
        wanted = {index: value for index, value in numbers.items() if index in down}
        for index in carry.give(wanted, self.remaps[space]):
            self.fail(space, space.links[index].name, "its sequence numbers could not be set")

    # ---- what is on them

    def pairs(self, space):
        """-> (as it was, as it is) of each tunnel that is there"""
        now = {link.index: link for link in ln.links(space.sock)}
        remap = self.remaps[space]
        return [(old, now[remap.get(index, index)]) for index, old in sorted(space.links.items())
                if remap.get(index, index) in now]

    def dress(self, space):
        """Set everything of the devices, bring them up, give them addresses, routes and neighbours; the caller is
        inside the namespace."""
        for index, secret in space.secrets.items():
            self.try_file(space, space.links[index], settings.set_ipv6, [("stable_secret", secret)])
        pairs = self.pairs(space)
        requests = [(old.name, request) for old, new in pairs for request in ln.corrections(old, new)]
        self.send_each(space, requests)
        if requests and not space.idle:
            pairs = self.pairs(space)           # sysctls follow the address generation mode and the MTU
        self.details(space, pairs)
        if space.idle:
            return
        self.masters(space, pairs)
        self.flags(space, pairs)
        self.network(space)
        if any(late_setting(*pair) for pair in pairs):
            self.late_settings(space)

    def flags(self, space, pairs):
        """Flags, and up. A tunnel to a group comes up only where the group is routed, maybe through another tunnel:
        then its turn is after the routes."""
        requests = [(old.name + ": flags", request) for old, new in pairs
                    for request in ln.flags(old, new, ln.SETTABLE | ln.UP)]
        results = space.sock.batch([request for _, request in requests])
        again = [request for request, (code, _) in zip(requests, results) if code]
        if again:
            failures = list(self.failures)
            self.network(space)
            self.failures = failures
            self.send_each(space, again)

    def late_settings(self, space):
        """What a device takes only when it is up, or that coming up sets."""
        if any(link.fallback for link in space.links.values()):
            self.timers(space)
        # Where the bridge runs STP, the state is its own affair.
        stp = {link.index for link in ln.links(space.sock) if link.runs_stp}
        for old, new in self.pairs(space):
            if new.master not in stp:
                self.send(space, "%s: state of the port" % old.name, ln.port_state(old, new))
            if old.fallback:
                self.send(space, old.name, ln.corrections(old, new))
                self.try_file(space, new, settings.set_ipv6, self.shapes.differences(old, new))
            if old.ipv6_conf and new.ipv6_conf and settings.ipv6_mtu(new.ipv6_conf) != \
                    settings.ipv6_mtu(old.ipv6_conf) < old.u32(ln.MTU):
                self.try_file(space, new, settings.set_ipv6, [("mtu", str(settings.ipv6_mtu(old.ipv6_conf)))])

    def same_parameters(self, space, pairs):
        """The drivers dump the same attributes, though not in the same order."""
        for old, new in pairs:
            want, have = nl.table(ln.driver_data(old, self.remaps[space])), nl.table(new.data)
            differ = sorted(n for n in want.keys() | have.keys() if want.get(n) != have.get(n))
            if old.kind != new.kind or differ:
                self.fail(space, old.name, "it came back different: " + "; ".join(
                    "attribute %d is %s, was %s" % (n, hexed(have.get(n)), hexed(want.get(n))) for n in differ))

    def details(self, space, pairs):
        usable = {a.index for a in space.addresses if a.family == routing.AF_INET6 and not a.unsettled}
        for old, new in pairs:
            try:
                settings.restore_features(space.control, new.name, space.features[old.index])
            except OSError as error:
                self.fail(space, old.name, error)
            self.try_file(space, new, settings.set_ipv6, self.shapes.differences(old, new))
            if old.index in space.mpls:
                self.try_file(space, new, settings.set_mpls, True)
            if old.index in usable and old.is_up and old.type == ln.ETHERNET:
                self.hasty.append((space, old.name))
                self.try_file(space, new, settings.set_ipv6, settings.NO_DAD)
        self.timers(space)

    def timers(self, space):
        """The neighbours', of all devices that have such tables"""
        remap, tables = self.remaps[space], settings.neighbour_tables(space.sock)
        self.send(space, "neighbour parameters", [
            request for (name, index), value in space.parameters.items() if (name, remap.get(index, index)) in tables
            for request in settings.set_neighbour_table(name, remap.get(index, index), value,
                                                        tables[name, remap.get(index, index)])])

    def try_file(self, space, link, function, value):
        try:
            function(link.name, value)
        except OSError as error:
            self.fail(space, "%s: %s" % (link.name, error.filename), error)

    def masters(self, space, pairs):
        ports = sorted((p for p in pairs if p[0].master and p[0].master != p[1].master),
                       key=lambda p: (p[0].master, nl.number(p[0].slave_data.get(ln.PORT_NUMBER, b""))))
        for old, new in ports:
            self.send(space, "%s: master" % old.name, [ln.enslave(old, new, self.remaps[space])])
        if not any(old.master for old, _ in pairs):
            return
        vlans = snapshot.bridge_vlans(space.sock)
        for old, new in self.pairs(space):
            requests = ln.port_corrections(old, new)
            before, now = space.vlans.get(old.index, []), vlans.get(new.index, [])
            # A primary one that changes must go first: there is one only.
            gone = [vlan for vlan in now if vlan not in before]
            if gone:
                requests.append(snapshot.vlan_request(ln.DELLINK, new.index, gone))
            missing = [vlan for vlan in before if vlan not in now]
            if missing:
                requests.append(snapshot.vlan_request(ln.SETLINK, new.index, missing))
            self.send(space, "%s: bridge port" % old.name, requests)

    def network(self, space):
        remap = self.remaps[space]
        elapsed = int(time.time() - self.taken_at)
        self.send(space, "address", [a.request(remap, elapsed) for a in space.addresses if not a.is_temporary()])
        self.nexthops(space)
        self.routes(space, [r for r in space.routes if r.protocol != routing.PROTO_KERNEL])
        self.send(space, "neighbour", [n.request(remap) for n in space.neighbours], DONE)

    def nexthops(self, space):
        remap = self.remaps[space]
        single = [n for n in space.nexthops if not n.members]
        groups = [n for n in space.nexthops if n.members]
        for some in (single, groups):
            self.send(space, "nexthop", [n.request(remap) for n in some], DONE)

    def routes(self, space, routes):
        """Some gateways are found only when another route is there: as long as one more is taken, try again."""
        left = sorted(routes, key=routing.Route.order)
        while left:
            results = space.sock.batch([route.request(self.remaps[space]) for route in left])
            again = [route for route, (code, _) in zip(left, results) if code not in DONE]
            if len(again) == len(left):
                for route, (code, words) in zip(left, results):
                    self.fail(space, describe(route), nl.Error(code, words))
                return
            left = again

    def sysfs(self):
        wanted = {i: (space.namespace.fd, space.sysfs) for i, space in enumerate(self.spaces) if space.sysfs}
        try:
            for i, wrong in sysfs.write(wanted).items() if wanted else ():
                self.failures += ["%s in %s" % (line, self.spaces[i].title) for line in wrong]
        except OSError as error:
            self.failures.append(error.strerror)

    # ---- afterwards

    def settle(self):
        """Wait for addresses, then take away what came by itself and was not there, and add what did not come."""
        for space in self.spaces:
            self.same_parameters(space, self.pairs(space))
        end = time.monotonic() + SETTLE
        while time.monotonic() < end and any(self.unsettled(space) for space in self.spaces if not space.idle):
            time.sleep(0.02)
        for space, name in self.hasty:
            with namespaces.inside(space.namespace.fd):
                old = next(link for link in space.links.values() if link.name == name)
                known = self.shapes.known[settings.shape(old.ipv6_conf)]
                self.try_file(space, old, settings.set_ipv6, [(item, known[item]) for item, _ in settings.NO_DAD])
        for space in self.spaces:
            if not space.idle:
                self.tidy_addresses(space)
                self.tidy_routes(space)

    def unsettled(self, space):
        remap = self.remaps[space]
        waiting = {(remap.get(a.index, a.index), a.value) for a in space.addresses if not a.unsettled}
        return any(a.unsettled and (a.index, a.value) in waiting for a in routing.addresses(space.sock))

    def ours(self, space):
        remap = self.remaps[space]
        return {remap.get(index, index) for index in space.links}

    def tidy_addresses(self, space):
        remap, ours = self.remaps[space], self.ours(space)
        wanted = {a.key(remap) for a in space.addresses}
        now = [a for a in routing.addresses(space.sock) if a.index in ours]
        extra = [a for a in now if a.key({}) not in wanted and not a.is_temporary()]
        self.send(space, "address", [a.removal() for a in extra], (0, errno.EADDRNOTAVAIL))
        there = {a.key({}) for a in now}
        missing = [a for a in space.addresses if a.key(remap) not in there and not a.is_temporary()]
        self.send(space, "address", [a.request(remap) for a in missing])
        self.late(missing)

    def late(self, given):
        if given:
            self.ended = time.monotonic()

    def tidy_routes(self, space):
        remap, ours = self.remaps[space], self.ours(space)
        wanted = {r.key(remap) for r in space.routes}
        now = space.affected(ours, {n.ident for n in space.nexthops})
        extra = [r for r in now if r.devices & ours and r.key({}) not in wanted]
        # What is in the way of another, as an IPv6 route that lost a next hop, has the same place.
        self.send(space, "route", [r.removal({}) for r in extra], (0, errno.ESRCH, errno.ENOENT))
        there = {r.key({}) for r in now} - {r.key({}) for r in extra}
        missing = [r for r in space.routes if r.key(remap) not in there]
        partly = {r.destination() for r in missing if r.family == routing.AF_INET6}
        if partly:
            self.send(space, "route", [r.removal({}) for r in routing.routes(space.sock, routing.AF_INET6)
                                       if r.destination() in partly and r.key({}) not in wanted and
                                       any(is_part(r, m) for m in missing)], (0, errno.ESRCH))
        self.routes(space, missing)
        self.late(missing)
        self.order_routes(space)

    def order_routes(self, space):
        """IPv4 routes of the same place are told apart by their order alone."""
        remap = self.remaps[space]
        wanted = {}
        for route in space.routes:
            if route.family == routing.AF_INET:
                wanted.setdefault(route.destination(), []).append(route)
        if not any(len(routes) > 1 for routes in wanted.values()):
            return
        now = {}
        for route in routing.routes(space.sock, routing.AF_INET):
            now.setdefault(route.destination(), []).append(route.key({}))
        for place, routes in wanted.items():
            keys = [route.key(remap) for route in routes]
            if [key for key in now.get(place, []) if key in keys] != keys:
                self.send(space, "route", [r.removal(remap) for r in routes], (0, errno.ESRCH))
                self.routes(space, routes)


def is_part(route, whole):
    """Whether an IPv6 route has some of the next hops of another of the same place"""
    return route.destination() == whole.destination() and route.devices <= whole.devices


def late_setting(old, new):
    return old.slave_kind == "bridge" or old.ipv6_conf and (
        not new.ipv6_conf or settings.ipv6_mtu(old.ipv6_conf) < old.u32(ln.MTU))


def hexed(value):
    return "not there" if value is None else value.hex() or "empty"


def index_of(space, name):
    return next(link.index for link in ln.links(space.sock) if link.name == name)


def describe(route):
    place = route.attrs.get(routing.RTA_DST)
    names = {routing.AF_INET: "IPv4", routing.AF_INET6: "IPv6", routing.AF_MPLS: "MPLS"}
    return "%s route to %s/%d (table %d)" % (names[route.family], address_text(route.family, place), route.length,
                                             route.table)


def address_text(family, value):
    if value is None:
        return "default"
    if family == routing.AF_MPLS:
        return str(struct.unpack(">I", value)[0] >> 12)
    return namespaces.socket_text(family, value)
