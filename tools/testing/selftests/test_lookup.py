#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Which tunnel device a packet belongs to, of all that might take it.

    the test: 192.0.2.2 (the remote), 192.0.2.9 (a stranger)
       | u0           | u1              two tun devices
    n0: 192.0.2.1 (the local endpoint), 192.0.2.11

A device is named by what it is bound to: l(ocal) and r(emote) address or
w(ildcard), then its key, then ".u0" or ".u1" if it is bound to that link:
"lr5.u1". A device that binds nothing at all is the fallback device itself.
"""
import fcntl
import itertools
import random
import socket
import struct

from ksft import ksft_run, need_modules, modprobe, diag, expect, NetNs, run_ip
from pkt import gre, ip
from wire import Tun, case, fields, one_processor, sysctl, tap

LOCAL, LOCAL2, REMOTE, STRANGER = "192.0.2.1", "192.0.2.11", "192.0.2.2", "192.0.2.9"
FALLBACK = {"gre": "gre0", "ipip": "tunl0"}
CLASSES = ("lr", "r", "l", "w")
WIRES = ("u0", "u1")
LINKS = (None,) + WIRES
KEYS = {"gre": (None, 0, 5), "ipip": (None,)}
# (source, destination, key, link)
PACKETS = {
    "gre": [(REMOTE, LOCAL, key, link) for key in (None, 0, 5, 7) for link in WIRES] +
           [(src, dst, key, link) for src, dst in ((STRANGER, LOCAL), (REMOTE, LOCAL2), (STRANGER, LOCAL2))
            for key in (None, 5) for link in WIRES],
    "ipip": [(src, dst, None, link) for src in (REMOTE, STRANGER) for dst in (LOCAL, LOCAL2) for link in WIRES],
}
SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8913, 0x8914, 1

# The rule, as examples: the devices that are up, oldest first; the key (or none)
# of a packet that comes by u0 from the remote to the local address -> who gets it.
EXAMPLES = [
    ("those that are down do not count", "", None, None),
    ("both addresses before one", "lr r l gre0", None, "lr"),
    ("the remote before the local address", "r l gre0", None, "r"),
    ("the local address before none", "l gre0", None, "l"),
    ("the fallback device gets the rest", "gre0 lr5 r5 l5", None, "gre0"),
    ("a key must be equal", "lr r l lr0 r0 l0 w0", 5, None),
    ("for the fallback device it need not", "lr r l gre0", 5, "gre0"),
    ("the fallback device is the last", "gre0 w5", 5, "w5"),
    ("a key decides", "lr lr0 lr5", 5, "lr5"),
    ("key 0 is not the same as no key: with a key", "lr lr0", 0, "lr0"),
    ("key 0 is not the same as no key: without", "lr lr0", None, "lr"),
    ("it is alone, and key 0 does not fit no key", "lr0", None, None),
    ("it is alone, and no key does not fit key 0", "lr", 0, None),
    ("a wildcard takes both: no key", "w0", None, "w0"),
    ("a wildcard takes both: key 0", "gre0", 0, "gre0"),
    ("both addresses, no key, before a wildcard with key", "lr w5", None, "lr"),
    ("a wildcard with the key when no other fits", "lr w5", 5, "w5"),
    ("bound to the link before unbound", "lr lr.u0", None, "lr.u0"),
    ("bound to the link, fewer addresses, before unbound", "lr w.u0", None, "w.u0"),
    ("bound to the link, remote before local", "l.u0 r.u0", None, "r.u0"),
    ("bound to another link is no worse than unbound", "lr.u1 r", None, "lr.u1"),
    ("bound to another link, alone", "l.u1", None, "l.u1"),
    ("both addresses: the oldest", "lr lr.u1", None, "lr"),
    ("only remote: the newest", "r r.u1", None, "r.u1"),
    ("only local: the newest", "l l.u1", None, "l.u1"),
    ("none: the newest", "gre0 w.u1", None, "w.u1"),
]


# ------------------------------------------------------------------- the rule

class Device:
    def __init__(self, kind, bound, key, link):
        self.kind, self.bound, self.key, self.link = kind, bound, key, link
        self.name = bound + ("" if key is None else str(key)) + ("" if link is None else "." + link)
        self.is_fallback = self.name == "w"
        if self.is_fallback:
            self.name = FALLBACK[kind]

    def command(self):
        return f"link add name {self.name} type {self.kind}" + \
            f" local {LOCAL}" * ("l" in self.bound) + \
            f" remote {REMOTE}" * ("r" in self.bound) + \
            (f" dev {self.link}" if self.link else "") + \
            (f" key {self.key}" if self.key is not None else "")

    def takes(self, src, dst):
        return ("l" not in self.bound or dst == LOCAL) and ("r" not in self.bound or src == REMOTE)

    def key_fits(self, key):
        # What binds no address does not tell "no key" from key 0.
        if self.bound == "w":
            return (self.key or 0) == (key or 0)
        return self.key == key


def winner(up, packet):
    """The rule. "up" is in order of creation. The first device that is bound to
    the packet's link and fits, by class; else, as nobody is bound to it, one
    that fits with any other link: of the class with both addresses the oldest,
    then of each class the newest. Then the fallback device, whatever the key."""
    src, dst, key, link = packet
    spare = None
    for bound in CLASSES:
        fits = [d for d in up if d.bound == bound and d.takes(src, dst) and d.key_fits(key)]
        for device in reversed(fits):
            if device.link == link:
                return device.name
        if fits and not spare:
            spare = fits[0 if bound == "lr" else -1].name
    if not spare and any(d.is_fallback for d in up):
        spare = next(d.name for d in up if d.is_fallback)
    return spare


# ---------------------------------------------------------------- the devices

def devices(kind, order):
    """all that there can be; the fallback device is always the oldest"""
    every = [Device(kind, bound, key, link) for link in LINKS for key in KEYS[kind] for bound in CLASSES]
    return sorted(order(every), key=lambda d: not d.is_fallback)


def encode(kind, packet, number):
    src, dst, key, _ = packet
    head = ip(src, dst)
    if kind == "gre":
        head = head / gre(key=key)
    return (head / ip(id=number)).bytes()


class Underlay:
    """the wires, and what all devices receive"""

    def __init__(self):
        self.wires = {name: Tun(name) for name in WIRES}
        run_ip(f"addr add {LOCAL}/24 dev u0", f"addr add {LOCAL2}/24 dev u0")
        self.heard = tap()
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)

    def set_up(self, name, up):
        request = struct.pack("16s24x", name.encode())
        flags = struct.unpack_from("=H", fcntl.ioctl(self.sock, SIOCGIFFLAGS, request), 16)[0]
        flags = flags | IFF_UP if up else flags & ~IFF_UP
        fcntl.ioctl(self.sock, SIOCSIFFLAGS, struct.pack("16sH22x", name.encode(), flags))


class Set:
    """All devices of a kind, made in this order; those that are up"""

    def __init__(self, underlay, kind, order):
        self.underlay, self.kind, self.up = underlay, kind, set()
        self.devices = devices(kind, order)
        run_ip(*(d.command() for d in self.devices if not d.is_fallback))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.select(())
        run_ip(*(f"link del dev {d.name}" for d in self.devices if not d.is_fallback))

    def select(self, chosen):
        chosen = set(chosen)
        for device in self.up - chosen:
            self.underlay.set_up(device.name, False)
        for device in chosen - self.up:
            self.underlay.set_up(device.name, True)
        self.up = chosen
        self.underlay.heard.drain()

    def select_names(self, names):
        self.select(d for d in self.devices if d.name in names)

    def receivers(self, packets):
        """who got each, None: nobody"""
        with one_processor():
            for number, packet in enumerate(packets):
                self.underlay.wires[packet[3]].send(encode(self.kind, packet, number))
        got = [None] * len(packets)
        for dev, _, data in self.underlay.heard.drain():
            if dev not in WIRES:
                number = fields(data)["id"]
                got[number] = got[number] + "+" + dev if got[number] else dev
        return got

    def wrong(self):
        """what is not as the rule says"""
        packets = PACKETS[self.kind]
        up = [d for d in self.devices if d in self.up]
        want = [winner(up, p) for p in packets]
        return [f"{[d.name for d in up]} {p}: want {w}, got {g}"
                for p, w, g in zip(packets, want, self.receivers(packets)) if w != g]


# ------------------------------------------------------------------ the tests

def examples(group):
    for text, up, key, want in EXAMPLES:
        group.select_names(up.split())
        expect(text, [want], group.receivers([(REMOTE, LOCAL, key, "u0")]))


def nobody(group):
    group.select(())
    case("nobody: port unreachable", "u0 rx_dropped=1; u0: icmp 3/3", group.underlay.wires["u0"],
         encode("gre", (REMOTE, LOCAL, None, "u0"), 0))


def rivals(a, b):
    return a.key == b.key or "w" in (a.bound, b.bound)


def all_pairs(group):
    for number, a in enumerate(group.devices):
        wrong = []
        for b in group.devices[number:]:
            if rivals(a, b):
                group.select({a, b})
                wrong += group.wrong()
        expect(f"{group.kind}: {a.name} with each one newer", [], wrong[:3])


def some_sets(group, count=20):
    choose = random.Random(group.kind + str(len(group.devices)))
    wrong = []
    for _ in range(count):
        group.select(choose.sample(group.devices, choose.randrange(3, len(group.devices))))
        wrong += group.wrong()
    expect(f"{group.kind}: {count} sets by chance", [], wrong[:3])


def backwards(made):
    return made[::-1]


def by_chance(made):
    return random.Random(1).sample(made, len(made))


def main():
    need_modules("ip_gre", "ipip")
    modprobe("tun")
    with NetNs() as n0, n0.inside():
        sysctl(net__ipv4__icmp_ratemask=0)
        underlay = Underlay()
        with Set(underlay, "gre", list) as group:
            examples(group)
            nobody(group)
            all_pairs(group)
            some_sets(group)
        for kind, (how, order) in itertools.product(("gre", "ipip"), (("backwards", backwards),
                                                                      ("by chance", by_chance))):
            diag(f"made {how}")
            with Set(underlay, kind, order) as group:
                if kind == "ipip":
                    all_pairs(group)
                some_sets(group)


ksft_run(main)
