# SPDX-License-Identifier: GPL-2.0-only
"""Parser for scenario files, which README.md describes"""

import glob
import os
import re
import sys
from dataclasses import dataclass, field

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "selftests"))

import series           # noqa: E402

VERBS = ("ip tc bridge ethtool sysctl sh show ioctl nl rx tx say wire ns end cable ipv6 ids wait on").split()
NAME = re.compile(r"[a-z0-9][a-z0-9-]*")


@dataclass
class Step:
    """One line: action, namespace, and expected result on the in-tree modules"""
    text: str
    verb: str
    rest: str
    ns: str = "a"
    may: str = "succeed"            # or "fail", "either"
    where: str = ""


@dataclass
class Scenario:
    name: str
    about: str
    where: str
    kernels: str = "all"        # for series.matches()
    steps: list = field(default_factory=list)


class Bad(Exception):
    """Syntax error in a scenario file"""


def step(text, where):
    """-> Step of "[NS] !VERB REST" """
    match = re.fullmatch(r"(?:\[(\w+)\] *)?([!~]?) *([a-z0-9]+)\b *(.*)", text)
    if not match or match[3] not in VERBS:
        raise Bad(f"{where}: not a step: {text}")
    may = {"": "succeed", "!": "fail", "~": "either"}[match[2]]
    return Step(text, match[3], match[4], match[1] or "a", may, where)


def read(path):
    """-> [Scenario]"""
    scenarios = []
    with open(path, encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            where = f"{os.path.basename(path)}:{number}"
            line = line.strip()
            if not line or line.startswith("#"):
                continue
            if line.startswith("=="):
                name, _, about = line[2:].strip().partition(": ")
                if not NAME.fullmatch(name) or not about:
                    raise Bad(f"{where}: want '== name: what it shows'")
                scenarios.append(Scenario(name, about, where))
            elif not scenarios:
                raise Bad(f"{where}: a step before the first '== name: ...'")
            elif line.split()[0] == "on":
                scenarios[-1].kernels = line.partition(" ")[2]
                if not series.is_said(scenarios[-1].kernels):
                    raise Bad(f"{where}: want 'on' and which kernels")
            else:
                scenarios[-1].steps.append(step(line, where))
    return scenarios


def read_all(directory):
    """-> [Scenario] of all files, sorted by name"""
    scenarios, seen = [], {}
    for path in sorted(glob.glob(os.path.join(directory, "*.scn"))):
        for one in read(path):
            if one.name in seen:
                raise Bad(f"{one.where}: {one.name} is in {seen[one.name]} too")
            if not one.steps:
                raise Bad(f"{one.where}: {one.name} does nothing")
            seen[one.name] = one.where
            scenarios.append(one)
    return scenarios
