#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Check the table of bug classes, tools/testing/selftests/bug-classes.md.

bug_classes.py check             : print rows whose script or result does not exist
bug_classes.py scripts           : print the selftests that it names
bug_classes.py compare COLUMN    : compare output of run_tests, on stdin, with a column (6.1, 6.12, newest or iptnl);
                                   print the rows that differ, and those whose script ran but whose result is missing

Prints nothing if all is well. A result is named by its words; * stands for any.
"""
import ast
import collections
import os
import re
import sys

TREE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
TESTING = os.path.join(TREE, "tools/testing")
TABLE = os.path.join(TESTING, "selftests/bug-classes.md")
COLUMNS = ("6.1", "6.12", "newest", "iptnl")
SEEN = {"passes", "fails"}                  # what compare looks at
VERDICTS = SEEN | {"crashes", "needs KASAN", "needs KCSAN", "n/a", "not run"}
ROW = re.compile(r"\| (.+) \| `([\w./-]+)` \| `(.+)` \| (.+) \| (.+) \| (.+) \| (.+) \|$")
RESULT = re.compile(r"# (ok|not ok) \d+ (.*?)( # XFAIL .*)?$")
END = re.compile(r"(?:not )?ok \d+ (\S+\.py)\b")

Row = collections.namedtuple("Row", "name script result verdicts")


def read(path):
    with open(path, encoding="utf-8") as file:
        return file.read()


def rows():
    for line in read(TABLE).splitlines():
        if line.startswith("| ") and not line.startswith(("| class", "|--")):
            match = ROW.match(line)
            if not match:
                sys.exit(f"bug-classes.md: not a row: {line}")
            name, script, result, *verdicts = match.groups()
            yield Row(name, script, result, dict(zip(COLUMNS, verdicts)))


def strings(text):
    """-> all text in the strings of a program, except in comments on functions and the like"""
    tree = ast.parse(text)
    docs = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    return "\n".join(node.value for node in ast.walk(tree)
                     if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docs)


def path_of(script):
    return os.path.join(TESTING, script if "/" in script else f"selftests/{script}")


def wrong(row):
    path = path_of(row.script)
    if not os.path.exists(path):
        return "there is no such script"
    folder, name = os.path.split(path)
    if name.startswith("test_") and f"`{name}`" not in read(os.path.join(folder, "README.md")):
        return "the script is not in the list of README.md"
    text = strings(read(path)) if path.endswith(".py") else read(path)
    missing = [words for words in row.result.split("*") if words not in text]
    if missing:
        return f"not in the script: {missing}"
    unknown = set(row.verdicts.values()) - VERDICTS
    return f"not a verdict: {unknown}" if unknown else None


def results(lines):
    """-> {script: [(name, whether it passed)]} of an output of run_tests"""
    found, current = {}, []
    for line in lines:
        line = line.rstrip("\n")
        result, end = RESULT.match(line), END.match(line)
        if result:
            current.append((result[2], result[1] == "ok" and not result[3]))
        elif end:
            found[end[1]], current = current, []
    return found


def compare(column, found):
    for row in rows():
        if row.script not in found or row.verdicts[column] not in SEEN:
            continue
        regex = re.compile(".*".join(map(re.escape, row.result.split("*"))))
        verdicts = [passed for name, passed in found[row.script] if regex.search(name)]
        got = "not printed" if not verdicts else "passes" if all(verdicts) else "fails"
        if got != row.verdicts[column]:
            yield f"{row.script}: {row.result}: {row.verdicts[column]} in the table, {got} on {column}"


def main(argv):
    if argv == ["check"]:
        problems = [f"bug-classes.md: {row.script}: {row.result}: {text}" for row in rows() if (text := wrong(row))]
    elif argv == ["scripts"]:
        problems = sorted({row.script for row in rows() if "/" not in row.script})
    elif argv[:1] == ["compare"] and argv[1:] and argv[1] in COLUMNS:
        found = results(sys.stdin)
        problems = list(compare(argv[1], found)) if found else ["no output of run_tests"]
    else:
        sys.exit(__doc__)
    print(*problems, sep="\n", end="\n" if problems else "")


if __name__ == "__main__":
    main(sys.argv[1:])
