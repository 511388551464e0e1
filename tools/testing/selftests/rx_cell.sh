#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# Between a tunnel and the payload's stack: what GRO joins and what goes past
# it, in which order, what becomes of too many packets, of packets in tunnels in
# tunnels, and of packets whose device goes while they wait.
#
#	   n1                      n2
#	   | v1 192.0.2.1          | v2 192.0.2.2
#	   '-----------------------'
#	   batches of packets	tun	to 198.51.100.2, on lo
#	   in FOU (burst.py)	g1, g2	gre, keys 1 and 2
#				c1 ..	each one's packets in the one before

. "$(dirname "$0")/lib.sh"
need_modules ipip ip_gre
modprobe fou
new_ns n1 n2
veth_pair n1 v1 192.0.2.1/24 n2 v2 192.0.2.2/24
n2 ip fou add port 5551 ipproto 4
n2 ip fou add port 5552 ipproto 47

for name in netdev_max_backlog netdev_budget dev_weight; do
	defer sh -c "echo $(cat /proc/sys/net/core/$name) >/proc/sys/net/core/$name"
done
BACKLOG=20000
echo $BACKLOG >/proc/sys/net/core/netdev_max_backlog

# --------------------------------------------- what is joined, and the order

wire n1 "$TAG" <<'END'
import itertools
import random
import sys
from wire import *
from burst import *

ENDS = n1, n2 = [Ns(f"{sys.argv[1]}-{n}") for n in ("n1", "n2")]
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
COUNT = 40
OTHER = PORT + 1
batches = Batches(n1, "v1", "192.0.2.2")
n2.ip("addr add 198.51.100.2 dev lo",
      "link add tun type ipip local 192.0.2.2 remote 192.0.2.1",
      "link set tun up")
receiver = Receiver(n2)
next_number = {}


def pages(on):
    """whether all but a packet's outermost headers comes in pages"""
    n1.run("ethtool", "-K", "v1", "sg", "on" if on else "off")


def feature(name, on):
    n2.run("ethtool", "-K", "tun", name, "on" if on else "off")


def numbers(flow, count):
    first = next_number.get(flow, 0)
    next_number[flow] = first + count
    return range(first, first + count)


def batch(flow, count=COUNT):
    """-> how many reads it took to get it; every datagram, in order"""
    sent = [(flow, n) for n in numbers(flow, count)]
    batches.send([datagram(*s) for s in sent])
    until(count, receiver.take)
    reads, came = receiver.forget()
    return reads if came == sent else f"sent {sent}, came {came}"


def becomes(name, want, flow, seconds=60):
    """GRO's answers are good for a second"""
    expect(name, want, until(want, lambda: batch(flow), seconds))


def stays(name, want, flow, times=10):
    expect(name, [want] * times, [batch(flow) for _ in range(times)])


# Each alone, whatever is known of the flow; joined when the socket says so.
pages(False)
stays("no UDP_GRO: each datagram alone", COUNT, 0)
receiver.gro(True)
becomes("UDP_GRO, a flow that was received without: joined", 1, 0)
stays("UDP_GRO: and stays so", 1, 0)
stays("UDP_GRO, a new flow: joined", 1, 1)
receiver.gro(False)
stays("UDP_GRO no more: each alone, at once", COUNT, 0)
receiver.gro(True)
becomes("UDP_GRO again: joined", 1, 0)

# Of two sockets one wants it.
plain = Receiver(n2, OTHER)
for times in range(10):
    ask, ordinary = numbers(2, COUNT // 2), numbers(3, COUNT // 2)
    batches.send([p for a, b in zip(ask, ordinary)
                  for p in (datagram(2, a), datagram(3, b, port=OTHER))])
    until(COUNT, lambda: receiver.take() + plain.take())
    reads, came = receiver.forget()
    expect(f"two sockets, {times}: joined for one, in order",
           (1, [(2, n) for n in ask]), (reads, came))
    reads, came = plain.forget()
    expect(f"two sockets, {times}: each alone for the other, in order",
           (COUNT // 2, [(3, n) for n in ordinary]), (reads, came))
receiver.gro(False)

# --------------------------------------------------- the device's own features


def passes(flow, dst="203.0.113.9"):
    """-> how many packets the device makes of a batch that no socket is for"""
    tap = Watch(n2, "tun")
    batches.send([datagram(flow, n, dst=dst) for n in range(COUNT)])
    size, seen = COUNT * SIZE, []
    until(size, lambda: (seen.extend(tap.drain()),
                         sum(len(p) - 28 for p in seen))[1])
    tap.close()
    total = sum(len(p) - 28 for p in seen)
    return len(seen) if total == size else f"{total} octets of {size}"


def sees(name, want, flow, times=3):
    expect(name, [want] * times, [passes(flow) for _ in range(times)])


sees("nobody's, no feature: as they are", COUNT, 4)
feature("rx-udp-gro-forwarding", True)
sees("rx-udp-gro-forwarding: joined", 1, 4)
stays("rx-udp-gro-forwarding: each alone for a socket", COUNT, 4, 3)
feature("rx-udp-gro-forwarding", False)
sees("rx-udp-gro-forwarding off: as they are", COUNT, 4)
feature("rx-gro-list", True)
sees("rx-gro-list: joined", 1, 4)
tap = Watch(n2, "tun")
stays("rx-gro-list: each alone for a socket", COUNT, 5, 3)
expect("rx-gro-list: though they came in lists", 3, len(tap.drain()))
tap.close()
feature("rx-gro-list", False)
sees("rx-gro-list off: as they are", COUNT, 4)

receiver.gro(True)
becomes("UDP_GRO: joined", 1, 6)
feature("gro", False)
stays("gro off: each alone, all of them", COUNT, 6)
sees("gro off: nothing is joined", COUNT, 4)
feature("rx-udp-gro-forwarding", True)
sees("gro off, rx-udp-gro-forwarding: nothing is joined", COUNT, 4)
feature("rx-udp-gro-forwarding", False)
feature("gro", True)
becomes("gro on: joined", 1, 6)
pages(True)
stays("in pages: joined", 1, 6, 3)
receiver.gro(False)
stays("in pages, no UDP_GRO: each alone", COUNT, 6, 3)

# One flow, every other packet in pages: pedit changes nothing, but pulls.
n2.run("tc", "qdisc", "add", "dev", "v2", "clsact")
n2.run("tc", "filter", "add", "dev", "v2", "ingress", "protocol", "ip", "u32",
       "match", "u16", "1", "1", "at", "32", "action", "pedit", "munge",
       "offset", "48", "u32", "set", "0", "retain", "0")
stays("every other one in pages: in order", COUNT, 7)
receiver.gro(True)
becomes("every other one in pages, UDP_GRO: joined", 1, 7)
receiver.gro(False)
stays("every other one in pages, no UDP_GRO: in order", COUNT, 7)
n2.run("tc", "qdisc", "del", "dev", "v2", "clsact")

# ------------------------------------------------------------- order, all mixed
# Fragments overtake whole datagrams, or those them: each kind is in order.

choose = random.Random(1)
FLOWS, WHOLE, BROKEN = 4, 10, 20
sent, came = {}, {}
identification = itertools.count(1)


def mixed(pieces):
    """a batch of several flows, some of it in fragments; pieces: how likely"""
    packets, room = [], MOST
    while room > 2:
        flow = choose.randrange(FLOWS) + WHOLE
        port = PORT + flow % 2
        broken = choose.random() < pieces
        number = numbers(flow + BROKEN * broken, 1)[0]
        whole = datagram(flow + BROKEN * broken, number, 88 if broken else SIZE,
                         port)
        if broken:      # the same flow, but for what its payload says
            whole = whole[:20] + struct.pack("!HHHH", 5000 + flow, port,
                                             len(whole) - 20, 0) + whole[28:]
            packets += fragments(whole, next(identification))
        else:
            packets.append(whole)
        room = MOST - len(packets)
        sent.setdefault(flow + BROKEN * broken, []).append(number)
    batches.send(packets)


for times in range(120):
    if times % 7 == 3:
        receiver.gro(choose.random() < 0.5)
    if times % 11 == 5:
        plain.gro(choose.random() < 0.5)
    if times % 10 in (0, 7):
        pages(times % 10)
    mixed((0, 0.2, 0.8)[times % 3])
    for sock in receiver, plain:
        sock.take()
total = sum(map(len, sent.values()))
until(total, lambda: receiver.take() + plain.take())
for flow, number in receiver.forget()[1] + plain.forget()[1]:
    came.setdefault(flow, []).append(number)
note(f"{total} datagrams")
pages(True)
for flow in sorted(sent):
    what = "fragments" if flow >= BROKEN + WHOLE else "whole"
    want, got = sent[flow], came.get(flow, [])
    if len(want) == len(got):
        want, got = zip((0, 0), *(p for p in zip(want, got) if p[0] != p[1]))
    expect(f"flow {flow % BROKEN}, {what}: each, in order", want, got)
END

# -------------------------------------------------------------------- too many

wire n1 "$TAG" "$BACKLOG" <<'END'
import sys
from wire import *
from burst import *

ENDS = n1, n2 = [Ns(f"{sys.argv[1]}-{n}") for n in ("n1", "n2")]
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
batches = Batches(n1, "v1", "192.0.2.2")
receiver = Receiver(n2)
# By a NAPI context of its own, past the queue that has the same limit.
n1.run("ethtool", "-K", "v1", "tso", "off")
n2.run("ethtool", "-K", "v2", "gro", "on")
for key in 1, 2:
    n2.ip(f"link add g{key} type gre local 192.0.2.2 remote 192.0.2.1 key {key}",
          f"link set g{key} up")


def overload(name, packets, port, want):
    """want: {device: (received, dropped)}; the first ones are received"""
    before = n2.counters.read()
    batches.send(packets, port)
    until(sum(got for got, _ in want.values()), receiver.take)
    _, came = receiver.forget()
    for flow, (dev, (got, lost)) in enumerate(want.items()):
        counters = dict(c.split("=") for c in n2.moved(before, dev).split())
        counters.pop("rx_bytes", None)
        expect(f"{name}, {dev}: counters",
               {"rx_packets": str(got + lost)} |
               ({"rx_dropped": str(lost)} if lost else {}), counters)
        expect(f"{name}, {dev}: the first ones are received", list(range(got)),
               [n for f, n in came if f == flow])


def in_gre(flow, number):
    return (gre(0x0800, key=flow + 1) / datagram(flow, number)).bytes()


for dev, port, make in (("tun", FOU_IPIP, datagram), ("g1", FOU_GRE, in_gre)):
    for most in (10, 50, MOST - 2, MOST - 1, MOST, 1000):
        machine("netdev_max_backlog", most)
        overload(f"{MOST} packets, {most} may wait",
                 [make(0, n) for n in range(MOST)], port,
                 {dev: (min(MOST, most + 1), max(0, MOST - most - 1))})
# The limit is a processor's, not a device's.
HALF = MOST // 2
machine("netdev_max_backlog", 40)
with differs("counts for each device"):
    overload("two devices, 40 may wait",
             [in_gre(f, n) for f in (0, 1) for n in range(HALF)], FOU_GRE,
             {"g1": (HALF, 0), "g2": (41 - HALF, MOST - 41)})
machine("netdev_max_backlog", sys.argv[2])
overload("two devices, all may wait",
         [in_gre(f, n) for n in range(HALF) for f in (0, 1)], FOU_GRE,
         {"g1": (HALF, 0), "g2": (HALF, 0)})
n1.run("ethtool", "-K", "v1", "tso", "on")
n2.run("ethtool", "-K", "v2", "gro", "off")
n2.ip("link del g1", "link del g2", "link del tun")
END
# -------------------------------------- TCP; tunnels in tunnels; what goes away

wire n1 "$TAG" <<'END'
import subprocess
import sys
from wire import *
from burst import *
import xfer

ENDS = n1, n2 = [Ns(f"{sys.argv[1]}-{n}") for n in ("n1", "n2")]
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
MAC = "02:00:00:00:aa:01", "02:00:00:00:aa:02"
for ns in ENDS:
    ns.run("sh", "-c", "echo 0 >/proc/sys/net/ipv4/tcp_early_retrans")
n2.ip("addr del 198.51.100.2 dev lo")

# ------------------------------------------------------------------------- TCP


def stream(name, joined):
    """1 MB of single packets on the wire, and what the stack gets of them"""
    tap = Watch(n2, "tun")
    before = n2.counters.read()
    xfer.tcp(n1.name, n2.name, "198.51.100.2", 16, 65536)
    moved = dict(c.split("=") for c in n2.moved(before, "tun").split())
    packets, seen = int(moved["rx_packets"]), len(tap.drain())
    tap.close()
    expect(f"{name}: it came in single packets", True, packets > 700)
    if joined:      # TCP sends fewer at a time of what flows slowly
        expect(f"{name}: they are joined", True,
               seen < packets / (2 if SLOW == 1 else 1.2))
    else:
        expect(f"{name}: none are joined", packets, seen)
    note(f"{name}: {packets} packets, {seen} for the stack")


n1.run("ethtool", "-K", "v1", "tso", "off", "gso", "off")
for kind in ("ipip", "gre", "gre key 5 csum", "gretap"):
    for n, ns in enumerate(ENDS):
        own, peer = n + 1, 2 - n
        mac = f"address {MAC[n]} " * (kind == "gretap")
        ns.ip(f"link add tun {mac}type {kind} local 192.0.2.{own} remote "
              f"192.0.2.{peer}", "link set tun up",
              f"addr add 198.51.100.{own} dev tun",
              f"route add 198.51.100.{peer} dev tun rto_min 10s")
        if kind == "gretap":
            ns.ip(f"neigh add 198.51.100.{peer} lladdr {MAC[1 - n]} dev tun")
    stream(f"TCP in {kind}", True)
    n2.run("ethtool", "-K", "tun", "gro", "off")
    stream(f"TCP in {kind}, gro off", False)
    for ns in ENDS:
        ns.ip("link del tun")
n1.run("ethtool", "-K", "v1", "tso", "on", "gso", "on")

# ---------------------------------------------------------- tunnels in tunnels

LEVELS = 12
n2.ip("addr add 198.51.100.2 dev lo")
receiver = Receiver(n2)
cable = Raw(n1.name, "v1", n2.name, "v2")


def ends(n):
    """-> local and remote address of the nth tunnel in n2, from the outside"""
    return ("192.0.2.2", "192.0.2.1") if n == 1 else \
        (f"203.0.113.{2 * n}", f"203.0.113.{2 * n + 1}")


def make(n, kind="ipip"):
    local, remote = ends(n)
    n2.ip(f"link add c{n} type {kind} local {local} remote {remote}",
          f"link set c{n} up")


def nested(packet, tunnels):
    """-> the bytes of a packet in tunnels: {number: kind}, the outermost first"""
    for n, kind in reversed(tunnels.items()):
        local, remote = ends(n)
        if kind == "gre":
            packet = (gre(0x0800) / packet).bytes()
        packet = (ip(remote, local, 47 if kind == "gre" else 4) / packet).bytes()
    return packet


def receives(name, tunnels):
    """20 packets, which each of the tunnels counts"""
    before = n2.counters.read()
    for number in range(20):
        cable.send(raw(nested(datagram(0, number), tunnels)))
    until(20, receiver.take)
    expect(f"{name}: they arrive", list(range(20)),
           [n for _, n in receiver.forget()[1]])
    got = [n2.moved(before, f"c{n}").split()[1:] for n in tunnels]
    expect(f"{name}: counters", [["rx_packets=20"]] * len(tunnels), got)


class Probes:
    """How deep the stack is where one function begins, since another did. (The
    kernel's stack tracer does not look at the stack of softirqs.)"""

    TRACING = "/sys/kernel/tracing"

    def __init__(self):
        subprocess.run(["mount", "-t", "tracefs", "nodev", self.TRACING],
                       check=False)
        self.there = os.path.exists(self.TRACING + "/kprobe_events")

    def write(self, name, text, mode=os.O_APPEND):
        file = os.open(f"{self.TRACING}/{name}", os.O_WRONLY | mode)
        os.write(file, text.encode())
        os.close(file)

    def depths(self, outer, inner, action):
        """-> all depths, in octets"""
        self.write("kprobe_events", f"p:iptnl/outer {outer} sp=%sp\n")
        self.write("kprobe_events", f"p:iptnl/inner {inner} sp=%sp\n")
        self.write("trace", "\n", os.O_TRUNC)
        self.write("events/iptnl/enable", "1")
        action()
        self.write("events/iptnl/enable", "0")
        with open(f"{self.TRACING}/trace") as file:
            lines = [line.split() for line in file if " sp=0x" in line]
        self.write("kprobe_events", "-:iptnl/outer\n")
        self.write("kprobe_events", "-:iptnl/inner\n")
        found, base = set(), {}
        for words in lines:
            cpu = next(w for w in words if w.startswith("["))
            value = int(words[-1][len("sp="):], 16)
            if "outer:" in words:
                base[cpu] = value
            elif cpu in base:
                found.add(base[cpu] - value)
        return found


probes = Probes()
n2.ip(*(f"addr add {ends(n)[0]} dev lo" for n in range(2, LEVELS + 1)))
for name, kinds in (("ipip", ("ipip",) * 5), ("gre", ("gre",) * 5),
                    ("gre and ipip", ("gre", "ipip", "gre", "ipip", "gre"))):
    tunnels = dict(enumerate(kinds, 1))
    for n, kind in tunnels.items():
        make(n, kind)
    one = f"{name}, 1 level", {1: kinds[0]}
    five = f"{name}, 5 levels", tunnels
    if probes.there:
        shallow, deep = [max(probes.depths(
            "net_rx_action", "udp_rcv", lambda: receives(*which)), default=0)
            for which in (one, five)]
        note(f"{name}: {shallow} octets of stack at 1 level, {deep} at 5")
        expect(f"{name}: no more stack at 5 levels than at 1", True,
               0 < deep < shallow + 128)
    else:
        receives(*one)
        receives(*five)
    n2.ip(*(f"link del c{n}" for n in tunnels))


def sends_by(last):
    n1.ip(f"route replace 203.0.113.{last} via 192.0.2.2")
    with n1.enter:
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"t1")
        for _ in range(5):
            sock.sendto(b"hello", ("198.51.100.2", PORT))


if probes.there:
    # Sending does recurse, which must be seen.
    for n in 1, 2, 3:
        n1.ip(f"link add t{n} type ipip local 192.0.2.1 remote 203.0.113.{n}",
              f"link set t{n} up")
    shallow = probes.depths("udp_sendmsg", "veth_xmit", lambda: sends_by(1))
    n1.ip("route del 203.0.113.1", "route add 203.0.113.1 dev t2",
          "route add 203.0.113.2 dev t3")
    deep = probes.depths("udp_sendmsg", "veth_xmit", lambda: sends_by(3))
    note(f"octets of stack of sending by 1 tunnel {shallow}, by 3 {deep}")
    expect("where there is recursion, it is seen", True,
           0 < max(shallow, default=0) < max(deep, default=0) - 300)
    n1.ip(*(f"link del t{n}" for n in (1, 2, 3)))
else:
    note("this kernel has no kprobes: the depth of the stack is not looked at")

# ------------------------------------------------- devices go, packets are left
# Softirqs do one thing at a time, ten times in a row, then it is ksoftirqd's
# turn, which does not come before us; and there is much to be done: packets are
# left.

machine("netdev_budget", 1)
machine("dev_weight", 1)
batches = Batches(n1, "v1", "192.0.2.2")
ALL = dict.fromkeys(range(1, LEVELS + 1), "ipip")
for n in ALL:
    make(n)
# The outermost header is the one that FOU's packet has.
BATCH = [nested(datagram(1, n), dict(list(ALL.items())[1:])) for n in range(MOST)]
LAST = f"c{LEVELS}"
with n2.enter:
    rtnl = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)


def delete(index):
    """without another program, which would let the packets go on -> 0"""
    rtnl.send(struct.pack("=IHHIIBxHiII", 32, 17, 5, 1, 0, 0, 0, index, 0, 0))
    return struct.unpack_from("=i", rtnl.recv(4096), 16)[0]


class realtime:
    def __enter__(self):
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(50))

    def __exit__(self, *_):
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))


def burst(last):
    """-> whether, afterwards, this device has not got all of it"""
    before = n2.counters.read()
    batches.send(BATCH)
    return f"rx_packets={MOST}" not in n2.moved(before, last)


waited, errors = 0, []
for times in range(24):
    n = (LEVELS, LEVELS - 1, LEVELS - 3, 2)[times % 4]
    with n2.enter:
        index = socket.if_nametoindex(f"c{n}")
    with realtime():
        waited += burst(LAST)
        errors.append(delete(index))
    make(n)
expect("24 devices are deleted, each after a batch", [0] * 24, errors)
expect("and packets were on their way", True, waited > 12)
note(f"packets were on their way {waited} times")


def namespace():
    """-> a file that keeps a namespace in which the last device is"""
    holder = subprocess.Popen(["unshare", "-n", "sleep", "1000"],
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    name = f"/proc/{holder.pid}/ns/net"
    inside = ["nsenter", f"--net={name}", "ip"]
    try:
        until(True, lambda: os.stat(name).st_ino != own)
        subprocess.run(inside + ["netns", "set", n2.name, "77"], check=True)
        n2.ip(f"link add {LAST} netns {holder.pid} link-netns {n2.name} "
              f"type ipip {ADDRESSES}")
        subprocess.run(inside + ["link", "set", LAST, "up"], check=True)
        return os.open(name, os.O_RDONLY)
    finally:
        holder.kill()
        holder.wait()


n2.ip(f"link del {LAST}")
# 6.1 takes the number of a namespace to be the new device's namespace's.
n2.run("ip", "netns", "set", n2.name, "77")
waited = 0
ADDRESSES = "local {} remote {}".format(*ends(LEVELS))
own = os.stat("/proc/self/ns/net").st_ino
for times in range(12):
    end = namespace()
    with realtime():
        waited += burst(f"c{LEVELS - 1}")
        os.close(end)
expect("12 namespaces end, each after a batch, packets on their way", True,
       waited > 6)
note(f"packets were on their way {waited} times")
expect("the tunnel's ends are free again", "", until("", lambda: n2.ip(
    f"link add {LAST} type ipip {ADDRESSES}", force=True), 20))
n2.ip(f"link set {LAST} up")
receiver.forget()
batches.send(BATCH)
until(MOST, receiver.take)
expect("then each packet of a batch arrives", list(range(MOST)),
       [n for _, n in receiver.forget()[1]])
n2.ip(*(f"link del c{n}" for n in ALL))
END
check_fails "no reference was left: the kernel's log" \
	sh -c 'dmesg | grep "unregister_netdevice: waiting"'
finish
