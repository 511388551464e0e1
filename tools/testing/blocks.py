#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Extract the code blocks of the documents, so that tests can run them.

blocks.py FILE PLACE : print the blocks of FILE that are marked with PLACE

The mark is a comment before the block: <!-- run: PLACE --> in Markdown, .\\" run: PLACE in a manual page. Places:

    vm-NAME         tools/testing/swap/test_documents.py, in a VM
    package         tools/testing/package, in a root with Debian's package manager
    persist-NAME    tools/testing/clients/test_persistence.py: files of a network manager
    make            each line is a target of the Makefile
    host            commands of the tree for the host of the VMs: checked for existence and syntax
    not, REASON     not run: output, a figure
"""

import re
import sys

MARKDOWN, ROFF = re.compile(r"<!-- run: (.*) -->"), re.compile(r'\.\\" run: (.*)')


def markdown(lines):
    """-> [(number of the first line, mark, lines)] of blocks indented by four spaces"""
    mark, block, found, indented_text = "", [], [], False
    for number, line in enumerate(lines + [""], 1):
        if line.startswith("    ") and not indented_text:
            block.append((number, line[4:]))
            continue
        if not line.strip():
            if block:
                block.append((number, ""))
            continue
        if block:
            found.append((mark, block))
            mark, block = "", []
        match = MARKDOWN.match(line)
        if match:
            mark = match[1]
        # Indented text after a list item is no block.
        indented_text = bool(re.match(r"[*-] |\d+\. ", line))
    if block:
        found.append((mark, block))
    return [(block[0][0], mark, [text for _, text in block]) for mark, block in found]


def roff(lines):
    """Like markdown(), for blocks between .EX and .EE"""
    mark, block, found, start = "", None, [], 0
    for number, line in enumerate(lines, 1):
        match = ROFF.match(line)
        if match:
            mark = match[1]
        elif line == ".EX":
            block, start = [], number + 1
        elif line == ".EE":
            found.append((start, mark, block))
            mark, block = "", None
        elif block is not None:
            block.append(re.sub(r"\\f.", "", line).replace("\\-", "-").replace("\\(aq", "'").replace("\\e", "\\"))
    return found


def blocks(path):
    with open(path) as file:
        lines = file.read().splitlines()
    return markdown(lines) if path.endswith(".md") else roff(lines)


def at(path, place):
    """-> the text of each block with this mark"""
    return ["\n".join(text).rstrip() + "\n" for _, mark, text in blocks(path) if mark == place]


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    sys.stdout.write("\n".join(at(*sys.argv[1:])))
