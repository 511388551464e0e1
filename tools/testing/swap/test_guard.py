#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""run_tests loads and unloads the tunnel modules, so it refuses to run if that would delete tunnels or FOU ports, or
unload other modules or the in-tree ones."""

import os
import subprocess

import exchange
from exchange import HERE, begin_in_tree, remove_modules
from ksft import NetNs, check, expect, ksft_run, modprobe, need_modules, rmmod

RUN_TESTS = os.path.join(HERE, "../selftests/run_tests")
PLACE = "/run/iptnl-test-guard"
SCRIPT = "#!/usr/bin/python3\nprint('1..1\\nok 1 done')\n"


def attempt(name, passes, words, *options, **environment):
    """Call run_tests with a script that does nothing."""
    done = subprocess.run([RUN_TESTS, "-d", PLACE, *options], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True, check=False, stdin=subprocess.DEVNULL, env=os.environ | environment)
    expect(name + (": runs" if passes else ": refuses"), 0 if passes else 1, done.returncode)
    right = ("ok 1 done" in done.stdout) == passes and words in done.stdout
    check("... and " + ("has run it" if passes else "has not run it, and says why"), right,
          *() if right else (words, done.stdout))


def main():
    os.makedirs(PLACE, exist_ok=True)
    exchange.ksft.write(PLACE + "/test_nothing.py", SCRIPT)
    os.chmod(PLACE + "/test_nothing.py", 0o755)
    remove_modules()
    with NetNs() as n0:
        attempt("nothing loaded", True, "")
        need_modules()
        attempt("ours loaded, without tunnels", True, "")
        n0.ip("link add t0 type gre local 192.0.2.1 remote 192.0.2.2")
        attempt("a tunnel", False, "tunnel t0 in %s would go" % n0.name)
        check("... which is still there", "t0@" in exchange.output(n0, "ip", "-br", "link"))
        attempt("a tunnel, with --force", True, "", "--force")
        n0.ip("link del t0", "link set gre0 up")
        attempt("a fallback device that is up", False, "tunnel gre0 in %s would go" % n0.name)
        n0.ip("link set gre0 down")
        modprobe("sit")
        attempt("sit holds tunnel4", False, "module sit, which holds tunnel4, would be unloaded")
        rmmod("sit")
        modprobe("fou")
        n0.ip("fou add port 5555 ipproto 4")
        attempt("a FOU port", False, "in %s would go" % n0.name)
        n0.ip("fou del port 5555")
        begin_in_tree()
        attempt("the kernel's own modules", False, "module gre (in-tree) would be unloaded")
        attempt("those, where they are to be tested", True, "", IPTNL_IN_TREE="1")
    remove_modules()
    done = subprocess.run(["setpriv", "--reuid", "65534", "--clear-groups", RUN_TESTS, "-d", PLACE], check=False,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    check("an ordinary user is told to be root", done.returncode == 1 and "must be root" in done.stdout, done.stdout)


ksft_run(main)
