# SPDX-License-Identifier: GPL-2.0-only
"""Tunnels of every kind, and every way that a packet can take into one.

Made in the network namespace of this process. packet.c knows the addresses:
ours are 192.0.2.1 and 192.0.2.2, peer N is 192.0.2.(16 + N), hosts behind the
tunnels are 10.2.0.0/24 and 2001:db8::2:0/112.

        "in" (card.c)       tunnels to each peer        br0 br1 bond team macvlan vlan
        192.0.2.0/24  ----  ipip gre gretap erspan  --  on the Ethernet ones
        "full" to peers     external and NBMA ones
        48 to 79            fallback devices            tc0.., vi1, bp0..: tc, BPF
        "loop" to the rest: what is sent comes back from there, GSO packets whole.
        The last 8 peers are behind the tunnel g80 to one of these, from which
        everything is forwarded to "full", as by a router between nested tunnels.
"""
import os
import socket
import struct
import subprocess

from differences import SILENT, has_remcsum, is_erspan, is_numbered, number_of
from bpf import SET_KEY, SET_OPT, KEY_SIZE, Program, attach, call, copy, host, insn, leave, mov, on_stack, store
from team import set_mode
from wire import run_ip, sysctl

PEERS = 96
LOOPED = 80                     # the first peer that is behind the card "loop"
OPTIONS = ["", "key 7", "csum", "seq", "csum seq key 7", "key 1 nopmtudisc ignore-df", "ttl 64 tos inherit",
           "csum key 0"]
ENCAPS = ["", "", "encap fou encap-sport auto encap-dport {fou}", "encap gue encap-sport auto encap-dport 5557",
          "encap gue encap-sport 1 encap-dport 5558 encap-csum encap-remcsum"]
ERSPAN = ["erspan_ver 0", "erspan_ver 1 seq key 7 erspan 5",
          "erspan_ver 2 seq key 7 erspan_dir egress erspan_hwid 9"]
IPIP = ["mode ipip", "mode any", "mode mplsip"]
MULTIPATH = range(8, 12)        # peers that two routes lead to
BPF_REDIRECT, BPF_CLONE_REDIRECT = 23, 13
# What is put on the way into a device, of tc: target, and for external ones the metadata
TC = [("i0", ""), ("g1", ""), ("e3", ""), ("nbma", ""), ("xgre", "id 7"), ("e2", ""),
      ("xgretap", "id 9 csum ttl 9 tos 4"), ("xerspan", "id 5 erspan_opts 1:5:0:0"),
      ("xerspan", "id 6 erspan_opts 2:0:1:9 nocsum")]
COMPARED_TC = 6                 # the others are fed by themselves, with reports of multicast listeners
BPF = [("i1", False, None), ("e4", True, None), ("xgre", False, b""), ("xgretap", True, b""),
       ("xerspan", False, struct.pack("=II4x", 1, 5))]


def run(*words):
    done = subprocess.run(words, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if done.returncode:
        raise SystemExit(f"fuzz: {' '.join(words)}: {done.stdout}")


def settings():
    sysctl(net__ipv4__ip_forward=1, net__ipv4__icmp_ratemask=0)
    for conf in "all", "default":
        for name, value in (("rp_filter", 0), ("send_redirects", 0), ("accept_local", 1)):
            sysctl(**{f"net/ipv4/conf/{conf}/{name}": value})
        for name, value in (("forwarding", 1), ("accept_dad", 0), ("addr_gen_mode", 1), ("router_solicitations", 0)):
            sysctl(**{f"net/ipv6/conf/{conf}/{name}": value})
    if os.path.exists("/proc/sys/net/mpls"):
        sysctl(net__mpls__platform_labels=1024)


# For two passes that are compared: no timer ends anything, no limit depends on a clock.
NOTHING_BY_TIME = {"net/ipv4/icmp_ratelimit": 0, "net/ipv4/icmp_msgs_per_sec": 1000000,
                   "net/ipv4/icmp_msgs_burst": 1000000, "net/ipv4/ipfrag_time": 100000,
                   "net/ipv4/ipfrag_high_thresh": 1 << 30, "net/ipv6/ip6frag_time": 100000,
                   "net/ipv6/ip6frag_high_thresh": 1 << 30, "net/ipv6/icmp/ratelimit": 0,
                   "net/ipv4/route/mtu_expires": 1000000, "net/ipv4/route/min_pmtu": 1000,
                   "net/ipv6/route/mtu_expires": 1000000, "net/ipv6/mld_qrv": 1, "net/ipv4/igmp_qrv": 1}


def nothing_by_time():
    """Some are the machine's, so this is called in its first namespace as well."""
    for name, value in NOTHING_BY_TIME.items():
        if os.path.exists("/proc/sys/" + name):
            sysctl(**{name: value})


class World:
    """With compared=True nothing is sent by itself, and there is nothing to which doc/differences.md applies."""

    def __init__(self, compared=False):
        self.tunnels = []       # (name, "l3" or "ethernet")
        self.compared = compared
        run("modprobe", "-a", "ipip", "ip_gre", "fou", "tun", "dummy", "bridge", "bonding", "team", "macvlan", "8021q",
            "mpls_router", "mpls_iptunnel", "mpls_gso", "sit", "ip_tnl_card", "act_mirred", "act_tunnel_key",
            "cls_matchall")
        settings()
        if compared:
            nothing_by_time()
        self.underlay()
        self.to_each_peer()
        self.without_remote()
        self.ports()
        self.routes()
        self.redirects(TC[:COMPARED_TC] if compared else TC)
        if not compared:
            self.received_and_sent_on()
            self.programs()

    def add(self, name, sort, words):
        self.tunnels.append((name, sort))
        return [f"link add {name} {words}", f"link set {name} up"]

    @staticmethod
    def underlay():
        run_ip("link set lo up", *(f"link set {name} up" for name in ("in", "none", "full", "csum", "partial", "loop")),
               "addr add 192.0.2.1/24 dev in", "addr add 192.0.2.2/24 dev in", "route add 192.0.2.64/27 dev full",
               "route add 192.0.2.96/28 dev loop", "rule add iif g80 lookup 77", "route add default dev full table 77",
               "fou add port 5555 ipproto 4", "fou add port 5556 ipproto 47", "fou add port 5557 gue",
               "fou add port 5558 gue")

    def to_each_peer(self):
        lines = []
        for n in range(PEERS):
            ends = f"local 192.0.2.1 remote 192.0.2.{16 + n}"
            options = OPTIONS[n % len(OPTIONS)]
            encap = ENCAPS[n // 8 % len(ENCAPS)]
            lines += self.add(f"i{n}", "l3", f"type ipip {IPIP[n % 3]} {ends} {encap.format(fou=5555)}")
            lines += self.add(f"g{n}", "l3", f"type gre {ends} {options} {encap.format(fou=5556)}")
            if n % 3 == 0:
                words = f"type erspan {ends} {ERSPAN[n // 3 % 3]}"
            else:
                key = "key 2" if "key" not in options else ""
                words = f"type gretap {ends} {options} {key} {encap.format(fou=5556)}"
            lines += self.add(f"e{n}", "ethernet", words)
        run_ip(*lines)

    def without_remote(self):
        lines = self.add("nbma", "l3", "type gre local 192.0.2.2 key 1 ttl 64")
        lines += self.add("many", "l3", "type ipip mode any local 192.0.2.2 ttl 64")
        lines += self.add("wide", "l3", "type gre local 192.0.2.2 csum seq key 7")
        lines += ["route add 10.2.0.0/28 via 192.0.2.20 dev many onlink",
                  "neigh add 10.9.0.1 lladdr 192.0.2.21 dev nbma"]
        for kind, sort in (("ipip", "l3"), ("gre", "l3"), ("gretap", "ethernet"), ("erspan", "ethernet")):
            lines += self.add(f"x{kind}", sort, f"type {kind} external")
        run_ip(*lines)
        fallback = [("tunl0", "l3"), ("gre0", "l3"), ("gretap0", "ethernet"), ("erspan0", "ethernet")]
        run_ip(*(f"link set {name} {'address 02:00:00:00:00:09 ' * (sort == 'ethernet')}up" for name, sort in fallback))
        self.tunnels += fallback

    def ports(self):
        each = "mcast_snooping 0 ageing_time 100000000" if self.compared else "mcast_snooping 1"
        stp = 0 if self.compared else 1
        run_ip(f"link add br0 type bridge {each}", f"link add br1 type bridge {each} vlan_filtering 1 stp_state {stp}",
               "link add bond0 type bond mode balance-rr", "link add team0 type team")
        set_mode("team0", "roundrobin")
        run_ip(
               "link set e1 master br0", "link set e2 master br0", "link set e4 master br1", "link set e5 master br1",
               "link set e7 down", "link set e7 master bond0", "link set e8 down", "link set e8 master team0",
               "link add link e10 name mv0 type macvlan mode bridge", "link add link e11 name vl0 type vlan id 5",
               "link add link e13 name vl1 type vlan id 7 protocol 802.1ad",
               *[f"link set {name} up" for name in "br0 br1 bond0 team0 e7 e8 mv0 vl0 vl1".split()],
               "addr add 10.3.0.1/24 dev br0")

    @staticmethod
    def routes():
        """What is forwarded goes by one tunnel in turn; the kernel's lightweight tunnels too."""
        lines = [f"route add 10.2.0.{16 + n} dev {'ig'[n % 2]}{n}" for n in range(LOOPED)]
        lines += [f"route add 10.2.0.{128 + n} encap ip id 7 dst 192.0.2.{16 + n} dev {dev}"
                  for n, dev in enumerate(("xgre", "xipip") * 8)]
        lines += [f"route add 10.2.0.{160 + n} encap mpls 100/200 dev g{n}" for n in range(8)]
        lines += ["route add 10.2.0.0/24 dev none", "route add 10.1.0.0/24 dev none", "route add default dev none"]
        lines += [f"route add 2001:db8::2:{n:x} dev g{n}" for n in range(LOOPED)]
        lines += ["route add 192.0.2.104/29 dev g80", "route add 2001:db8::2:0/112 dev csum",
                  "route add 2001:db8::1:0/112 dev csum",
                  *(f"route add 192.0.2.{16 + n} nexthop dev full nexthop dev csum" for n in MULTIPATH)]
        run_ip(*lines)
        run("ip", "-f", "mpls", "route", "add", "100", "dev", "none")
        for dev in "i2", "g2", "xgre":          # of which MPLS is received
            sysctl(**{f"net/mpls/conf/{dev}/input": 1})

    def redirects(self, targets):
        """Devices from which tc sends everything on, to a tunnel that may not be meant for it"""
        for n, (target, metadata) in enumerate(targets):
            action = "mirror" if n == 5 else "redirect"
            keyed = f"action tunnel_key set src_ip 192.0.2.1 dst_ip 192.0.2.30 {metadata}" if metadata else ""
            run_ip(f"link add tc{n} type dummy", f"link set tc{n} up")
            self.on_the_way(f"tc{n}", "egress", f"{keyed} action mirred egress {action} dev {target}")

    def received_and_sent_on(self):
        run_ip("link add vi0 type veth peer name vi1", "link set vi0 up", "link set vi1 up")
        self.on_the_way("vi1", "ingress", "action mirred egress redirect dev g4")

    @staticmethod
    def on_the_way(dev, way, actions):
        run("tc", "qdisc", "add", "dev", dev, "clsact")
        run("tc", "filter", "add", "dev", dev, way, "matchall", *actions.split())

    @staticmethod
    def programs():
        """Devices by which BPF sends everything on; with metadata into an external tunnel."""
        for n, (target, clone, options) in enumerate(BPF):
            code = b""
            if options is not None:
                key = struct.pack("=IIIIIBBHIIIII", 7, host("192.0.2.31"), 0, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0)
                code += store(-KEY_SIZE - 4, key) + copy(1, 6) + on_stack(2, -KEY_SIZE - 4) + mov(3, KEY_SIZE) + \
                    mov(4, 0) + call(SET_KEY)
            if options:
                code += store(-64, options) + copy(1, 6) + on_stack(2, -64) + mov(3, len(options)) + call(SET_OPT)
            index = socket.if_nametoindex(target)
            if clone:
                code += copy(1, 6) + mov(2, index) + mov(3, 0) + call(BPF_CLONE_REDIRECT) + leave(2)
            else:
                code += mov(1, index) + mov(2, 0) + call(BPF_REDIRECT) + insn(0x95)         # its result is the verdict
            run_ip(f"link add bp{n} type dummy", f"link set bp{n} up")
            run("tc", "qdisc", "add", "dev", f"bp{n}", "clsact")
            attach(f"bp{n}", "egress", Program(code))

    def every_way(self):
        """-> the words for inject"""
        ways = ["receive:in:outer"] * 8 + ["gro:in:outer"] * 8 + ["tap:tap9:outer", "receive:in:ethernet"]
        ways += [f"transmit:{name}:{'inner' if sort == 'l3' else 'ethernet'}" for name, sort in self.tunnels[::5]]
        ways += [f"transmit:{name}:inner" for name in ("i88", "g88", "g90", "i91", "g83")]
        # Numbered, in FOU: GSO packets take several numbers
        ways += ["transmit:g19:inner", "transmit:g20:inner", "transmit:e19:ethernet", "transmit:e59:ethernet"]
        ways += [f"transmit:{name}:inner" for name in ("nbma", "many", "wide", "xgre", "xipip", "tunl0", "gre0")]
        ways += [f"transmit:{name}:ethernet" for name in "br0 br1 bond0 team0 mv0 vl0 vl1 gretap0 e1".split()]
        ways += [f"transmit:tc{n}:{'ethernet' if n % 2 else 'inner'}" for n in range(COMPARED_TC)]
        if not self.compared:
            ways += self.more_ways()
        ways += [f"packet:{name}:{'inner' if sort == 'l3' else 'ethernet'}" for name, sort in self.tunnels[::17]]
        ways += ["packet:nbma:outer", "packet:nbma:inner", "packet:wide:outer", "packet:br0:ethernet"]
        ways += [f"datagram:{name}:inner" for name in ("nbma", "g3", "e3", "xgre")]
        ways += ["receive:in:inner", "tun:tun9:inner"]
        return [way for way in ways if not self.compared or self.is_the_same(way)]

    @staticmethod
    def more_ways():
        """-> those into which something comes by itself"""
        ways = ["transmit:tc6:ethernet", "transmit:tc7:ethernet", "transmit:tc8:ethernet", "transmit:vi0:ethernet",
                "transmit:vi0:inner"]
        return ways + [f"transmit:bp{n}:{layer}" for n in range(len(BPF)) for layer in ("inner", "ethernet")]

    @staticmethod
    def is_the_same(way):
        """-> whether doc/differences.md has nothing about a device"""
        sort, device, _ = way.split(":")
        if way in SILENT:
            return True
        if sort == "datagram":
            return device != "e3"
        # Packets without its header on an NBMA device; VLAN tags; larger than the device's MTU, which is nopmtudisc
        if device in "nbma many wide gre0 tc3 vl0 vl1 xgre xipip tc4".split():
            return False
        # Frames into erspan that are not IPv4
        if device.startswith(("erspan", "xerspan")) or device == "tc2" or is_erspan(device):
            return False
        number = number_of(device)
        if number is None:
            return True
        if sort == "transmit" and device[0] in "eg" and number % 8 == 5:
            return False
        # GSO packets with encap-remcsum; segmented before the tunnel by in-tree only, and forwarded when they come back
        return not has_remcsum(number) and not (number >= LOOPED and is_numbered(number))
