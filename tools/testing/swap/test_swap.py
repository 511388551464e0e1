#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""200 tunnels of all kinds in 20 namespaces, ten pairs of ten, under traffic: "iptnl swap" and "iptnl restore" leave
everything as it was.

    a0                                      b0
    t0 .. t9  u0 198.51.100.1 --- .2 u0  t0 .. t9
    br0: t2                                 br0: t2
    vrf0: t9 (pairs 0 to 4)                 vrf0: t9
    t9 has its link in b0 (pairs 5 to 9)    t9 has its link in a0

and the same with a1, b1 to a9, b9. Traffic goes over pairs 0 and 5. PAIRS=1 in the environment makes one pair only.
"""

import contextlib
import os
import re
import socket
import tempfile

from exchange import STATE, expect_line, expect_same, expect_status, in_tree, said, whose
import modules
import picture
from ksft import check, diag, expect, ksft_run, modprobe, namespaces, until, veth_pair
from refuse import command

PAIRS = int(os.environ.get("PAIRS", "10"))
NEEDED = "fou", "mpls_router", "mpls_iptunnel", "bridge", "vrf", "dummy", "sch_fq_codel", "8021q"
WITH_TRAFFIC = [pair for pair in (0, 5) if pair < PAIRS]
ANSWERING = [f"203.0.113.{last}" for last in (2, 6, 10, 14, 18, 22, 26, 30, 66)] + ["2001:db8:3::2"]
STREAMS = [f"203.0.113.{last}" for last in (2, 6, 14, 30)]
IFA_F_TENTATIVE = 0x40
RPS_CPUS = "t1/queues/rx-0/rps_cpus"
SYSCTLS = {
    "net/mpls/platform_labels": 1000, "net/mpls/conf/t1/input": 1,
    "net/ipv4/conf/t0/rp_filter": 2, "net/ipv4/conf/t3/proxy_arp": 1,
    "net/ipv6/conf/t1/hop_limit": 33, "net/ipv6/conf/t1/mtu": 1290, "net/ipv6/conf/t3/accept_ra": 2,
    "net/ipv4/neigh/t8/gc_stale_time": 99, "net/ipv6/neigh/t3/base_reachable_time_ms": 7000,
    "net/ipv6/conf/t4/dad_transmits": 3, "net/ipv6/conf/t5/disable_ipv6": 1}


# ------------------------------------------------------------- configuration

# Lines for one side of a pair: {near} and {far} are 1 and 2, or 2 and 1, {near+4} is 4 more.
UNDERLAY = """
addr add 198.51.100.{near+4}/24 dev u0
addr add 2001:db8:f::{near}/64 dev u0 nodad
fou add port 5555 ipproto 4
"""
TUNNELS = """\
link add t0 mtu 1400 txqueuelen 77 type ipip local 198.51.100.{near} remote 198.51.100.{far} ttl 64 tos 0x10
link set t0 alias "to the other side"
link property add dev t0 altname the-first altname another
link set t0 group 5
link add t1 type gre local 198.51.100.{near} remote 198.51.100.{far} key 1 seq csum ttl 33
link add t2 address 02:00:00:00:02:0{near} type gretap local 198.51.100.{near} remote 198.51.100.{far} key 2 \
nopmtudisc ignore-df
link add t3 address 02:00:00:00:03:0{near} type erspan local 198.51.100.{near} remote 198.51.100.{far} seq key 3 \
erspan_ver 1 erspan 7
link add t4 address 02:00:00:00:04:0{near} type erspan local 198.51.100.{near} remote 198.51.100.{far} seq key 4 \
erspan_ver 2 erspan_dir egress erspan_hwid 5
link add t5 address 02:00:00:00:05:0{near} type erspan local 198.51.100.{near} remote 198.51.100.{far} erspan_ver 0
link add t6 type gre external
link add t7 type ipip local 198.51.100.{near+4} remote 198.51.100.{far+4} \
encap fou encap-sport auto encap-dport 5555
link add t8 type gre local 198.51.100.{near} key 8 fwmark 0x10
"""
BRIDGE = """
link add br0 type bridge vlan_filtering 1 vlan_default_pvid 1
link set t2 master br0
link set t2 type bridge_slave cost 77 priority 9 hairpin on learning off isolated on
link set br0 up
addr add 203.0.113.{near+8}/30 dev br0
"""
VLANS = """\
vlan add vid 5-7 dev t2
vlan add vid 8 pvid untagged dev t2
vlan add vid 8 pvid untagged dev br0 self
fdb add 02:00:00:00:02:99 dev t2 master static vlan 5
"""
# What is on the tunnels
DRESSING = """
link set t3 addrgenmode eui64
""" + "".join(f"link set t{number} up\n" for number in range(10)) + """\
link set t3 promisc on
link set t4 multicast off
addr add 203.0.113.{near} peer 203.0.113.{far} dev t0
addr add 203.0.113.{near+4}/30 dev t1 broadcast + label t1:x
addr add 203.0.113.{near+36}/30 dev t1 metric 50
addr add 203.0.113.{near+12}/30 dev t3
addr add 203.0.113.{near+16}/30 dev t4 noprefixroute
addr add 203.0.113.{near+20}/30 dev t5
addr add 203.0.113.{near+24}/30 dev t6
addr add 203.0.113.{near+28}/30 dev t7
addr add 203.0.113.{near+64}/29 dev t8
addr add 203.0.113.{near+72}/30 dev t9
addr add 2001:db8:1::{near}/64 dev t1
addr add 2001:db8:3::{near}/64 dev t3
addr add 2001:db8:4::{near}/64 dev t4 nodad noprefixroute
neigh add 203.0.113.{far+64} lladdr 198.51.100.{far} nud permanent dev t8
neigh add proxy 203.0.113.14 dev t3
neigh add 2001:db8:3::99 lladdr 02:00:00:00:03:99 nud permanent dev t3
nexthop add id 10 dev t0
nexthop add id 11 via 203.0.113.{far+4} dev t1
nexthop add id 12 group 10,2/11,3
nexthop add id 13 via 198.51.100.{far} dev u0
nexthop add id 14 group 10/13
nexthop add id 15 via 2001:db8:1::{far} dev t1
route add 192.0.2.0/28 dev t0 metric 7 mtu 1300 src 203.0.113.{near}
route add 192.0.2.16/28 nexthop dev t0 weight 2 nexthop via 203.0.113.{far+4} dev t1 weight 3
route add 192.0.2.32/28 nhid 12
route add 192.0.2.48/28 nhid 14
route add 192.0.2.64/28 via 203.0.113.{far+12} table 100 proto 99 onlink dev t3
route add 192.0.2.80/28 via 192.0.2.1
route add 192.0.2.96/28 nexthop via 198.51.100.{far} dev u0 nexthop dev t0
route add 192.0.2.112/28 via 198.51.100.{far} src 203.0.113.{near+20}
route add 192.0.2.128/28 encap mpls 200/300 via 203.0.113.{far+4}
route add 192.0.2.144/28 dev t0
route append 192.0.2.144/28 via 198.51.100.{far} dev u0
route add 203.0.113.{far+24} encap ip id 6 src 198.51.100.{near} dst 198.51.100.{far} dev t6
route add 203.0.113.{far+16} dev t4
route add blackhole 192.0.2.208/28
route add 2001:db8:10::/64 via 2001:db8:1::{far}
route add 2001:db8:11::/64 nexthop via 2001:db8:1::{far} dev t1 nexthop via 2001:db8:3::{far} dev t3
route add 2001:db8:12::/64 nexthop via 2001:db8:1::{far} dev t1 nexthop via 2001:db8:f::{far} dev u0
route add 2001:db8:13::/64 nhid 15
route add 2001:db8:14::/64 dev t4 metric 5 table 100
link set tunl0 mtu 1300 alias "made by the module" up
addr add 203.0.113.{near+100}/32 dev tunl0
nexthop add id 20 dev tunl0
route add 192.0.2.224/28 nhid 20
route add 192.0.2.240/28 dev tunl0
rule add iif t1 lookup 100 pref 1000
rule add oif t3 lookup 100 pref 1001
"""
MPLS_ROUTES = """
route add 100 via inet 203.0.113.{far+4} dev t1
route add 101 nexthop as 102 via inet 203.0.113.{far+4} dev t1 nexthop as 103 via inet 198.51.100.{far} dev u0
"""


class Side:
    """One namespace of a pair"""

    def __init__(self, pair, ns, peer, near):
        self.pair, self.ns, self.peer, self.near, self.far = pair, ns, peer, near, 3 - near

    def format(self, text):
        """-> the lines, with numbers in them"""
        def number(match):
            return str({"near": self.near, "far": self.far}[match[1]] + int(match[2] or 0))
        return re.sub(r"\{(near|far)(?:\+(\d+))?\}", number, text).strip().splitlines()

    def configure(self):
        self.ns.ip(*self.format(UNDERLAY + TUNNELS), *(self.last_in_vrf() if self.pair < 5 else self.last_elsewhere()),
                   *self.format(BRIDGE))
        self.settings()
        run_batch(VLANS.splitlines(), "bridge", "-n", self.ns.name)
        self.ns.ip(*self.format(DRESSING))
        run_batch(self.format(MPLS_ROUTES), "ip", "-n", self.ns.name, "-f", "mpls")

    def last_in_vrf(self):
        return self.format("""
link add t9 type gre local 198.51.100.{near} remote 198.51.100.{far} key 9 dev u0
link add vrf0 type vrf table 9
link set vrf0 up
link set t9 master vrf0
""")

    def last_elsewhere(self):
        """Its packets are those of the other side's namespace."""
        return self.format(f"""
link add made link-netns {self.peer.name} type gretap local 198.51.100.{{far}} remote 198.51.100.{{near}} \
ikey {{near+90}} okey {{far+90}}
link set made name t9
""")

    def settings(self):
        self.ns.sysctl(**SYSCTLS)
        devices = self.ns.devices()
        with open(os.open(RPS_CPUS, os.O_WRONLY, dir_fd=devices), "w") as file:
            file.write("1")
        os.close(devices)
        self.ns.offloads("t0", 0, "gso")
        self.ns.offloads("t2", 0, "tx")


def run_batch(lines, *words):
    status, text = command(*words, "-batch", "-", stdin="\n".join(lines) + "\n")
    assert status == 0, text


@contextlib.contextmanager
def topology():
    """-> a0, b0, a1, b1, ..."""
    with namespaces(2 * PAIRS, ipv6=True) as made:
        for pair in range(PAIRS):
            a, b = made[2 * pair:2 * pair + 2]
            veth_pair(a, "u0", "198.51.100.1/24", b, "u0", "198.51.100.2/24")
            Side(pair, a, b, 1).configure()
            Side(pair, b, a, 2).configure()
        until([], lambda: [ns.name for ns in made if is_tentative(ns)])
        yield made


def is_tentative(ns):
    """whether duplicate address detection is going on"""
    with ns.enter, open("/proc/thread-self/net/if_inet6") as file:
        return any(int(line.split()[4], 16) & IFA_F_TENTATIVE for line in file)


# ------------------------------------------------------------------- traffic

class Stream:
    """Echo requests all the time"""

    def __init__(self, ns, address):
        self.output = tempfile.TemporaryFile()
        ns.start("ping", "-n", "-i", "0.2", address, output=self.output)

    def answers(self):
        return os.pread(self.output.fileno(), 1 << 20, 0).count(b"bytes from")

    def flows(self):
        before = self.answers()
        return until(True, lambda: self.answers() > before)


def every_answer(made):
    """-> whether each tunnel of the pairs with traffic passes it"""
    return all(made[2 * pair].answered(address) for pair in WITH_TRAFFIC for address in ANSWERING) and all(
        made[2 * pair].answered("203.0.113.74", "vrf0" if pair < 5 else None) for pair in WITH_TRAFFIC)


# --------------------------------------------------------------------- tests

def count_tunnels(made):
    count = 0
    for ns in made:
        with ns.enter:
            count += sum(bool(re.fullmatch("t[0-9]", name)) for _, name in socket.if_nameindex())
    return count


def dry_run():
    expect_status("swap --dry-run", 0, "swap", "--dry-run")
    expect_line("swap --dry-run says what it would carry", f"^carry {20 * PAIRS} tunnels in {2 * PAIRS} namespaces$")
    check("swap --dry-run changes no module", whose() == [modules.THEIRS], whose())


def exchange(made, streams, before, verb, side):
    """Swap or restore under traffic, and see that nothing is different."""
    check(f"{verb}: traffic flows before", all(stream.flows() for stream in streams))
    expect_status(f"{verb}: done", 0, verb)
    diag("note: " + " ".join(line for line in said if "interruption" in line))
    expect_line(f"{verb}: says how many", f"^{20 * PAIRS} tunnels in {2 * PAIRS} namespaces carried over, "
                "interruption [0-9]+ ms$")
    expect_line(f"{verb}: says that statistics are new", "^the statistics of the tunnels start at 0$")
    check(f"{verb}: the modules are {'ours' if side == modules.OURS else 'theirs'}", whose() == [side], whose())
    check(f"{verb}: traffic goes on", all(stream.flows() for stream in streams))
    check(f"{verb}: every tunnel passes traffic", every_answer(made))
    expect_same(f"{verb}: everything is as before", before, picture.of(*made))
    expect(f"{verb}: packet steering is as before", "1", packet_steering(made[1]))
    check(f"{verb}: nothing is left in /run", not os.path.exists(STATE))


def packet_steering(ns):
    devices = ns.devices()
    with open(os.open(RPS_CPUS, os.O_RDONLY, dir_fd=devices)) as file:
        value = file.read().strip()
    os.close(devices)
    return value


def swap_again():
    expect_status("swap again: nothing to do", 0, "swap")
    expect_line("swap again says so", "^nothing to do")


def main():
    modprobe(*NEEDED)
    with in_tree(), topology() as made:
        expect("there are ten tunnels in each namespace", 20 * PAIRS, count_tunnels(made))
        check("every tunnel passes traffic to begin with", every_answer(made))
        streams = [Stream(made[0], address) for address in STREAMS]
        before = picture.of(*made)
        dry_run()
        exchange(made, streams, before, "swap", modules.OURS)
        swap_again()
        exchange(made, streams, before, "restore", modules.THEIRS)


ksft_run(main)
