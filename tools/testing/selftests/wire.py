# SPDX-License-Identifier: GPL-2.0
"""A wire that the test holds in its hand.

A tun device is the underlay of the namespace that this runs in. What the test
writes to it has been received, and worked through up to a socket or to the
next device, when write() returns; what the namespace sends, the test reads,
byte for byte:

    with NetNs() as n0, n0.inside():
        u0 = Tun("u0", "192.0.2.1/24")
        run_ip("link add g1 type gre local 192.0.2.1 remote 192.0.2.2",
               "link set g1 up")
        case("it is delivered", "g1 rx_bytes=20 rx_packets=1", u0,
             ip("192.0.2.2", "192.0.2.1") / gre() / ip())

An outcome is one string: each device whose counters moved, with exactly the
counters that moved, by name; then what came out of the wires. Everything is
compared, so that nothing may happen that the table does not say.
"""

import contextlib
import errno
import fcntl
import json
import os
import socket
import struct
import subprocess
import sys
import time

import series
from pkt import cut, csum, eth, gre, icmp, in_netns, ip, ip6, mpls, \
    one_processor, raw, settle, silent, udp, vlan, Layer

__all__ = ["cut", "csum", "eth", "gre", "icmp", "ip", "ip6", "mpls", "raw",
           "udp", "vlan", "Layer", "Tun", "Tap", "Counters", "Ns", "until",
           "run_ip", "router", "sysctl", "case", "expect", "expect_whole", "COUNTERS", "show",
           "differs", "describe", "tap", "attempt", "inject", "transmit",
           "sends", "fields", "CRC", "SEQ", "FRAME", "LENGTH", "ETH_P_IP",
           "ETH_P_IPV6", "ETH_P_MPLS", "IN_TREE", "SERIES", "SLOW", "errno", "os",
           "socket", "struct", "time", "one_processor", "settle",
           "every_protocol_known"]

ETH_P_ALL, ETH_P_IP, ETH_P_IPV6, ETH_P_MPLS = 3, 0x0800, 0x86dd, 0x8847
PACKET_OUTGOING = 4
IN_TREE = os.environ.get("IPTNL_IN_TREE") == "1"
SERIES = os.environ.get("SERIES") or series.running()
SLOW = int(os.environ.get("IPTNL_SLOW", "1"))

# The errors a tunnel counts on receive, next to the reason's own counter.
CRC = "rx_crc_errors=1 rx_errors=1"
SEQ = "rx_errors=1 rx_fifo_errors=1"
FRAME = "rx_errors=1 rx_frame_errors=1"
LENGTH = "rx_errors=1 rx_length_errors=1"


# ------------------------------------------------------------------- results

XFAIL = ""
FAILED = False
COUNT = {"ok": 0, "bad": 0}


def diag(text):
    for line in str(text).splitlines():
        print("#", line, flush=True)


def emit(verdict, xfail, text, *details):
    """One line of KTAP, with its details if it is "bad"."""
    global FAILED
    number = sum(COUNT.values()) + 1
    if verdict == "bad" and xfail:
        COUNT["ok"] += 1
        print(f"ok {number} {text} # XFAIL in-tree: {xfail}", flush=True)
        return
    COUNT[verdict] += 1
    if verdict == "ok":
        print("ok", number, text, flush=True)
        return
    FAILED = True
    print("not ok", number, text, flush=True)
    for detail in details:
        diag("  " + detail)


def expect(name, want, got):
    if want == got:
        emit("ok", XFAIL, name)
    else:
        global FAILED
        FAILED = FAILED or not XFAIL
        emit("bad", XFAIL, name, f"want: {want}", f"got:  {got}")
    return want == got


@contextlib.contextmanager
def differs(reason, kernels="all", when=True):
    """The in-tree drivers of these kernels (see series.py) are known to fail
    what is inside; "when" is false for those cases that they pass."""
    global XFAIL
    outside = XFAIL
    if IN_TREE and when and series.matches(kernels, SERIES):
        XFAIL = reason
    yield
    XFAIL = outside


def expect_whole(name, old, new):
    """Of a TCP transfer, between two times: segments sent twice, and wrong
    checksums of any sort. What is lost by mistake is sent hundreds of times;
    a machine that stands still for a moment makes TCP repeat a few."""
    twice, *wrong = [n - o for n, o in zip(new, old)]
    expect(name, [0] * len(old), [twice if twice > 5 else 0] + wrong)


# ------------------------------------------------------------- configuration

def run_ip(*lines, force=False, ns=None):
    """one "ip" for all the lines"""
    done = subprocess.run(["ip"] + ["-n", ns] * bool(ns) +
                          ["-force"] * force + ["-batch", "-"],
                          input="\n".join(lines) + "\n", text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if done.returncode and not force:
        sys.exit("ip: %s\n%s" % (done.stdout, "\n".join(lines)))
    return done.stdout


def show(*words):
    """what "ip -d -j" says"""
    return json.loads(subprocess.run(
        ["ip", "-d", "-j", *words], stdout=subprocess.PIPE, check=True).stdout)


def sysctl(**values):
    """net__ipv4__ip_forward=1"""
    for name, value in values.items():
        with open("/proc/sys/" + name.replace("__", "/"), "w") as file:
            file.write(str(value))


class Tun:
    """The wire: whole IP packets."""

    TUNSETIFF, IFF_TUN, IFF_TAP, IFF_NO_PI = 0x400454ca, 1, 2, 0x1000
    FLAGS = IFF_TUN | IFF_NO_PI
    all = []

    def __init__(self, name, *addresses, mtu=1500):
        self.name = name
        self.fd = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
        fcntl.ioctl(self.fd, self.TUNSETIFF,
                    struct.pack("16sH22x", name.encode(), self.FLAGS))
        if not any(":" in a for a in addresses):
            with open(f"/proc/sys/net/ipv6/conf/{name}/disable_ipv6",
                      "w") as file:
                file.write("1")
        run_ip(f"link set {name} mtu {mtu} up",
               *(f"addr add {a} dev {name}" for a in addresses))
        Tun.all.append(self)

    def send(self, packet):
        os.write(self.fd, data_of(packet))

    def recv(self):
        """the next packet that was sent, or None"""
        try:
            return os.read(self.fd, 65536)
        except BlockingIOError:
            return None

    def drain(self):
        """all that was sent, but for reports of multicast membership"""
        return [p for p in iter(self.recv, None)
                if (p[9] != 2 if p[0] >> 4 == 4 else p[6] != 0)]


class Tap(Tun):
    """A wire for frames, which arrive in pieces: send() takes a list of
    them, and each becomes a page fragment of one packet, behind the Ethernet
    header."""

    IFF_NAPI, IFF_NAPI_FRAGS = 0x10, 0x20
    FLAGS = Tun.IFF_TAP | Tun.IFF_NO_PI | IFF_NAPI | IFF_NAPI_FRAGS

    def __init__(self, name, *addresses, **more):
        super().__init__(name, *addresses, **more)
        run_ip(f"link set {name} arp off address 02:00:00:00:00:02")
        self.head = eth().bytes()

    def send(self, pieces):
        os.writev(self.fd, [self.head] + pieces)

    def recv(self):
        frame = super().recv()
        return frame and frame[14:]


def data_of(packet):
    return packet.bytes() if isinstance(packet, Layer) else packet


def router():
    """Between a host and the underlay, and never tired of sending errors
    -> (wire of the host, wire of the underlay)"""
    sysctl(net__ipv4__icmp_ratemask=0, net__ipv6__icmp__ratelimit=0,
           net__ipv4__conf__all__forwarding=1,
           net__ipv6__conf__all__forwarding=1)
    # A router's device would send listener reports.
    sysctl(net__ipv6__conf__default__forwarding=0)
    return (Tun("h0", "198.51.100.1/24", "2001:db8:1::1/64"),
            Tun("u0", "192.0.2.1/24"))


# ------------------------------------------------------------------ counters

class Counters:
    """The counters of all devices of this namespace, as 64 bit netlink
    attributes: /proc adds several of them up."""

    NAMES = ("rx_packets tx_packets rx_bytes tx_bytes rx_errors tx_errors "
             "rx_dropped tx_dropped multicast collisions rx_length_errors "
             "rx_over_errors rx_crc_errors rx_frame_errors rx_fifo_errors "
             "rx_missed_errors tx_aborted_errors tx_carrier_errors "
             "tx_fifo_errors tx_heartbeat_errors tx_window_errors "
             "rx_compressed tx_compressed rx_nohandler").split()
    RTM_GETSTATS, NLM_F_DUMP, NLMSG_DONE = 94, 0x301, 3
    VALUES = struct.Struct("=%dQ" % len(NAMES))
    HEAD, AT = 28, 32               # of the message, of the values in it

    def __init__(self, enter=contextlib.nullcontext()):
        self.enter = enter
        with enter:
            self.sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)
        self.sock.bind((0, 0))
        self.names = {}

    def read(self):
        """-> {device: (values in the order of NAMES)}"""
        self.sock.send(struct.pack("=IHHIIIII", self.HEAD, self.RTM_GETSTATS,
                                   self.NLM_F_DUMP, 1, 0, 0, 0, 1))
        devices = {}
        while True:
            data, at = self.sock.recv(1 << 18), 0
            while at < len(data):
                size, kind = struct.unpack_from("=IH", data, at)
                if kind == self.NLMSG_DONE:
                    return devices
                index = struct.unpack_from("=I", data, at + 20)[0]
                devices[self.name(index)] = \
                    self.VALUES.unpack_from(data, at + self.AT)
                at += (size + 3) & ~3

    def name(self, index):
        if index not in self.names:
            with self.enter:
                self.names[index] = socket.if_indextoname(index)
        return self.names[index]

    def moved(self, before, after):
        """-> {device: "name=delta ..."}, names sorted"""
        return {dev: " ".join(
            f"{name}={new - old}"
            for name, old, new in sorted(zip(self.NAMES, before[dev], now))
            if new != old)
            for dev, now in sorted(after.items())
            if dev in before and now != before[dev]}


COUNTERS = Counters()


class Ns:
    """Another namespace"""

    def __init__(self, name):
        self.name = name
        self.enter = in_netns(name)
        self.counters = Counters(self.enter)

    def ip(self, *lines, **more):
        return run_ip(*lines, ns=self.name, **more)

    def run(self, *words):
        subprocess.run(["ip", "netns", "exec", self.name, *words], check=True,
                       stdout=subprocess.DEVNULL)

    def moved(self, before, dev):
        return self.counters.moved(before, self.counters.read()).get(dev, "")

    def snmp(self, group, name):
        """a counter of the IP stack"""
        with self.enter, open("/proc/thread-self/net/" + (
                "netstat" if group.endswith("Ext") else "snmp")) as file:
            lines = [line.split() for line in file]
        for names, values in zip(lines[::2], lines[1::2]):
            if names[0] == group + ":":
                return int(values[names.index(name)])
        raise KeyError(name)

    def silent(self, address, dev=None, source=None):
        """whether an echo request (by that device or VRF) is not answered, when all is done that it sets off"""
        return silent(self.name, address, dev, source)

    def answered(self, address, dev=None, source=None):
        """whether one is in the end, for a network that is coming up"""
        return until(True, lambda: not self.silent(address, dev, source))

    def echo(self, address, count, size=56, dev=None, source=None):
        """-> how many echo requests were answered with the same bytes"""
        v6 = ":" in address
        with self.enter:
            sock = socket.socket(
                socket.AF_INET6 if v6 else socket.AF_INET, socket.SOCK_RAW,
                socket.IPPROTO_ICMPV6 if v6 else socket.IPPROTO_ICMP)
        sock.settimeout(60 * SLOW)
        if dev:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, dev.encode())
        if source:
            sock.bind((source, 0))
        sock.connect((address, 0))
        answered = 0
        with sock, contextlib.suppress(TimeoutError, OSError):
            for seq in range(count):
                ask = (icmp(128 if v6 else 8, id=os.getpid() & 0xffff,
                            seq=seq) / raw(size)).bytes()
                sock.send(ask)
                while True:
                    answer = sock.recv(65536)
                    answer = answer if v6 else fields(answer)["payload"]
                    if answer[4:] == ask[4:] and answer[0] in (0, 129):
                        break
                answered += 1
        return answered


def until(want, get, seconds=60):
    """-> what get() returns in the end; the time is only so that a test ends
    that fails, and short when it has"""
    end = time.monotonic() + (0.05 if XFAIL else (3 if FAILED else seconds) * SLOW)
    while True:
        got = get()
        if got == want or time.monotonic() > end:
            return got
        time.sleep(0.02)


# ------------------------------------------------------------------ outcomes

def fields(packet):
    """an IPv4 header, for those who look at one"""
    head = struct.unpack_from("!BBHHHBBH4s4s", packet)
    return {"tos": head[1], "length": head[2], "id": head[3],
            "df": head[4] >> 14 & 1, "frag": head[4] & 0x3fff,
            "ttl": head[5], "proto": head[6],
            "src": socket.inet_ntoa(head[8]),
            "dst": socket.inet_ntoa(head[9]),
            "payload": packet[(head[0] & 15) * 4:]}


def describe(packet):
    """a packet in a few words"""
    if packet[0] >> 4 == 6:
        proto, payload = packet[6], packet[40:]
    else:
        proto = packet[9]
        payload = packet[(packet[0] & 15) * 4:]
    if proto in (1, 58):
        kind, code, _, mtu = struct.unpack_from("!BBIH", payload)
        text = f"icmp{'6' if proto == 58 else ''} {kind}/{code}"
        if proto == 1 and (kind, code) == (3, 4):
            text += f" mtu {mtu}"
        elif proto == 58 and kind == 2:
            text += " mtu %d" % struct.unpack_from("!I", payload, 4)
        return text
    name = {4: "ipip", 47: "gre", 17: "udp", 137: "mpls", 41: "sit"}
    text = f"{name.get(proto, proto)} {len(packet)}"
    if packet[0] >> 4 == 4 and fields(packet)["frag"]:
        text += " frag"
    return text


def counted(before):
    """the counters that moved, a text for each device"""
    moved = COUNTERS.moved(before, COUNTERS.read())
    for t in Tun.all:
        # What it sent is listed packet by packet, what it received we know.
        own = " ".join(c for c in moved.pop(t.name, "").split()
                       if c.startswith(("rx_dropped", "rx_nohandler")))
        if own:
            moved[t.name] = own
    return [f"{dev} {counters}" for dev, counters in moved.items()]


def comparable(parts):
    """without what the in-tree drivers count on the underlay since 7.2 only"""
    if not IN_TREE or series.matches(">=7.2", SERIES):
        return "; ".join(parts)
    wires = tuple(t.name + " " for t in Tun.all)
    return "; ".join(p for p in parts if not p.startswith(wires))


def attempt(want, action, seconds=60):
    """Do it, and all that it sets off; what is done in the background is
    waited for.
    -> wanted, outcome, {wire: [packet that came out]}"""
    want = comparable(want.split("; ") if want else [])
    came = {t: [] for t in Tun.all}
    for t in Tun.all:
        t.drain()
    before = COUNTERS.read()
    with one_processor():
        action()

    def so_far():
        for t in Tun.all:
            came[t] += t.drain()
        return comparable(counted(before) + [
            f"{t.name}: " + ", ".join(map(describe, packets))
            for t, packets in came.items() if packets])

    return want, until(want, so_far, seconds), came


def inject(wire, *packets):
    for packet in packets:
        wire.send(packet)


def case(name, want, wire, *packets):
    """Packets come in from a wire -> exactly this has happened."""
    want, got, came = attempt(want, lambda: inject(wire, *packets))
    expect(name, want, got)
    return came


PACKET = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, 0)


def transmit(dev, packet, proto=None):
    """Give a device something to send, past all routing."""
    if proto is None:
        proto = packet.ethertype
    PACKET.sendto(data_of(packet), (dev, proto))


def sends(name, want, wire, dev, packet, proto=None):
    """A device sends exactly one packet: -> the outer packet, or None"""
    data = data_of(packet)
    text = f"{dev} tx_bytes={len(data)} tx_packets=1; {wire.name}: {want}"
    want, got, came = attempt(text, lambda: transmit(
        dev, data, proto or packet.ethertype))
    if got != want:
        expect(name, want, got)
        return None
    return came[wire][0]


class tap:
    """What a device (all of them) hands to the stack, or with out=True what
    it is given to send."""

    def __init__(self, dev=None, out=False):
        self.out = out
        self.sock = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM,
                                  socket.htons(ETH_P_ALL))
        if dev:
            self.sock.bind((dev, ETH_P_ALL))
        self.sock.setblocking(False)

    def drain(self):
        """-> [(device, ethertype, bytes)]"""
        seen = []
        while True:
            try:
                data, (dev, proto, kind, _, _) = self.sock.recvfrom(65536)
            except BlockingIOError:
                return seen
            if (kind == PACKET_OUTGOING) == self.out:
                seen.append((dev, proto, data))


@contextlib.contextmanager
def every_protocol_known():
    """A packet socket listens meanwhile: no protocol is unknown, and dropped for that"""
    with tap().sock:
        yield
