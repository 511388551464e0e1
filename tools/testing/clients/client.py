# SPDX-License-Identifier: GPL-2.0-only
"""What the client tests share, on top of the selftests' library: daemons in namespaces, captures, and transfers
of which each byte is compared. It puts the selftests' directory in sys.path, so import it before ksft."""

import os
import re
import shutil
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "../selftests"))

import xfer                                                 # noqa: E402
from burst import RCVBUF                                    # noqa: E402
from ether import Port                                      # noqa: E402
from ksft import check, expect, is_running, until, write    # noqa: E402
from pkt import CLONE_NEWNET, libc_call                     # noqa: E402
from refuse import command                                  # noqa: E402
from wire import ETH_P_IP, fields                           # noqa: E402

CLONE_NEWNS = 0x20000
MS_RDONLY, MS_REMOUNT, MS_BIND, MS_REC, MS_SLAVE = 1, 1 << 5, 1 << 12, 1 << 14, 1 << 19
SO_RCVBUFFORCE = 33
IPPROTO_ICMP, IPPROTO_TCP, IPPROTO_UDP, IPPROTO_GRE, IPPROTO_ESP = 1, 6, 17, 47, 50
GRE_KEY = 0x2000


# ------------------------------------------------------------------ programs

def mount(source, target, kind=None, flags=0):
    libc_call("mount", source.encode(), target.encode(), kind and kind.encode(), flags, None)


def read_only_sys():
    """to be called by prepare()"""
    mount("none", "/sys", flags=MS_REMOUNT | MS_BIND | MS_RDONLY)


def directory(path, owner):
    os.makedirs(path, exist_ok=True)
    shutil.chown(path, owner, owner)


class Program:
    """A daemon in a namespace, which ends with it. It has its own /run and /sys, so that each namespace can run one
    that expects to be the only one. prepare() runs in the child before the program does, once these are mounted.
    beside: another Program, whose mounts it shares."""

    def __init__(self, ns, *words, prepare=None, beside=None):
        self.ns, self.log = ns, tempfile.TemporaryFile("w+")
        self.process = subprocess.Popen(
            words, stdin=subprocess.DEVNULL, stdout=self.log, stderr=subprocess.STDOUT,
            preexec_fn=beside.join if beside else lambda: self.own_mounts(prepare))
        ns.processes.append(self.process)

    def own_mounts(self, prepare):
        self.ns.enter.enter()
        libc_call("unshare", CLONE_NEWNS)
        mount("none", "/", flags=MS_REC | MS_SLAVE)
        mount("sysfs", "/sys", "sysfs")
        mount("tmpfs", "/run", "tmpfs")
        if prepare:
            prepare()

    def join(self):
        """Move the calling process to the namespaces of the program."""
        files = [(os.open(f"/proc/{self.process.pid}/ns/{kind}", os.O_RDONLY), flag)
                 for kind, flag in (("net", CLONE_NEWNET), ("mnt", CLONE_NEWNS))]
        for file, flag in files:
            libc_call("setns", file, flag)

    def wait_for(self, path):
        """until the program has made this file"""
        if not until(True, lambda: os.path.exists(f"/proc/{self.process.pid}/root{path}")):
            raise RuntimeError(f"{self.process.args}: no {path}\n{self.said()}")
        return self

    def said(self):
        """what it has printed so far"""
        return os.pread(self.log.fileno(), os.fstat(self.log.fileno()).st_size, 0).decode(errors="replace")

    def ask(self, *words):
        """-> the output of a command in the same namespaces"""
        return subprocess.run(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              text=True, check=False, preexec_fn=self.join).stdout


def command_in(ns, *words, stdin=""):
    """a request, as those of refuse.py -> exit status, text"""
    with ns.enter:
        return command(*words, stdin=stdin)


def output(ns, *words, stdin=""):
    """-> the output of a command that must succeed; None is the present namespace"""
    status, text = command_in(ns, *words, stdin=stdin) if ns else command(*words, stdin=stdin)
    if status:
        raise RuntimeError(f"exit status {status}: {words}\n{text}")
    return text


class Files(tempfile.TemporaryDirectory):
    """A directory for the files of daemons, some of which drop their privileges"""

    def __init__(self):
        super().__init__(prefix="iptnl-")
        os.chmod(self.name, 0o711)

    def path(self, name):
        return os.path.join(self.name, name)

    def add(self, name, text):
        """-> its path"""
        write(self.path(name), text)
        return self.path(name)

    def __enter__(self):
        return self


# ------------------------------------------------------------------ networks

def shows(ns, dev, regex):
    """whether the device is there and the line of "ip -d -o link show" matches"""
    return ns.has_dev(dev) and bool(re.search(regex, ns.shown(dev)))


def bridge(net, *hosts):
    """A bridge in net, with a cable to each host: (ns, address)"""
    net.ip("link add br0 type bridge", "link set br0 up", *(
        line for number, (ns, _) in enumerate(hosts)
        for line in (f"link add to{number} type veth peer name e0 netns {ns.name}",
                     f"link set to{number} master br0 up")))
    for ns, address in hosts:
        ns.ip(f"addr add {address}/24 dev e0", "link set e0 up")
        until(True, lambda: is_running(ns, "e0"))


class Capture(Port):
    """Everything that a device sends and receives from now on, in order"""

    def __init__(self, ns, dev):
        with ns.enter:
            super().__init__(dev)
        self.sock.setsockopt(1, SO_RCVBUFFORCE, RCVBUF)
        self.so_far = []

    def frames(self):
        """-> the bytes of each so far"""
        self.so_far += [frame for _, frame in self.seen()]
        return self.so_far

    def packets(self, proto=None):
        """-> the fields of each IPv4 packet, or of those that carry a protocol"""
        found = [fields(frame[14:]) for frame in self.frames() if frame[12:14] == ETH_P_IP.to_bytes(2, "big")]
        return [packet for packet in found if proto in (None, packet["proto"])]

    def close(self):
        """Stop; what was captured can still be read."""
        self.frames()
        self.sock.close()
        self.seen = list


# ------------------------------------------------------------------- traffic

def arrives(name, move, ns, peer, address, count, size):
    """move is xfer.tcp or xfer.udp, the address one of the peer's"""
    expect(name, None, xfer.attempt(move, ns.name, peer.name, address, count, size))


def traffic(name, ns, peer, address, peer_address):
    """Echoes and transfers between two namespaces, both ways"""
    for way, one, other, to in ("", ns, peer, peer_address), (", the other way", peer, ns, address):
        check(f"{name}: echo{way}", one.answered(to))
        arrives(f"{name}: TCP, 1 MB{way}", xfer.tcp, one, other, to, 16, 65536)
        arrives(f"{name}: UDP{way}", xfer.udp, one, other, to, 10, 1200)
