# SPDX-License-Identifier: GPL-2.0-only
"""Compare two records of the same scenarios, and match differences against expected-differences."""

import difflib
import fnmatch
import re
import struct
import subprocess
from dataclasses import dataclass

from scenario import series

# Only iptnl may give an extack message where the in-tree modules give none.
ALLOWED_MORE = "gave a reason"
MOST = 40                       # lines printed per step


class Bad(Exception):
    """Syntax error in expected-differences"""


@dataclass
class Expected:
    """One line of expected-differences"""
    where: str
    glob: str
    kernels: str                # for series.matches()
    pattern: re.Pattern
    reason: str
    used: bool = False


def read_expected(path):
    """SCENARIO | KERNELS | LINES | REASON"""
    found = []
    with open(path, encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            where = f"expected-differences:{number}"
            if not line.strip() or line.startswith("#"):
                continue
            parts = [part.strip() for part in line.split(" | ")]
            if len(parts) != 4 or not all(parts):
                raise Bad(f"{where}: want 'scenario | kernels | lines | reason'")
            if not series.is_said(parts[1]):
                raise Bad(f"{where}: '{parts[1]}' does not say which kernels")
            pattern = "" if parts[2] == "*" else parts[2]
            found.append(Expected(where, parts[0], parts[1], re.compile(pattern), parts[3]))
    return found


def step_difference(one, two):
    """-> [(sign, line)] of all lines with "-", "+" or " ", empty if identical"""
    lines = [(line[0], line[2:]) for line in difflib.ndiff(one, two) if line[0] != "?"]
    lines = [(" " if sign == "+" and line == ALLOWED_MORE else sign, line) for sign, line in lines]
    return lines if any(sign != " " for sign, _ in lines) else []


def differences(one, two):
    """-> [(step, [(sign, line)])] of one scenario"""
    found = []
    for left, right in zip(one["steps"], two["steps"]):
        lines = step_difference(left["lines"], right["lines"])
        if lines:
            found.append((left, right, lines))
    if len(one["steps"]) != len(two["steps"]):
        found.append(({"text": "(all)", "where": ""}, {}, [("-", f"{len(one['steps'])} steps"),
                                                           ("+", f"{len(two['steps'])} steps")]))
    return found


def explain(name, kernel, found, expected):
    """Return true if every differing line of the scenario is expected. Mark the matching entries as used."""
    candidates = [e for e in expected if series.matches(e.kernels, kernel) and fnmatch.fnmatch(name, e.glob)]
    explained, used = True, []
    for _, _, lines in found:
        for sign, line in lines:
            if sign == " ":
                continue
            matching = [e for e in candidates if e.pattern.search(sign + " " + line)]
            used += matching
            explained = explained and bool(matching)
    for e in used:
        e.used = True
    return explained


def decode(line):
    """-> [packet in the line, decoded by tcpdump], [] if there is none"""
    match = re.search(r"(sends|gets)[^:]*: (.*)", line)
    if not match:
        return []
    text = match[2].replace("good", "0000").replace("-stamp--", "00000000").replace("----", "0000")
    text = re.sub(r"\.\.[0-9:a-f]+$", "", re.sub(r"-id(\d)", r"000\1", text)).replace(" ", "")
    try:
        data = bytes.fromhex(text)
    except ValueError:
        return []
    raw = data and data[0] >> 4 in (4, 6) and not line.split(":")[1].strip().startswith("02")
    pcap = struct.pack("=IHHiIII", 0xa1b2c3d4, 2, 4, 0, 0, 65535, 101 if raw else 1) + \
        struct.pack("=IIII", 0, 0, len(data), len(data)) + data
    done = subprocess.run(["tcpdump", "-nn", "-t", "-v", "-r", "-"], input=pcap, stdout=subprocess.PIPE,
                          stderr=subprocess.DEVNULL, check=False)
    return [" ".join(done.stdout.decode(errors="replace").split())]


def shortened(lines):
    """-> at most MOST differing lines, with one line of context"""
    near = {at + step for at, (sign, _) in enumerate(lines) if sign != " " for step in (-1, 0, 1)}
    kept = [pair for at, pair in enumerate(lines) if at in near]
    return kept[:MOST] + ([(" ", f"... and {len(kept) - MOST} more lines")] if len(kept) > MOST else [])


def show(kernel, one, found):
    """Print a difference."""
    print(f"\n{kernel}: {one['name']}: {one['about']}")
    for left, right, lines in found:
        print(f"  {left['where']}: {left['text']}")
        for sign, line in shortened(lines):
            print(f"    {sign} {line}")
            if sign != " ":
                for text in decode(line):
                    print(f"    {sign}     ({text})")
        for side, step in (("in-tree", left), ("ours", right)):
            if step.get("words"):
                print(f"      {side} stderr: {step['words']}")


def compare(kernel, left, right, expected):
    """Print unexplained differences and a summary. -> exit status"""
    identical = explained = bad = 0
    others = {one["name"]: one for one in right}
    for one in left:
        two = others[one["name"]]
        if one["problem"]:
            bad += 1
            print(f"\n{kernel}: {one['name']}: wrong scenario: {one['problem']}")
            continue
        found = differences(one, two)
        if not found and two["problem"]:
            found = [({"text": "(all)", "where": ""}, {}, [("+", two["problem"])])]
        if not found:
            identical += 1
        elif explain(one["name"], kernel, found, expected):
            explained += 1
        else:
            bad += 1
            show(kernel, one, found)
    return identical, explained, bad


def stale(kernel, expected):
    """-> entries of expected-differences that did not occur on a kernel that they name"""
    return [e for e in expected if series.matches(e.kernels, kernel) and not e.used]
