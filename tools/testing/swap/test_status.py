#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""The output of "iptnl status", and usage errors of all commands.

    n0
    t0 ipip, e0 erspan: in-tree, then iptnl's, then in-tree again
"""

import json
import os
import tempfile

from exchange import IPTNL, NOBODY, UPDATES, expect_exit, expect_line, expect_said, expect_status, in_tree, iptnl, \
    remove_modules, run, said
import modules
from ksft import NetNs, check, expect, ksft_run, modprobe, rmmod

NOTHING = "not-loaded not-loaded not-loaded not-loaded not-loaded"
THEIRS = "in-tree in-tree not-loaded in-tree in-tree"
OURS = "iptnl iptnl iptnl iptnl iptnl"
BAD_USAGE = ("", "bogus", "swap --bogus", "swap extra", "status --dry-run", "restore --json", "recover a b")


# -------------------------------------------------------------------- status

def status():
    """-> what "status --json" prints"""
    iptnl("status", "--json")
    return json.loads("\n".join(said))


def states(found):
    """The states of the modules, in one line"""
    state = {one["name"]: one["state"].replace(" ", "-") for one in found["modules"]}
    return " ".join(state[name] for name in modules.MODULES)


def expect_states(name, want):
    expect(name, want, states(status()))


def nothing_loaded():
    remove_modules()
    expect_states("nothing is loaded", NOTHING)
    expect_status("swap with nothing loaded", 0, "swap")
    expect_line("swap with nothing loaded: says so", "^nothing to do: none of the in-tree modules is loaded$")
    check("swap with nothing loaded: loads nothing", not os.path.isdir("/sys/module/ipip"))


def modules_in_tree(found):
    expect("in-tree", THEIRS, states(found))
    expect("in-tree: no version", [""] * len(found["modules"]), [one["version"] for one in found["modules"]])
    module = {one["name"]: one for one in found["modules"]}
    expect("who holds tunnel4", ["ipip", "sit"], module["tunnel4"]["holders"])
    expect("which file is next", UPDATES + "/gre.ko", module["gre"]["modprobe"])


def tunnels(found, n0):
    here = [one for one in found["tunnels"] if one["namespace"] == n0.name]
    expect(f"the tunnels of {n0.name}", [("e0", "erspan", "ip_gre"), ("t0", "ipip", "ipip")],
           sorted((one["name"], one["kind"], one["module"]) for one in here if not one["fallback"]))
    expect("fallback devices are told apart", ["erspan0", "gre0", "gretap0", "tunl0"],
           sorted(one["name"] for one in here if one["fallback"]))


def in_words(n0):
    expect_status("status in words", 0, "status")
    expect_line("status in words: tunnel4", "^tunnel4 +in-tree +- +ipip sit +/")
    expect_line("status in words: the tunnels", f"^ipip: 1 tunnel in {n0.name}: t0$")


def there_and_back():
    expect_status("swap", 0, "swap")
    found = status()
    expect("ours", OURS, states(found))
    expect("ours: all of one version", {modules.information(UPDATES + "/ipip.ko")["version"]},
           {one["version"] for one in found["modules"]})
    expect_status("restore", 0, "restore")
    expect_states("in-tree again", THEIRS)


# --------------------------------------------------------------------- usage

def bad_usage():
    """A line beside the usage, and exit status 2"""
    for words in BAD_USAGE:
        expect_status(f"bad usage: iptnl {words}", 2, *words.split())
        expect_line(f"bad usage: iptnl {words}: says so", "^iptnl.*: error: ")


def usage():
    expect_status("--help", 0, "--help")
    expect_said("--help tells of recover", "iptnl recover")
    expect_status("swap --help", 0, "swap", "--help")


def bad_state_file():
    expect_status("recover with nothing to recover", 0, "recover")
    with tempfile.NamedTemporaryFile("w") as file:
        for name, text, words in (("recover from a file that is none", "nonsense\n", ""),
                                  ("recover from an earlier boot", '{"boot": "another"}\n', "of an earlier boot")):
            file.truncate(0)
            file.seek(0)
            file.write(text)
            file.flush()
            expect_status(name, 1, "recover", file.name)
            expect_line(name + ": says so", f"^iptnl: {file.name}: {words}")


def not_root():
    expect_exit("status, not root", 0, run(*NOBODY, IPTNL, "status"))


def main():
    nothing_loaded()
    with in_tree(), NetNs() as n0:
        n0.ip("link add t0 type ipip local 192.0.2.1 remote 192.0.2.2",
              "link add e0 type erspan local 192.0.2.1 remote 192.0.2.2 seq key 1")
        modprobe("sit")
        found = status()
        modules_in_tree(found)
        tunnels(found, n0)
        in_words(n0)
        rmmod("sit")
        there_and_back()
        bad_usage()
        usage()
        bad_state_file()
        not_root()


ksft_run(main)
