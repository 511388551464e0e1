#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""The five modules come and go: by modprobe and insmod, in every order that their
dependencies allow, with tunnels in several namespaces, under traffic, and when a
tunnel is asked for.

    n0                               n1
      ipip1 198.51.100.1 ====== ipip1 198.51.100.2
      gre1  203.0.113.1  ======  gre1 203.0.113.2
      v0    192.0.2.1 ------------ v1 192.0.2.2
"""
import glob
import os
import stat
import threading

import pkt
from ksft import (CORE, MODULES, NetNs, check, expect, expect_match, is_loaded, is_right, ksft_run, modprobe,
                  modprobe_with, remove_modules, rmmod, until, veth_pair)
from refuse import command, ip, refuse, unload, works
from wire import IN_TREE, run_ip

# What must be unloaded before each
USERS = {"tunnel4": {"ipip"}, "gre": {"ip_gre"}, CORE: {"ipip", "ip_gre"}, "ipip": set(), "ip_gre": set()}
FLOOD = [pkt.raw(packet.bytes()) for packet in [
    pkt.ip("192.0.2.1", "192.0.2.2") / pkt.ip() / pkt.udp(),
    pkt.ip("192.0.2.1", "192.0.2.2") / pkt.gre(key=5) / pkt.ip() / pkt.udp()]]


# ------------------------------------------------------------------- helpers

def check_all_loaded(name):
    missing = [module for module in MODULES if not is_loaded(module)]
    check(name, not missing, f"not loaded: {missing}")


def check_none_loaded(name):
    loaded = [module for module in MODULES if is_loaded(module)]
    check(name, not loaded, f"loaded: {loaded}")


def lines_of(*words):
    """what a command prints"""
    status, text = command(*words)
    if status:
        raise RuntimeError(f"{words}: {text}")
    return text.splitlines()


def in_first_namespace(dev):
    return os.path.exists(f"/sys/class/net/{dev}")


def delete_module(name):
    """a request: the kernel's own answer, where rmmod would look at the reference count first"""
    try:
        pkt.libc_call("delete_module", name.encode(), os.O_NONBLOCK)
    except OSError as error:
        return 1, os.strerror(error.errno)
    return 0, ""


def make_tunnels(n0, n1):
    for ns, own, peer in (n0, 1, 2), (n1, 2, 1):
        ends = f"local 192.0.2.{own} remote 192.0.2.{peer}"
        ns.ip(f"link add ipip1 type ipip {ends}", f"addr add 198.51.100.{own}/24 dev ipip1", "link set ipip1 up",
              f"link add gre1 type gre {ends} key 5", f"addr add 203.0.113.{own}/24 dev gre1", "link set gre1 up")


def tunnels_pass(name, n0):
    check(name, n0.answered("198.51.100.2") and n0.answered("203.0.113.2"))


# --------------------------------------------------- modules, without tunnels

def loaded_by_modprobe():
    folder = "/kernel/net/ipv4/" if IN_TREE else "/updates/"
    remove_modules()
    check_none_loaded("nothing is loaded to begin with")
    works("modprobe ipip", command, "modprobe", "ipip")
    works("modprobe ip_gre", command, "modprobe", "ip_gre")
    check_all_loaded("all five are loaded")
    for module, file in zip(MODULES, lines_of("modinfo", "-n", *MODULES)):
        check(f"{module} is the one to be tested", is_right(module))
        expect_match(f"{module}: file lies in {folder}", folder, file)
    licences = lines_of("modinfo", "-F", "license", *MODULES)
    check("the licence lets GPL-only symbols be used: GPL", licences == ["GPL"] * len(MODULES), licences)


def aliases():
    for module, *names in ("ipip", "rtnl-link-ipip", "netdev-tunl0"), ("ip_gre", "rtnl-link-gre", "netdev-gre0"):
        known = lines_of("modinfo", "-F", "alias", module)
        for name in names:
            check(f"alias {name}", name in known, *known)


def parameter(module):
    path = f"/sys/module/{module}/parameters/log_ecn_error"

    def value():
        with open(path) as file:
            return file.read().strip()

    expect(f"{module} log_ecn_error is on by default", "Y", value())
    expect(f"{module} log_ecn_error has mode 644", 0o644, stat.S_IMODE(os.stat(path).st_mode))
    with open(path, "w") as file:
        file.write("0")
    expect(f"{module} log_ecn_error can be written", "N", value())
    rmmod(module)
    modprobe(module)
    expect(f"{module} log_ecn_error is on again", "Y", value())
    rmmod(module)
    modprobe_with(module, "log_ecn_error=N")
    expect(f"{module} log_ecn_error can be given", "N", value())
    rmmod(module)
    modprobe(module)


def unknown_parameter():
    """The kernel ignores it and says so in its log."""
    rmmod("ipip")
    modprobe_with("ipip", "nonsense=1")
    expect_match("a parameter that is none is not fatal but said", "unknown parameter|No such parameter",
                 "\n".join(lines_of("dmesg")[-5:]))


def modules_in_use():
    for module in "tunnel4", "gre", CORE:
        refuse(f"{module} cannot go while another uses it", "Resource temporarily unavailable",
               delete_module, module)
        refuse(f"rmmod {module} says who uses it", "in use by: .*ip", command, "rmmod", module)
    check_all_loaded("all five are still loaded")
    rmmod("ipip")
    refuse(f"{CORE} stays for ip_gre", "in use by: ip_gre", command, "rmmod", CORE)
    works("tunnel4 goes after ipip", command, "rmmod", "tunnel4")
    modprobe("ipip")


def orders(chosen=()):
    """each order to unload in, those that use another before it"""
    if len(chosen) == len(MODULES):
        yield chosen
    for module in MODULES:
        if module not in chosen and USERS[module] <= set(chosen):
            yield from orders((*chosen, module))


def every_order():
    files = dict(zip(MODULES, lines_of("modinfo", "-n", *MODULES)))
    if IN_TREE:
        command("modprobe", "-q", "udp_tunnel")     # the in-tree ip_tunnel may need it
    for order in orders():
        status, text = command("rmmod", *order)
        check(f"unload: {' '.join(order)}", status == 0 and not any(map(is_loaded, MODULES)), text)
        failures = [command("insmod", files[module]) for module in reversed(order)]
        check("insmod in the reverse order", not any(status for status, _ in failures) and
              all(map(is_loaded, MODULES)), *failures)


def needs_a_core_of_its_headers():
    """After an upgrade, a kind may find the old core. The kernel compares no structures, if it has no MODVERSIONS; but
    the name that the kind needs has a checksum of the headers in it."""
    tree = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../..")
    headers = sorted(glob.glob(f"{tree}/include/*.h") + glob.glob(f"{tree}/compat/*/*.h"))
    name = "ip_tnl_kind_register_" + lines_of("sh", "-c", f"cat {' '.join(headers)} | cksum")[0].split()[0]
    with open("/proc/kallsyms", encoding="ascii") as file:
        check(f"{CORE} exports {name}", any(f" __ksymtab_{name}\t" in line or f" {name}\t" in line for line in file))
    for kind in "ip_gre", "ipip":
        with open(lines_of("modinfo", "-n", kind)[0], "rb") as file:
            check(f"{kind} needs it", name.encode() + b"\0" in file.read())


# -------------------------------------------------------------- with devices

def fallback_devices(n0, n1):
    for dev in "tunl0", "gre0":
        check(f"{dev} is there in the first namespace", in_first_namespace(dev))
    for dev in "tunl0", "gre0":
        check(f"{dev} is there in another namespace", n0.has_dev(dev))
    rmmod("ipip")
    check("tunl0 left the first namespace", not in_first_namespace("tunl0"))
    check("tunl0 left the other namespace", not n0.has_dev("tunl0"))
    check("gre0 stays", n0.has_dev("gre0"))
    rmmod("ip_gre")
    check("gre0 left the first namespace", not in_first_namespace("gre0"))
    check("gre0 left the other namespace", not n0.has_dev("gre0"))
    modprobe("ipip", "ip_gre")
    for dev in "tunl0", "gre0":
        check(f"{dev} is back in the other namespace", n1.has_dev(dev))


def unloaded_with_tunnels(n0, n1):
    first = f"iptnl-{os.getpid()}"
    make_tunnels(n0, n1)
    run_ip(f"link add {first} type ipip local 192.0.2.77 remote 192.0.2.78")
    tunnels_pass("tunnels pass a ping", n0)
    works("ipip unloads with tunnels there", command, "rmmod", "ipip")
    check("its tunnels are gone in n0", not n0.has_dev("ipip1"))
    check("its tunnels are gone in n1", not n1.has_dev("ipip1"))
    check("and in the first namespace", not in_first_namespace(first))
    check("gre tunnels still pass a ping", n0.answered("203.0.113.2"))
    works("ip_gre unloads with tunnels there", command, "rmmod", "ip_gre")
    check("its tunnels are gone in n0", not n0.has_dev("gre1"))
    check("its tunnels are gone in n1", not n1.has_dev("gre1"))
    remove_modules()
    check_none_loaded("everything unloads")
    modprobe("ipip", "ip_gre")
    make_tunnels(n0, n1)
    tunnels_pass("tunnels made anew pass a ping", n0)


class Flood(threading.Thread):
    """packets for both kinds that arrive at n1 without end, whichever module is there"""

    def __init__(self, n0, n1):
        super().__init__()
        self.ends, self.enough, self.error, self.rounds = (n0, n1), threading.Event(), None, 0

    def run(self):
        n0, n1 = self.ends
        try:
            while not self.enough.is_set():
                pkt.send(n0.name, "v0", n1.name, "v1", *FLOOD * 300)
                self.rounds += 1
        except BaseException as error:
            self.error = error

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.enough.set()
        self.join()


def start_pings(n0, flood):
    """through both tunnels, until they are answered while the flood goes on"""
    rounds = flood.rounds
    n0.start("ping", "-f", "-q", "198.51.100.2")
    n0.start("ping", "-f", "-q", "203.0.113.2")
    for dev in "ipip1", "gre1":
        assert until(True, lambda: n0.stat(dev, "rx_packets") >= 10)
    assert until(True, lambda: flood.rounds > rounds or not flood.is_alive())


def reload_five_times(n0, n1, flood):
    """a request: ipip and ip_gre, and each other time all five modules"""
    for modules in (MODULES, ("ipip", "ip_gre")) * 2 + (MODULES,):
        start_pings(n0, flood)
        status, text = unload("ipip", "ip_gre", *modules)
        if status:
            return status, text
        modprobe("ip_gre", "ipip")
        n0.stop()
        make_tunnels(n0, n1)
    return 0, ""


def reloaded_under_traffic(n0, n1):
    with Flood(n0, n1) as flood:
        works("five reloads under ping -f and a flood", reload_five_times, n0, n1, flood)
    expect("the flood went through to its end", None, flood.error)
    tunnels_pass("tunnels pass a ping afterwards", n0)
    for ns in n0, n1:
        ns.ip("link del ipip1", "link del gre1")


# ------------------------------------------------------------------ autoload

def loads(n0, module, name, line):
    works(name, ip, n0, f"{line} local 192.0.2.1 remote 192.0.2.3")
    check(f"loads the right {module}", is_right(module))


def loaded_by_netlink(n0):
    remove_modules()
    loads(n0, "ipip", "ip link add type ipip in a namespace", "link add a1 type ipip")
    loads(n0, "ip_gre", "ip link add type gre", "link add a2 type gre")


def loaded_by_ioctl(n0):
    remove_modules()
    loads(n0, "ipip", "ip tunnel add mode ipip", "tunnel add a1 mode ipip")
    loads(n0, "ip_gre", "ip tunnel add mode gre", "tunnel add a2 mode gre")
    for module in "tunnel4", "gre", CORE:
        check(f"and the right {module}", is_right(module))
    for dev in "a1", "a2":
        check("both are there", n0.has_dev(dev))


def main():
    loaded_by_modprobe()
    aliases()
    parameter("ipip")
    parameter("ip_gre")
    unknown_parameter()
    modules_in_use()
    every_order()
    if not IN_TREE:
        needs_a_core_of_its_headers()
    with NetNs() as n0, NetNs() as n1:
        veth_pair(n0, "v0", "192.0.2.1/24", n1, "v1", "192.0.2.2/24")
        fallback_devices(n0, n1)
        unloaded_with_tunnels(n0, n1)
        reloaded_under_traffic(n0, n1)
        loaded_by_netlink(n0)
        loaded_by_ioctl(n0)


ksft_run(main)
