# SPDX-License-Identifier: GPL-2.0-only
"""The packet paths that are measured, with and without a tunnel.

    namespace a                                             namespace b
      in0     dummy: frames come in here
      t       the tunnel  ================================  t
      out0    veth, or dummy where nobody need receive ---  out0 veth
                                                            end0 dummy: forwarded packets go out here

    encap   in0 -> t -> out0 (dummy)         plain   in0 -> out0 (dummy)
    decap   in0 -> t -> out0 (dummy)         plain   the same
    pair    in0 -> t -> out0 -> t -> end0    plain2  in0 -> out0 -> out0 -> end0

In the local ways a socket sends instead of in0, and a socket that drops what it gets receives instead of the last
device.
"""

import ctypes
import json
import os
import socket
import struct
import subprocess
import time

from inject import Frame, Injector, checksum, enter, ethernet, ipv4, libc, udp

OUTER = {"a": "203.0.113.1", "b": "203.0.113.2"}        # tunnel endpoints, on out0
MAC = {"in0": "02:00:00:00:00:10", "a": "02:00:00:00:00:1a", "b": "02:00:00:00:00:1b", "end0": "02:00:00:00:00:1e",
       "ta": "02:00:00:00:00:2a", "tb": "02:00:00:00:00:2b"}
SOURCE = "198.18.1.2"                                   # behind in0
PLAIN, THROUGH = "198.18.2.2", "198.18.3.2"             # behind out0, behind the tunnel
GRE_CSUM, GRE_KEY, GRE_SEQ = 0x8000, 0x2000, 0x1000

# name: type of the link, its options, flags of the GRE header (None: no GRE), frames inside
KINDS = {
    "ipip": ("ipip", "", None, False),
    "gre": ("gre", "", 0, False),
    "gre-key": ("gre", "key 7", GRE_KEY, False),
    "gre-full": ("gre", "key 7 csum seq", GRE_CSUM | GRE_KEY | GRE_SEQ, False),
    "gretap": ("gretap", "", 0, True),
    "gre-external": ("gre", "external", 0, False),
    "gre-seq": ("gre", "seq", GRE_SEQ, False),
    "fou": ("ipip", "encap fou encap-sport 7777 encap-dport 7777", None, False),
}
PACKET_KINDS = ("ipip", "gre", "gre-key", "gre-full", "gretap", "gre-external")
OPERATIONS = ("encap", "decap", "pair")
WAYS = ("forward", "local")
SIZES = (60, 1400)
PACKETS = 12800
WARM_UP = 640


def ip(text, namespace=None):
    """Run each line of text as an ip command."""
    command = ["ip", *(["-n", namespace] if namespace else []), "-batch", "-"]
    done = subprocess.run(command, input=text, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"bench: ip: {done.stdout.strip()}\n{text}")


def packets(namespace, device, way):
    done = subprocess.run(["ip", "-n", namespace, "-s", "-j", "link", "show", "dev", device], stdout=subprocess.PIPE,
                          check=True)
    return json.loads(done.stdout)[0]["stats64"][way]["packets"]


def namespaces(*names):
    for name in names:
        subprocess.run(["ip", "netns", "add", name], check=True)
        enter(name)
        for file, value in (("ipv6/conf/all/disable_ipv6", "1"), ("ipv6/conf/default/disable_ipv6", "1"),
                            ("ipv4/ip_forward", "1"), ("ipv4/conf/all/rp_filter", "0"),
                            ("ipv4/conf/default/rp_filter", "0"), ("ipv4/conf/all/send_redirects", "0"),
                            ("ipv4/conf/default/send_redirects", "0")):
            if os.path.exists("/proc/sys/net/" + file):     # without ipv6.disable=1
                with open("/proc/sys/net/" + file, "w", encoding="ascii") as sysctl:
                    sysctl.write(value)
        enter(None)
        ip("link set lo up", name)


def remove(*names):
    enter(None)
    for name in names:
        subprocess.run(["ip", "netns", "delete", name], check=True)
    time.sleep(0.5)             # they are deleted in the background; on the host this takes only as long as needed


class World:
    """The namespaces for a kind of tunnel, or None; joined: out0 is connected to namespace b."""

    def __init__(self, kind, joined):
        self.kind, self.joined = kind, joined
        self.link, self.options, self.flags, self.tap = KINDS[kind] if kind else (None, "", None, False)
        self.names = ["a", "b"] if joined else ["a"]
        namespaces(*self.names)
        self.underlay()
        if kind:
            for name in self.names:
                self.tunnel(name, "b" if name == "a" else "a")
        enter("a")

    def underlay(self):
        if self.joined:
            ip(f"link add out0 netns a address {MAC['a']} type veth peer name out0 netns b address {MAC['b']}")
            ip(f"""address add {OUTER['b']}/24 dev out0
                link set out0 up
                neighbour add {OUTER['a']} lladdr {MAC['a']} dev out0 nud permanent
                link add end0 address {MAC['end0']} type dummy
                address add 198.18.4.1/24 dev end0
                link set end0 up
                neighbour add 198.18.4.2 lladdr {MAC['b']} dev end0 nud permanent
                route add 198.18.2.0/25 via 198.18.4.2 dev end0
                route add 198.18.3.0/25 via 198.18.4.2 dev end0
                address add 198.18.2.130/32 dev end0
                address add 198.18.3.130/32 dev end0
                route add 198.18.1.0/24 via {OUTER['a']} dev out0""", "b")
        else:
            ip(f"link add out0 address {MAC['a']} type dummy", "a")
        ip(f"""link add in0 address {MAC['in0']} type dummy
            address add 198.18.1.1/24 dev in0
            address add 198.18.6.1/32 dev in0
            link set in0 up
            address add {OUTER['a']}/24 dev out0
            link set out0 up
            neighbour add {OUTER['b']} lladdr {MAC['b']} dev out0 nud permanent
            route add 198.18.2.0/24 via {OUTER['b']} dev out0""", "a")

    def tunnel(self, here, there):
        if self.kind == "fou":
            ip("fou add port 7777 ipproto 4", here)
        external = self.options == "external"
        address = f"address {MAC['t' + here]}" if self.tap else ""
        ends = "" if external else f"local {OUTER[here]} remote {OUTER[there]}"
        ip(f"""link add name t {address} type {self.link} {ends} {self.options}
            link set dev t up""", here)
        if here == "b":
            self.way_back()
        elif self.tap:
            ip(f"""address add 198.18.5.1/24 dev t
                neighbour add 198.18.5.2 lladdr {MAC['t' + there]} dev t nud permanent
                route add 198.18.3.0/24 via 198.18.5.2 dev t""", here)
        elif external:
            ip(f"route add 198.18.3.0/24 encap ip id 7 dst {OUTER[there]} dev t", here)
        else:
            ip("route add 198.18.3.0/24 dev t", here)

    def way_back(self):
        """Send TCP acknowledgements through the tunnel, too."""
        if self.tap:
            ip(f"""address add 198.18.5.2/24 dev t
                neighbour add 198.18.5.1 lladdr {MAC['ta']} dev t nud permanent
                route add 198.18.6.0/24 via 198.18.5.1 dev t""", "b")
        elif self.options == "external":
            ip(f"route add 198.18.6.0/24 encap ip id 7 dst {OUTER['a']} dev t", "b")
        else:
            ip("route add 198.18.6.0/24 dev t", "b")

    def encapsulated(self, inner):
        """-> the frame received on in0 for decapsulation"""
        protocol, payload = 4, inner
        if self.flags is not None:
            protocol = 47
            payload = self.gre(ethernet(MAC["ta"], inner) if self.tap else inner)
        data = ethernet(MAC["in0"], ipv4(protocol, OUTER["b"], OUTER["a"], payload))
        mutable = len(data) - len(inner) + 20
        seq = csum = None
        if self.flags is not None:
            if self.flags & GRE_SEQ:
                seq = 34 + 4 + (4 if self.flags & GRE_CSUM else 0) + (4 if self.flags & GRE_KEY else 0)
            if self.flags & GRE_CSUM:
                csum = 34 + 4
        return Frame(data, mutable, seq, csum)

    def gre(self, payload):
        head = struct.pack("!HH", self.flags, 0x6558 if self.tap else 0x0800)
        rest = struct.pack("!I", 7) if self.flags & GRE_KEY else b""
        rest += bytes(4) if self.flags & GRE_SEQ else b""
        if self.flags & GRE_CSUM:
            return head + struct.pack("!HH", checksum(head + bytes(4) + rest + payload), 0) + rest + payload
        return head + rest + payload

    # ---- measurements

    def target(self, operation, way):
        """-> destination of the inner packet"""
        if operation in ("plain", "plain2"):
            base = PLAIN
        elif operation == "decap":
            base = PLAIN
        else:
            base = THROUGH
        if way == "local" and operation in ("pair", "plain2"):
            return base[:-1] + "130"
        if way == "local" and operation in ("decap", "plain-rx"):
            return "198.18.1.1"
        return base

    def measure(self, operation, way, size, count=PACKETS):
        """-> instructions per packet"""
        target = self.target(operation, way)
        if way == "local" and operation not in ("decap", "plain-rx"):
            source = Sender(target, size)
        else:
            inner = udp(SOURCE, target, size)
            frame = self.encapsulated(inner) if operation == "decap" else Frame(ethernet(MAC["in0"], inner), 34)
            source = Injector(frame, "in0")
        sink = None
        if way == "local" and operation in ("decap", "plain-rx", "pair", "plain2"):
            sink = Sink(target, "b" if operation in ("pair", "plain2") else "a")
            enter("a")
        arrived = self.counter(operation, sink)
        try:
            source.run(WARM_UP)
            before = arrived()
            spent = source.run(count)
            moved = arrived() - before
        finally:
            source.close()
            if sink:
                sink.close()
        if moved != count:
            raise SystemExit(f"bench: {self.kind} {operation} {way} {size}: {moved} of {count} packets arrived")
        return spent / count

    def counter(self, operation, sink):
        if sink:
            return sink.count
        if operation in ("pair", "plain2"):
            return lambda: packets("b", "end0", "tx")
        return lambda: packets("a", "out0", "tx")

    def close(self):
        remove(*self.names)


class Sender:
    """A process that sends UDP, 64 messages per call"""

    def __init__(self, target, size, batch=64):
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.setsockopt(socket.SOL_SOCKET, 11, 1)        # SO_NO_CHECK
        self.socket.setsockopt(socket.SOL_SOCKET, 32, 1 << 24)  # SO_SNDBUFFORCE
        self.socket.connect((target, 9))
        self.data = ctypes.create_string_buffer(size - 28)
        self.vector = ctypes.create_string_buffer(struct.pack("=QQ", ctypes.addressof(self.data), size - 28))
        message = struct.pack("=QIIQQQQIII4x", 0, 0, 0, ctypes.addressof(self.vector), 1, 0, 0, 0, 0, 0)
        self.batch = batch
        self.messages = ctypes.create_string_buffer(message * batch)

    def run(self, count):
        start = time.monotonic_ns()
        for _ in range(count // self.batch):
            if libc.sendmmsg(self.socket.fileno(), self.messages, self.batch, 0) != self.batch:
                raise OSError(ctypes.get_errno(), "sendmmsg")
        return time.monotonic_ns() - start

    def close(self):
        self.socket.close()


class Sink:
    """A UDP socket whose filter drops all packets, which the kernel counts as receive errors"""

    def __init__(self, address, namespace):
        self.namespace = namespace
        enter(namespace)
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        drop = ctypes.create_string_buffer(struct.pack("=HBBI", 6, 0, 0, 0))
        self.socket.setsockopt(socket.SOL_SOCKET, 26, struct.pack("=HxxxxxxQ", 1, ctypes.addressof(drop)))
        self.socket.bind((address, 9))

    def count(self):
        """-> number of dropped packets"""
        enter(self.namespace)
        with open("/proc/thread-self/net/snmp", encoding="ascii") as file:
            rows = [line.split() for line in file if line.startswith("Udp:")]
        enter("a")
        return int(rows[1][rows[0].index("InErrors")])

    def close(self):
        self.socket.close()
