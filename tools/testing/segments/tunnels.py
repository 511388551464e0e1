# SPDX-License-Identifier: GPL-2.0-only
"""The tunnels, and all that packets pass on their way into them and out."""

import ctypes
import fcntl
import os
import socket
import struct
import subprocess

import card
import flows

LOCAL, REMOTE = "192.0.2.1", "192.0.2.2"
MAC = "02:00:00:00:00:a1"
TOP_REMOTE = "198.51.100.77"
ENCAPS = {
    "none": "",
    "fou": "encap fou encap-sport 7000 encap-dport {fou}",
    "fou csum": "encap fou encap-sport 7000 encap-dport {fou} encap-csum",
    "gue": "encap gue encap-sport 7000 encap-dport 5553",
    "gue csum": "encap gue encap-sport 7000 encap-dport 5553 encap-csum",
    "gue remcsum": "encap gue encap-sport 7000 encap-dport 5553 encap-csum encap-remcsum",
}
GRE_OPTIONS = {"none": "", "key": "key 7", "csum": "csum", "seq": "seq", "all": "key 7 csum seq"}
OFF = ("tx off sg off tso off gso off tx-sctp-segmentation off tx-udp-segmentation off tx-gso-list off "
       "tx-gso-partial off").split()
SIOCETHTOOL = 0x8946


class Tunnel:
    """One way to configure a tunnel"""

    device = "tun"

    def __init__(self, kind, options="none", encap="none", words="", df=True):
        self.kind, self.options, self.encap, self.df = kind, options, encap, df
        self.words = " ".join([words, GRE_OPTIONS[options], ENCAPS[encap].format(fou=5551 if kind == "ipip" else 5552),
                               "" if df else "nopmtudisc" + (" ignore-df" if kind != "ipip" else "")])
        self.ethernet = kind in ("gretap", "erspan")
        self.only4 = kind == "ipip"
        self.mpls = kind in ("gre", "gretap") or "mode any" in words
        self.name = " ".join([kind, words, options, "encap", encap] + ([] if df else ["nopmtudisc"]))


def tunnels():
    """-> [Tunnel], each kind with each option and encapsulation"""
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
    """One namespace, that of this process, with the cards in it"""

    def __init__(self):
        self.tap = None
        self.tunnel = None
        self.reference = False
        self.device = None
        self.bridged = None
        self.indices = {}
        self.routes = card.Routes()
        self.settings()
        run("modprobe", "-a", "tun", "dummy", "bridge")
        run("modprobe", "-r", "ip_tnl_card")
        run("modprobe", "ip_tnl_card")      # makes its devices here
        self.cards = card.Cards()
        self.devices()

    @staticmethod
    def settings():
        """Quiet: no packet that nobody asked for"""
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
        run("ethtool", "-K", "in", "rx-udp-gro-forwarding", "on")
        run("ethtool", "-K", "inlist", "rx-gro-list", "on")
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

    @staticmethod
    def offload(device, command, value):
        """A setting of ethtool as a number"""
        buffer = ctypes.create_string_buffer(struct.pack("=II", command, value), 8)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            fcntl.ioctl(sock, SIOCETHTOOL, struct.pack("16sQ16x", device.encode(), ctypes.addressof(buffer)))

    def by(self, device):
        """The tunnel's packets leave by that card"""
        self.routes.replace(REMOTE, device)
        self.device = device

    def make(self, tunnel):
        self.tunnel = tunnel
        self.by("none")
        lines = [f"link add tun type {tunnel.kind} local {LOCAL} remote {REMOTE} ttl 64 {tunnel.words}"]
        if tunnel.ethernet:
            lines += [f"link set tun address {MAC} arp off master br0"]
        lines += ["link set tun up"]
        ip(*lines)
        self.indices.pop("tun", None)
        self.into("tun")
        self.redirect()
        if self.reference:
            self.switch_off("tun")

    def into(self, device):
        """What goes into the tunnel"""
        lines = [f"route replace 198.51.100.0/24 dev {device}", f"route replace 2001:db8:100::/48 dev {device}"]
        if self.tunnel.mpls:
            via = "via inet 198.51.100.9 " if self.tunnel.ethernet else ""
            lines += [f"route replace {flows.MPLS4}/32 encap mpls 100/200 {via}dev {device}"]
        ip(*lines)

    def out_by(self, device):
        """What comes out of the tunnel leaves by that card, routed or bridged"""
        lines = [f"route replace 198.51.100.0/23 dev {device}", f"route replace 2001:db8:100::/47 dev {device}"]
        if self.tunnel.ethernet:
            lines += [f"link set {self.bridged} nomaster"] if self.bridged else []
            lines += [f"link set {device} master br0"]
            self.bridged = device
        ip(*lines)

    def received(self, number):
        """The tunnel joins what it gets, UDP in one of two ways"""
        run("ethtool", "-K", "tun", *(("rx-udp-gro-forwarding", "on") if number % 2 else ("rx-gro-list", "on")))
        ip("route del 198.51.100.0/24", "route del 2001:db8:100::/48")

    def not_received(self):
        lines = ["route del 198.51.100.0/23", "route del 2001:db8:100::/47"]
        lines += [f"link set {self.bridged} nomaster"] if self.bridged else []
        self.bridged = None
        ip(*lines)

    @staticmethod
    def listen():
        """The other end's FOU and GUE"""
        ip("fou add port 5551 ipproto 4", "fou add port 5552 ipproto 47", "fou add port 5553 gue")

    @staticmethod
    def redirect():
        run("tc", "-batch", "-", input="qdisc add dev tc0 clsact\n"
            "filter add dev tc0 ingress matchall action mirred egress redirect dev tun\n")

    @staticmethod
    def switch_off(device):
        """All offloads: the kernel cuts before the tunnel"""
        run("ethtool", "-K", device, *OFF)
        for line in run("ethtool", "-k", device).splitlines():
            name, value = line.strip().split(": ", 1) if ": " in line else ("", "")
            if (name.startswith("tx-") and ("segmentation" in name or "checksum" in name)) and value.startswith("on"):
                raise SystemExit(f"segments: {device}: {name} is still on")

    def put_on(self, top):
        """A tunnel on the tunnel"""
        lines = []
        words = flows.TOPS[top]
        lines += [f"link add top type {words} local {flows.LOCAL4} remote {TOP_REMOTE} ttl 63"]
        if words.startswith("gretap"):
            lines += ["link set top address 02:00:00:00:00:a2 arp off"]
        lines += ["link set top up", "route add 198.51.101.0/24 dev top"]
        if words != "ipip":
            lines += ["route add 2001:db8:101::/48 dev top"]
        ip(*lines)
        self.indices.pop("top", None)
        if self.reference:
            self.switch_off("top")

    @staticmethod
    def take_off():
        ip("link del top")

    @staticmethod
    def clear():
        run("tc", "qdisc", "del", "dev", "tc0", "clsact")
        ip("link del tun")
