# SPDX-License-Identifier: GPL-2.0
"""What a selftest in Python shares: KTAP output, modules, namespaces.

    #!/usr/bin/env python3
    # SPDX-License-Identifier: GPL-2.0
    \"""What is tested.\"""
    from ksft import ksft_run, need_modules, NetNs, expect

    def ping(n0, n1):
        expect("ping works", 0, n0.run("ping", "-c", "1", "192.0.2.2"))

    def main():
        need_modules("ipip")
        with NetNs() as n0, NetNs() as n1:
            ...
            ping(n0, n1)

    ksft_run(main)

A test is an executable file test_NAME.py. It has failed if a result has, if
there is none, or if main() raises. expect() and differs() are those of
wire.py, whose helpers all work here.
"""
import atexit
import contextlib
import os
import socket
import subprocess
import sys
import traceback

import wire
from pkt import in_netns, setns
from wire import IN_TREE, SERIES, SLOW, differs, expect, run_ip, until

__all__ = ["ksft_run", "need_modules", "modprobe", "rmmod", "is_loaded", "NetNs", "veth_pair",
           "diag", "check", "expect", "differs", "in_netns", "setns", "run_ip", "until", "write",
           "IN_TREE", "SERIES", "SLOW"]

CORE = "ip_tunnel" if IN_TREE else "ip_tunnel_core"
COUNT = {"ok": 0, "bad": 0}


# ---------------------------------------------------------------------- KTAP

def diag(text):
    for line in str(text).splitlines():
        print("#", line, flush=True)


def emit(verdict, xfail, text, *details):
    """what wire.py has to report, as KTAP"""
    if verdict == "diag":
        diag(text)
        return
    number = sum(COUNT.values()) + 1
    if verdict == "bad" and xfail:
        COUNT["ok"] += 1
        print(f"ok {number} {text} # XFAIL in-tree: {xfail}", flush=True)
        return
    COUNT[verdict] += 1
    if verdict == "ok":
        print("ok", number, text, flush=True)
        return
    print("not ok", number, text, flush=True)
    for detail in details:
        diag("  " + detail)


wire.emit = emit


def check(name, true, *details):
    """a result that is no comparison"""
    emit("ok" if true else "bad", wire.XFAIL, name, *map(str, details))
    return true


def ksft_run(main):
    """Run main() and end the process, with status 0 if all is well."""
    try:
        main()
    except BaseException:       # and SystemExit: a test ends by returning
        diag(traceback.format_exc())
        emit("bad", "", "ran to its end")
    print(f"1..{sum(COUNT.values())}", flush=True)
    diag(f"passed {COUNT['ok']} failed {COUNT['bad']} skipped 0")
    sys.exit(0 if COUNT["ok"] and not COUNT["bad"] else 1)


# ------------------------------------------------------------------- modules

def is_loaded(name):
    return os.path.isdir("/sys/module/" + name.replace("-", "_"))


def is_ours(name):
    with open(f"/sys/module/{name}/taint") as file:
        return "O" in file.read()


def modprobe(*names):
    subprocess.run(["modprobe", "-a", *names], check=True)


def rmmod(*names):
    subprocess.run(["rmmod", *names], check=True)


def need_modules(*names):
    """Load tunnel modules, by default all, and be sure they are the right ones."""
    for name in names or ("tunnel4", "gre", CORE, "ipip", "ip_gre"):
        modprobe(name)
        if is_ours(name) == IN_TREE:
            raise RuntimeError(f"{name}: wrong module")


# ---------------------------------------------------------------- namespaces

def write(path, value):
    with open(path, "w") as file:
        file.write(str(value))


class NetNs(wire.Ns):
    """A namespace of its own, which goes at the end of the with. Quiet: nothing
    is sent that nobody asked for, unless ipv6 is wanted."""

    made = 0

    def __init__(self, ipv6=False):
        NetNs.made += 1
        self.name = f"iptnl-{os.getpid()}-{NetNs.made}"
        subprocess.run(["ip", "netns", "add", self.name], check=True)
        atexit.register(self.remove)
        super().__init__(self.name)
        self.sysctl(**{f"net__ipv6__conf__{c}__disable_ipv6": int(not ipv6)
                       for c in ("all", "default")})
        self.ip("link set lo up")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.remove()

    @contextlib.contextmanager
    def inside(self):
        """It is the present one meanwhile, for what wire.py offers, too."""
        with self.enter:
            wire.COUNTERS.__init__()
            wire.PACKET = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, 0)
            yield self

    def remove(self):
        atexit.unregister(self.remove)
        with contextlib.suppress(subprocess.CalledProcessError):
            subprocess.run(["ip", "netns", "del", self.name], check=True)

    def sysctl(self, **values):
        """net__ipv4__ip_forward=1"""
        with self.enter:
            wire.sysctl(**values)

    def tc(self, *lines):
        subprocess.run(["tc", "-n", self.name, "-batch", "-"], check=True,
                       input="\n".join(lines) + "\n", text=True)

    def ethtool(self, *words):
        self.run("ethtool", *words)

    def stat(self, dev, name):
        """a counter by its name in sysfs"""
        values = self.counters.read()[dev]
        return values[self.counters.NAMES.index(name)]


def veth_pair(n0, dev0, addr0, n1, dev1, addr1):
    """Two ends with their addresses, up, that know each other's Ethernet address."""
    run_ip(f"link add {dev0} netns {n0.name} type veth peer name {dev1} netns {n1.name}")
    for i, (ns, dev, addr) in enumerate(((n0, dev0, addr0), (n1, dev1, addr1))):
        ns.ip(f"link set {dev} address 02:00:00:00:01:0{i} up",
              *([f"addr add {addr} dev {dev}" + (" nodad" if ":" in addr else "")] if addr else []))
    for i, (ns, dev, addr) in enumerate(((n0, dev0, addr1), (n1, dev1, addr0))):
        if addr:
            ns.ip(f"neigh replace {addr.split('/')[0]} lladdr 02:00:00:00:01:0{1 - i} nud permanent dev {dev}")
