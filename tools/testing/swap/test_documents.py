#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Run the code blocks of README.md and the manual pages, and check the results. Each block has a mark that says where
it is run (see ../blocks.py): those marked vm-... here. Check that every other block is run elsewhere.

    n0                      the examples of iptnl(7)
    eth0 192.0.2.1, br0, VRFs blue and red
"""

import contextlib
import glob
import os
import shutil
import subprocess
import sys

import exchange
import modules
from exchange import HERE, begin_in_tree, remove_modules, whose
from ksft import SERIES, NetNs, check, diag, expect, ksft_run

TREE = os.path.realpath(os.path.join(HERE, "../../.."))
sys.path.insert(0, os.path.join(TREE, "tools/testing"))

import blocks       # noqa: E402

DOCUMENTS = [os.path.join(TREE, name) for name in ("README.md", "CONTRIBUTING.md", "doc/iptnl.7", "doc/iptnl.8")]
ELSEWHERE = ("package", "persist-", "make", "host", "not, ")
COMPILED_ON = "6.12"             # with emulation it takes a quarter of an hour
UPDATES = modules.directory() + "/updates"


def short(path):
    return os.path.relpath(path, TREE)


def run(text, *before):
    """Run a block in a shell that exits at the first error. -> exit status, output"""
    done = subprocess.run([*before, "bash", "-e", "-o", "pipefail", "-c", text], cwd=TREE, stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
                          env=os.environ | {"PATH": TREE + "/tools/iptnl:" + os.environ["PATH"]})
    return done.returncode, done.stdout


def run_block(path, place, number, *before):
    text = blocks.at(path, place)[number]
    status, output = run(text, *before)
    check("%s, %s %d runs" % (short(path), place, number + 1), status == 0,
          *() if status == 0 else ("exit status %d" % status, text, output[-3000:]))
    return output


def marked():
    """Every block has a mark, and commands that are not run here exist."""
    for path in DOCUMENTS:
        found = blocks.blocks(path)
        check("%s: there are blocks" % short(path), found)
        places = {place for _, place, _ in found}
        expect("%s: every block is marked" % short(path), [],
               [(line, place) for line, place, _ in found if not place.startswith(("vm-",) + ELSEWHERE)])
        expect("%s: all vm- marks are known" % short(path), set(),
               {place for place in places if place.startswith("vm-")} - set(PLACES))
    for path in DOCUMENTS:
        for text in blocks.at(path, "make"):
            for line in text.splitlines():
                status, output = run("make -n %s >/dev/null" % line.split()[1])
                check("%s: %s" % (short(path), line.split("#")[0].strip()), status == 0, *output.splitlines())
        for text in blocks.at(path, "host"):
            status, output = run("bash -n <<'END'\n%sEND\n" % text)
            missing = [word for line in text.splitlines() for word in line.split()[:1]
                       if "/" in word and not os.access(os.path.join(TREE, word), os.X_OK)]
            check("%s: %s" % (short(path), text.splitlines()[0]), status == 0 and not missing,
                  *filter(None, [output, *missing]))


@contextlib.contextmanager
def tunnel():
    """Context with the in-tree modules and a tunnel in the current namespace"""
    begin_in_tree()
    subprocess.run("ip link add t9 type gre local 192.0.2.1 remote 198.51.100.9 key 9 && ip link set t9 up &&"
                   "ip addr add 203.0.113.97/30 dev t9", shell=True, check=True)
    try:
        yield
    finally:
        remove_modules()


@contextlib.contextmanager
def nothing_installed():
    """Context in which iptnl is not installed"""
    saved = {}
    for path in glob.glob(UPDATES + "/*.ko*"):
        with open(path, "rb") as file:
            saved[path] = file.read()
        os.unlink(path)
    subprocess.run(["depmod"], check=True)
    try:
        yield
    finally:
        os.makedirs(UPDATES, exist_ok=True)
        for path, data in saved.items():
            exchange.put(path, data)
        subprocess.run(["depmod"], check=True)


def address():
    return subprocess.run(["ip", "-br", "addr", "show", "t9"], stdout=subprocess.PIPE, text=True, check=False).stdout


def quick(path):
    count = len(blocks.at(path, "vm-quick"))
    with tunnel():
        was = address()
        for number in range(count):
            run_block(path, "vm-quick", number)
            expect("%s, vm-quick %d: whose" % (short(path), number + 1), ["iptnl", "in-tree"][number], *whose())
            expect("%s, vm-quick %d: the tunnel" % (short(path), number + 1), was, address())


def by_hand(path):
    """Twice: with the in-tree modules loaded, and with another build of iptnl."""
    with tunnel(), nothing_installed():
        output = run_block(path, "vm-by-hand", 0)
        check("by hand: it lists the tunnel", " t9@" in output, output)
        run_block(path, "vm-by-hand", 1)
        expect("by hand: ours are in", ["iptnl"], whose())
        expect("by hand: the tunnel is up", 0, run("ip -br link show t0 up | grep .")[0])
        run_block(path, "vm-by-hand", 1)
        expect("by hand: in once more, over our own", ["iptnl"], whose())
        run_block(path, "vm-by-hand", 2)
        expect("by hand: the kernel's are back", ["in-tree"], whose())
        check("by hand: nothing of ours is left", not modules.is_loaded("ip_tunnel_core"))


def install(path):
    with tunnel(), nothing_installed():
        was = address()
        run_block(path, "vm-install", 0)
        expect("make install: the tunnel, there and back", was, address())
        expect("make install: whose in the end", ["in-tree"], whose())
        expect("make uninstall: what modprobe finds", ["kernel"] * 4,
               [modules.found_by_modprobe(name).split("/")[4] for name in exchange.CARRIED])
        expect("make uninstall: nothing is left", [], [name for name in modules.MODULES
                                                       if glob.glob("%s/%s.ko*" % (UPDATES, name))])
    with_destdir()


def with_destdir():
    status, output = run("make install-tools DESTDIR=/run/iptnl-test PREFIX=/usr/local")
    check("make install-tools DESTDIR=: runs", status == 0, output)
    expect("... the program finds its parts", 0, run("/run/iptnl-test/usr/local/sbin/iptnl --version")[0])
    run("make uninstall-tools DESTDIR=/run/iptnl-test PREFIX=/usr/local")
    expect("make uninstall-tools: nothing is left", [],
           [name for _, _, names in os.walk("/run/iptnl-test") for name in names])
    shutil.rmtree("/run/iptnl-test")


def report(path):
    output = run_block(path, "vm-report", 0)
    check("the report has the modules", "ip_tunnel_core" in output, output)


def examples(path):
    """Examples run in a namespace, with iptnl: the tunnels are created, and up if the example says so."""
    exchange.ksft.need_modules()
    exchange.ksft.modprobe("bridge", "vrf", "dummy", "fou")
    inside = ("ip", "netns", "exec")
    with NetNs() as n0:
        n0.ip("link add eth0 type dummy", "addr add 192.0.2.1/24 dev eth0", "link set eth0 up",
              "link add br0 type bridge", "link set br0 up",
              "link add blue type vrf table 10", "link add red type vrf table 11",
              "link set blue up", "link set red up")
        for number, text in enumerate(blocks.at(path, "vm-example")):
            run_block(path, "vm-example", number, *inside, n0.name)
            made = [line.split()[3] for line in text.splitlines() if line.startswith("ip link add")]
            up = exchange.output(n0, "ip", "-br", "link", "show", "up")
            for name in made:
                check("iptnl.7: %s is up" % name, any(line.startswith(name + "@") for line in up.splitlines()), up)
    remove_modules()


def rps(path):
    exchange.ksft.need_modules()
    with NetNs() as n0:
        n0.ip("link add t0 type gre local 192.0.2.1 remote 192.0.2.2")
        run_block(path, "vm-rps", 0, "ip", "netns", "exec", n0.name)
        refusals(n0)
    remove_modules()


def refusals(n0):
    """Refused requests as described in iptnl(7)"""
    inside = ("ip", "netns", "exec", n0.name)
    for text, status, words in (
            ("ip link set t0 type gre ikey 0.0.0.1 remote 224.0.0.1", 2, "Error: "),
            ("ip link set t0 mtu 20", 2, "RTNETLINK answers: Invalid argument"),
            ("ip link del gre0 && ip link show gre0", 0, "gre0"),
            ("ip link set gre0 name other && ip tunnel add t1 mode gre remote 192.0.2.9", 1, "No such device")):
        got, output = run(text, *inside)
        check("iptnl.7, refusals: " + text, got == status and words in output, got, output)


COMPILING = by_hand, install
PLACES = {"vm-rps": rps, "vm-quick": quick, "vm-by-hand": by_hand, "vm-install": install, "vm-report": report,
          "vm-example": examples}


def main():
    marked()
    for path in DOCUMENTS:
        for place, function in PLACES.items():
            if not blocks.at(path, place):
                continue
            if function in COMPILING and SERIES != COMPILED_ON:
                diag("%s, %s: on %s" % (short(path), place, COMPILED_ON))
                continue
            function(path)


ksft_run(main)
