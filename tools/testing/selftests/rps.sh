#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# Packets of one tunnel on several processors: RPS of the tunnel device goes by
# the inner flow, which stays in order and on one of them; and the source port
# of FOU and GUE is the inner flow's, or the one that was asked for.
#
#	   n1                      n2
#	   | v1 192.0.2.1          | v2 192.0.2.2
#	   '-----------------------'
#	   many flows, received by CPU A	tun 198.51.100.2, RPS: A, B, both
#
# Takes two processors. With one, all packets must be on that one.

. "$(dirname "$0")/lib.sh"
need_modules ipip ip_gre
modprobe fou
new_ns n1 n2
veth_pair n1 v1 192.0.2.1/24 n2 v2 192.0.2.2/24

# Of every namespace, for what waits for another processor.
queue=/proc/sys/net/core/netdev_max_backlog
defer sh -c "echo $(cat $queue) >$queue"
echo 20000 >$queue

wire n1 "$TAG" <<'END'
import sys
from wire import *
from burst import *

ENDS = n1, n2 = [Ns(f"{sys.argv[1]}-{n}") for n in ("n1", "n2")]
CPUS = sorted(os.sched_getaffinity(0))
FIRST, LAST, TWO = CPUS[0], CPUS[-1], CPUS[:2]
# What is sent here is received here, unless RPS takes it elsewhere.
os.sched_setaffinity(0, {FIRST})
note(f"{len(CPUS)} processors")
FLOWS, TIMES = 24, 20
MAC = "02:00:00:00:aa:02"
GUE = 5553
raw_wire = Raw(n1.name, "v1", n2.name, "v2")
n2.ip(f"fou add port {FOU_IPIP} ipproto 4", f"fou add port {FOU_GRE} ipproto 47",
      f"fou add port {GUE} gue", "addr add 198.51.100.2 dev lo")
receiver = Receiver(n2)


def rps(dev, cpus):
    mask = sum(1 << cpu for cpu in cpus)
    n2.run("sh", "-c", f"echo {mask:x} >/sys/class/net/{dev}/queues/rx-0/rps_cpus")


def outer(proto=None):
    return ip("192.0.2.1", "192.0.2.2", proto)


def fixed(dport):
    return outer() / udp(7000, dport, check=0)


KINDS = {
    "ipip": ("ipip", lambda p: outer(4) / p),
    "gre": ("gre", lambda p: outer() / gre(0x0800) / p),
    "gre key 5 csum": ("gre key 5 csum",
                       lambda p: outer() / gre(0x0800, key=5, csum=True) / p),
    "gretap": ("gretap", lambda p: outer() / gre(0x6558) / eth(MAC) / p),
    "ipip in FOU, one port": ("ipip", lambda p: fixed(FOU_IPIP) / p),
    "gre in FOU, one port": ("gre", lambda p: fixed(FOU_GRE) / gre(0x0800) / p),
    "ipip in GUE, one port": ("ipip", lambda p: fixed(GUE) / bytes((0, 4, 0, 0)) / p),
}


def many(name, wrap, flows, cpus):
    """Datagrams of so many flows, in turn: all of them arrive, each flow in
    order and on one processor, and all of these processors have worked."""
    taps = {cpu: Watch(n2, "tun", cpu) for cpu in CPUS}
    receiver.forget()
    before = n2.counters.read()
    for number in range(TIMES):
        for flow in range(flows):
            raw_wire.send(wrap(datagram(flow, number)))
    until(flows * TIMES, receiver.take)
    _, came = receiver.forget()
    of = {flow: [n for f, n in came if f == flow] for flow in range(flows)}
    expect(f"{name}: each arrives, those of a flow in order", [],
           [f"{f}: {n}" for f, n in of.items() if n != list(range(TIMES))])
    seen = {cpu: [int.from_bytes(p[20:22], "big") for p in tap.drain()]
            for cpu, tap in taps.items()}
    for tap in taps.values():
        tap.close()
    expect(f"{name}: each is seen once", flows * TIMES,
           sum(map(len, seen.values())))
    expect(f"{name}: a flow has one processor", [],
           [port for port in range(5000, 5000 + flows)
            if sum(port in ports for ports in seen.values()) != 1])
    expect(f"{name}: processors", sorted(cpus),
           [cpu for cpu in CPUS if seen[cpu]])
    counters = dict(c.split("=") for c in n2.moved(before, "tun").split())
    counters.pop("rx_bytes", None)
    expect(f"{name}: counters", {"rx_packets": str(flows * TIMES)}, counters)


for kind, (options, wrap) in KINDS.items():
    address = f"address {MAC} " * (options == "gretap")
    n2.ip(f"link add tun {address}type {options} local 192.0.2.2 remote "
          "192.0.2.1", "link set tun up")
    many(f"{kind}: no RPS", wrap, FLOWS, [FIRST])
    rps("tun", [LAST])
    many(f"{kind}: RPS to another", wrap, FLOWS, [LAST])
    rps("tun", TWO)
    if "one port" in kind:
        # Now the outer packet has a hash, the same for all.
        rps("v2", TWO)
        with differs("goes on with the outer flow's hash"):
            many(f"{kind}: RPS to two, and below", wrap, FLOWS, TWO)
        rps("v2", [])
    many(f"{kind}: RPS to two", wrap, FLOWS, TWO)
    rps("tun", [])
    many(f"{kind}: RPS no more", wrap, FLOWS, [FIRST])
    n2.ip("link del tun")

# ------------------------------------------------- entropy of the outer packet

def ports(name):
    """two datagrams of each flow leave by n1's tunnel -> the outer source ports
    of the first ones, those of the second ones"""
    tap = Watch(n2, "v2")
    for _ in range(2):
        for flow in range(FLOWS):
            with n1.enter:
                sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            with sock:
                sock.bind(("198.51.100.1", 5000 + flow))
                sock.sendto(b"hello", ("198.51.100.2", PORT))
    seen = []
    until(2 * FLOWS, lambda: (seen.extend(tap.drain()), len(seen))[1])
    tap.close()
    found = [struct.unpack_from("!H", p, 20)[0] for p in seen
             if fields(p)["proto"] == 17]
    expect(f"{name}: each leaves, in UDP", 2 * FLOWS, len(found))
    return found[:FLOWS], found[FLOWS:]


for kind in ("ipip", "gre", "gretap"):
    for encap, dport in (("fou", FOU_IPIP if kind == "ipip" else FOU_GRE),
                         ("gue", GUE)):
        for sport in ("auto", "7000"):
            name = f"{kind} in {encap}, port {sport}"
            n1.ip(f"link add tun type {kind} local 192.0.2.1 remote 192.0.2.2 "
                  f"encap {encap} encap-sport {sport} encap-dport {dport}",
                  "link set tun up", "addr add 198.51.100.1/24 dev tun")
            if kind == "gretap":
                n1.ip(f"neigh add 198.51.100.2 lladdr {MAC} dev tun")
            first, second = ports(name)
            expect(f"{name}: a flow keeps its port", first, second)
            if sport == "auto":
                expect(f"{name}: flows differ in it", True,
                       len(set(first)) > FLOWS // 2)
            else:
                expect(f"{name}: it is that of all", [7000] * FLOWS, first)
            n1.ip("link del tun")
END
finish
