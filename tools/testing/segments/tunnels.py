# SPDX-License-Identifier: GPL-2.0-only
"""The tunnels, and the devices and routes around them"""

import fcntl
import os
import socket
import struct
import subprocess

import card
import ethtool
import flows
import net

LOCAL, REMOTE = "192.0.2.1", "192.0.2.2"
MAC = "02:00:00:00:00:a1"
# Prefixes routed into the tunnel and out of it, unless there is a more specific route
IN4, IN6 = "198.51.100.0/24", "2001:db8:100::/48"
OUT4, OUT6 = "198.51.100.0/22", "2001:db8:100::/46"
LOOP_TABLE = 100                # 101 for packets from a bridge
TOP_REMOTE = "198.51.100.7{}"
ENCAPS = {
    "none": "",
    "fou": "encap fou encap-sport 7000 encap-dport {fou}",
    "fou csum": "encap fou encap-sport 7000 encap-dport {fou} encap-csum",
    "gue": "encap gue encap-sport 7000 encap-dport 5553",
    "gue csum": "encap gue encap-sport 7000 encap-dport 5553 encap-csum",
    "gue remcsum": "encap gue encap-sport 7000 encap-dport 5553 encap-csum encap-remcsum",
}
GRE_OPTIONS = {"none": "", "key": "key 7", "csum": "csum", "seq": "seq", "all": "key 7 csum seq"}
JOINING = ["", "rx-udp-gro-forwarding", "rx-gro-list"]


def is_offload(name):
    """Return true for transmit offloads."""
    return name in ("tx-scatter-gather", "tx-generic-segmentation") or \
        name.startswith("tx-") and ("segmentation" in name or "checksum" in name or "gso" in name)


class Tunnel:
    """A tunnel configuration"""

    device = "tun"

    def __init__(self, kind, options="none", encap="none", words="", df=True):
        self.kind, self.options, self.encap, self.df = kind, options, encap, df
        self.ethernet = kind in ("gretap", "erspan")
        self.inherits = kind == "ipip" and not df       # ipip with a fixed TTL always sets DF
        self.words = " ".join([words, "" if self.inherits else "ttl 64", GRE_OPTIONS[options],
                               ENCAPS[encap].format(fou=5551 if kind == "ipip" else 5552),
                               "" if df else "nopmtudisc" if kind == "ipip" else "nopmtudisc ignore-df"])
        self.remcsum = encap == "gue remcsum" and "csum" not in GRE_OPTIONS[options]
        self.only4 = kind == "ipip"
        self.mpls = kind in ("gre", "gretap") or "mode any" in words
        self.name = " ".join([kind, words, options, "encap", encap] + ([] if df else ["nopmtudisc"]))


def tunnels():
    """-> [Tunnel] of all combinations of kind, options and encapsulation"""
    every = []
    for encap in ENCAPS:
        every += [Tunnel("ipip", encap=encap), Tunnel("ipip", encap=encap, words="mode any")]
        for options in GRE_OPTIONS:
            every += [Tunnel(kind, options, encap) for kind in ("gre", "gretap")]
    for encap in "none", "fou", "gue csum":
        every += [Tunnel("ipip", encap=encap, df=False)]
        for options in "none", "all":
            every += [Tunnel(kind, options, encap, df=False) for kind in ("gre", "gretap")]
    for encap in "none", "fou":
        every += [Tunnel("erspan", encap=encap, words="erspan_ver 0"),
                  Tunnel("erspan", encap=encap, words="seq key 5 erspan_ver 1 erspan 9")]
    for number, tunnel in enumerate(every):
        tunnel.number = number
    return every


def run(*words, **more):
    done = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, **more)
    if done.returncode:
        raise SystemExit(f"segments: {' '.join(words)}: {done.stdout.strip()} {more.get('input', '')}")
    return done.stdout


def ip(*lines):
    run("ip", "-batch", "-", input="\n".join(lines) + "\n")


def sysctl(name, value):
    with open("/proc/sys/net/" + name, "w", encoding="ascii") as file:
        file.write(str(value))


class World:
    """The namespace of this process, with the cards"""

    def __init__(self):
        self.tap = None
        self.tunnel = None
        self.reference = False
        self.device = None
        self.bridged = None
        self.indices = {}
        self.netlink = net.Netlink()
        self.features = ethtool.Features()
        self.settings()
        run("modprobe", "-a", "tun", "dummy", "bridge")
        run("modprobe", "-r", "ip_tnl_card")
        run("modprobe", "ip_tnl_card")      # creates its devices in this namespace
        self.cards = card.Cards()
        self.devices()

    @staticmethod
    def settings():
        """Disable everything that sends packets by itself."""
        sysctl("ipv4/ip_forward", 1)
        for conf in "all", "default":
            for name, value in (("rp_filter", 0), ("send_redirects", 0), ("accept_local", 1)):
                sysctl(f"ipv4/conf/{conf}/{name}", value)
        sysctl("ipv6/conf/all/forwarding", 1)
        for name, value in (("forwarding", 0), ("accept_dad", 0), ("addr_gen_mode", 1), ("accept_ra", 0),
                            ("router_solicitations", 0)):
            sysctl(f"ipv6/conf/default/{name}", value)
        sysctl("ipv6/auto_flowlabels", 0)

    def devices(self):
        lines = ["link set lo up", f"addr add {LOCAL}/32 dev lo", f"addr add {flows.LOCAL4}/32 dev lo",
                 f"addr add {flows.LOCAL6}/128 dev lo",
                 f"link add fwd0 address {flows.FWD_MAC} type dummy", "link add brin type dummy",
                 "link add tc0 type dummy",
                 f"link add br0 address {flows.BRIDGE_MAC} type bridge mcast_snooping 0", "link set brin master br0"]
        lines += [f"link set {name} up" for name in [*card.SORTS, *card.INPUTS, "fwd0", "brin", "tc0", "br0"]]
        ip(*lines)
        # Packets from a tunnel use another table if it has a route
        for family in "-4", "-6":
            for name, table in (("tun", LOOP_TABLE), ("br0", LOOP_TABLE + 1)):
                run("ip", family, "rule", "add", "iif", name, "lookup", str(table))
        run("tc", "qdisc", "add", "dev", "tc0", "clsact")
        self.features.set("in", "rx-udp-gro-forwarding".__eq__, True)
        self.features.set("inlist", "rx-gro-list".__eq__, True)
        self.tap = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
        fcntl.ioctl(self.tap, 0x400454ca, struct.pack("16sH22x", b"tap0", 2 | 0x1000 | 0x4000))
        ip("link set tap0 master br0 up", "link set tap0 type bridge_slave flood off")
        for name in os.listdir("/proc/sys/net/ipv6/conf"):
            if name not in ("all", "default"):
                sysctl(f"ipv6/conf/{name}/forwarding", 0)

    def ifindex(self, name):
        if name not in self.indices:
            self.indices[name] = socket.if_nametoindex(name)
        return self.indices[name]

    def by(self, device):
        """Send the outer packets through this card."""
        self.netlink.route(f"{REMOTE}/32", device)
        self.device = device

    def make(self, tunnel, tops):
        """Create the tunnel and its nested tunnels."""
        self.tunnel = tunnel
        self.by("none")
        lines = [f"link add tun type {tunnel.kind} local {LOCAL} remote {REMOTE} {tunnel.words}"]
        if tunnel.ethernet:
            lines += [f"link set tun address {MAC} arp off master br0"]
        lines += ["link set tun up", f"route add {IN4} dev tun", f"route add {IN6} dev tun"]
        if tunnel.mpls:
            via = "via inet 198.51.100.9 " if tunnel.ethernet else ""
            lines += [f"route add {flows.MPLS4}/32 encap mpls 100/200 {via}dev tun"]
        for top in tops:
            lines += self.on_it(top)
        ip(*lines)
        run(*"tc filter replace dev tc0 ingress pref 1 handle 1 matchall action mirred egress redirect dev tun".split())
        self.indices = {}
        if self.reference:
            for device in ["tun", *map(self.top, tops)]:
                self.switch_off(device)

    @staticmethod
    def top(top):
        """-> the name of the device"""
        return f"top{flows.TOPS.index(top)}"

    def on_it(self, top):
        number, device = flows.TOPS.index(top), self.top(top)
        lines = [f"link add {device} type {top} local {flows.LOCAL4} remote {TOP_REMOTE.format(number)} ttl 63"]
        if top.startswith("gretap"):
            lines += [f"link set {device} address 02:00:00:00:00:a2 arp off"]
        lines += [f"link set {device} up", f"route add {flows.TOP4.format(number)}/32 dev {device}"]
        return lines + ([f"route add {flows.TOP6.format(number)}/128 dev {device}"] if top != "ipip" else [])

    def switch_on(self, device):
        """Switch all offloads on."""
        self.features.set(device, is_offload, True)

    def switch_off(self, device):
        """Switch all offloads off: the kernel segments before the tunnel."""
        self.features.set(device, is_offload, False)
        left = self.features.are_on(device, is_offload)
        if left:
            raise SystemExit(f"segments: {device}: {' '.join(left)} cannot be switched off")

    # ---- receive

    def receive(self, joining):
        """Set how GRO of the tunnel merges packets: default, also UDP, or with frag_lists."""
        for feature in JOINING:
            if feature:
                self.features.set("tun", feature.__eq__, feature == joining)
        self.features.set("in", "rx-udp-gro-forwarding".__eq__, False)      # before 6.13, FOU receives nothing with it
        self.netlink.route(IN4)
        self.netlink.route(IN6)

    def out_by(self, device):
        """Forward decapsulated packets to this card, routed or bridged."""
        self.netlink.route(OUT4, device)
        self.netlink.route(OUT6, device)
        if self.tunnel.ethernet:
            if self.bridged:
                self.netlink.master(self.bridged, 0)
            self.netlink.master(device, self.ifindex("br0"))
            self.bridged = device

    def received(self):
        self.features.set("in", "rx-udp-gro-forwarding".__eq__, True)
        self.netlink.route(OUT4)
        self.netlink.route(OUT6)
        if self.bridged:
            self.netlink.master(self.bridged, 0)
        self.bridged = None

    def loop_by(self, device):
        """Forward only decapsulated packets to this card."""
        self.netlink.route(OUT4, device, LOOP_TABLE + self.tunnel.ethernet)
        self.netlink.route(OUT6, device, LOOP_TABLE + self.tunnel.ethernet)

    def loop_ends(self):
        self.netlink.route(OUT4, table=LOOP_TABLE + self.tunnel.ethernet)
        self.netlink.route(OUT6, table=LOOP_TABLE + self.tunnel.ethernet)

    @staticmethod
    def listen():
        """FOU and GUE ports of the remote endpoint"""
        ip("fou add port 5551 ipproto 4", "fou add port 5552 ipproto 47", "fou add port 5553 gue")

    def clear(self, tops):
        run(*"tc filter del dev tc0 ingress pref 1".split())
        ip(*[f"link del {self.top(top)}" for top in tops], "link del tun")
