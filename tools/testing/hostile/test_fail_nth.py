#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Every allocation of every configuration operation fails, one after the other: what was asked for is refused for want
of memory, or done, never done by half, and works the next time; a namespace is made and modules are loaded in the same
way. Then those of each packet: it is lost or delivered, and the next one arrives. For debug kernels, which see what
leaks; that each of the modules' own allocations failed is what the part "coverage" shows.

    the test: 192.0.2.7 to .9, by a tun device, and by a card as packets in pieces, or that somebody has a clone of
       | u0, in
    n0: 192.0.2.1, FOU and GUE ports
       x  the tunnel that is worked on; then si, sg ..., which carry packets

IPTNL_STEP=N only each Nth allocation of the kernel's own code; those that the modules ask for all fail
"""
import ctypes
import errno
import fcntl
import os
import socket
import struct
import subprocess

from faulty import Netlink, Nth, link_message, modules_only, one_fails, prepare
import links
import nl
import tunctl
from ksft import NetNs, check, diag, ksft_run, modprobe, need_modules, no_reference_left, remove_modules, rmmod
from pkt import gre, icmp, ip, ip6, libc_call, raw, udp, unshare
from wire import Tun, case, data_of, run_ip, tap
import card         # of ../segments, which hostile.py adds to the path

STEP = int(os.environ.get("IPTNL_STEP", "1"))
REFUSED = {errno.ENOMEM, errno.ENOBUFS}
MAKING = {errno.EINVAL}        # of the core, about one of its own allocations; in-tree as well
OTHERS = {"a multicast tunnel goes up": {errno.EADDRNOTAVAIL}}  # no route; in-tree as well
RTM_DELLINK, RTM_SETLINK, RTM_GETLINK = 17, 19, 18
IFF_UP, IFLA_MTU, IFLA_IFNAME = 1, 4, 3
ENDS = "LOCAL=192.0.2.1 REMOTE=192.0.2.9"
FOU = "ENCAP_TYPE=1 ENCAP_SPORT=7000 ENCAP_DPORT=5555"
GUE = "ENCAP_TYPE=2 ENCAP_SPORT=7000 ENCAP_DPORT=5557 ENCAP_FLAGS=1"
FINIT_MODULE = 313              # x86-64
INTERVALS = 1, 1, 2, 3, 5
WITHOUT = {"ioctl: gre is shown"}       # no allocation
# Attributes that change with time or by chance: OPERSTATE, CARRIER_CHANGES,
# CARRIER_UP_COUNT, CARRIER_DOWN_COUNT, PERM_ADDRESS, and statistics
UNSTABLE = {16, 35, 47, 48, 54, links.STATS32, links.STATS64, links.AF_SPEC}

PLAIN = "local 192.0.2.1 remote 192.0.2.9"
MADE = f"link add x type gre {PLAIN}"
KEYED = "IFLAGS=0x2000 OFLAGS=0x2000 IKEY=7 OKEY=7"
ALL = "IFLAGS=0xb000 OFLAGS=0xb000 IKEY=7 OKEY=7"
SESSION = "IFLAGS=0x3000 OFLAGS=0x3000 IKEY=7 OKEY=7"
MAC = "@ADDRESS=020000000009"
ERSPAN_MADE = f"link add x address 02:00:00:00:00:09 type erspan {PLAIN} seq key 7 erspan_ver 1 erspan 5"
BY_IOCTL = f"tunnel add x mode gre {PLAIN}"
IOCTL_ENDS = "saddr=192.0.2.1 daddr=192.0.2.9 frag_off=0x4000"

UP_AND_DOWN = "link set x up\nlink set x down"         # then it has its qdisc

# name, what there is before (lines of ip), request, what takes it back
CONFIGURATION = [
    ("ipip is made", "", f"new x ipip {ENDS}", "del x"),
    ("ipip of any protocol in FOU is made", "", f"new x ipip {ENDS} PROTO=0 {FOU}", "del x"),
    ("ipip external is made", "", "new x ipip COLLECT_METADATA=", "del x"),
    ("gre is made", "", f"new x gre {ENDS} {KEYED}", "del x"),
    ("gre with all options in GUE is made", "", f"new x gre {ENDS} {ALL} {GUE}", "del x"),
    ("gre external is made", "", "new x gre COLLECT_METADATA=", "del x"),
    ("gretap is made", "", f"new x gretap {ENDS} {MAC}", "del x"),
    ("erspan is made", "", f"new x erspan {ENDS} {MAC} {SESSION} ERSPAN_VER=1 ERSPAN_INDEX=5", "del x"),
    ("ipip's remote changes", f"link add x type ipip {PLAIN}", "set x ipip LOCAL=192.0.2.1 REMOTE=192.0.2.8",
     f"set x ipip {ENDS}"),
    ("gre gets options", MADE, f"set x gre {ENDS} {ALL}", f"set x gre {ENDS}"),
    ("gre gets into GUE", MADE, f"set x gre {ENDS} {GUE}", f"set x gre {ENDS} ENCAP_TYPE=0"),
    ("erspan's version changes", ERSPAN_MADE, f"set x erspan {ENDS} {SESSION} ERSPAN_VER=2 ERSPAN_DIR=1",
     f"set x erspan {ENDS} {SESSION} ERSPAN_VER=1 ERSPAN_INDEX=5"),
    ("a tunnel goes up", f"{MADE}\n{UP_AND_DOWN}", "up x", "down x"),
    ("a multicast tunnel goes up", f"link add x type gre local 192.0.2.1 remote 239.1.1.1 dev u0\n{UP_AND_DOWN}",
     "up x", "down x"),
    ("its MTU changes", MADE, "mtu x 1400", "mtu x 1476"),
    ("it is renamed", MADE, "name x y", "name y x"),
    ("it is shown", f"{MADE} key 7 encap gue encap-dport 5557", "get x", ""),
    ("it is deleted", MADE, "del x", f"new x gre {ENDS}"),
    ("erspan is deleted", ERSPAN_MADE, "del x", f"new x erspan {ENDS} {MAC} {SESSION} ERSPAN_VER=1 ERSPAN_INDEX=5"),
    ("ioctl: ipip is made", "", f"ioctl tunl0 add name=x protocol=4 {IOCTL_ENDS}", "del x"),
    ("ioctl: gre is made", "", f"ioctl gre0 add name=x protocol=47 {IOCTL_ENDS} i_flags=0x2000 o_flags=0x2000 i_key=7 "
     "o_key=7", "del x"),
    ("ioctl: gre changes", BY_IOCTL, "ioctl x chg name=x protocol=47 saddr=192.0.2.1 daddr=192.0.2.8 "
     "frag_off=0x4000",
     f"ioctl x chg name=x protocol=47 {IOCTL_ENDS}"),
    ("ioctl: gre is shown", BY_IOCTL, "ioctl x get name=x", ""),
    ("ioctl: gre is deleted", BY_IOCTL, "ioctl x del name=x", f"ioctl gre0 add name=x protocol=47 {IOCTL_ENDS}"),
]


class Requests:
    """Requests in a few words, each of one system call"""

    def __init__(self):
        self.netlink = Netlink()
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)

    @staticmethod
    def message(verb, name, words):
        """-> a netlink message"""
        if verb in ("new", "set"):
            return nl.request(verb, name, *words[:1], words[1:])
        kind = {"del": RTM_DELLINK, "get": RTM_GETLINK}.get(verb, RTM_SETLINK)
        attributes = {"mtu": lambda: nl.attribute(IFLA_MTU, struct.pack("=I", int(words[0]))),
                      "name": lambda: nl.attribute(IFLA_IFNAME, words[0].encode() + b"\0")}.get(verb, bytes)()
        flags, change = {"up": (IFF_UP, IFF_UP), "down": (0, IFF_UP)}.get(verb, (0, 0))
        return link_message(kind, socket.if_nametoindex(name), flags, change, attributes)

    def ready(self, text):
        """-> a function that asks, and one for the error afterwards: 0, None if it is not known"""
        verb, name, *words = text.split()
        if verb != "ioctl":
            message = self.message(verb, name, words)
            return (lambda: self.netlink.call(message)), self.netlink.answer
        buffer = ctypes.create_string_buffer(tunctl.pack(tunctl.parse(words[1:])), 256)
        request = struct.pack("16sQ16x", name.encode(), ctypes.addressof(buffer))
        number = tunctl.COMMANDS[words[0]]
        return (lambda: fcntl.ioctl(self.sock, number, request)), (lambda: len(buffer) - 256)

    def now(self, text):
        """No allocation fails."""
        for line in text.splitlines():
            ask, answer = self.ready(line)
            ask()
            error = answer()
            if error:
                raise OSError(error, line)


def state(ns):
    """-> all that is configured, but for numbers and times of devices"""
    devices = []
    for head, attributes in links.dump(ns.name, links.SKIP_STATS):
        shown = [(number, value.hex()) for number, value in attributes if number not in UNSTABLE]
        devices.append((links.name_of(attributes), head[8:12].hex(), shown))
    return sorted(devices)


class Operation:
    """One row of the table"""

    def __init__(self, ns, requests, nth, row):
        self.ns, self.requests, self.nth = ns, requests, nth
        self.name, setup, self.text, self.undo = row
        self.problems, self.failed, self.done = [], 0, 0
        self.refused = REFUSED | OTHERS.get(self.name, set())
        if self.undo == "del x":
            self.refused |= MAKING
        if setup:
            run_ip(*setup.splitlines(), ns=ns.name)
        self.before = state(ns)
        requests.now(self.text)
        self.after = state(ns)
        requests.now(self.undo)
        check(f"{self.name}: and back", state(ns) == self.before, self.before, state(ns))

    def run(self):
        """Until there is no allocation left to fail. -> how many did"""
        with modules_only():
            self.each(1)
        self.each(STEP)
        check(f"{self.name}: whichever allocation fails, it is done or refused",
              not self.problems and (self.failed or self.name in WITHOUT), *self.problems)
        diag(f"{self.name}: {self.failed} allocations failed, {self.done} times it was done nevertheless")
        if self.ns.has_dev("x"):
            run_ip("link del x", ns=self.ns.name)
        return self.failed

    def each(self, step):
        number = 1
        while self.once(number) and len(self.problems) < 10:
            number += step

    def once(self, number):
        """-> whether there was such an allocation"""
        ask, answer = self.requests.ready(self.text)
        hit, error = self.nth.fails(number, ask)
        answered = answer()
        error = error or answered
        self.failed += hit
        now = state(self.ns)
        if error and (error not in self.refused or not hit):
            self.problems.append(f"{number}: {nl.errno_name(error)}")
        wanted = [self.before] if error else [self.after] if error == 0 else [self.before, self.after]
        if now not in wanted:
            self.problems += [f"{number}: {nl.errno_name(error)}, and this is different:",
                              *(str(device) for device in now if device not in wanted[-1])]
        if now != self.before:
            self.done += hit
            self.requests.now(self.undo)
        return hit


# ------------------------------------------------- namespaces and modules

def in_a_child(number, ask):
    """Call ask() in a process that then ends, with what it made. -> whether an allocation failed, errno or 0"""
    out, into = os.pipe()
    child = os.fork()
    if not child:
        hit, error = Nth().fails(number, ask)
        os.write(into, struct.pack("=?i", hit, error))
        os._exit(0)
    os.close(into)
    os.waitpid(child, 0)
    with os.fdopen(out, "rb") as file:
        return struct.unpack("=?i", file.read())


def each_fails(name, once):
    """once(N) -> whether there was an Nth allocation, which failed, and errno or 0. -> how many there were"""
    failed, problems, hit = 0, [], True
    while hit and len(problems) < 10:
        hit, error = once(failed + 1)
        failed += hit
        if error and not (hit and error in REFUSED):
            problems.append(f"{failed}: {nl.errno_name(error)}")
    check(f"{name}: whichever allocation fails, it is done or refused", not problems and failed, *problems)
    diag(f"{name}: {failed} allocations failed")
    return failed


def namespaces():
    """A namespace is made, with what the modules have in it."""
    with modules_only():
        return each_fails("a namespace is made", lambda number: in_a_child(number, unshare))


def loaded_and_unloaded(name, nth):
    """-> how many allocations failed when a module was loaded"""
    path = subprocess.run(["modinfo", "-n", name], check=True, stdout=subprocess.PIPE, text=True).stdout.strip()
    with open(path, "rb") as file:
        def once(number):
            hit, error = nth.fails(number, lambda: libc_call("syscall", FINIT_MODULE, file.fileno(), b"", 0))
            if not error:
                rmmod(name)
            return hit, error
        return each_fails(f"{name} is loaded", once)


def modules(nth):
    """-> how many allocations failed when modules were loaded, each with what it needs there already"""
    total = 0
    for name, needed in (("ip_tunnel_core", ()), ("ipip", ("tunnel4", "ip_tunnel_core")),
                         ("ip_gre", ("gre", "ip_tunnel_core"))):
        remove_modules()
        if needed:
            modprobe(*needed)
        total += loaded_and_unloaded(name, nth)
    modprobe("ipip", "ip_gre")
    return total


# ------------------------------------------------------------------- packets

INNER = ip(flags=2) / udp() / raw(100)
OUTER = "192.0.2.9", "192.0.2.1"


def shapes(cards, index, name, packet):
    """The same packet as cards receive them: -> (what, a function of one system call)"""
    frame = card.ETHERNET + packet.bytes()
    for shape, more in (("in pieces", {"head": 34, "piece": 13}), ("cloned", {"flags": card.CLONED}),
                        ("cloned, in pieces", {"flags": card.CLONED, "head": 34, "piece": 100})):
        order = card.order(index, card.RECEIVE, frame, **more)
        yield f"{name}, {shape}, is received", lambda order=order: cards.write(order)


def packets(u0, cards):
    """-> (what, a function of one system call)"""
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, 0)
    index = socket.if_nametoindex("in")

    def sent(dev, packet):
        data, proto = data_of(packet), packet.ethertype
        return f"{dev} sends", lambda: sock.sendto(data, (dev, proto))

    def came(name, packet):
        data = packet.bytes()
        yield f"{name} is received", lambda: u0.send(data)
        yield from shapes(cards, index, name, packet)

    frame = b"\2\0\0\0\0\x22\2\0\0\0\0\1\x08\0" + INNER.bytes()
    yield from (sent(dev, INNER) for dev in ("si", "sg", "sf", "su", "st", "sx"))
    yield sent("sg", ip6() / udp() / raw(100))
    yield from came("ipip", ip(*OUTER) / INNER)
    yield from came("gre", ip(*OUTER) / gre(key=7, csum=True, seq=1) / INNER)
    yield from came("gretap", ip(*OUTER) / gre(0x6558) / raw(frame))
    yield from came("ipip in fou", ip("192.0.2.8", "192.0.2.1") / udp(7000, 5555) / INNER)
    yield from came("gre external", ip("192.0.2.7", "192.0.2.1") / gre() / INNER)
    yield from came("an error about it", ip(*OUTER) / icmp(3, 4, 1300) / ip(*OUTER[::-1]) / gre(key=7) / INNER)
    yield from came("gre that nobody has", ip(*OUTER) / gre(key=99) / INNER)


def tunnels():
    ends = "local 192.0.2.1 remote 192.0.2.9"
    run_ip("fou add port 5555 ipproto 4", "fou add port 5557 gue", f"link add si type ipip {ends}",
           f"link add sg type gre {ends} key 7 icsum ocsum oseq",
           "link add sf type ipip local 192.0.2.1 remote 192.0.2.8 encap fou encap-sport 7000 encap-dport 5555",
           "link add su type gre local 192.0.2.1 remote 192.0.2.8 encap gue encap-sport 7000 encap-dport 5557",
           f"link add st address 02:00:00:00:00:22 type gretap {ends}", "link add sx type gre external",
           *(f"link set {dev} up" for dev in ("si", "sg", "sf", "su", "st", "sx")))


def packet_path(u0, cards, nth):
    """-> how many allocations failed"""
    total = 0
    for name, send in packets(u0, cards):
        failed, number, hit = 0, 1, True
        while hit:
            hit, error = nth.fails(number, send)
            if error and error not in REFUSED:
                check(f"{name}: allocation {number} fails", False, nl.errno_name(error))
            failed += hit
            number += 1
        cards.read()
        diag(f"{name}: {failed} allocations failed")
        total += failed
    return total


def later(u0, cards):
    """Those that fail in a softirq, as what the modules' NAPI asks for -> how many did"""
    failed = 0
    with modules_only(), tap("u0").sock, tap("in").sock:          # who listens has a clone
        for _, send in packets(u0, cards):
            failed += sum(one_fails(send, interval) for interval in INTERVALS)
            cards.read()
    check("allocations fail in softirqs, too", failed)
    return failed


def passes(u0):
    u0.drain()
    case("after all that, a packet is delivered", "sg rx_bytes=128 rx_packets=1", u0,
         ip(*OUTER) / gre(key=7, csum=True) / INNER)


def main():
    need_modules("ipip", "ip_gre")
    modprobe("fou", "tun")
    prepare()
    with NetNs() as n0, n0.inside():
        u0 = Tun("u0", "192.0.2.1/24")
        requests, nth = Requests(), Nth()
        total = sum(Operation(n0, requests, nth, row).run() for row in CONFIGURATION)
        diag(f"{total} allocations of {len(CONFIGURATION)} operations failed")
        total = namespaces()
        modprobe("ip_tnl_card")
        run_ip("link set in up")
        tunnels()
        cards = card.Cards()
        diag(f"{packet_path(u0, cards, nth) + later(u0, cards)} allocations of packets failed")
        passes(u0)
        os.close(cards.fd)
    diag(f"{total + modules(nth)} allocations of namespaces and modules failed")
    no_reference_left()


ksft_run(main)
