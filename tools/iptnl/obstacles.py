# SPDX-License-Identifier: GPL-2.0-only
"""What could not be carried over: looked for before anything is touched, one line for each."""

import os
import socket
import struct

import link as ln
import modules
import namespaces
import netlink as nl

GETQDISC, GETACTION, GETMDB, GETNSID, GETVLAN = 38, 50, 86, 90, 114
INGRESS = 0xfffffff1
IPMR, AF_BRIDGE = 128, 7
NFT, NFT_GETCHAIN, NFT_GETFLOWTABLE = 10, 4, 23
MASTERS = ("bridge", "vrf")
# Drivers that name the devices they stand on among their own attributes, not as the link
LOWER_ATTRS = {"vxlan": (3,), "hsr": (1, 2)}
MDB_PERMANENT = 1
XDP_ATTACHED = 2
FORWARDING = 3


def sysctl_fallbacks():
    """-> 0 if each namespace gets fallback devices, 1 if the first one, 2 if none; only the first one shows it"""
    first = os.open(namespaces.FIRST, os.O_RDONLY | os.O_CLOEXEC)
    try:
        with namespaces.inside(first):
            return int(modules.read("/proc/sys/net/core/fb_tunnels_only_for_init_net") or 0)
    finally:
        os.close(first)


def is_first(space):
    return space.namespace.ident[1] == namespaces.inode(namespaces.FIRST)


def of_programs():
    """-> why this process cannot do it at all"""
    if os.geteuid() != 0:
        return ["must be root"]
    found = []
    if not namespaces.is_initial("user", namespaces.INIT_USER):
        found.append("in a user namespace of its own (a container?): modules cannot be changed from there")
    if not namespaces.is_initial("pid", namespaces.INIT_PID):
        found.append("in a process namespace of its own (a container?): not every network namespace can be seen there")
    return found


class Inspection:
    """Looks at all spaces, each with all links that are there.

    obstacles   what stands in the way
    notes       what is as well to know
    """

    def __init__(self, views, kinds, side):
        self.views, self.kinds = views, kinds           # [(space, links)]
        self.side = side                                # whose modules are to come
        self.mode = sysctl_fallbacks()
        self.spaces = {space.namespace.ident: space for space, _ in views}
        self.obstacles, self.notes = [], []
        self.idents = {}                                # (ident of a space, nsid) -> ident

    def refuse(self, space, device, why):
        line = "%s in %s: %s" % (device, space.title, why)
        if line not in self.obstacles:
            self.obstacles.append(line)

    def run(self):
        for space, links in self.views:
            with namespaces.inside(space.namespace.fd):
                self.fallbacks(space, links)            # they come where there is no tunnel, too
                if not space.links:
                    continue
                for check in (self.link_spaces, self.masters, self.pppoe, self.programs, self.qdiscs, self.mirrors,
                              self.multicast_routing, self.nftables, self.bridges, self.sockets):
                    check(space, links)
        self.stacked()

    # ---- who is who

    def resolve(self, space, nsid):
        """-> ident of the namespace that has this number in space, None if it is not among ours"""
        key = space.namespace.ident, nsid
        if key not in self.idents:
            self.idents[key] = None
            for other in self.spaces.values():
                if nsid_of(space, other) == nsid:
                    self.idents[key] = other.namespace.ident
        return self.idents[key]

    def link_spaces(self, space, _):
        for link in space.links.values():
            if link.netnsid is None:
                continue
            ident = self.resolve(space, link.netnsid)
            if ident is None:
                self.refuse(space, link.name, "its link namespace (link-netnsid %d) cannot be found" % link.netnsid)
            else:
                space.link_space[link.netnsid] = ident

    # ---- what is on top of it

    def stacked(self):
        wanted = {}
        for ident, space in self.spaces.items():
            for index, link in space.links.items():
                wanted.setdefault(index, []).append((ident, space, link))
        for space, links in self.views:
            for upper in links:
                found = lowers(upper) & wanted.keys()
                if upper.kind in self.kinds or not found:
                    continue
                where = space.namespace.ident if upper.netnsid is None else self.resolve(space, upper.netnsid)
                for ident, home, link in [one for index in found for one in wanted[index]]:
                    # A device is its own link if it has none.
                    if ident == where and not (home is space and upper.index == link.index):
                        self.refuse(home, link.name, "%s (%s) in %s is on top of it" % (
                            upper.name, upper.kind or "a device", space.title))

    def pppoe(self, space, _):
        names = {line.split()[-1] for line in modules.read("/proc/thread-self/net/pppoe").splitlines()[1:] if line}
        for link in space.links.values():
            if link.name in names:
                self.refuse(space, link.name, "a PPPoE session is on top of it")

    def masters(self, space, links):
        by_index = {link.index: link for link in links}
        for link in space.links.values():
            if link.master:
                master = by_index.get(link.master)
                kind = master.kind if master else "unknown"
                if kind not in MASTERS:
                    self.refuse(space, link.name, "is a port of %s (%s)" % (master.name if master else "?", kind))
        for port in links:
            backup = nl.number(port.slave_data.get(ln.PORT_BACKUP, b""))
            if port.slave_kind == "bridge" and backup in space.links:
                self.refuse(space, space.links[backup].name, "is the backup port of %s" % port.name)

    def programs(self, space, _):
        for link in space.links.values():
            xdp = nl.table(link.attrs.get(ln.XDP, b""))
            if nl.number(xdp.get(XDP_ATTACHED, b"")):
                self.refuse(space, link.name, "has an XDP program")
            for hook in tcx_programs(link.index):
                self.refuse(space, link.name, "has a BPF program at tcx %s" % hook)

    def qdiscs(self, space, _):
        for body in space.sock.dump_if_known(GETQDISC, bytes(20)):
            index, handle, parent = struct.unpack_from("=iII", body, 4)
            if index in space.links and (handle or parent == INGRESS):
                kind = nl.text(nl.table(body, 20)[1])
                self.refuse(space, space.links[index].name, "has a qdisc %s (and maybe filters)" % kind)

    def mirrors(self, space, _):
        """Actions that send to the device lose it, and do not find it again."""
        body = bytes(4) + nl.nested(1, nl.nested(1, nl.string(1, "mirred")))
        for message in space.sock.dump_if_known(GETACTION, body):
            for _, action in nl.attributes(nl.table(message, 4).get(1, b"")):
                parameters = nl.table(nl.table(action).get(2, b"")).get(2, b"")
                if len(parameters) >= 28 and struct.unpack_from("=I", parameters, 24)[0] in space.links:
                    link = space.links[struct.unpack_from("=I", parameters, 24)[0]]
                    self.refuse(space, link.name, "tc action mirred index %d sends to it" %
                                struct.unpack_from("=I", parameters)[0])

    def multicast_routing(self, space, _):
        names = set()
        for path in ("/proc/thread-self/net/ip_mr_vif", "/proc/thread-self/net/ip6_mr_vif"):
            names |= {line.split()[1] for line in modules.read(path).splitlines()[1:] if len(line.split()) > 1}
        for message in space.sock.dump_if_known(ln.GETLINK, ln.header(0, family=IPMR)):
            table = nl.table(nl.table(message, 16).get(ln.AF_SPEC, b""))
            for _, vif in nl.attributes(table.get(6, b"")):
                index = nl.number(nl.table(vif).get(1, b""))
                if index in space.links:
                    names.add(space.links[index].name)
        for link in space.links.values():
            if link.name in names:
                self.refuse(space, link.name, "is an interface of multicast routing")

    def nftables(self, space, _):
        if not os.path.exists("/sys/module/nf_tables") and not modules.is_builtin("nf_tables"):
            return                      # to ask would load it
        names = {link.name for link in space.links.values()}
        sock = nl.Socket(nl.NETFILTER)
        try:
            for request, hook, devices, what in ((NFT_GETCHAIN, 4, 4, "chain"), (NFT_GETFLOWTABLE, 3, 3, "flowtable")):
                for message in sock.dump(NFT << 8 | request, bytes(4)):
                    attrs = nl.table(message, 4)
                    on = nl.table(attrs.get(hook, b""))
                    found = [on[3]] if what == "chain" and 3 in on else []
                    found += [value for _, value in nl.attributes(on.get(devices, b""))]
                    for name in names & {nl.text(value) for value in found}:
                        own = nl.text(attrs[3 if what == "chain" else 2])
                        self.refuse(space, name, "nftables %s %s %s is on it" % (what, nl.text(attrs[1]), own))
        finally:
            sock.close()

    def bridges(self, space, links):
        ports = {i: link for i, link in space.links.items() if link.slave_kind == "bridge"}
        if not ports:
            return
        masters = {link.index: link for link in links if link.runs_stp}
        for link in ports.values():
            if link.master in masters and nl.number(link.slave_data.get(ln.PORT_STATE, b"")) == FORWARDING:
                bridge = masters[link.master]
                delay = nl.number(bridge.bridge_data.get(ln.BRIDGE_FORWARD_DELAY, b"")) / 100
                self.notes.append("%s in %s is a port of %s, which runs STP: it forwards again after %g s" % (
                    link.name, space.title, bridge.name, 2 * delay))
        for message in space.sock.dump_if_known(GETMDB, struct.pack("=BxxxI", AF_BRIDGE, 0)):
            for _, entry in nl.attributes(nl.table(message, 8).get(1, b"")):
                for _, info in nl.attributes(entry):
                    index, state = struct.unpack_from("=IB", info)
                    if index in ports and state & MDB_PERMANENT:
                        self.refuse(space, ports[index].name, "has a permanent group of its bridge (bridge mdb)")
        for message in space.sock.dump_if_known(GETVLAN, struct.pack("=BxxxI", AF_BRIDGE, 0)):
            index = struct.unpack_from("=I", message, 4)[0]
            entries = [entry for number, entry in nl.attributes(message, 8) if number == 1]
            if index in ports and any(map(special_vlan, entries)):
                self.refuse(space, ports[index].name, "has options of single VLANs (bridge vlan set)")

    # ---- devices the module makes by itself

    def fallbacks(self, space, links):
        mode = self.mode
        made = mode == 0 or mode == 1 and is_first(space)
        expected = {name: kind for name, kind in ln.FALLBACKS.items() if kind in self.kinds}
        there = {link.kind: link for link in space.fallbacks()}
        names = {link.name: link for link in links}
        for name, kind in expected.items():
            fallback = there.get(kind)
            if fallback and fallback.name != name:
                self.refuse(space, fallback.name, "is the renamed %s, which cannot be made under that name" % name)
            elif fallback and not made:
                self.refuse(space, name, "would not come back while net.core.fb_tunnels_only_for_init_net is %d" % mode)
            elif not fallback and made and name in names:
                self.refuse(space, name, "has the name of a fallback device that the module would make")
            elif not fallback and made:
                self.notes.append("%s will appear in %s" % (name, space.title))
            elif fallback and changed(fallback):
                self.refuse(space, name, "has parameters from 'ip tunnel change', which cannot be given again")
            elif fallback and fallback.is_up and self.side == modules.THEIRS:
                self.notes.append("%s in %s gets another interface index (it has %d): what names it by that, as "
                                  "nftables rules with iif or oif, has to be loaded again" % (
                                      name, space.title, fallback.index))

    # ---- programs that hold on to a device

    def sockets(self, space, _):
        for line in modules.read("/proc/thread-self/net/packet").splitlines()[1:]:
            index = int(line.split()[4])
            if index in space.links:
                self.notes.append("a packet socket (tcpdump?) on %s in %s will be cut off" % (
                    space.links[index].name, space.title))
        for name, group in joined_groups():
            if any(link.name == name for link in space.links.values()):
                self.notes.append("whatever joined %s on %s in %s has to join again" % (group, name, space.title))


def threaded(spaces, sysfs):
    """-> a line for each device that is polled by a thread of its own, which ours cannot be"""
    return ["%s in %s: is polled by a thread (/sys/class/net/%s/threaded is %s), for which iptnl's have no setting: "
            "write 0 to it first" % (name, spaces[i].title, name, files["threaded"])
            for i, found in sorted(sysfs.items()) for name, files in sorted(found.items()) if "threaded" in files]


def lowers(upper):
    """-> indexes of the devices that one stands on"""
    data = nl.table(upper.data) if upper.kind in LOWER_ATTRS else {}
    return {upper.u32(ln.LINK)} | {nl.number(data[n]) for n in LOWER_ATTRS.get(upper.kind, ()) if n in data}


def nsid_of(space, other):
    """-> the number that the namespace other has in space, None if it has none"""
    try:
        answer = space.sock.get(GETNSID, bytes(4) + nl.u32(3, other.namespace.fd))
    except nl.Error:
        return None
    value = struct.unpack("=i", nl.table(answer, 4)[1])[0]
    return None if value < 0 else value


def special_vlan(entry):
    """Whether somebody set its state, tunnel, limit of groups, or suppression of neighbour discovery"""
    state, tunnel, limit, suppress = 3, 4, 8, 9
    attrs = nl.table(entry)
    return nl.number(attrs.get(state, b"\3")) != FORWARDING or any(
        nl.number(value) for value in (nl.table(attrs.get(tunnel, b"")).get(1, b""), attrs.get(limit, b""),
                                       attrs.get(suppress, b"")))


def changed(fallback):
    """Whether it has a link, TTL, TOS, DF or mark: the module makes it without."""
    ttl = 4 if fallback.kind == "ipip" else 8
    data = nl.table(fallback.data)
    return any(nl.number(data.get(n, b"")) for n in (ln.LINK_ATTR, ttl, ttl + 1, 10, 20))


# All nodes, all routers: joined by the kernel; and the solicited-node groups.
KERNELS_GROUPS = [bytes.fromhex(group.ljust(30, "0") + last) for group, last in (
    ("ff01", "01"), ("ff02", "01"), ("ff01", "02"), ("ff02", "02"), ("ff05", "02"))]
SOLICITED = bytes.fromhex("ff02" + "0" * 19 + "1ff")


def joined_groups():
    """-> (device, group) of those that are not joined by the kernel itself"""
    name = ""
    for line in modules.read("/proc/thread-self/net/igmp").splitlines()[1:]:
        if not line.startswith("\t"):
            name = line.split(":")[0].split()[1]
        elif line.split()[0] != "010000E0":
            yield name, socket.inet_ntoa(struct.pack("=I", int(line.split()[0], 16)))
    for line in modules.read("/proc/thread-self/net/igmp6").splitlines():
        _, name, group = line.split()[:3]
        group = bytes.fromhex(group)
        if group not in KERNELS_GROUPS and not group.startswith(SOLICITED):
            yield name, socket.inet_ntop(socket.AF_INET6, group)


def tcx_programs(index):
    """-> hooks at which the device has programs: ingress, egress"""
    return [name for name, attach in (("ingress", 46), ("egress", 47)) if bpf_attached(index, attach)]


def bpf_attached(index, attach):
    number = {"x86_64": 321, "aarch64": 280, "riscv64": 280, "ppc64le": 361, "s390x": 351,
              "armv7l": 386, "i686": 357}.get(os.uname().machine)
    if number is None:
        return False
    request = bytearray(64)
    struct.pack_into("=II", request, 0, index, attach)
    buffer = (namespaces.ctypes.c_char * len(request)).from_buffer(request)
    if namespaces.libc.syscall(number, 16, buffer, len(request)):       # BPF_PROG_QUERY
        return False
    return struct.unpack_from("=I", request, 24)[0] > 0
