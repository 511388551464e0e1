# SPDX-License-Identifier: GPL-2.0
"""Which kernels something is said of.

Words, of which one must be true of a series as "7.2": "all", "6.12" (this one), "<7.2", ">=6.12".
"""

import os
import re

WORD = re.compile(r"(all)|(<|>=|)(\d+)\.(\d+)")


def running():
    """-> of the kernel that runs here"""
    return re.match(r"\d+\.\d+", os.uname().release)[0]


def numbers(series):
    """-> a tuple that can be compared: 6.2 comes before 6.12"""
    return tuple(int(part) for part in series.split("."))


def is_said(words):
    """Are these such words?"""
    return bool(words.split()) and all(WORD.fullmatch(word) for word in words.split())


def matches(words, series):
    """Is one of the words true of the series?"""
    def true(word):
        if word == "all":
            return True
        if word.startswith("<"):
            return numbers(series) < numbers(word[1:])
        if word.startswith(">="):
            return numbers(series) >= numbers(word[2:])
        return word == series
    return any(true(word) for word in words.split())
