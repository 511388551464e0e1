#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""systemd-networkd makes tunnels of every kind from .netdev files and gives them their addresses. The other endpoint
is made with "ip".

    n0 systemd-networkd             n1
       e0 192.0.2.1 ----------- 192.0.2.2 v1
       one tunnel of each kind: 198.51.100.1 === 198.51.100.2 and so on
"""
import collections
import os
import re

from client import Program, directory, read_only_sys, shows
from ksft import check, expect, ksft_run, modprobe, namespaces, need_modules, until, veth_pair, write
from refuse import ip

# The kind; the lines of [Tunnel]; what "ip" is told for the other endpoint; what "ip" shows; the endpoints 192.0.2.N
Tunnel = collections.namedtuple("Tunnel", "kind settings far shown ends", defaults=[(1, 2)])
SERIALIZED = {"SerializeTunneledPackets": "yes"}
GUE = {"FooOverUDP": "yes", "Encapsulation": "GenericUDPEncapsulation", "FOUDestinationPort": 5555}
TUNNELS = {
    "ipip1": Tunnel("ipip", {"TTL": 61, "DiscoverPathMTU": "yes"}, "ipip ttl 61",
                    "ipip ipip remote 192.0.2.2 local 192.0.2.1 ttl 61 pmtudisc"),
    "gre1": Tunnel("gre", {"TTL": 62, "Key": 7}, "gre key 7",
                   "gre remote 192.0.2.2 local 192.0.2.1 ttl 62 ikey 0.0.0.7 okey 0.0.0.7"),
    "gre2": Tunnel("gre", {"TTL": 63, "TOS": 16, "InputKey": 9, "OutputKey": 8, **SERIALIZED},
                   "gre ikey 8 okey 9 seq", "ttl 63 tos 0x10 .*ikey 0.0.0.9 okey 0.0.0.8 iseq oseq"),
    "gretap1": Tunnel("gretap", {"TTL": 64, "Key": 10}, "gretap key 10",
                      "gretap remote 192.0.2.2 .*ttl 64 .*ikey 0.0.0.10 okey 0.0.0.10"),
    "erspan1": Tunnel("erspan", {"TTL": 65, "Key": 11, **SERIALIZED, "ERSPANIndex": 291},
                      "erspan seq key 11 erspan_ver 1 erspan 0x123",
                      "erspan remote 192.0.2.2 .*ttl 65 .*okey 0.0.0.11 .*erspan_index (0x123|291)"),
    "erspan2": Tunnel("erspan", {"TTL": 66, "Key": 12, **SERIALIZED, "ERSPANVersion": 2, "ERSPANDirection": "egress",
                                 "ERSPANHardwareId": 5},
                      "erspan seq key 12 erspan_ver 2 erspan_dir egress erspan_hwid 5",
                      "erspan remote .*erspan_ver 2 erspan_dir egress erspan_hwid 0x5"),
    # The kernel takes no second ipip tunnel with the same endpoints.
    "gue1": Tunnel("ipip", {"TTL": 67, **GUE}, "ipip encap gue encap-sport auto encap-dport 5555",
                   "ttl 67 .*encap gue encap-sport auto encap-dport 5555", (5, 6)),
}
EXTERNAL = "gretap", "erspan"
PLACE = "/run/systemd/network"


def addresses(number):
    """-> those of tunnel NUMBER: networkd's, the other endpoint's"""
    return [f"198.51.100.{4 * number + end}" for end in (1, 2)]


def settings(section, values):
    return "".join([f"[{section}]\n", *(f"{name}={value}\n" for name, value in values.items()), "\n"])


def netdev(name, kind, values):
    return settings("NetDev", {"Name": name, "Kind": kind}) + settings("Tunnel", {"Independent": "yes", **values})


def network(name, address):
    return settings("Match", {"Name": name}) + settings("Network", {
        "Address": address + "/30", "LinkLocalAddressing": "no", "IPv6AcceptRA": "no"})


def configure():
    """Write the files that networkd reads."""
    os.makedirs(PLACE)
    for number, (name, tunnel) in enumerate(TUNNELS.items()):
        local, remote = (f"192.0.2.{end}" for end in tunnel.ends)
        write(f"{PLACE}/{name}.netdev", netdev(name, tunnel.kind, {
            "Local": local, "Remote": remote, **tunnel.settings}))
        write(f"{PLACE}/{name}.network", network(name, addresses(number)[0]))
    for kind in EXTERNAL:
        write(f"{PLACE}/ext-{kind}.netdev", netdev(f"ext-{kind}", kind, {"External": "yes"}))


def far_ends(n1):
    lines = ["fou add port 5555 gue"]
    for number, (name, tunnel) in enumerate(TUNNELS.items()):
        local, remote = tunnel.ends
        lines += [f"link add {name} type {tunnel.far} local 192.0.2.{remote} remote 192.0.2.{local}",
                  f"link set {name} up", f"addr add {addresses(number)[1]}/30 dev {name}"]
    n1.ip(*lines)


def start_networkd(n0):
    """If /sys is read-only, networkd assumes a container, where there is no udev to wait for."""
    def prepare():
        for path in "/run/systemd", "/run/systemd/netif":
            directory(path, "systemd-network")
        configure()
        read_only_sys()
        os.environ.update(SYSTEMD_LOG_LEVEL="debug", SYSTEMD_LOG_TARGET="console")

    return Program(n0, "/usr/lib/systemd/systemd-networkd", prepare=prepare)


def made(n0, networkd, name, regex):
    """with these attributes"""
    there = until(True, lambda: shows(n0, name, regex))
    check(f"{name}: networkd makes it", there,
          *() if there else (ip(n0, f"-d link show {name}")[1], networkd.said()[-4000:]))


def used(n0, n1, number, name):
    near, far = addresses(number)
    check(f"{name}: traffic", n0.answered(far))
    check(f"{name}: traffic, the other way", n1.answered(near, source=far))


def main():
    need_modules("ipip", "ip_gre")
    modprobe("fou")
    with namespaces(2) as (n0, n1):
        veth_pair(n0, "e0", "192.0.2.1/24", n1, "v1", "192.0.2.2/24")
        n0.ip("addr add 192.0.2.5/24 dev e0", "fou add port 5555 gue")
        n1.ip("addr add 192.0.2.6/24 dev v1")
        far_ends(n1)
        networkd = start_networkd(n0)
        for name, tunnel in TUNNELS.items():
            made(n0, networkd, name, tunnel.shown)
        for kind in EXTERNAL:
            made(n0, networkd, f"ext-{kind}", f"{kind} external")
        for number, name in enumerate(TUNNELS):
            used(n0, n1, number, name)
        expect("networkd could make each", [],
               re.findall("^.*(?:netdev .*ailed|Failed to create netdev).*$", networkd.said(), re.M))


ksft_run(main)
