#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""The lookup table against a naive twin, a million random operations, in the
kernel: the module ip_tnl_table_test (tools/testing/kernel) has a copy of the table
inside, runs when it is loaded, and reports in the kernel's log. Then the same with
a twin that is wrong in one rule, which must be found out.

    TWIN_SEED=N         the random numbers of an earlier run
    TWIN_OPERATIONS=N   default 1000000, fewer on a slow kernel

The readers need two processors to disturb the writer in earnest.
"""
import os
import re

from ksft import IN_TREE, SLOW, KernelLog, check, diag, differs, is_loaded, ksft_run, load_test_module, rmmod

MODULE = "ip_tnl_table_test"
SEED = os.environ.get("TWIN_SEED", "0")
OPERATIONS = os.environ.get("TWIN_OPERATIONS", str(1000000 // SLOW ** 2))
# Enough for each wrong rule to matter, and it ends when one did.
FEW = 20000
WRONG = ("link", "filter", "specific", "order", "oldest", "newest", "key", "wildcard", "down", "group", "external",
         "duplicate", "gap")


def run(log, operations, *parameters):
    """-> the lines of the module's KTAP"""
    load_test_module(MODULE, f"operations={operations}", f"seed={SEED}", *parameters)
    rmmod(MODULE)
    lines = [line for record in log.read() for line in re.findall(f";{MODULE}: (.*)", record)]
    return lines[lines.index("KTAP version 1"):]


def report(lines):
    """The module's results become ours; what it says of one comes before it."""
    said = []
    for line in lines:
        if line.startswith("# "):
            said.append(line[2:])
            diag(line[2:])
            continue
        result = re.fullmatch(r"(not )?ok \d+ (.*)", line)
        if result:
            check(result[2], not result[1], *said)
        said = []


def complete(lines):
    """What the module planned is what it did."""
    planned = [line for line in lines if line.startswith("1..")]
    results = [line for line in lines if re.match(r"(not )?ok ", line)]
    check("it ran to its end", planned == [f"1..{len(results)}"], *lines)


def found_out(log, rule):
    lines = run(log, FEW, f"wrong={rule}")
    check(f"a twin with a wrong rule is found out: {rule}", any(line.startswith("not ok ") for line in lines), *lines)


def table_and_twin():
    log = KernelLog()
    lines = run(log, OPERATIONS)
    report(lines)
    complete(lines)
    for rule in WRONG:
        found_out(log, rule)
    check("unloaded", not is_loaded(MODULE))


def main():
    if not IN_TREE:
        table_and_twin()
        return
    with differs("there is no such table"):
        check("the table and its twin", False)


ksft_run(main)
