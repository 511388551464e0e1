#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Where the kernel accepts only signed modules, "iptnl swap" refuses unsigned ones before it touches anything. That
cannot be undone until the next boot, so this is the last test by its name, and it loads no module of iptnl.

    n0
    t0 ipip
"""

import re

from exchange import UPDATES, expect_line, expect_status, in_tree, whose
import links
import modules
from ksft import NetNs, check, expect, ksft_run, write

FILE = UPDATES + "/ipip.ko"
SIG_ENFORCE = "/sys/module/module/parameters/sig_enforce"


def unsigned(n0):
    check("ours is not signed", not modules.information(FILE).get("sig_id"))
    write(SIG_ENFORCE, 1)
    before = links.configuration(n0.name)
    expect_status("unsigned modules: refused", 1, "swap")
    expect_line("unsigned modules: says which",
                f"^iptnl: {re.escape(FILE)}: not signed, and module.sig_enforce is on$")
    expect_status("unsigned modules: refused by --dry-run, too", 1, "swap", "--dry-run")
    check("unsigned modules: nothing is unloaded", whose() == [modules.THEIRS], whose())
    expect("unsigned modules: the tunnel is as before", before, links.configuration(n0.name))


def main():
    with in_tree(), NetNs() as n0:
        n0.ip("link add t0 type ipip local 192.0.2.1 remote 192.0.2.2")
        unsigned(n0)


ksft_run(main)
