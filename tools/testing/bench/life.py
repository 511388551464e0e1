# SPDX-License-Identifier: GPL-2.0-only
"""Cost of tunnels without traffic: create, change, dump, delete, memory, new namespaces"""

import ctypes
import os
import subprocess

import links
import paths
from inject import enter, libc

GROUP = 7                       # group of the first half
SHAPES = {"ipip": "remotes", "gre": "gre-remotes"}


def tunnels(kind, count):
    """-> {operation: instructions or bytes per tunnel}"""
    shape = SHAPES[kind]
    paths.namespaces("a")
    enter("a")
    link = links.Links()
    before = links.memory()
    tenth, half = count // 10, count // 2

    def create():
        link.create(shape, 0, half, GROUP)
        link.create(shape, half, count)

    result = {"create": links.spent(create) / count}
    after = links.memory()
    link.dump()
    result["dump"] = links.spent(link.dump) / count
    result["change"] = links.spent(link.change, shape, 0, count) / count
    # Each deletion waits for RCU, so only a tenth of them is measured.
    result["delete"] = links.spent_here(link.delete, 0, tenth) / tenth
    result["delete together"] = links.spent(link.delete_group, GROUP) / (half - tenth)
    link.close()
    enter(None)
    result["delete namespace"] = links.spent(subprocess.run, ["ip", "netns", "delete", "a"]) / (count - half)
    for name, value in after.items():
        result["memory " + name] = (value - before[name]) / count
    return result


def namespaces(count):
    """-> {operation: instructions per namespace}"""
    kept = []

    def make():
        for _ in range(count):
            if libc.unshare(0x40000000):
                raise OSError(ctypes.get_errno(), "unshare")
            kept.append(os.open("/proc/thread-self/ns/net", os.O_RDONLY))
        enter(None)

    def end():
        for file in kept:
            os.close(file)
        kept.clear()

    before = links.memory()
    result = {"namespace create": links.spent(make)}
    after = links.memory()
    result["namespace delete"] = links.spent(end)
    result = {name: value / count for name, value in result.items()}
    for name, value in after.items():
        result["namespace memory " + name] = (value - before[name]) / count
    return result
