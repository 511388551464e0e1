#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Check doc/architecture.md against the source.

rooms.py cycles < "nm -A -g *.o" : print cycles of files that need each other's symbols, one per line
rooms.py map                     : print rows of the table of decisions whose line of code is not in the function named,
                                   and whether README.md lacks a link to it

Prints nothing if all is well.
"""

import os
import re
import sys

TREE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
MAP = "doc/architecture.md"
# Each of these must be answered by a row of the table.
QUESTIONS = ("DF", "TTL 0", "which tunnel matches", "skips GRO", "error messages of `ip link`", "who may change")
ROW = re.compile(r"\| ([^|]+) \| `([^`|]+)` \| `(\w+)\(\)` \| `(.+)` \|$")


def read(name):
    with open(os.path.join(TREE, name), encoding="utf-8") as file:
        return file.read()


def graph(lines):
    """-> {object: the objects whose symbols it needs}, without objects that are linked from others"""
    defined, needed = {}, {}
    for line in lines:
        where, *_, kind, symbol = line.split()
        name = where.split(":")[0]
        if name.endswith(".mod.o") or name.startswith(".") or not os.path.exists(
                os.path.join(TREE, name.replace(".o", ".c"))):
            continue
        needed.setdefault(name, set())
        if kind in "Uw":
            needed[name].add(symbol)
        else:
            defined[symbol] = name
    return {name: {defined[s] for s in symbols if s in defined} - {name} for name, symbols in needed.items()}


def cycles(edges):
    """-> the cycles of a graph, as paths"""
    found, done = [], set()

    def visit(name, path):
        if name in path:
            found.append(path[path.index(name):] + [name])
        elif name not in done:
            for other in sorted(edges[name]):
                visit(other, path + [name])
            done.add(name)

    for name in sorted(edges):
        visit(name, [])
    return found


def body(text, function):
    """-> the source of a C function, "" if it is not found"""
    match = re.search(r"^[\w \t*]*\b%s\([^;{]*\)\n\{\n.*?^\}" % function, text, re.M | re.S)
    return match[0] if match else ""


def wrong_rows():
    if MAP not in read("README.md"):
        yield f"README.md: no link to {MAP}"
    rows = [match.groups() for match in map(ROW.match, read(MAP).splitlines()) if match]
    for question in QUESTIONS:
        if not any(question in row[0] for row in rows):
            yield f"{MAP}: no row for the decision: {question}"
    for question, name, function, code in rows:
        if not os.path.exists(os.path.join(TREE, name)):
            yield f"{MAP}: {question}: no such file: {name}"
        elif code.replace("\\|", "|") not in body(read(name), function):
            yield f"{MAP}: {question}: {function}() in {name} has no line with {code}"


def main(argv):
    if argv == ["cycles"]:
        edges = graph(sys.stdin)
        problems = [" -> ".join(cycle) for cycle in cycles(edges)] if edges else ["no objects"]
    elif argv == ["map"]:
        problems = list(wrong_rows())
    else:
        sys.exit(__doc__)
    print(*problems, sep="\n", end="\n" if problems else "")


if __name__ == "__main__":
    main(sys.argv[1:])
