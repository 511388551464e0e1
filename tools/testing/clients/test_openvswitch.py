#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Tunnel ports of Open vSwitch, with plain tunnel devices at the other host.

    sa, sb                 n0                  n1             pa, pb
    198.51.100.1 -- a1, b1 [br0] v0 ------ v1 devices with -- 198.51.100.2
                        192.0.2.1      192.0.2.2   a key

sa and sb are behind the switch; pa and pb have a device each, whose underlay is in n1. Both pairs have the same
addresses and differ in the key only.
"""
import collections
import contextlib
import os

from client import IPPROTO_GRE, Capture, Files, Program, command_in, output, shows, traffic
from ksft import IN_TREE, SERIES, SLOW, Stats, check, differs, expect, is_loaded, ksft_run, namespaces, \
    need_modules, until, veth_pair
from refuse import command, refuse, works
import series
import vport

SCHEMA = "/usr/share/openvswitch/vswitch.ovsschema"
NEAR, FAR = "198.51.100.1", "198.51.100.2"
A, B, TUNNEL = 1, 2, 11         # ports of the switch
KEYED, PLAIN = 8, 4             # bytes of a GRE header
Net = collections.namedtuple("Net", "n0 n1 sa sb pa pb")


# ---------------------------------------------------------------- the switch

def uptime():
    with open("/proc/uptime") as file:
        return float(file.read().split()[0])


class Switch:
    """Open vSwitch in a namespace"""

    def __init__(self, ns, files):
        self.database, self.control = (files.path(name) for name in ("db.sock", "vswitchd.ctl"))
        os.environ.update(dict.fromkeys(("OVS_RUNDIR", "OVS_LOGDIR", "OVS_DBDIR"), files.name))
        # In the first 10 s after boot, version 3.1 finds no processors and starts no thread for upcalls.
        until(True, lambda: uptime() >= 11)
        output(None, "ovsdb-tool", "create", files.path("conf.db"), SCHEMA)
        Program(ns, "ovsdb-server", files.path("conf.db"), "--remote=punix:" + self.database,
                "--unixctl=" + files.path("db.ctl")).wait_for(self.database)
        self.vsctl("--no-wait", "init")
        Program(ns, "ovs-vswitchd", "unix:" + self.database, "--unixctl=" + self.control).wait_for(self.control)
        self.vsctl("add-br", "br0", "--", "set", "bridge", "br0", "datapath_type=system", "fail_mode=secure")

    def vsctl(self, *words):
        output(None, "ovs-vsctl", "--db=unix:" + self.database, f"--timeout={60 * SLOW}", *words)

    def ofctl(self, *words, stdin=""):
        output(None, "ovs-ofctl", "-O", "OpenFlow13", *words, stdin=stdin)

    def port(self, kind, **options):
        """Add a tunnel port, t1."""
        self.vsctl("add-port", "br0", "t1", "--", "set", "interface", "t1", f"ofport_request={TUNNEL}",
                   f"type={kind}", "options:remote_ip=192.0.2.2",
                   *(f"options:{name}={value}" for name, value in options.items()))

    def forward(self, *flows):
        """(port, key)...: between a port of a host and a key of the tunnel"""
        lines = []
        for port, key in flows:
            lines += [f"in_port={port},actions=set_field:{key}->tun_id,output:{TUNNEL}",
                      f"in_port={TUNNEL},tun_id={key},actions=output:{port}"]
        self.ofctl("add-flows", "br0", "-", stdin="\n".join(lines) + "\n")

    def clear(self):
        self.vsctl("del-port", "br0", "t1")
        self.ofctl("del-flows", "br0")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        command("ovs-appctl", "-t", self.control, "exit", "--cleanup")


# -------------------------------------------------------------- its networks

def hosts(net, switch):
    """one end of the overlay"""
    for ns, dev in (net.sa, "a1"), (net.sb, "b1"):
        veth_pair(ns, "e0", NEAR + "/24", net.n0, dev, None)
        ns.ip("link set e0 mtu 1400")
    switch.vsctl("add-port", "br0", "a1", "--", "set", "interface", "a1", f"ofport_request={A}",
                 "--", "add-port", "br0", "b1", "--", "set", "interface", "b1", f"ofport_request={B}")


def peer(net, ns, options):
    """the other endpoint, its underlay in n1"""
    tunnel(net.n1, ns, f"{options} local 192.0.2.2 remote 192.0.2.1", FAR)


def tunnel(underlay, ns, options, address):
    underlay.ip(f"link add tun mtu 1400 type {options}", f"link set tun netns {ns.name}")
    ns.ip("link set tun up", f"addr add {address}/24 dev tun")


@contextlib.contextmanager
def alone(net, switch):
    """What a test has made goes at its end."""
    yield
    switch.clear()
    for ns in net.pa, net.pb:
        if ns.has_dev("tun"):
            ns.ip("link del tun")
    for ns in net.sa, net.sb:
        ns.ip("neigh flush dev e0 nud all")


def wire_is(name, capture, size, header, ttls=(64, 64)):
    """size: of the GRE header that is compared; ttls: those of 192.0.2.1 and 192.0.2.2"""
    want = {(f"192.0.2.{number}", 1, 0, ttl, header) for number, ttl in enumerate(ttls, 1)}

    def got():
        return {(packet["src"], packet["df"], packet["frag"], packet["ttl"], packet["payload"][:size].hex())
                for packet in capture.packets(IPPROTO_GRE)}

    expect(f"{name}: on the wire", want, until(want, got))
    capture.close()


def device(name, ns, dev, shown):
    check(f"{name}: the device of the datapath", until(True, lambda: shows(ns, dev, shown)))


# --------------------------------------------------------------------- tests

def fixed_key(net, switch):
    with alone(net, switch):
        switch.port("gre", key=4660)
        device("fixed key", net.n0, "gre_sys", "gretap external")
        switch.forward((A, 4660))
        peer(net, net.pa, "gretap key 4660 ttl 64")
        capture = Capture(net.n0, "v0")
        traffic("fixed key", net.sa, net.pa, NEAR, FAR)
        wire_is("fixed key", capture, KEYED, "2000655800001234")
    check("fixed key: the device goes with the last port", until(True, lambda: not net.n0.has_dev("gre_sys")))


def key_of_the_flow(net, switch):
    with alone(net, switch):
        switch.port("gre", key="flow", ttl=33)
        switch.forward((A, 1), (B, 2))
        peer(net, net.pa, "gretap key 1 ttl 64")
        peer(net, net.pb, "gretap key 2 ttl 64")
        stats, capture = Stats(net.pb, "tun"), Capture(net.n0, "v0")
        traffic("key of the flow", net.sa, net.pa, NEAR, FAR)
        wire_is("key of the flow", capture, KEYED, "2000655800000001", (33, 64))
        stats.expect("the other key saw nothing of it")
        capture = Capture(net.n0, "v0")
        traffic("another key", net.sb, net.pb, NEAR, FAR)
        wire_is("another key", capture, KEYED, "2000655800000002", (33, 64))


def no_key(net, switch):
    with alone(net, switch):
        switch.port("gre")
        switch.forward((A, 0))
        peer(net, net.pa, "gretap ttl 64")
        capture = Capture(net.n0, "v0")
        traffic("without a key", net.sa, net.pa, NEAR, FAR)
        wire_is("without a key", capture, PLAIN, "00006558")


def checksum(net, switch):
    with alone(net, switch):
        switch.port("gre", key=5, csum="true")
        switch.forward((A, 5))
        peer(net, net.pa, "gretap key 5 csum ttl 64")
        capture = Capture(net.n0, "v0")
        if IN_TREE:
            with differs("external gretap drops what has a checksum"):
                check("checksum: echo", net.sa.answered(FAR))
        else:
            traffic("checksum", net.sa, net.pa, NEAR, FAR)
        wire_is("checksum", capture, PLAIN, "a0006558")


def erspan(net, switch):
    """The headers without the sequence number are the same for all packets."""
    name = "erspan version 1"
    # The openvswitch module of 6.12 prints a warning for each flow with ERSPAN options.
    if series.matches("6.12", SERIES):
        return
    with alone(net, switch):
        switch.port("erspan", key=7, erspan_ver=1, erspan_idx="0x123")
        device(name, net.n0, "erspan_sys", "erspan external")
        switch.forward((A, 7))
        peer(net, net.pa, "erspan seq key 7 erspan_ver 1 erspan 0x123 ttl 64")
        capture = Capture(net.n0, "v0")
        traffic(name, net.sa, net.pa, NEAR, FAR)
        expect(f"{name}: on the wire", {(address, "100088be", "1000000700000123") for address in (
            "192.0.2.1", "192.0.2.2")}, {
                (packet["src"], packet["payload"][:4].hex(), packet["payload"][8:16].hex())
                for packet in capture.packets(IPPROTO_GRE)})
        capture.close()


def old_vport(n1):
    """-> the prefix of the results that follow"""
    name = "vport-gre"
    works(f"{name}: the datapath makes one", vport.add_gre, n1, "dp1", "gre1")
    check(f"{name}: it is loaded", is_loaded("vport_gre"))
    check(f"{name}: built on ip_gre", os.path.exists("/sys/module/ip_gre/holders/vport_gre"))
    return name


def no_vport(n1):
    """vport-gre is gone. Tools make a device and add it."""
    name = "external gretap"
    refuse(f"{name}: there is no vport-gre", "EAFNOSUPPORT", vport.add_gre, n1, "dp1", "gre1")
    n1.ip("link add gre1 type gretap external", "link set gre1 mtu 1450 up")
    works(f"{name}: the datapath takes it", command_in, n1, "ovs-dpctl", "add-if", "dp1", "gre1")
    return name


def datapath(net):
    """A datapath without a daemon, with one flow each way for each protocol"""
    actions = "set(tunnel(tun_id=9,dst=192.0.2.1,ttl=65,flags(df|key))),2"
    output(net.n1, "ovs-dpctl", "add-if", "dp1", "b1")
    name = old_vport(net.n1) if series.matches("<7.3", SERIES) else no_vport(net.n1)
    check(f"{name}: its device", shows(net.n1, "gre1", "gretap external"))
    tunnel(net.n0, net.pa, "gretap key 9 ttl 64 local 192.0.2.1 remote 192.0.2.2", NEAR)
    for kind in "0x0800),ipv4()", "0x0806),arp()":
        output(net.n1, "ovs-dpctl", "add-flow", "dp1", f"in_port(1),eth(),eth_type({kind}", actions)
        output(net.n1, "ovs-dpctl", "add-flow", "dp1", f"in_port(2),eth(),eth_type({kind}", "1")
    capture = Capture(net.n1, "v1")
    traffic(name, net.pa, net.pb, NEAR, FAR)
    wire_is(name, capture, KEYED, "2000655800000009", (64, 65))


def datapath_alone(net, _):
    veth_pair(net.pb, "e1", FAR + "/24", net.n1, "b1", None)
    net.pb.ip("link set e1 mtu 1400")
    output(net.n1, "ovs-dpctl", "add-dp", "dp1")
    try:
        datapath(net)
    finally:
        command_in(net.n1, "ovs-dpctl", "del-dp", "dp1")


def main():
    need_modules("ipip", "ip_gre")
    with Files() as files, namespaces(6) as made:
        net = Net(*made)
        veth_pair(net.n0, "v0", "192.0.2.1/24", net.n1, "v1", "192.0.2.2/24")
        with Switch(net.n0, files) as switch:
            hosts(net, switch)
            for test in fixed_key, key_of_the_flow, no_key, checksum, erspan, datapath_alone:
                test(net, switch)


ksft_run(main)
