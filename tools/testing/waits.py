#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""waits.py: check that tests wait for conditions, never for a time.

Prints each line below this directory that sleeps, or has such a short timeout
that the test may fail on a busy machine, unless allowed-waits lists it; and
unused entries of allowed-waits.
"""
import os
import re
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
SHORT = 60                      # seconds; a busy machine can reach a lower limit
SLEEPS = re.compile(r'(?:^|[\s;&|(`"\'])sleep["\']?,?\s+["\']?[\d.$]|\b(?:time|asyncio)\.sleep\(|\busleep\(')
LIMITS = [re.compile(text) for text in (
    r'\bping6?\b.*\s-[Ww]\s*([\d.]+|\D)',
    r'\bsettimeout\(([\d.]+)',
    r'\bwait_for -t\s*([\d.]+|\D)',
    r'(?:^|[\s;&|(])timeout (?:-k \S+ |-[^k]\S* )*([\d.]+)',
    r'\btimeout=([\d.]+)',
    r'\buntil\(.*, ([\d.]+)\)(?:$|[),])',
    r'\b(?:seconds|patience)=([\d.]+)',
    r'\bSO_(?:RCV|SND)TIMEO\b(.)',
    r'\bselect\.select\(.*, ([\d.]+)\)',
    r'\bread -t\s*([\d.]+)')]


def too_soon(text):
    """Return true if a limit is too short, or not a number and must be checked by a human."""
    try:
        return 0 < float(text) < SHORT
    except ValueError:
        return True


def complaint(line):
    if SLEEPS.search(line):
        return "sleeps"
    if any(too_soon(found) for limit in LIMITS for found in limit.findall(line)):
        return "waits for a short time only"
    return None


def files():
    for folder, _, names in sorted(os.walk(HERE)):
        for name in sorted(names):
            path = os.path.join(folder, name)
            with open(path, "rb") as file:
                head = file.read(64)
            if name != "waits.py" and (name.endswith((".sh", ".py")) or head.startswith(b"#!") and
                                       re.match(rb"#!.*(sh|python3)\b", head)):
                yield os.path.relpath(path, HERE)


def allowed():
    with open(os.path.join(HERE, "allowed-waits")) as file:
        for line in file:
            if line.strip() and not line.startswith("#"):
                name, words, why = (part.strip() for part in line.split(" | "))
                if not why:
                    sys.exit(f"allowed-waits: no reason: {line}")
                yield name, words


def main():
    rules = {rule: 0 for rule in allowed()}
    for name in files():
        with open(os.path.join(HERE, name)) as file:
            lines = file.read().splitlines()
        for number, line in enumerate(lines, 1):
            text = complaint(line)
            if not text or re.match(r"\s*#", line):
                continue
            known = [rule for rule in rules if rule[0] == name and rule[1] in line]
            for rule in known:
                rules[rule] += 1
            if not known:
                print(f"tools/testing/{name}:{number}: {text}: {line.strip()}")
    for (name, words), used in rules.items():
        if not used:
            print(f"tools/testing/allowed-waits: unused: {name} | {words}")


main()
