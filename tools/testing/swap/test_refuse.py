#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""What "iptnl swap" cannot carry over it refuses before it touches anything, and it says in a line what that is. Each
obstacle is made, seen, and removed.

    n0                          n1
    t0 ipip, g0 gre, e0 gretap
    v0 192.0.2.1 -------------- v1 192.0.2.2
"""

import contextlib
import fcntl
import glob
import os
import re
import socket
import struct

from exchange import IPTNL, NOBODY, STATE, UPDATES, expect_exit, expect_line, expect_same, expect_status, get, \
    in_tree, put, run, whose
import links
import modules
from ksft import SERIES, NetNs, check, is_loaded, ksft_run, modprobe, rmmod, veth_pair, write
from wire import sysctl
from xdp import tcx, xdp

IP_GRE = UPDATES + "/ip_gre.ko"
LOCK = "/run/iptnl/lock"
NEEDED = "veth", "macvlan", "vxlan", "bonding", "dummy", "bridge", "fou", "8021q"
MRT_INIT, MRT_ADD_VIF, VIFF_USE_IFINDEX = 200, 202, 0x8
BRIDGE = b"bridge".hex()
LINKINFO = re.compile(f" 18:[0-9a-f]*{BRIDGE}[0-9a-f]*")


# ------------------------------------------------------------------- results

def configuration(nets):
    """-> the links of both namespaces; those of a bridge and its ports without link info, which has timers"""
    return [LINKINFO.sub("", line) for ns in nets for line in links.configuration(ns.name)]


def refuses(nets, name, regex):
    """Swap ends with status 1, and so does the dry run; a line matches; nothing is different from before."""
    before = configuration(nets)
    expect_status(f"{name}: refused", 1, "swap")
    expect_line(f"{name}: says what it is", f"^iptnl: {regex}")
    expect_status(f"{name}: refused by --dry-run, too", 1, "swap", "--dry-run")
    expect_same(f"{name}: nothing was changed", before, configuration(nets))
    expect_modules(f"{name}: the modules are the kernel's", modules.THEIRS)
    check(f"{name}: ours are not there", not is_loaded("ip_tunnel_core"))


def expect_modules(name, side):
    check(name, whose() == [side], whose())


# ----------------------------------------------------------------- obstacles

def nothing_in_the_way():
    expect_status("nothing in the way: --dry-run agrees", 0, "swap", "--dry-run")
    expect_modules("and changes nothing", modules.THEIRS)


def held_modules(nets):
    for module, holder, with_it in ("tunnel4", "sit", ()), ("gre", "ip6_gre", ("ip6_tunnel", "tunnel6")):
        modprobe(holder)
        refuses(nets, f"{module} held by {holder}", f"module {module} is held by .*{holder}.*--keep-held")
        if module == "gre":
            keep_held()
        rmmod(holder, *with_it)


def keep_held():
    expect_status("--keep-held: swap", 0, "swap", "--keep-held")
    expect_line("--keep-held: says what it keeps", "^keep in-tree: gre, held by ip6_gre$")
    check("gre is the kernel's", not os.path.exists("/sys/module/gre/version"))
    check("ip_gre is ours", modules.owner("ip_gre") == modules.OURS, modules.owner("ip_gre"))
    expect_status("--keep-held: restore", 0, "restore")
    expect_modules("ip_gre is the kernel's again", modules.THEIRS)


def devices_on_top(nets):
    n0, n1 = nets
    n0.ip("link add link e0 name e0.5 type vlan id 5")
    refuses(nets, "a VLAN on a tunnel", rf"e0 in {n0.name}: e0.5 \(vlan\) in {n0.name} is on top")
    n0.ip("link del e0.5", "link add link e0 name mac type macvlan", f"link set mac netns {n1.name}")
    refuses(nets, "a macvlan in another namespace", rf"e0 in {n0.name}: mac \(macvlan\) in {n1.name} is on top")
    n1.ip("link del mac")
    n0.ip("link add vx type vxlan id 9 dstport 4789 dev g0 group 239.1.1.1")
    refuses(nets, "a vxlan over a tunnel", rf"g0 in {n0.name}: vx \(vxlan\) in {n0.name} is on top")
    n0.ip("link del vx", "link add bo type bond", "link set e0 down", "link set e0 master bo")
    refuses(nets, "a port of a bond", rf"e0 in {n0.name}: is a port of bo \(bond\)")
    n0.ip("link del bo", "link set e0 up")


def traffic_control(nets):
    n0, _ = nets
    n0.tc("qdisc add dev g0 root netem delay 1ms")
    refuses(nets, "a qdisc", f"g0 in {n0.name}: has a qdisc netem")
    n0.tc("qdisc del dev g0 root", "qdisc add dev t0 clsact",
          "filter add dev t0 ingress matchall action drop")
    refuses(nets, "a filter", f"t0 in {n0.name}: has a qdisc clsact")
    n0.tc("qdisc del dev t0 clsact", "qdisc add dev v0 clsact",
          "filter add dev v0 ingress matchall action mirred egress redirect dev g0")
    refuses(nets, "an action that sends to a tunnel", f"g0 in {n0.name}: tc action mirred index [0-9]+ sends to it")
    n0.tc("qdisc del dev v0 clsact")


def bpf_programs(nets):
    n0, _ = nets
    with xdp(n0, "e0"):
        refuses(nets, "an XDP program", f"e0 in {n0.name}: has an XDP program")
    if SERIES != "6.1":
        with tcx(n0, "g0"):
            refuses(nets, "a tcx program", f"g0 in {n0.name}: has a BPF program at tcx ingress")


def nftables(nets):
    n0, _ = nets
    n0.run("nft", "add table netdev x; add chain netdev x y { type filter hook ingress device g0 priority 0; }")
    refuses(nets, "an nftables ingress hook", f"g0 in {n0.name}: nftables chain x y is on it")
    n0.run("nft", "delete table netdev x; "
           "add table ip x; add flowtable ip x f { hook ingress priority 0; devices = { v0, t0 }; }")
    refuses(nets, "an nftables flowtable", f"t0 in {n0.name}: nftables flowtable x f is on it")
    n0.run("nft", "delete table ip x")


def multicast_routing(nets):
    """g0 is an interface of a multicast router as long as its socket is open."""
    n0, _ = nets
    with n0.enter:
        router = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_IGMP)
        index = socket.if_nametoindex("g0")
    with router:
        router.setsockopt(socket.IPPROTO_IP, MRT_INIT, 1)
        router.setsockopt(socket.IPPROTO_IP, MRT_ADD_VIF,
                          struct.pack("=HBBIII", 0, VIFF_USE_IFINDEX, 1, 0, index, 0))
        refuses(nets, "an interface of multicast routing", f"g0 in {n0.name}: is an interface of multicast routing")


def bridges(nets):
    n0, _ = nets
    group = "dev", "br0", "port", "e0", "grp", "239.1.1.2", "permanent"
    n0.ip("link add br0 type bridge mcast_snooping 1 vlan_filtering 1", "link set br0 up", "link set e0 master br0")
    n0.run("bridge", "mdb", "add", *group)
    refuses(nets, "a permanent group of the bridge", f"e0 in {n0.name}: has a permanent group of its bridge")
    n0.run("bridge", "mdb", "del", *group)
    n0.run("bridge", "vlan", "set", "dev", "e0", "vid", "1", "state", "blocking")
    refuses(nets, "options of a VLAN", f"e0 in {n0.name}: has options of single VLANs")
    n0.run("bridge", "vlan", "set", "dev", "e0", "vid", "1", "state", "forwarding")
    n0.ip("link add d0 type dummy", "link set d0 master br0", "link set d0 type bridge_slave backup_port e0")
    refuses(nets, "the backup of another port", f"e0 in {n0.name}: is the backup port of d0")
    n0.ip("link del d0", "link del br0")


def changed_fallback_devices(nets):
    _, n1 = nets
    n1.ip("link set tunl0 name other")
    refuses(nets, "a renamed fallback device", f"other in {n1.name}: is the renamed tunl0")
    n1.ip("link set other name tunl0", "tunnel change gre0 tos 0x10")
    refuses(nets, "a changed fallback device", f"gre0 in {n1.name}: has parameters from 'ip tunnel change'")
    n1.ip("tunnel change gre0 tos 0")


def missing_fallback_devices(nets):
    """Only the first namespace is to have them; then one that was made meanwhile is to have them, too."""
    n0, _ = nets
    sysctl(net__core__fb_tunnels_only_for_init_net=1)
    refuses(nets, "a fallback device that would not come back", f"gre0 in {n0.name}: would not come back while")
    with NetNs() as bare:
        bare.ip("link add gre0 type veth")
        sysctl(net__core__fb_tunnels_only_for_init_net=0)
        refuses(nets, "a device in the place of a fallback device",
                f"gre0 in {bare.name}: has the name of a fallback device")


def encapsulation_without_its_module(nets):
    n0, _ = nets
    n0.ip("fou add port 5555 ipproto 4",
          "link add f0 type ipip local 192.0.2.1 remote 192.0.2.9 encap fou encap-sport auto encap-dport 5555",
          "fou del port 5555")
    rmmod("fou")
    refuses(nets, "encapsulation whose module is gone", f"f0 in {n0.name}: cannot be made again")
    n0.ip("link del f0")


# -------------------------------------------------------------- module files

@contextlib.contextmanager
def without(path):
    """Context in which a file is gone. -> what is in it"""
    data = get(path)
    os.unlink(path)
    try:
        yield data
    finally:
        put(path, data)


def module_files(nets):
    release = modules.release()
    with without(IP_GRE) as data:
        refuses(nets, "a module that is not installed", f"module ip_gre of iptnl is not installed for kernel "
                f"{re.escape(release)}; 'dkms status iptnl' names")
        put(IP_GRE, data.replace(b"vermagic=" + release.encode(), b"vermagic=9.9.9" + release[5:].encode()))
        refuses(nets, "a module of another kernel", f"{re.escape(IP_GRE)}: made for kernel 9.9.9")
        put(IP_GRE, b"nonsense\n")
        refuses(nets, "a file that is no module", f"{re.escape(IP_GRE)}: not a module")
    for path in glob.glob(modules.directory() + "/kernel/net/ipv4/ip_gre.ko*"):
        with without(path):
            refuses(nets, "no way back", r"module ip_gre \(in-tree\) could not be loaded again")


# -------------------------------------------------------- who asks, and where

def missing_privileges():
    expect_exit("not root: refused", 1, run(*NOBODY, IPTNL, "swap"))
    expect_exit("without the right to enter namespaces: refused", 1,
                run("setpriv", "--bounding-set", "-sys_admin", "--inh-caps", "-sys_admin", IPTNL, "swap"))
    expect_line("without the right to enter: says so", "^iptnl: network namespace .* cannot be entered: ")
    expect_exit("in a process namespace: refused", 1, run("unshare", "-pf", "--mount-proc", IPTNL, "swap"))


def other_runs(nets):
    with open(LOCK, "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        refuses(nets, "another one running", "another iptnl is running")
    write(STATE, "{}\n")
    refuses(nets, "after one that was killed", "an earlier run was interrupted")
    os.unlink(STATE)


def in_the_end():
    expect_status("with nothing in the way it works", 0, "swap")
    expect_modules("the modules are ours", modules.OURS)
    expect_status("and back", 0, "restore")


@contextlib.contextmanager
def topology():
    with NetNs() as n0, NetNs() as n1:
        veth_pair(n0, "v0", "192.0.2.1/24", n1, "v1", "192.0.2.2/24")
        n0.ip("link add t0 type ipip local 192.0.2.1 remote 192.0.2.2",
              "link add g0 type gre local 192.0.2.1 remote 192.0.2.2 key 1",
              "link add e0 type gretap local 192.0.2.1 remote 192.0.2.2 key 2",
              "link set t0 up", "link set g0 up", "link set e0 up", "addr add 198.51.100.1/24 dev t0")
        yield n0, n1


def main():
    modprobe(*NEEDED)
    with in_tree(), topology() as nets:
        nothing_in_the_way()
        held_modules(nets)
        devices_on_top(nets)
        traffic_control(nets)
        bpf_programs(nets)
        nftables(nets)
        multicast_routing(nets)
        bridges(nets)
        changed_fallback_devices(nets)
        missing_fallback_devices(nets)
        encapsulation_without_its_module(nets)
        module_files(nets)
        missing_privileges()
        other_runs(nets)
        in_the_end()


ksft_run(main)
