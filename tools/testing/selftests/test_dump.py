#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Each command of dump.commands prints, and exits with, exactly what it did on
the in-tree drivers of the same kernel series; where that was a message on
standard error, there must be a message. Recorded in expected/SERIES/dump.txt; a
series without a recording is compared with the one before it.

    test_dump.py --record DIR   write DIR/SERIES/dump.txt instead (in-tree modules)

    one namespace per group
      v0 192.0.2.1/24 ------------ v1      (mtu 1500)
"""
import contextlib
import difflib
import os
import re
import subprocess
import sys

import nl
import series
import tunctl
from ksft import SERIES, NetNs, check, diag, expect, ksft_run, need_modules, remove_modules, write

HERE = os.path.dirname(os.path.abspath(__file__))
# Numbers of devices depend on what else was made before.
NUMBERS = ((r"^[0-9]+: ", "N: "), (r'"ifindex":[0-9]+', '"ifindex":N'), (r"\blink=[1-9][0-9]*", "link=N"))


def new_group():
    """a namespace as it was when it was recorded"""
    ns = NetNs()
    ns.sysctl(net__ipv6__conf__all__addr_gen_mode=1, net__ipv6__conf__default__addr_gen_mode=1)
    ns.ip("link add v0 address 02:00:00:00:00:01 type veth peer name v1 address 02:00:00:00:00:02",
          "addr add 192.0.2.1/24 dev v0", "link set v0 up", "link set v1 up")
    return ns


def answer(ns, command):
    """-> status, standard output, standard error"""
    program, *words = command.split()
    if program == "raw_ioctl":
        status, text = tunctl.ask(ns.name, *words)
        return status, text + "\n", ""
    if program == "raw_link":
        status, text = nl.ask(ns.name, *words)
        return status, text.partition(":")[0] + "\n" * bool(text), ""       # the error without its words
    start = {"ip": ["ip", "-n", ns.name], "sysctl": ["ip", "netns", "exec", ns.name, "sysctl"]}[program]
    done = subprocess.run(start + words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          text=True)
    return done.returncode, done.stdout, done.stderr


def do_commands():
    """-> [(what is kept of a command, its standard error)]"""
    kept = []
    with open(os.path.join(HERE, "dump.commands")) as file, contextlib.ExitStack() as group:
        for line in filter(None, map(str.strip, file)):
            if line.startswith("=="):
                group.close()
                ns = group.enter_context(new_group())
            elif not line.startswith("#"):
                status, output, message = answer(ns, line)
                kept.append((normalised(f"$ {line}\n{output}" + "(message)\n" * bool(message) + f"(exit {status})\n"),
                             message))
    return kept


def normalised(text):
    for regex, replacement in NUMBERS:
        text = re.sub(regex, replacement, text, flags=re.M)
    return text


def recording():
    """-> the file of this series, or else of the newest series before it, or None"""
    known = [name for name in os.listdir(os.path.join(HERE, "expected"))
             if name[0].isdigit() and series.numbers(name) <= series.numbers(SERIES)]
    return f"expected/{max(known, key=series.numbers)}/dump.txt" if known else None


def compare(kept, path):
    with open(os.path.join(HERE, path)) as file:
        wanted = re.split(r"^(?=\$ )", file.read(), flags=re.M)[1:]
    for number, (got, message) in enumerate(kept):
        command, _, _ = got.partition("\n")
        want = wanted[number] if number < len(wanted) else ""
        if want.partition("\n")[0] != command:
            details = [f"is not the next one in {path}: record again"]
        else:
            details = list(difflib.unified_diff(want.splitlines(), got.splitlines(), n=9, lineterm=""))[3:] + [message]
        check(command[len("$ "):], want == got, *details)
    expect("as many commands as were recorded", len(wanted), len(kept))


def record(kept, folder):
    folder = os.path.join(folder, SERIES)
    os.makedirs(folder, exist_ok=True)
    write(os.path.join(folder, "dump.txt"), "".join(text for text, _ in kept))
    check(f"recorded {len(kept)} commands", True)


def main():
    remove_modules("sit", "ip_vti")         # their devices would be in the lists
    remove_modules()
    need_modules()
    path = recording()
    if not path:
        check(f"there is a recording for {SERIES} or a series before it", False)
        return
    kept = do_commands()
    if sys.argv[1:2] == ["--record"]:
        record(kept, sys.argv[2])
        return
    diag(f"compared with {path}")
    compare(kept, path)


ksft_run(main)
