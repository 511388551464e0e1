# SPDX-License-Identifier: GPL-2.0-only
"""Detect what cannot be carried over, before anything is touched. Each obstacle is one line."""

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
# Drivers that have their lower devices in IFLA_INFO_DATA instead of IFLA_LINK
LOWER_ATTRS = {"vxlan": (3,), "hsr": (1, 2)}
MDB_PERMANENT = 1
XDP_ATTACHED = 2
FORWARDING = 3


def sysctl_fallbacks():
    """-> value of fb_tunnels_only_for_init_net, which only the initial namespace has"""
    first = os.open(namespaces.INIT_NETNS, os.O_RDONLY | os.O_CLOEXEC)
    try:
        with namespaces.inside(first):
            return int(modules.read("/proc/sys/net/core/fb_tunnels_only_for_init_net") or 0)
    finally:
        os.close(first)


def is_init_netns(netns):
    return netns.handle.ident[1] == namespaces.inode(namespaces.INIT_NETNS)


def process_obstacles():
    """-> reasons why this process cannot swap modules at all"""
    if os.geteuid() != 0:
        return ["must be root"]
    found = []
    if not namespaces.is_initial("user", namespaces.INIT_USER):
        found.append("not in the initial user namespace (a container?): modules cannot be changed from here")
    if not namespaces.is_initial("pid", namespaces.INIT_PID):
        found.append("not in the initial PID namespace (a container?): not all network namespaces are visible")
    return found


class Inspection:
    """Checks all namespaces with all their links.

    obstacles   reasons to refuse the swap
    notes       side effects that the user should know
    """

    def __init__(self, views, kinds, side):
        self.views, self.kinds = views, kinds           # [(netns, links)]
        self.side = side                                # whose modules will be loaded
        self.mode = sysctl_fallbacks()
        self.netns_list = {netns.handle.ident: netns for netns, _ in views}
        self.obstacles, self.notes = [], []
        self.idents = {}                                # (ident of a netns, nsid) -> ident

    def refuse(self, netns, device, why):
        line = "%s in %s: %s" % (device, netns.title, why)
        if line not in self.obstacles:
            self.obstacles.append(line)

    def run(self):
        for netns, links in self.views:
            with namespaces.inside(netns.handle.fd):
                self.fallbacks(netns, links)            # new ones appear even without tunnels
                if not netns.links:
                    continue
                for check in (self.check_link_netns, self.masters, self.pppoe, self.bpf_programs, self.qdiscs,
                              self.tc_actions, self.multicast_routing, self.nftables, self.bridges, self.sockets):
                    check(netns, links)
        self.upper_devices()

    # ---- link namespaces

    def resolve(self, netns, nsid):
        """-> ident of the namespace with this nsid in netns, None if unknown"""
        key = netns.handle.ident, nsid
        if key not in self.idents:
            self.idents[key] = None
            for other in self.netns_list.values():
                if nsid_of(netns, other) == nsid:
                    self.idents[key] = other.handle.ident
        return self.idents[key]

    def check_link_netns(self, netns, _):
        for link in netns.links.values():
            if link.netnsid is None:
                continue
            ident = self.resolve(netns, link.netnsid)
            if ident is None:
                self.refuse(netns, link.name, "its link namespace (link-netnsid %d) cannot be found" % link.netnsid)
            else:
                netns.link_netns[link.netnsid] = ident

    # ---- devices and programs on top of a tunnel

    def upper_devices(self):
        wanted = {}
        for ident, netns in self.netns_list.items():
            for index, link in netns.links.items():
                wanted.setdefault(index, []).append((ident, netns, link))
        for netns, links in self.views:
            for upper in links:
                found = lower_indexes(upper) & wanted.keys()
                if upper.kind in self.kinds or not found:
                    continue
                where = netns.handle.ident if upper.netnsid is None else self.resolve(netns, upper.netnsid)
                for ident, home, link in [one for index in found for one in wanted[index]]:
                    # A device without a lower device has its own index in IFLA_LINK.
                    if ident == where and not (home is netns and upper.index == link.index):
                        self.refuse(home, link.name, "%s (%s) in %s is on top of it" % (
                            upper.name, upper.kind or "a device", netns.title))

    def pppoe(self, netns, _):
        names = {row[-1] for row in modules.table("/proc/thread-self/net/pppoe")}
        for link in netns.links.values():
            if link.name in names:
                self.refuse(netns, link.name, "a PPPoE session is on top of it")

    def masters(self, netns, links):
        by_index = {link.index: link for link in links}
        for link in netns.links.values():
            if link.master:
                master = by_index.get(link.master)
                kind = master.kind if master else "unknown"
                if kind not in MASTERS:
                    self.refuse(netns, link.name, "is a port of %s (%s)" % (master.name if master else "?", kind))
        for port in links:
            backup = nl.to_int(port.slave_data.get(ln.PORT_BACKUP, b""))
            if port.slave_kind == "bridge" and backup in netns.links:
                self.refuse(netns, netns.links[backup].name, "is the backup port of %s" % port.name)

    def bpf_programs(self, netns, _):
        for link in netns.links.values():
            xdp = nl.parse_attrs(link.attrs.get(ln.XDP, b""))
            if nl.to_int(xdp.get(XDP_ATTACHED, b"")):
                self.refuse(netns, link.name, "has an XDP program")
            for hook in tcx_programs(link.index):
                self.refuse(netns, link.name, "has a BPF program at tcx %s" % hook)

    def qdiscs(self, netns, _):
        for body in netns.sock.dump_if_supported(GETQDISC, bytes(20)):
            index, handle, parent = struct.unpack_from("=iII", body, 4)
            if index in netns.links and (handle or parent == INGRESS):
                kind = nl.to_str(nl.parse_attrs(body, 20)[1])
                self.refuse(netns, netns.links[index].name, "has a qdisc %s (and maybe filters)" % kind)

    def tc_actions(self, netns, _):
        """tc actions that redirect to a tunnel would not find the new device."""
        body = bytes(4) + nl.nested(1, nl.nested(1, nl.string(1, "mirred")))
        for message in netns.sock.dump_if_supported(GETACTION, body):
            for _, action in nl.iter_attrs(nl.parse_attrs(message, 4).get(1, b"")):
                parameters = nl.parse_attrs(nl.parse_attrs(action).get(2, b"")).get(2, b"")
                if len(parameters) >= 28 and struct.unpack_from("=I", parameters, 24)[0] in netns.links:
                    link = netns.links[struct.unpack_from("=I", parameters, 24)[0]]
                    self.refuse(netns, link.name, "tc action mirred index %d sends to it" %
                                struct.unpack_from("=I", parameters)[0])

    def multicast_routing(self, netns, _):
        names = set()
        for path in ("/proc/thread-self/net/ip_mr_vif", "/proc/thread-self/net/ip6_mr_vif"):
            names |= {row[1] for row in modules.table(path) if len(row) > 1}
        for message in netns.sock.dump_if_supported(ln.GETLINK, ln.header(0, family=IPMR)):
            table = nl.parse_attrs(nl.parse_attrs(message, 16).get(ln.AF_SPEC, b""))
            for _, vif in nl.iter_attrs(table.get(6, b"")):
                index = nl.to_int(nl.parse_attrs(vif).get(1, b""))
                if index in netns.links:
                    names.add(netns.links[index].name)
        for link in netns.links.values():
            if link.name in names:
                self.refuse(netns, link.name, "is an interface of multicast routing")

    def nftables(self, netns, _):
        if not os.path.exists("/sys/module/nf_tables") and not modules.is_builtin("nf_tables"):
            return                      # a request would load it
        names = {link.name for link in netns.links.values()}
        sock = nl.Socket(nl.NETFILTER)
        try:
            for request, hook, devices, what in ((NFT_GETCHAIN, 4, 4, "chain"), (NFT_GETFLOWTABLE, 3, 3, "flowtable")):
                for message in sock.dump(NFT << 8 | request, bytes(4)):
                    attrs = nl.parse_attrs(message, 4)
                    on = nl.parse_attrs(attrs.get(hook, b""))
                    found = [on[3]] if what == "chain" and 3 in on else []
                    found += [value for _, value in nl.iter_attrs(on.get(devices, b""))]
                    for name in names & {nl.to_str(value) for value in found}:
                        own = nl.to_str(attrs[3 if what == "chain" else 2])
                        self.refuse(netns, name, "nftables %s %s %s is on it" % (what, nl.to_str(attrs[1]), own))
        finally:
            sock.close()

    def bridges(self, netns, links):
        ports = {i: link for i, link in netns.links.items() if link.slave_kind == "bridge"}
        if not ports:
            return
        masters = {link.index: link for link in links if link.runs_stp}
        for link in ports.values():
            if link.master in masters and nl.to_int(link.slave_data.get(ln.PORT_STATE, b"")) == FORWARDING:
                bridge = masters[link.master]
                delay = nl.to_int(bridge.bridge_data.get(ln.BRIDGE_FORWARD_DELAY, b"")) / 100
                self.notes.append("%s in %s is a port of %s, which runs STP: it forwards again after %g s" % (
                    link.name, netns.title, bridge.name, 2 * delay))
        for message in netns.sock.dump_if_supported(GETMDB, struct.pack("=BxxxI", AF_BRIDGE, 0)):
            for _, entry in nl.iter_attrs(nl.parse_attrs(message, 8).get(1, b"")):
                for _, info in nl.iter_attrs(entry):
                    index, state = struct.unpack_from("=IB", info)
                    if index in ports and state & MDB_PERMANENT:
                        self.refuse(netns, ports[index].name, "has a permanent group of its bridge (bridge mdb)")
        for message in netns.sock.dump_if_supported(GETVLAN, struct.pack("=BxxxI", AF_BRIDGE, 0)):
            index = struct.unpack_from("=I", message, 4)[0]
            entries = [entry for number, entry in nl.iter_attrs(message, 8) if number == 1]
            if index in ports and any(map(has_vlan_options, entries)):
                self.refuse(netns, ports[index].name, "has options of single VLANs (bridge vlan set)")

    # ---- fallback devices

    def fallbacks(self, netns, links):
        mode = self.mode
        made = mode == 0 or mode == 1 and is_init_netns(netns)
        expected = {name: kind for name, kind in ln.FALLBACKS.items() if kind in self.kinds}
        there = {link.kind: link for link in netns.fallbacks()}
        names = {link.name: link for link in links}
        for name, kind in expected.items():
            fallback = there.get(kind)
            if fallback and fallback.name != name:
                self.refuse(netns, fallback.name, "is the renamed %s, which cannot be created with that name" % name)
            elif fallback and not made:
                self.refuse(netns, name, "would not come back while net.core.fb_tunnels_only_for_init_net is %d" % mode)
            elif not fallback and made and name in names:
                self.refuse(netns, name, "has the name of a fallback device that the module would create")
            elif not fallback and made:
                self.notes.append("%s will appear in %s" % (name, netns.title))
            elif fallback and was_changed(fallback):
                self.refuse(netns, name, "has parameters from 'ip tunnel change', which cannot be restored")
            elif fallback and fallback.is_up and self.side == modules.THEIRS:
                self.notes.append("%s in %s gets another interface index (it has %d): whatever refers to it, such as "
                                  "nftables rules with iif or oif, must be loaded again" % (
                                      name, netns.title, fallback.index))

    # ---- sockets bound to a device

    def sockets(self, netns, _):
        for row in modules.table("/proc/thread-self/net/packet"):
            index = int(row[4])
            if index in netns.links:
                self.notes.append("a packet socket (tcpdump?) on %s in %s will stop receiving" % (
                    netns.links[index].name, netns.title))
        for name, group in joined_groups():
            if any(link.name == name for link in netns.links.values()):
                self.notes.append("the multicast group %s on %s in %s must be joined again" % (
                    group, name, netns.title))


def threaded_napi(netns_list, sysfs):
    """-> a line for each device with threaded NAPI, which iptnl does not support"""
    return ["%s in %s: is polled by a thread (/sys/class/net/%s/threaded is %s), which iptnl does not support: "
            "write 0 to it first" % (name, netns_list[i].title, name, files["threaded"])
            for i, found in sorted(sysfs.items()) for name, files in sorted(found.items()) if "threaded" in files]


def lower_indexes(upper):
    """-> indexes of the lower devices"""
    data = nl.parse_attrs(upper.data) if upper.kind in LOWER_ATTRS else {}
    return {upper.u32(ln.LINK)} | {nl.to_int(data[n]) for n in LOWER_ATTRS.get(upper.kind, ()) if n in data}


def nsid_of(netns, other):
    """-> the nsid of other in netns, None if it has none"""
    try:
        answer = netns.sock.get(GETNSID, bytes(4) + nl.u32(3, other.handle.fd))
    except nl.Error:
        return None
    value = struct.unpack("=i", nl.parse_attrs(answer, 4)[1])[0]
    return None if value < 0 else value


def has_vlan_options(entry):
    """Return true if a VLAN entry has a state, tunnel, group limit or neighbour suppression set."""
    state, tunnel, limit, suppress = 3, 4, 8, 9
    attrs = nl.parse_attrs(entry)
    return nl.to_int(attrs.get(state, b"\3")) != FORWARDING or any(
        nl.to_int(value) for value in (nl.parse_attrs(attrs.get(tunnel, b"")).get(1, b""), attrs.get(limit, b""),
                                       attrs.get(suppress, b"")))


def was_changed(fallback):
    """Return true if a fallback device has a link, TTL, TOS, DF or mark: it is created without."""
    ttl = 4 if fallback.kind == "ipip" else 8
    data = nl.parse_attrs(fallback.data)
    return any(nl.to_int(data.get(n, b"")) for n in (ln.LINK_ATTR, ttl, ttl + 1, 10, 20))


# Groups that the kernel joins: all nodes, all routers, solicited-node
KERNEL_GROUPS = [bytes.fromhex(group.ljust(30, "0") + last) for group, last in (
    ("ff01", "01"), ("ff02", "01"), ("ff01", "02"), ("ff02", "02"), ("ff05", "02"))]
SOLICITED = bytes.fromhex("ff02" + "0" * 19 + "1ff")


def joined_groups():
    """Yield (device, group) of groups that programs have joined."""
    name = ""
    for line in modules.lines("/proc/thread-self/net/igmp")[1:]:
        first, second = modules.words(line)[:2]
        if not line.startswith("\t"):
            name = second.rstrip(":")
        elif first != "010000E0":
            yield name, socket.inet_ntoa(struct.pack("=I", int(first, 16)))
    for line in filter(None, modules.lines("/proc/thread-self/net/igmp6")):
        _, name, group = modules.words(line)[:3]
        group = bytes.fromhex(group)
        if group not in KERNEL_GROUPS and not group.startswith(SOLICITED):
            yield name, socket.inet_ntop(socket.AF_INET6, group)


def tcx_programs(index):
    """-> hooks with tcx programs: ingress, egress"""
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
