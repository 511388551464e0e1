#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Run scenarios on the loaded modules, and record everything visible.

    run_pass.py KERNEL OUTPUT.json [GLOB...]

KERNEL is the series, to skip scenarios for other kernels; a GLOB selects by name. README.md describes the steps.
"""

import fcntl
import fnmatch
import ipaddress
import json
import os
import socket
import struct
import subprocess
import sys
import time
import traceback

import canon
import scenario
from layers import pkt
from world import World, flags, sysctl

import nl                       # noqa: E402  (selftests, by way of layers)
import series                   # noqa: E402
import tunctl                   # noqa: E402

HERE = os.path.dirname(os.path.abspath(__file__))
ETH_P_802_2 = 4
TIMEOUT = 30                    # seconds for one program


class Failed(Exception):
    """A step failed; the text is compared"""


class Runner:
    """One scenario"""

    def __init__(self, one):
        self.scenario = one
        self.world = World()
        self.macs = canon.Macs()
        self.depth = 1
        self.cabled = False

    # ------------------------------------------------------------ programs

    def program(self, step, *words, stdin=None):
        """-> lines of its output, and one line if there was anything on stderr"""
        with self.world.namespaces[step.ns].enter:
            done = subprocess.run(words, input=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                  timeout=TIMEOUT, check=False, stdin=None if stdin else subprocess.DEVNULL)
        lines = canon.lines_of(done.stdout)
        if done.stderr.strip():
            lines.append("said something")
        if any(line.startswith("Error: ") for line in done.stderr.splitlines()):
            lines.append("gave a reason")
        lines.append(f"exit {done.returncode}")
        self.words = done.stderr.strip()
        return lines, done.returncode == 0

    def do_ip(self, step):
        return self.program(step, "ip", *self.split(step.rest))

    def do_tc(self, step):
        return self.program(step, "tc", *self.split(step.rest))

    def do_bridge(self, step):
        return self.program(step, "bridge", *self.split(step.rest))

    def do_ethtool(self, step):
        return self.program(step, "ethtool", *self.split(step.rest))

    def do_sh(self, step):
        return self.program(step, "bash", "-c", step.rest)

    def do_show(self, step):
        """JSON of devices with their counters"""
        names = step.rest.split()
        return self.program(step, "ip", "-d", "-s", "-j", "-batch", "-",
                            stdin="".join(f"link show dev {name}\n" for name in names))

    def split(self, text):
        return text.split()

    # -------------------------------------------------------- system calls

    def do_sysctl(self, step):
        with self.world.namespaces[step.ns].enter:
            sysctl(*step.rest.split("="))
        return [], True

    def do_ipv6(self, step):
        """on new devices"""
        with self.world.namespaces[step.ns].enter:
            sysctl("net/ipv6/conf/default/disable_ipv6", "0")
            sysctl("net/ipv6/conf/all/forwarding", "1")
        return [], True

    def do_ioctl(self, step):
        dev, command, *fields = step.rest.split()
        with self.world.namespaces[step.ns].enter:
            return asked(tunctl.ask, "-", dev, command, *fields)

    def do_nl(self, step):
        verb, dev, kind, *attributes = step.rest.split()
        text, fine = asked(nl.ask, step.ns, verb, dev, kind, *attributes)
        lines = []
        for line in text:
            name, colon, _ = line.partition(":")
            lines += [name] + (["gave a reason"] if colon else [])
        return lines + (["ok"] if fine else []), fine

    # ------------------------------------------------------------- network

    def do_ns(self, step):
        self.world.add_ns(step.rest)
        return [], True

    def do_end(self, step):
        """Delete a namespace with everything in it."""
        self.world.end_ns(step.rest)
        return [], True

    def do_wire(self, step):
        name, kind, *addresses = step.rest.split()
        self.world.add_wire(step.ns, name, kind, *addresses)
        return [], True

    def do_cable(self, step):
        """DEV ADDRESS NS DEV ADDRESS: create a veth pair with fixed addresses, and set it up."""
        dev, own, ns, far, other = step.rest.split()
        self.cabled = True
        if ns not in self.world.namespaces:
            self.world.add_ns(ns)
        mac = [f"02:00:00:00:{sum(dev.encode()) & 0xff:02x}:0{end}" for end in (1, 2)]
        near = [f"link add {dev} address {mac[0]} type veth peer name {far} address {mac[1]} netns {ns}",
                f"link set {dev} up arp off", f"addr add {own} dev {dev}"]
        away = [f"link set {far} up arp off", f"addr add {other} dev {far}"]
        for where, lines in ((step.ns, near), (ns, away)):
            with self.world.namespaces[where].enter:
                subprocess.run(["ip", "-batch", "-"], input="\n".join(lines) + "\n", text=True, check=True)
        # Without ARP frames for the peer have the device's own address, so accept all.
        for where, name in ((step.ns, dev), (ns, far)):
            with self.world.namespaces[where].enter:
                self.promiscuous(name)
        return [], True

    def promiscuous(self, dev):
        flags(dev, 0x100)

    def do_ids(self, step):
        """Set the number of outermost IPv4 headers that are generated locally."""
        self.depth = int(step.rest)
        return [], True

    def do_wait(self, step):
        time.sleep(int(step.rest) / 1000)
        self.world.collect()
        return [], True

    # -------------------------------------------------------------- packets

    def watch(self, action, said=0):
        """Run action. -> lines with packets of wires and devices, and changed counters. Packets of a local socket
        (SAID) have one more locally generated IPv4 header than injected ones."""
        self.world.collect()
        before = self.world.counts()
        lines = action() or []
        idents = canon.Idents()
        for text, link, data in self.world.collect():
            if canon.noise(data):
                continue
            depth = self.depth + said if " sends" in text or self.cabled else self.depth + said - 1
            lines.append(canon.packet_line(text, link, data, depth, idents))
        return lines + self.world.counted(before)

    @staticmethod
    def options(text, *names):
        """-> leading NAME=VALUE words as a dictionary, the rest"""
        found = {}
        while True:
            word, _, rest = text.partition(" ")
            name, equals, value = word.partition("=")
            if not equals or name not in names:
                return found, text
            found[name] = value
            text = rest.lstrip()

    def do_rx(self, step):
        """WIRE [gso=N] [pieces=A,B,..] PACKET"""
        name, _, rest = step.rest.partition(" ")
        options, rest = self.options(rest, "gso", "pieces")
        packet, times = pkt.parse(rest)
        pieces = [int(size) for size in options.get("pieces", "").split(",") if size]
        wire = self.world.wires[name]

        def action():
            for _ in range(times):
                wire.put(packet, int(options.get("gso", 0)), pieces)
        return self.watch(action), True

    def do_tx(self, step):
        """DEV [to=ADDRESS] [proto=N] [as=raw] PACKET: send it through a device, without routing"""
        dev, _, rest = step.rest.partition(" ")
        options, rest = self.options(rest, "to", "proto", "as")
        packet, times = pkt.parse(rest)
        whole = isinstance(packet, pkt.eth) or options.get("as") == "raw"
        proto = int(options.get("proto", "0"), 0) or ethertype(packet)
        to = ()
        if "to" in options:
            to = (0, 0, ipaddress.ip_address(options["to"]).packed)
        with self.world.namespaces[step.ns].enter:
            sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW if whole else socket.SOCK_DGRAM, 0)

        def action():
            lines = []
            for _ in range(times):
                try:
                    sock.sendto(packet.bytes(), (dev, proto, *to))
                except OSError as error:
                    lines.append("send: " + nl.errno_name(error.errno))
            return lines
        with sock:
            return self.watch(action), True

    def do_say(self, step):
        """udp|icmp ADDRESS [from=] [size=] [tos=] [ttl=] [df=0|1] [times=]: send from a socket, with routing"""
        kind, to, *words = step.rest.split()
        options = dict(word.split("=") for word in words)
        v6 = ":" in to
        with self.world.namespaces[step.ns].enter:
            sock = talker(kind, v6, options)
        data = bytes(i & 0xff for i in range(int(options.get("size", 8))))
        if kind == "icmp":
            data = bytes([128 if v6 else 8, 0, 0, 0, 0, 1, 0, 1]) + data
            if not v6:
                data = data[:2] + pkt.csum(data).to_bytes(2, "big") + data[4:]

        def action():
            lines = []
            for _ in range(int(options.get("times", 1))):
                try:
                    sock.sendto(data, (to, 4001 if kind == "udp" else 0))
                    lines.append("sent")
                except OSError as error:
                    lines.append("send: " + nl.errno_name(error.errno))
            return lines
        with sock:
            return self.watch(action, said=1), True

    # ------------------------------------------------------------------ all

    def learn_macs(self):
        for ns in self.world.namespaces.values():
            if not os.path.exists(ns.path):
                continue
            for name, mac in macs_of(ns):
                self.macs.learn(f"{ns.name}/{name}", mac)

    def run(self):
        """-> the record"""
        steps, problem = [], ""
        try:
            for step in self.scenario.steps:
                self.words = ""
                try:
                    lines, fine = getattr(self, "do_" + step.verb)(step)
                except (OSError, KeyError, LookupError, subprocess.SubprocessError, Failed) as error:
                    lines, fine = [f"could not: {type(error).__name__}: {error}"], False
                steps.append({"text": step.text, "where": step.where, "lines": lines, "words": self.words})
                if not problem and step.may != "either" and fine != (step.may == "succeed"):
                    problem = f"{step.where}: {step.text}: {'succeeded' if fine else 'failed'}" + \
                        f" ({self.words or ' '.join(lines)})"
            self.learn_macs()
        finally:
            self.world.close()
        for step in steps:
            step["lines"] = [self.macs.scrub(line) for line in step["lines"]]
        if not any(set(step["lines"]) - {"exit 0", "ok", "sent"} for step in steps):
            problem = problem or f"{self.scenario.where}: observes nothing"
        return {"name": self.scenario.name, "about": self.scenario.about, "problem": problem, "steps": steps}


def ethertype(packet):
    """-> the ethertype of a packet, from its IP version"""
    if not isinstance(packet, pkt.eth):
        return packet.ethertype or 0x0800
    kind = int.from_bytes(packet.bytes()[12:14], "big")
    return kind if kind >= 0x600 else ETH_P_802_2


def asked(request, *words):
    """-> lines of the kernel's answer, and whether it accepted the request"""
    try:
        status, text = request(*words)
    except SystemExit as leave:
        raise LookupError(str(leave.code)) from leave
    return text.splitlines(), status == 0


def talker(kind, v6, options):
    """-> a socket for sending"""
    family = socket.AF_INET6 if v6 else socket.AF_INET
    if kind == "udp":
        sock = socket.socket(family, socket.SOCK_DGRAM)
    else:
        sock = socket.socket(family, socket.SOCK_RAW, socket.IPPROTO_ICMPV6 if v6 else socket.IPPROTO_ICMP)
    ip, ipv6 = socket.IPPROTO_IP, socket.IPPROTO_IPV6
    table = {"tos": (ipv6, 67) if v6 else (ip, socket.IP_TOS), "ttl": (ipv6, 16) if v6 else (ip, socket.IP_TTL),
             "df": (ipv6, 23) if v6 else (ip, 10)}              # TCLASS, UNICAST_HOPS, MTU_DISCOVER
    for name, (level, number) in table.items():
        if name in options:
            value = int(options[name], 0)
            sock.setsockopt(level, number, 2 * value if name == "df" else value)
    if "from" in options or kind == "udp":
        sock.bind((options.get("from", "::" if v6 else "0.0.0.0"), 4000 if kind == "udp" else 0))
    sock.settimeout(60)
    return sock


def macs_of(ns):
    """-> [(device, address)] of the Ethernet devices of a namespace"""
    found = []
    with ns.enter, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        for _, name in socket.if_nameindex():
            mac = hwaddr(sock, name)
            if mac:
                found.append((name, mac))
    return found


def hwaddr(sock, name):
    """-> the address of an Ethernet device, None for others"""
    data = fcntl.ioctl(sock, 0x8927, struct.pack("16s24x", name.encode()))
    kind = struct.unpack_from("=H", data, 16)[0]
    return data[18:24].hex(":") if kind == 1 else ""


def main(argv):
    kernel, output, globs = argv[0], argv[1], argv[2:] or ["*"]
    chosen = [one for one in scenario.read_all(os.path.join(HERE, "scenarios"))
              if series.matches(one.kernels, kernel) and any(fnmatch.fnmatch(one.name, glob) for glob in globs)]
    # On one CPU everything triggered by a write to a wire is done before the next step.
    os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])
    sysctl("net/ipv4/icmp_msgs_per_sec", "100000")
    sysctl("net/ipv4/icmp_msgs_burst", "100000")
    records, start = [], time.monotonic()
    for number, one in enumerate(chosen, 1):
        try:
            records.append(Runner(one).run())
        except Exception:                       # a bug of the runner: report it and go on
            records.append({"name": one.name, "about": one.about, "steps": [],
                            "problem": traceback.format_exc()})
        if number % 40 == 0:
            print(f"# {number}/{len(chosen)} scenarios, {time.monotonic() - start:.0f} s", flush=True)
    with open(output, "w", encoding="utf-8") as file:
        json.dump(records, file, indent=1)
    print(f"# {len(records)} scenarios, {time.monotonic() - start:.0f} s", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
