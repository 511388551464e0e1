#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Between a tunnel and the payload's stack: what GRO joins and what goes past it,
in which order, what becomes of too many packets, of packets in tunnels in
tunnels, and of packets whose device goes while they wait.

       n1                      n2
       | v1 192.0.2.1          | v2 192.0.2.2
       '-----------------------'
       batches of packets      tun        to 198.51.100.2, on lo
       in FOU (burst.py)       g1 .. g4   gre, keys 1 to 4
                               c1 ..      each one's packets in the one before
"""
import contextlib
import itertools
import os
import random
import socket
import struct
import subprocess

import xfer
from burst import FOU_GRE, FOU_IPIP, MOST, PORT, SIZE, Batches, Raw, Receiver, Watch, datagram, fragments, keep, \
    machine
from ether import MAC_A, MAC_B
from ethtool import Features
from ksft import SLOW, NetNs, diag, differs, expect, ksft_run, modprobe, need_modules, no_reference_left, until, \
    veth_pair
from pkt import gre, ip, new_netns, raw
from wire import run_ip

MAC = MAC_A, MAC_B
BACKLOG = 20000
COUNT = 40                      # datagrams of a flow in a batch
OTHER = PORT + 1                # another socket's
# Of a mixture: flows from WHOLE on, and those of fragments BROKEN further on
FLOWS, WHOLE, BROKEN = 4, 10, 20
BATCHES = 120
TRACING = "/sys/kernel/tracing"
LEVELS = 12                     # of tunnels in tunnels, while they are deleted
ALL = dict.fromkeys(range(1, LEVELS + 1), "ipip")
LAST = f"c{LEVELS}"
RTM_DELLINK, NLM_F_REQUEST_ACK = 17, 5


class Net:
    """The two namespaces, who sends there and who receives"""

    def __init__(self, n1, n2):
        self.n1, self.n2 = n1, n2
        self.batches = Batches(n1, "v1", "192.0.2.2")
        self.receiver = Receiver(n2)
        with n2.enter:
            self.features = Features()
        self.next_number = {}

    def pages(self, on):
        """whether all but a packet's outermost headers comes in pages"""
        self.n1.offloads("v1", bool(on), "sg")

    def gro(self, on):
        self.n2.offloads("tun", on, "gro")

    def feature(self, name, on):
        self.features.set("tun", name.__eq__, on)

    def numbers(self, flow, count):
        first = self.next_number.get(flow, 0)
        self.next_number[flow] = first + count
        return range(first, first + count)

    def batch(self, flow):
        """-> how many reads it took to get it; every datagram, in order"""
        sent = [(flow, number) for number in self.numbers(flow, COUNT)]
        self.batches.send([datagram(*s) for s in sent])
        until(COUNT, self.receiver.take)
        reads, came = self.receiver.forget()
        return reads if came == sent else f"sent {sent}, came {came}"

    def becomes(self, name, want, flow):
        """GRO's answers are good for a second"""
        expect(name, want, until(want, lambda: self.batch(flow)))

    def stays(self, name, want, flow, times=10):
        expect(name, [want] * times, [self.batch(flow) for _ in range(times)])

    def passes(self, flow):
        """-> how many packets the device makes of a batch that no socket is for"""
        with contextlib.closing(Watch(self.n2, "tun")) as tap:
            self.batches.send([datagram(flow, number, dst="203.0.113.9") for number in range(COUNT)])
            seen = []

            def payload():
                seen.extend(tap.drain())
                return sum(len(packet) - 28 for packet in seen)

            size = until(COUNT * SIZE, payload)
        return len(seen) if size == COUNT * SIZE else f"{size} bytes of {COUNT * SIZE}"

    def sees(self, name, want, flow, times=3):
        expect(name, [want] * times, [self.passes(flow) for _ in range(times)])


# ------------------------------------------- what is joined, and the order

def as_the_socket_says(net):
    """Each alone, whatever is known of the flow; joined when the socket says so."""
    net.pages(False)
    net.stays("no UDP_GRO: each datagram alone", COUNT, 0)
    net.receiver.gro(True)
    net.becomes("UDP_GRO, a flow that was received without: joined", 1, 0)
    net.stays("UDP_GRO: and stays so", 1, 0)
    net.stays("UDP_GRO, a new flow: joined", 1, 1)
    net.receiver.gro(False)
    net.stays("UDP_GRO no more: each alone, at once", COUNT, 0)
    net.receiver.gro(True)
    net.becomes("UDP_GRO again: joined", 1, 0)


def two_sockets(net, plain):
    """of which one wants it"""
    for times in range(10):
        ask, ordinary = net.numbers(2, COUNT // 2), net.numbers(3, COUNT // 2)
        net.batches.send([packet for a, b in zip(ask, ordinary)
                          for packet in (datagram(2, a), datagram(3, b, port=OTHER))])
        until(COUNT, lambda: net.receiver.take() + plain.take())
        expect(f"two sockets, {times}: joined for one, in order",
               (1, [(2, number) for number in ask]), net.receiver.forget())
        expect(f"two sockets, {times}: each alone for the other, in order",
               (COUNT // 2, [(3, number) for number in ordinary]), plain.forget())
    net.receiver.gro(False)


def features(net):
    """of the device, that join packets to be forwarded"""
    net.sees("nobody's, no feature: as they are", COUNT, 4)
    net.feature("rx-udp-gro-forwarding", True)
    net.sees("rx-udp-gro-forwarding: joined", 1, 4)
    net.stays("rx-udp-gro-forwarding: each alone for a socket", COUNT, 4, 3)
    net.feature("rx-udp-gro-forwarding", False)
    net.sees("rx-udp-gro-forwarding off: as they are", COUNT, 4)
    net.feature("rx-gro-list", True)
    net.sees("rx-gro-list: joined", 1, 4)
    with contextlib.closing(Watch(net.n2, "tun")) as tap:
        net.stays("rx-gro-list: each alone for a socket", COUNT, 5, 3)
        expect("rx-gro-list: though they came in lists", 3, len(tap.drain()))
    net.feature("rx-gro-list", False)
    net.sees("rx-gro-list off: as they are", COUNT, 4)


def gro_off(net):
    net.receiver.gro(True)
    net.becomes("UDP_GRO: joined", 1, 6)
    net.gro(False)
    net.stays("gro off: each alone, all of them", COUNT, 6)
    net.sees("gro off: nothing is joined", COUNT, 4)
    net.feature("rx-udp-gro-forwarding", True)
    net.sees("gro off, rx-udp-gro-forwarding: nothing is joined", COUNT, 4)
    net.feature("rx-udp-gro-forwarding", False)
    net.gro(True)
    net.becomes("gro on: joined", 1, 6)


def in_pages(net):
    net.pages(True)
    net.stays("in pages: joined", 1, 6, 3)
    net.receiver.gro(False)
    net.stays("in pages, no UDP_GRO: each alone", COUNT, 6, 3)


def some_in_pages(net):
    """One flow, every other packet in pages: pedit changes nothing, but pulls."""
    net.n2.tc("qdisc add dev v2 clsact",
              "filter add dev v2 ingress protocol ip u32 match u16 1 1 at 32 "
              "action pedit munge offset 48 u32 set 0 retain 0")
    net.stays("every other one in pages: in order", COUNT, 7)
    net.receiver.gro(True)
    net.becomes("every other one in pages, UDP_GRO: joined", 1, 7)
    net.receiver.gro(False)
    net.stays("every other one in pages, no UDP_GRO: in order", COUNT, 7)
    net.n2.tc("qdisc del dev v2 clsact")


class Mixture:
    """Batches of several flows, some of it in fragments. Fragments overtake whole
    datagrams, or those them: each kind is in order."""

    def __init__(self, net):
        self.net = net
        self.choose = random.Random(1)
        self.identification = itertools.count(1)
        self.sent = {}

    def add(self, flow, broken):
        """-> the packets of the flow's next datagram"""
        port, kind = PORT + flow % 2, flow + BROKEN * broken
        number = self.net.numbers(kind, 1)[0]
        self.sent.setdefault(kind, []).append(number)
        if not broken:
            return [datagram(kind, number, SIZE, port)]
        whole = datagram(kind, number, 88, port)
        # the same flow, but for what its payload says
        head = struct.pack("!HHHH", 5000 + flow, port, len(whole) - 20, 0)
        return fragments(whole[:20] + head + whole[28:], next(self.identification))

    def send(self, pieces):
        """pieces: how likely they are"""
        packets = []
        while len(packets) < MOST - 2:
            flow = self.choose.randrange(FLOWS) + WHOLE
            packets += self.add(flow, self.choose.random() < pieces)
        self.net.batches.send(packets)

    def likely(self, what):
        return self.choose.random() < what

    def total(self):
        return sum(map(len, self.sent.values()))


def mixture(net, plain):
    """All that changes what is joined, meanwhile"""
    mixed = Mixture(net)
    for times in range(BATCHES):
        if times % 7 == 3:
            net.receiver.gro(mixed.likely(0.5))
        if times % 11 == 5:
            plain.gro(mixed.likely(0.5))
        if times % 10 in (0, 7):
            net.pages(times % 10)
        mixed.send((0, 0.2, 0.8)[times % 3])
        for sock in net.receiver, plain:
            sock.take()
    until(mixed.total(), lambda: net.receiver.take() + plain.take())
    diag(f"{mixed.total()} datagrams")
    each_in_order(mixed.sent, net.receiver.forget()[1] + plain.forget()[1])
    net.pages(True)
    net.receiver.gro(False)


def each_in_order(sent, came):
    """sent: {flow: numbers}; came: (flow, number)..."""
    for flow, want in sorted(sent.items()):
        got = [number for of, number in came if of == flow]
        if len(want) == len(got):       # say only where they differ
            wrong = [(a, b) for a, b in zip(want, got) if a != b]
            want, got = [a for a, _ in wrong], [b for _, b in wrong]
        expect(f"flow {flow % BROKEN}, {'fragments' if flow >= BROKEN + WHOLE else 'whole'}: each, in order", want, got)


# ---------------------------------------------------------------- too many

def overload(net, name, packets, port, want):
    """want: {device: (received, dropped)}; the first ones are received"""
    before = net.n2.counters.read()
    net.batches.send(packets, port)
    until(sum(got for got, _ in want.values()), net.receiver.take)
    _, came = net.receiver.forget()
    for flow, (dev, (got, lost)) in enumerate(want.items()):
        counters = dict(c.split("=") for c in net.n2.moved(before, dev).split())
        counters.pop("rx_bytes", None)
        dropped = {"rx_dropped": str(lost)} if lost else {}
        expect(f"{name}, {dev}: counters", {"rx_packets": str(got + lost), **dropped}, counters)
        expect(f"{name}, {dev}: the first ones are received", list(range(got)),
               [number for of, number in came if of == flow])


def in_gre(flow, number):
    return (gre(0x0800, key=flow + 1) / datagram(flow, number)).bytes()


def too_many_for_one(net):
    for dev, port, make in ("tun", FOU_IPIP, datagram), ("g1", FOU_GRE, in_gre):
        for most in 10, 50, MOST - 2, MOST - 1, MOST, 1000:
            machine("netdev_max_backlog", most)
            overload(net, f"{MOST} packets, {most} may wait", [make(0, number) for number in range(MOST)], port,
                     {dev: (min(MOST, most + 1), max(0, MOST - most - 1))})


def queued(flows, most):
    """-> [packets of each flow that are queued], if none of these is delivered meanwhile and each flow has a device.
    More than one device alone may have waiting are queued while no more of a device are than there is room left."""
    counts = [0] * (1 + max(flows))
    for flow in flows:
        if sum(counts) <= most or sum(counts) + counts[flow] <= 2 * most:
            counts[flow] += 1
    return counts


def too_many_for_several(net):
    """One device that floods leaves room for others, as if each had a queue; and so do several."""
    half, most = MOST // 2, 20
    orders = {"one behind the other": [0] * half + [1] * half, "in turn": [0, 1] * half,
              "few behind many": [0] * (MOST - 10) + [1] * 10, "three behind one": [0] * half + [1, 2, 3] * (half // 3),
              "a fourth behind three": [0, 1, 2] * (half // 2) + [3] * (half // 2)}
    machine("netdev_max_backlog", most)
    for name, flows in orders.items():
        numbers = [flows[:at].count(flow) for at, flow in enumerate(flows)]
        with differs("a queue for each device"):
            overload(net, f"{name}, {most} of one may wait", [in_gre(*of) for of in zip(flows, numbers)], FOU_GRE,
                     {f"g{flow + 1}": (got, flows.count(flow) - got) for flow, got in enumerate(queued(flows, most))})
    machine("netdev_max_backlog", BACKLOG)
    overload(net, "two devices, all may wait",
             [in_gre(flow, number) for number in range(half) for flow in (0, 1)], FOU_GRE,
             {"g1": (half, 0), "g2": (half, 0)})


def too_many(net):
    # By a NAPI context of its own, past the queue that has the same limit.
    net.n1.offloads("v1", False, "tso")
    net.n2.offloads("v2", True, "gro")
    net.n2.ip(*(line for key in (1, 2, 3, 4) for line in (
        f"link add g{key} type gre local 192.0.2.2 remote 192.0.2.1 key {key}", f"link set g{key} up")))
    too_many_for_one(net)
    too_many_for_several(net)
    net.n1.offloads("v1", True, "tso")
    net.n2.offloads("v2", False, "gro")
    net.n2.ip(*(f"link del g{key}" for key in (1, 2, 3, 4)))


# --------------------------------------------------------------------- TCP

def stream(net, name, joined):
    """1 MB of single packets on the wire, and what the stack gets of them"""
    with contextlib.closing(Watch(net.n2, "tun")) as tap:
        before = net.n2.counters.read()
        xfer.tcp(net.n1.name, net.n2.name, "198.51.100.2", 16, 65536)
        moved = dict(c.split("=") for c in net.n2.moved(before, "tun").split())
        packets, seen = int(moved["rx_packets"]), len(tap.drain())
    expect(f"{name}: it came in single packets", True, packets > 700)
    if joined:      # TCP sends fewer at a time of what flows slowly
        expect(f"{name}: they are joined", True, seen < packets / (2 if SLOW == 1 else 1.2))
    else:
        expect(f"{name}: none are joined", packets, seen)
    diag(f"{name}: {packets} packets, {seen} for the stack")


def tunnel(net, kind):
    for n, ns in enumerate((net.n1, net.n2)):
        own, peer, ether = n + 1, 2 - n, kind == "gretap"
        mac = f"address {MAC[n]} " * ether
        ns.ip(f"link add tun {mac}type {kind} local 192.0.2.{own} remote 192.0.2.{peer}", "link set tun up",
              f"addr add 198.51.100.{own} dev tun", f"route add 198.51.100.{peer} dev tun rto_min 10s",
              *[f"neigh add 198.51.100.{peer} lladdr {MAC[1 - n]} dev tun"] * ether)


def tcp(net):
    ends = net.n1, net.n2
    for ns in ends:
        ns.sysctl(net__ipv4__tcp_early_retrans=0)
    net.n2.ip("addr del 198.51.100.2 dev lo", "link del tun")
    net.n1.offloads("v1", False, "tso", "gso")
    for kind in "ipip", "gre", "gre key 5 csum", "gretap":
        tunnel(net, kind)
        stream(net, f"TCP in {kind}", True)
        net.gro(False)
        stream(net, f"TCP in {kind}, gro off", False)
        for ns in ends:
            ns.ip("link del tun")
    net.n1.offloads("v1", True, "tso", "gso")
    net.n2.ip("addr add 198.51.100.2 dev lo")


# ------------------------------------------------------ tunnels in tunnels

def endpoints(n):
    """-> local and remote address of the nth tunnel in n2, from the outside"""
    return ("192.0.2.2", "192.0.2.1") if n == 1 else (f"203.0.113.{2 * n}", f"203.0.113.{2 * n + 1}")


def make(net, tunnels):
    """tunnels: {number: kind}"""
    lines = []
    for n, kind in tunnels.items():
        local, remote = endpoints(n)
        lines += [f"link add c{n} type {kind} local {local} remote {remote}", f"link set c{n} up"]
    net.n2.ip(*lines)


def nested(packet, tunnels):
    """-> the bytes of a packet in tunnels: {number: kind}, the outermost first"""
    for n, kind in reversed(tunnels.items()):
        local, remote = endpoints(n)
        if kind == "gre":
            packet = (gre(0x0800) / packet).bytes()
        packet = (ip(remote, local, 47 if kind == "gre" else 4) / packet).bytes()
    return packet


def receives(net, name, tunnels):
    """20 packets, which each of the tunnels counts"""
    cable = Raw(net.n1.name, "v1", net.n2.name, "v2")
    before = net.n2.counters.read()
    for number in range(20):
        cable.send(raw(nested(datagram(0, number), tunnels)))
    until(20, net.receiver.take)
    expect(f"{name}: they arrive", list(range(20)), [number for _, number in net.receiver.forget()[1]])
    got = [net.n2.moved(before, f"c{n}").split()[1:] for n in tunnels]
    expect(f"{name}: counters", [["rx_packets=20"]] * len(tunnels), got)


class Probes:
    """How deep the stack is where one function begins, since another did. (The
    kernel's stack tracer does not look at the stack of softirqs.)"""

    def __init__(self):
        if not os.path.exists(f"{TRACING}/trace"):
            subprocess.run(["mount", "-t", "tracefs", "tracefs", TRACING], check=False)
        self.there = os.path.exists(f"{TRACING}/kprobe_events")

    @staticmethod
    def write(name, text, mode=os.O_APPEND):
        """one that cannot seek"""
        file = os.open(f"{TRACING}/{name}", os.O_WRONLY | mode)
        os.write(file, text.encode())
        os.close(file)

    def lines(self, outer, inner, action):
        """-> of the trace, in words"""
        self.write("kprobe_events", f"p:iptnl/outer {outer} sp=%sp\n")
        self.write("kprobe_events", f"p:iptnl/inner {inner} sp=%sp\n")
        self.write("trace", "\n", os.O_TRUNC)
        self.write("events/iptnl/enable", "1")
        action()
        self.write("events/iptnl/enable", "0")
        with open(f"{TRACING}/trace") as file:
            lines = [line.split() for line in file if " sp=0x" in line]
        self.write("kprobe_events", "-:iptnl/outer\n")
        self.write("kprobe_events", "-:iptnl/inner\n")
        return lines

    def depths(self, outer, inner, action):
        """-> all depths, in bytes"""
        found, base = set(), {}
        for words in self.lines(outer, inner, action):
            cpu = next(word for word in words if word.startswith("["))
            value = int(words[-1][len("sp="):], 16)
            if "outer:" in words:
                base[cpu] = value
            elif cpu in base:
                found.add(base[cpu] - value)
        return found


def received_as_deep(net, probes, name, kinds):
    """as much stack at five levels as at one"""
    tunnels = dict(enumerate(kinds, 1))
    make(net, tunnels)
    levels = (f"{name}, 1 level", {1: kinds[0]}), (f"{name}, 5 levels", tunnels)
    if probes.there:
        shallow, deep = [max(probes.depths("net_rx_action", "udp_rcv", lambda: receives(net, *level)), default=0)
                         for level in levels]
        diag(f"{name}: {shallow} bytes of stack at 1 level, {deep} at 5")
        expect(f"{name}: no more stack at 5 levels than at 1", True, 0 < deep < shallow + 128)
    else:
        for level in levels:
            receives(net, *level)
    net.n2.ip(*(f"link del c{n}" for n in tunnels))


def send_by_t1(net, last):
    """the tunnel of that number sends on the cable"""
    net.n1.ip(f"route replace 203.0.113.{last} via 192.0.2.2")
    with net.n1.enter:
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"t1")
        for _ in range(5):
            sock.sendto(b"hello", ("198.51.100.2", PORT))


def sent_deeper(net, probes):
    """Sending does recurse, which must be seen."""
    net.n1.ip(*(line for n in (1, 2, 3) for line in (
        f"link add t{n} type ipip local 192.0.2.1 remote 203.0.113.{n}", f"link set t{n} up")))
    shallow = probes.depths("udp_sendmsg", "veth_xmit", lambda: send_by_t1(net, 1))
    net.n1.ip("route del 203.0.113.1", "route add 203.0.113.1 dev t2", "route add 203.0.113.2 dev t3")
    deep = probes.depths("udp_sendmsg", "veth_xmit", lambda: send_by_t1(net, 3))
    diag(f"bytes of stack of sending by 1 tunnel {shallow}, by 3 {deep}")
    expect("where there is recursion, it is seen", True,
           0 < max(shallow, default=0) < max(deep, default=0) - 300)
    net.n1.ip(*(f"link del t{n}" for n in (1, 2, 3)))


def depth_of_stack(net):
    probes = Probes()
    net.n2.ip(*(f"addr add {endpoints(n)[0]} dev lo" for n in range(2, LEVELS + 1)))
    for name, kinds in (("ipip", ("ipip",) * 5), ("gre", ("gre",) * 5),
                        ("gre and ipip", ("gre", "ipip", "gre", "ipip", "gre"))):
        received_as_deep(net, probes, name, kinds)
    if probes.there:
        sent_deeper(net, probes)
    else:
        diag("this kernel has no kprobes: the depth of the stack is not looked at")


# -------------------------------------------- devices go, packets are left
# Softirqs do one thing at a time, ten times in a row, then it is ksoftirqd's
# turn, which does not come before us; and there is much to be done: packets are
# left.

@contextlib.contextmanager
def realtime():
    os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(50))
    try:
        yield
    finally:
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))


def nested_batch():
    """The outermost header is the one that FOU's packet has."""
    inner = {n: kind for n, kind in ALL.items() if n > 1}
    return [nested(datagram(1, number), inner) for number in range(MOST)]


def burst(net, batch, last):
    """-> whether, afterwards, this device has not got all of it"""
    before = net.n2.counters.read()
    net.batches.send(batch)
    return f"rx_packets={MOST}" not in net.n2.moved(before, last)


def delete(rtnl, index):
    """without another program, which would let the packets go on -> 0"""
    rtnl.send(struct.pack("=IHHIIBxHiII", 32, RTM_DELLINK, NLM_F_REQUEST_ACK, 1, 0, 0, 0, index, 0, 0))
    return struct.unpack_from("=i", rtnl.recv(4096), 16)[0]


def devices_go(net, batch):
    waited, errors = 0, []
    with net.n2.enter:
        rtnl = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)
    for times in range(24):
        n = (LEVELS, LEVELS - 1, LEVELS - 3, 2)[times % 4]
        with net.n2.enter:
            index = socket.if_nametoindex(f"c{n}")
        with realtime():
            waited += burst(net, batch, LAST)
            errors.append(delete(rtnl, index))
        make(net, {n: "ipip"})
    rtnl.close()
    expect("24 devices are deleted, each after a batch", [0] * 24, errors)
    expect("and packets were on their way", True, waited > 12)
    diag(f"packets were on their way {waited} times")


def namespace_with_last(net, options):
    """-> a file that keeps a namespace in which the last device is"""
    with new_netns():
        run_ip(f"netns set {net.n2.name} 77", f"link add {LAST} link-netns {net.n2.name} {options}",
               f"link set {LAST} up")
        return os.open("/proc/thread-self/ns/net", os.O_RDONLY)


def namespaces_end(net, batch):
    waited = 0
    options = "type ipip local {} remote {}".format(*endpoints(LEVELS))
    net.n2.ip(f"link del {LAST}")
    for _ in range(12):
        end = namespace_with_last(net, options)
        with realtime():
            waited += burst(net, batch, f"c{LEVELS - 1}")
            os.close(end)
    expect("12 namespaces end, each after a batch, packets on their way", True, waited > 6)
    diag(f"packets were on their way {waited} times")
    expect("the tunnel's ends are free again", "",
           until("", lambda: net.n2.ip(f"link add {LAST} {options}", force=True)))
    net.n2.ip(f"link set {LAST} up")


def then_all_arrive(net, batch):
    net.receiver.forget()
    net.batches.send(batch)
    until(MOST, net.receiver.take)
    expect("then each packet of a batch arrives", list(range(MOST)),
           [number for _, number in net.receiver.forget()[1]])


def packets_are_left(net):
    machine("netdev_budget", 1)
    machine("dev_weight", 1)
    make(net, ALL)
    batch = nested_batch()
    devices_go(net, batch)
    namespaces_end(net, batch)
    then_all_arrive(net, batch)
    net.n2.ip(*(f"link del c{n}" for n in ALL))


def main():
    need_modules("ipip", "ip_gre")
    modprobe("fou")
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    keep("netdev_max_backlog", "netdev_budget", "dev_weight")
    machine("netdev_max_backlog", BACKLOG)
    with NetNs() as n1, NetNs() as n2:
        veth_pair(n1, "v1", "192.0.2.1/24", n2, "v2", "192.0.2.2/24")
        n2.ip(f"fou add port {FOU_IPIP} ipproto 4", f"fou add port {FOU_GRE} ipproto 47",
              "addr add 198.51.100.2 dev lo", "link add tun type ipip local 192.0.2.2 remote 192.0.2.1",
              "link set tun up")
        net = Net(n1, n2)
        as_the_socket_says(net)
        plain = Receiver(n2, OTHER)
        two_sockets(net, plain)
        features(net)
        gro_off(net)
        in_pages(net)
        some_in_pages(net)
        mixture(net, plain)
        too_many(net)
        tcp(net)
        depth_of_stack(net)
        packets_are_left(net)
    no_reference_left()


ksft_run(main)
