# SPDX-License-Identifier: GPL-2.0-only
"""Helpers for tests of "iptnl" in addition to the selftests' ksft.py: run the command, check which modules are loaded,
install another build."""

import contextlib
import difflib
import os
import re
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
# A test imports this module before others of these directories.
sys.path[:0] = [os.path.join(HERE, "../selftests"), os.path.join(HERE, "../../iptnl")]

import ksft         # noqa: E402
import modules      # noqa: E402
from ksft import remove_modules     # noqa: E402

IPTNL = os.path.join(HERE, "../../iptnl/iptnl")
STATE = "/run/iptnl/state.json"
UPDATES = modules.directory() + "/updates"
NOBODY = ("setpriv", "--reuid", "65534", "--clear-groups")
CARRIED = ("tunnel4", "gre", "ipip", "ip_gre")
said = []           # output lines of the last iptnl()


def run(*command):
    """Run a command with its output in said. -> exit status"""
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          stdin=subprocess.DEVNULL, check=False)
    said[:] = done.stdout.splitlines()
    return done.returncode


def iptnl(*words):
    """-> exit status"""
    return run(IPTNL, *words)


def expect_status(name, want, *words):
    """The exit status of iptnl WORDS"""
    return expect_exit(name, want, iptnl(*words))


def expect_exit(name, want, got):
    """The exit status of what ran last"""
    return ksft.check(name, got == want, "exit status %d, not %d" % (got, want), *said)


def expect_said(name, words):
    """Check that a line of the last output has these words."""
    there = any(words in line for line in said)
    ksft.check(name, there, *() if there else ("no line with '%s' in:" % words, *said))


def expect_line(name, regex):
    """A line of the last output matches."""
    ksft.check(name, any(re.search(regex, line) for line in said), "no line like /%s/ in:" % regex, *said)


def expect_same(name, before, after):
    """Compare two lists of lines."""
    same = before == after
    difference = () if same else difflib.unified_diff(before, after, "before", "after", n=0, lineterm="")
    ksft.check(name, same, *(line[:600] for line in list(difference)[:40]))


def output(ns, *words):
    """-> output of a program in a namespace"""
    return subprocess.run(["ip", "netns", "exec", ns.name, *words], check=True, stdout=subprocess.PIPE,
                          text=True).stdout.strip()


def whose():
    """-> where the four modules come from"""
    return sorted({modules.owner(name) for name in CARRIED})


def begin_in_tree():
    """Load the in-tree modules, and unload all others."""
    remove_modules()
    for name in ("tunnel4", "gre", "ip_tunnel", "ipip", "ip_gre"):
        if not modules.is_loaded(name):
            subprocess.run(["insmod", modules.kernels_file(name)], check=True)


@contextlib.contextmanager
def in_tree():
    """Context with the in-tree modules loaded; none is loaded afterwards."""
    begin_in_tree()
    try:
        yield
    finally:
        remove_modules()


class AnotherBuild:
    """Context in which the installed modules are of a later version, with another srcversion; with headers_only they
    only have another build ID, as if a header had changed"""

    def __init__(self, version=b"9.8.7", headers_only=False):
        self.version, self.headers_only, self.saved = version, headers_only, {}

    def __enter__(self):
        for path in map(modules.our_file, modules.MODULES):
            with open(path, "rb") as file:
                data = self.saved[path] = file.read()
            if self.headers_only:
                ident = get(modules.BUILD_ID % modules.module_name(path))[-20:]
                put(path, data.replace(ident, ident[::-1]))
                continue
            old = modules.information(path)
            number, source = old["version"].encode(), old["srcversion"].encode()
            data = data.replace(b"version=" + number + b"\0", b"version=" + self.version + b"\0")
            put(path, data.replace(b"srcversion=" + source, b"srcversion=" + source[::-1]))
        return self

    def __exit__(self, *_):
        for path, data in self.saved.items():
            put(path, data)


def get(path):
    with open(path, "rb") as file:
        return file.read()


def put(path, data):
    with open(path, "wb") as file:
        file.write(data)
