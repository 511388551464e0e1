# SPDX-License-Identifier: GPL-2.0-only
"""Copies of the tree with one fault each, to test the tests."""

import os
import re
import shutil

TREE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
NOT_COPIED = shutil.ignore_patterns(".git", "*.o", "*.ko", "bench-results")


def tree_with(fault, directory):
    """fault: a name and [(file, regular expression that occurs once, what takes its place)] -> the copy"""
    tree = os.path.join(directory, re.sub(r"\W+", "-", fault.name))
    shutil.copytree(TREE, tree, ignore=NOT_COPIED, symlinks=True)
    for name, old, new in fault.changes:
        path = os.path.join(tree, name)
        with open(path, encoding="ascii") as file:
            text = file.read()
        changed, count = re.subn(old, new, text)
        if count != 1:
            raise SystemExit(f"fault '{fault.name}': {count} places in {name} match, not 1")
        with open(path, "w", encoding="ascii") as file:
            file.write(changed)
    return tree
