#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Large transfers travel as super-packets through the tunnel and over the
# underlay, and arrive whole when one side or the other cannot do that. Of those
# with sequence numbers each segment has its own when they are cut.
#
#	   n1                      n2
#	   | v1 192.0.2.1          | v2 192.0.2.2
#	   '-----------------------'
#	   tun ===== tunnel ===== tun
#	   198.51.100.1            198.51.100.2
#	   2001:db8::1             2001:db8::2

. "$(dirname "$0")/lib.sh"
need_modules ipip ip_gre
new_ns -6 n1 n2
veth_pair n1 v1 192.0.2.1/24 n2 v2 192.0.2.2/24

# Of every namespace: segments wait here that no offload has put together.
queue=/proc/sys/net/core/netdev_max_backlog
defer sh -c "echo $(cat $queue) >$queue"
echo 20000 >$queue

wire n1 "$TAG" <<'END'
import sys
from wire import *
import xfer

ENDS = n1, n2 = [Ns(f"{sys.argv[1]}-{n}") for n in ("n1", "n2")]
# Sizes of packets; those on the wire are with their Ethernet header.
# TCP makes smaller packets of what flows slowly (IPTNL_SLOW), never single ones.
SLOW = int(os.environ.get("IPTNL_SLOW", "1")) > 1
SUPER, SOME, SINGLE = (1600 if SLOW else 10000, 66000), \
    (1515 if SLOW else 2800, 66000), (1000, 1514)
# One CPU, so that nothing overtakes, and no guess that something was lost.
os.sched_setaffinity(0, {0})
for end in ENDS:
    end.run("sh", "-c", "echo 0 >/proc/sys/net/ipv4/tcp_early_retrans")
SO_RCVBUFFORCE = 33
ON, OFF = ("tx on", "sg on", "tso on", "gso on"), \
    ("tx off", "sg off", "tso off", "gso off")


def ethtool(ns, dev, *features):
    ns.run("ethtool", "-K", dev, *" ".join(features).split())


def pair(options):
    for n, ns in enumerate(ENDS):
        own, peer = n + 1, 2 - n
        ns.ip(f"link add tun type {options} local 192.0.2.{own} "
              f"remote 192.0.2.{peer}", "link set tun up",
              f"addr add 198.51.100.{own} dev tun",
              f"route add 198.51.100.{peer} dev tun rto_min 10s")
        if options.startswith("gre"):
            ns.ip(f"addr add 2001:db8::{own} dev tun nodad",
                  f"route add 2001:db8::{peer} dev tun rto_min 10s")


def size(name, moved, way, low, high):
    """the mean size of packets is within"""
    counts = dict(c.split("=") for c in moved.split())
    packets = int(counts.get(f"{way}_packets", 0))
    mean = int(counts.get(f"{way}_bytes", 0)) // max(packets, 1)
    expect(f"{name} {way}", f"{low} to {high}",
           f"{low} to {high}" if low <= mean <= high else mean)


def transfer(name, address, sizes):
    """4 MB of TCP, none of it twice and none of it wrong; sizes: of what n1
    gives the tunnel, of what is on the wire, of what n2 gets from the
    tunnel."""
    def trouble():
        # A machine that stands still for a second asks for a connection twice:
        # all other timers are longer, since rto_min is.
        return [n1.snmp("Tcp", "RetransSegs") - n1.snmp("TcpExt", "TCPSynRetrans")] + [
            ns.snmp(what, "InCsumErrors")
            for ns, what in ((n1, "Tcp"), (n2, "Tcp"), (n2, "Udp"))]

    def why():
        return " ".join(f"{name}={ns.snmp('TcpExt', name)}" for ns in ENDS for name in (
            "TCPTimeouts", "TCPSynRetrans", "TCPLossProbes", "TCPFastRetrans", "TCPSackRecovery", "TCPOFOQueue",
            "TCPDSACKRecv", "TCPDSACKOldSent", "TCPBacklogDrop", "TCPRcvQDrop"))

    before = [ns.counters.read() for ns in ENDS]
    old, reason = trouble(), why()
    try:
        xfer.tcp(n1.name, n2.name, address, 64, 65536)
        xfer.udp(n1.name, n2.name, address, 10, 1200)
        result = None
    except (OSError, SystemExit) as error:
        result = repr(error)
    expect(f"{name}: it arrives", None, result)
    if not expect(f"{name}: nothing twice, no wrong checksum", old, trouble()):
        note(f"before {reason}, after {why()}")
    moved = [ns.moved(b, dev) for ns, b, dev in (
        (n1, before[0], "tun"), (n1, before[0], "v1"), (n2, before[1], "tun"))]
    expect(f"{name}: no errors", [], [
        c for m in moved for c in m.split()
        if "_packets" not in c and "_bytes" not in c])
    for what, m, way, (low, high) in zip(
            ("n1's tunnel", "the wire", "n2's tunnel"), moved,
            ("tx", "tx", "rx"), sizes):
        size(f"{name}: size of packets, {what}", m, way, low, high)


def all_ways(options, address):
    name = f"{options} to {address}"
    transfer(name, address, (SUPER, SUPER, SUPER))
    ethtool(n1, "v1", *OFF)
    transfer(f"{name}, no offloads below", address, (SUPER, SINGLE, SINGLE))
    if "seq" in options:
        numbers(name, address, options)
    ethtool(n2, "v2", "gro on")
    transfer(f"{name}, receive offload", address,
             (SUPER, SINGLE, SINGLE if "seq" in options else SOME))
    ethtool(n2, "v2", "gro off")
    ethtool(n1, "v1", *ON)
    ethtool(n1, "tun", *OFF)
    transfer(f"{name}, no offloads above", address, (SINGLE, SINGLE, SINGLE))
    ethtool(n1, "tun", *ON)


def numbers(name, address, options):
    """each packet on the wire has the number after the one before it, and a
    checksum that is right"""
    at = 4 * (1 + ("csum" in options) + ("key" in options))
    wire = tap("v1", out=True)
    wire.sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 1 << 24)
    xfer.tcp(n1.name, n2.name, address, 8, 65536)
    sent = [fields(packet)["payload"] for _, _, packet in wire.drain()]
    got = [struct.unpack_from("!I", packet, at)[0] for packet in sent]
    expect(f"{name}: the packets have numbers", True, len(got) > 300)
    expect(f"{name}: each one more than the one before",
           list(range(got[0], got[0] + len(got))), got)
    if "csum" in options:
        expect(f"{name}: and a right checksum", [],
               [n for n, packet in zip(got, sent) if csum(packet)])


for options in ("ipip", "gre", "gre key 5", "gre csum", "gre key 5 csum",
                "gre seq", "gre key 5 csum seq"):
    pair(options)
    with differs("gives up offload") if "seq" in options else differs("", ""):
        all_ways(options, "198.51.100.2")
        if options.startswith("gre"):
            all_ways(options, "2001:db8::2")
    for ns in ENDS:
        ns.ip("link del tun")
END
finish
