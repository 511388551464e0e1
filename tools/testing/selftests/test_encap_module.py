#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""The module of a tunnel's UDP encapsulation (fou) is taken out, put back, and
replaced by one whose header is 4 bytes longer, while the tunnel is configured in
every way and sends.

While it is out nothing leaves, and each packet is counted in tx_errors. What leaves
at any other time has the encapsulation, whole: the length of its header and the
header come from the same module.

    tun u0 192.0.2.1 ====== t0 in GUE or FOU ====== 192.0.2.2, which is this program
"""
import contextlib
import socket
import struct
import threading
import time

from ksft import ksft_run, need_modules, modprobe, modprobe_with, rmmod, is_loaded, expect, NetNs, IN_TREE, SLOW
import nl
from pkt import ip, raw, udp
from wire import COUNTERS, Tun, differs, one_processor, run_ip, show, transmit

ENDS = "local 192.0.2.1 remote 192.0.2.2"
GUE = "encap gue encap-sport 1111 encap-dport 2222 encap-remcsum"
FOU = "encap fou encap-sport 1111 encap-dport 2222"
KINDS = {
    "ipip": "ipip", "gre": "gre key 1 seq", "gretap": "gretap key 1",
    "erspan": "erspan seq key 1 erspan_ver 1"}
ETHER = ("gretap", "erspan")
PACKET = ip("198.51.100.1", "198.51.100.2") / udp(1, 2) / raw(30)
FRAME = bytes.fromhex("020000000002 020000000001 0800") + PACKET.bytes()


def send(kind):
    if kind in ETHER:
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as sock:
            sock.bind(("t0", 0x0800))
            sock.send(FRAME)
    else:
        transmit("t0", PACKET)


def sent(u0, kind):
    """-> (what the device counted, UDP ports and length of what left)"""
    u0.drain()
    before = COUNTERS.read()
    with one_processor():
        send(kind)
    moved = COUNTERS.moved(before, COUNTERS.read()).get("t0")
    return moved, [(p[9], struct.unpack_from("!HH", p, 20), len(p)) for p in u0.drain()]


def nothing(u0, kind, name):
    moved, left = sent(u0, kind)
    expect(f"{name}: nothing leaves, and it is counted", ("tx_errors=1", []), (moved, left))


def whole(u0, kind, name, length):
    _, left = sent(u0, kind)
    expect(f"{name}: the packet and its encapsulation", [(17, (1111, 2222), length)], left)


# As "ip link" gives them, which reads and sends again what is configured, and ports of ipip the wrong way round.
NATIVE = {
    "ipip": [], "gre": ["IKEY=1", "OKEY=1", "IFLAGS=0x3000", "OFLAGS=0x3000"],
    "gretap": ["IKEY=1", "OKEY=1", "IFLAGS=0x2000", "OFLAGS=0x2000"],
    "erspan": ["IKEY=1", "OKEY=1", "IFLAGS=0x3000", "OFLAGS=0x3000", "ERSPAN_VER=1"]}


def change(kind, *attributes):
    """by netlink -> what was answered, or an empty string"""
    status, text = nl.ask("-", "set", "t0", kind, "LOCAL=192.0.2.1", "REMOTE=192.0.2.2", *NATIVE[kind], *attributes)
    return text if status else ""


def operations(kind):
    """every way to configure the tunnel that is not refused while fou is out -> (name, what does it)"""
    index = socket.if_nametoindex("u0")
    yield "netlink, TTL", lambda: change(kind, "TTL=33")
    yield "another remote and back", lambda: change(kind, "REMOTE=192.0.2.3") or change(kind)
    yield "mark", lambda: change(kind, "FWMARK=1") or change(kind, "FWMARK=0")
    yield "link", lambda: change(kind, f"LINK={index}") or change(kind)
    if kind not in ETHER:
        yield "ip tunnel change", lambda: run_ip(f"tunnel change t0 mode {KINDS[kind]} {ENDS} ttl 44")
    yield "MTU", lambda: run_ip("link set t0 mtu 1000", "link set t0 mtu 1300")
    yield "down and up", lambda: run_ip("link set t0 down", "link set t0 up")
    yield "rename", lambda: run_ip("link set t0 down", "link set t0 name t1", "link set t1 name t0", "link set t0 up")


def mtu():
    return show("link", "show", "t0")[0]["mtu"]


def without(u0, kind, options):
    """each operation with fou out"""
    modprobe("fou")
    run_ip(f"link add t0 type {KINDS[kind]} {ENDS} {options}", "link set t0 up")
    _, left = sent(u0, kind)
    length = left[0][2]
    for name, operation in operations(kind):
        before = mtu()
        rmmod("fou")
        nothing(u0, kind, f"{kind}, {name}, before")
        expect(f"{kind}, {name}: is accepted", "", operation())
        nothing(u0, kind, f"{kind}, {name}, after")
        if name != "MTU":
            with differs("forgets the encapsulation"):
                expect(f"{kind}, {name}: the MTU", before, mtu())
        modprobe("fou")
        whole(u0, kind, f"{kind}, {name}, fou is back", length)
    rmmod("fou")
    expect(f"{kind}: a new encapsulation is refused", "EINVAL", change(
        kind, "ENCAP_TYPE=1", "ENCAP_DPORT=2222").partition(":")[0])
    nothing(u0, kind, f"{kind}, after that")
    run_ip("link del t0")


def longer(u0, kind):
    """fou replaced by a module that pushes 4 bytes more, or the same"""
    modprobe("fou")
    run_ip(f"link add t0 type {KINDS[kind]} {ENDS} {FOU}", "link set t0 up")
    _, left = sent(u0, kind)
    length = left[0][2]
    for extra in (4, 0, 60):
        rmmod("fou")
        modprobe_with("ip_tnl_encap_test", f"extra={extra}")
        whole(u0, kind, f"{kind}: the other module, {extra} bytes more", length + extra)
        rmmod("ip_tnl_encap_test")
        modprobe("fou")
        whole(u0, kind, f"{kind}: fou again", length)
    run_ip("link del t0")


@contextlib.contextmanager
def traffic(kind):
    """packets without end, from a thread of its own"""
    end = threading.Event()

    def run():
        while not end.is_set():
            with contextlib.suppress(OSError):
                send(kind)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        end.set()
        thread.join()


class Watch:
    """what leaves under traffic"""

    def __init__(self, u0, *lengths):
        self.u0, self.strange = u0, set()
        self.fine = {(17, (1111, 2222), length) for length in lengths}

    def look(self):
        """-> the lengths of what left"""
        seen = [(p[9], struct.unpack_from("!HH", p, 20), len(p)) for p in self.u0.drain()]
        self.strange |= set(seen) - self.fine
        return [length for _, _, length in seen]

    def wait_for(self, length):
        came, end = 0, time.monotonic() + 30 * SLOW
        while came < 20:
            came += self.look().count(length)
            if time.monotonic() > end:
                raise RuntimeError(f"no packets of {length} bytes leave")

    def wait_for_errors(self, ns):
        """fifty packets that were refused"""
        before, end = ns.stat("t0", "tx_errors"), time.monotonic() + 30 * SLOW
        while ns.stat("t0", "tx_errors") < before + 50:
            if time.monotonic() > end:
                raise RuntimeError("packets are not counted")
        return self.look()


def under_traffic(ns, u0, kind):
    """At any moment: what leaves is encapsulated by one module or the other."""
    modprobe("fou")
    run_ip(f"link add t0 type {KINDS[kind]} {ENDS} {FOU}", "link set t0 up")
    _, left = sent(u0, kind)
    length = left[0][2]
    watch, late = Watch(u0, length, length + 4), []
    with traffic(kind):
        for turn in range(8):
            rmmod("fou")
            watch.look()
            change(kind, f"TTL={turn + 1}")
            late += watch.wait_for_errors(ns)
            modprobe_with("ip_tnl_encap_test", "extra=4")
            change(kind, f"TTL={turn + 100}")
            watch.wait_for(length + 4)
            rmmod("ip_tnl_encap_test")
            modprobe("fou")
            watch.wait_for(length)
    watch.look()
    expect(f"{kind}, under traffic: each packet has one encapsulation", set(), watch.strange)
    expect(f"{kind}, under traffic: nothing leaves while there is none", [], late)
    run_ip("link del t0")


def main():
    need_modules()
    modprobe("tun")
    was_loaded = is_loaded("fou")
    with NetNs() as ns, ns.inside():
        u0 = Tun("u0", "192.0.2.1/24")
        for kind in KINDS:
            without(u0, kind, GUE)
            if not IN_TREE:             # which keeps a length of its own
                longer(u0, kind)
                under_traffic(ns, u0, kind)
    if not was_loaded:
        rmmod("fou")


ksft_run(main)
