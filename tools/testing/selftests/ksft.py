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
wire.py, whose helpers all work here. refuse.py is for commands and requests
that succeed or are refused.
"""
import array
import atexit
import contextlib
import errno
import fcntl
import functools
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import traceback

import pkt
import wire
from pkt import in_netns, setns
from wire import COUNT, IN_TREE, SERIES, SLOW, diag, differs, emit, expect, run_ip, until

__all__ = ["ksft_run", "need_modules", "modprobe", "rmmod", "is_loaded", "remove_modules", "NetNs", "namespaces",
           "delete", "veth_pair", "Stats", "diag", "check", "expect", "expect_match", "differs", "in_netns", "setns",
           "run_ip", "until", "write", "is_running", "load_test_module", "KernelLog", "no_reference_left",
           "unreclaimable", "IN_TREE", "SERIES", "SLOW"]

CORE = "ip_tunnel" if IN_TREE else "ip_tunnel_core"
MNT_DETACH = 2
SIOCGIFFLAGS, SIOCSIFFLAGS, SIOCGIFMTU, SIOCETHTOOL = 0x8913, 0x8914, 0x8921, 0x8946
IFF_UP, IFF_RUNNING = 0x1, 0x40
OFFLOADS = {"tx": 0x17, "sg": 0x19, "tso": 0x1f, "gso": 0x24, "gro": 0x2c}      # ETHTOOL_STXCSUM and so on
MODULES = ("tunnel4", "gre", CORE, "ipip", "ip_gre")    # in an order in which insmod can load them


# ---------------------------------------------------------------------- KTAP

def check(name, true, *details):
    """a result that is no comparison"""
    emit("ok" if true else "bad", wire.XFAIL, name, *map(str, details))
    return true


def expect_match(name, regex, text):
    """a line of the text matches"""
    return check(name, re.search(regex, text, re.M), f"want: /{regex}/", f"got:  {text}")


class KernelLog:
    """the lines since the last look"""

    def __init__(self):
        self.fd = os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK)
        os.lseek(self.fd, 0, os.SEEK_END)

    def read(self):
        lines = []
        while True:
            try:
                lines.append(os.read(self.fd, 8192).decode())
            except BlockingIOError:
                return lines
            except BrokenPipeError:         # some are lost
                pass


def unreclaimable():
    """-> bytes of the kernel's objects that cannot be given back"""
    with open("/proc/meminfo") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("SUnreclaim")) * 1024


def no_reference_left():
    """nothing held a device that was to go"""
    log = subprocess.run(["dmesg"], stdout=subprocess.PIPE, text=True).stdout
    found = re.findall(".*unregister_netdevice: waiting.*", log)
    check("no reference was left: the kernel's log", not found, *found)


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


def is_right(name):
    """whether it is loaded, and the one that is to be tested"""
    return is_loaded(name) and is_ours(name) != IN_TREE


def modprobe(*names):
    subprocess.run(["modprobe", "-a", *names], check=True)


def modprobe_with(name, *parameters):
    """one module, with parameters"""
    subprocess.run(["modprobe", name, *parameters], check=True)


def rmmod(*names):
    subprocess.run(["rmmod", *names], check=True)


def with_holders(*names):
    """-> those of them that are loaded, each behind what uses it"""
    order = []
    for name in filter(is_loaded, names):
        order += with_holders(*sorted(os.listdir(f"/sys/module/{name}/holders"))) + [name]
    return list(dict.fromkeys(order))


def remove_modules(*names):
    """Unload modules, by default all of the tunnels', and before each what uses it."""
    order = with_holders(*names or MODULES)
    if order:
        rmmod(*order)


def load_test_module(name, *parameters):
    """one of ../kernel, where it is installed or was built"""
    if subprocess.run(["modinfo", name], capture_output=True).returncode == 0:
        modprobe_with(name, *parameters)
        return
    built = os.path.join(os.path.dirname(os.path.abspath(__file__)), f"../kernel/{name}.ko")
    if not os.path.exists(built):
        raise RuntimeError(f"no module {name}: 'make test-module' in the project's directory builds it")
    subprocess.run(["insmod", built, *parameters], check=True)


def need_modules(*names):
    """Load tunnel modules, by default all, and be sure they are the right ones."""
    for name in names or MODULES:
        modprobe(name)
        if not is_right(name):
            raise RuntimeError(f"{name}: wrong module")


# ---------------------------------------------------------------- namespaces

def write(path, value):
    with open(path, "w") as file:
        file.write(str(value))


class NetNs(wire.Ns):
    """A namespace of its own, which goes at the end of the with. Nothing is sent
    there that nobody asked for: no duplicate address detection, no router
    solicitation, no automatic address, and no IPv6 at all unless it is wanted."""

    made = 0

    def __init__(self, ipv6=False, name=None):
        """name: of one that was just made"""
        self.name = name or self.next_name()
        self.processes, self.children = [], []
        if not name:
            subprocess.run(["ip", "netns", "add", self.name], check=True)
        atexit.register(self.remove)
        super().__init__(self.name)
        for conf in "all", "default":
            self.sysctl(**{f"net__ipv6__conf__{conf}__disable_ipv6": int(not ipv6),
                           f"net__ipv6__conf__{conf}__accept_dad": 0,
                           f"net__ipv6__conf__{conf}__router_solicitations": 0,
                           f"net__ipv6__conf__{conf}__addr_gen_mode": 1,
                           f"net__ipv4__conf__{conf}__rp_filter": 0})
        ifreq(self, SIOCSIFFLAGS, "lo", IFF_UP)

    @classmethod
    def next_name(cls):
        cls.made += 1
        return f"iptnl-{os.getpid()}-{cls.made}"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.remove()

    @contextlib.contextmanager
    def inside(self):
        """It is the present one meanwhile, for what wire.py offers, too."""
        outside = vars(wire.COUNTERS).copy(), wire.PACKET
        with self.enter:
            wire.COUNTERS.__init__()
            wire.PACKET = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, 0)
            try:
                yield self
            finally:
                wire.COUNTERS.sock.close()
                wire.PACKET.close()
                vars(wire.COUNTERS).update(outside[0])
                wire.PACKET = outside[1]

    def remove(self):
        """see delete()"""
        return delete(self)

    def sysctl(self, **values):
        """net__ipv4__ip_forward=1"""
        with self.enter:
            wire.sysctl(**values)

    def tc(self, *lines):
        subprocess.run(["tc", "-n", self.name, "-batch", "-"], check=True,
                       input="\n".join(lines) + "\n", text=True)

    def offloads(self, dev, on, *names):
        """Switch those that the device has on or off, as "ethtool -K" does; by default all of transmission."""
        with self.enter, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            for name in names or ("tx", "sg", "tso", "gso"):
                value = array.array("I", [OFFLOADS[name], on])
                request = struct.pack("16sP16x", dev.encode(), value.buffer_info()[0])
                try:
                    fcntl.ioctl(sock, SIOCETHTOOL, request)
                except OSError as error:
                    if error.errno != errno.EOPNOTSUPP:
                        raise

    def stat(self, dev, name):
        """a counter by its name in sysfs"""
        values = self.counters.read()[dev]
        return values[self.counters.NAMES.index(name)]

    def mtu(self, dev):
        return ifreq(self, SIOCGIFMTU, dev)

    def has_dev(self, dev):
        """To ask for it by name would load modules, of gre0 and the like."""
        with self.enter:
            return any(name == dev for _, name in socket.if_nameindex())

    def shown(self, dev):
        """the line of "ip -d -o link show" """
        return subprocess.run(["ip", "-n", self.name, "-d", "-o", "link", "show", "dev", dev], check=True,
                              stdout=subprocess.PIPE, text=True).stdout

    def devices(self):
        """-> class/net of the namespace's sysfs, as an open directory; nothing stays mounted"""
        with self.enter, tempfile.TemporaryDirectory() as folder:
            pkt.libc_call("mount", b"sysfs", folder.encode(), b"sysfs", 0, None)
            try:
                return os.open(f"{folder}/class/net", os.O_RDONLY | os.O_DIRECTORY)
            finally:
                pkt.libc_call("umount2", folder.encode(), MNT_DETACH)

    def sysfs(self, path, value):
        """Write a file of class/net."""
        directory = self.devices()
        with open(path, "w", opener=functools.partial(os.open, dir_fd=directory)) as file:
            file.write(str(value))
        os.close(directory)

    def rps(self, dev, cpus):
        """RPS of a device to these processors"""
        self.sysfs(f"{dev}/queues/rx-0/rps_cpus", f"{sum(1 << cpu for cpu in cpus):x}")

    def inject(self, dev, peer, peer_dev, *packets):
        """Send packets by a device; peer_dev in the namespace peer, at the other
        end of the cable, has worked through all of them at the end."""
        with pkt.one_processor():
            pkt.send(self.name, dev, peer.name, peer_dev, *packets)

    def capture(self, dev, out=False):
        """-> a wire.tap, which has recorded since: drain()"""
        with self.enter:
            return wire.tap(dev, out)

    def start(self, *words, output=subprocess.DEVNULL):
        """a command that goes on in the background, until stop() or the namespace's end"""
        self.processes.append(subprocess.Popen(
            ["ip", "netns", "exec", self.name, *words], stdin=subprocess.DEVNULL,
            stdout=output, stderr=subprocess.DEVNULL))

    def start_function(self, function, *args):
        """so does a function, in a process of its own"""
        pid = os.fork()
        if pid:
            self.children.append(pid)
            return
        try:
            os.closerange(3, 1024)      # sockets, which would hold other namespaces
            with self.enter:
                function(*args)
        finally:
            os._exit(0)

    def stop(self):
        """end what goes on in the background"""
        for process in self.processes:
            process.kill()
        for child in self.children:
            os.kill(child, signal.SIGKILL)
        while self.processes:
            self.processes.pop().wait()
        while self.children:
            os.waitpid(self.children.pop(), 0)


@contextlib.contextmanager
def namespaces(count, ipv6=False):
    """so many at once, by one command"""
    names = [NetNs.next_name() for _ in range(count)]
    run_ip(*(f"netns add {name}" for name in names))
    made = [NetNs(ipv6, name) for name in names]
    try:
        yield made
    finally:
        delete(*made)


def delete(*gone):
    """End the processes in namespaces, then delete these, all at once.
    -> whether all were there and could be deleted"""
    for ns in gone:
        atexit.unregister(ns.remove)
        ns.stop()
        ns.counters.sock.close()
    left = [ns.name for ns in gone if os.path.exists("/run/netns/" + ns.name)]
    text = run_ip(*(f"netns del {name}" for name in left), force=True) if left else ""
    return len(left) == len(gone) and not text


class Stats:
    """The counters of a device, from now on"""

    def __init__(self, ns, dev):
        self.ns, self.dev = ns, dev
        ns.counters.names.clear()
        self.before = self.read()

    def read(self):
        return self.ns.counters.read()[self.dev]

    def moved(self, given):
        return {name: new - old for name, old, new in zip(self.ns.counters.NAMES, self.before, self.read())
                if new != old and (name in given or name not in ("rx_bytes", "tx_bytes"))}

    def expect(self, name, **deltas):
        """Exactly these counters moved, by so much; bytes are looked at only where they are given."""
        want = {field: delta for field, delta in deltas.items() if delta}
        expect(name, want, until(want, lambda: self.moved(deltas)))


def ifreq(ns, number, dev, value=0):
    """an ioctl of a device -> the value that came back"""
    with ns.enter, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        answer = fcntl.ioctl(sock, number, struct.pack("16si20x", dev.encode(), value))
    return struct.unpack_from("=i", answer, 16)[0]


def is_running(ns, dev):
    """up, with a queue to send by"""
    return bool(ifreq(ns, SIOCGIFFLAGS, dev) & IFF_RUNNING)


def veth_pair(n0, dev0, addr0, n1, dev1, addr1):
    """Two ends with their addresses, up, that know each other's Ethernet address."""
    mac0, mac1 = "02:00:00:00:01:00", "02:00:00:00:01:01"
    n0.ip(f"link add {dev0} address {mac0} type veth peer name {dev1} address {mac1} netns {n1.name}",
          *veth_end(dev0, addr0, mac1, addr1))
    n1.ip(*veth_end(dev1, addr1, mac0, addr0))
    for ns, dev in (n0, dev0), (n1, dev1):
        until(True, lambda: is_running(ns, dev))


def veth_end(dev, addr, peer_mac, peer_addr):
    lines = [f"link set {dev} up"]
    if addr:
        lines.append(f"addr add {addr} dev {dev}" + (" nodad" if ":" in addr else ""))
    if peer_addr:
        lines.append(f"neigh replace {peer_addr.split('/')[0]} lladdr {peer_mac} nud permanent dev {dev}")
    return lines
