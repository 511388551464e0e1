# SPDX-License-Identifier: GPL-2.0-only
"""What of a tunnel only its driver knows: the sequence numbers of GRE, and the interface index of a device that the
module makes by itself. ip_tunnel_core of iptnl gives and takes them, in the namespace the caller is in; it is loaded
before the kernel's modules go, and goes after they have come. See ip_tnl_carry.c."""

import namespaces

FILE = "/proc/driver/iptnl"


def tell(line):
    """-> whether it was heard and done"""
    try:
        with open(FILE, "w") as file:
            file.write(line + "\n")
    except OSError:
        return False
    return True


def record():
    """From now on the numbers of tunnels that go are kept."""
    return tell("record")


def forget():
    return tell("forget")


def take(spaces):
    """-> {space: {index: (next one expected, next one sent)}} of the tunnels that have gone"""
    found = {}
    for space in spaces:
        if space.links:
            with namespaces.inside(space.namespace.fd):
                found[space] = numbers()
    return {space: value for space, value in found.items() if value}


def numbers():
    try:
        with open(FILE) as file:
            lines = [line.split() for line in file if line.startswith("seq ")]
    except FileNotFoundError:
        return {}
    return {int(index): (int(expected), int(sent)) for _, index, expected, sent in lines}


def ask_for_indexes(spaces):
    """Have the fallback devices that will be made get the indexes of those that have gone."""
    for space in spaces:
        if space.fallbacks():
            with namespaces.inside(space.namespace.fd):
                for link in space.fallbacks():
                    tell("index %s %d" % (link.name, link.index))


def give(values, remap):
    """Set the numbers of tunnels in the namespace that the caller is in. -> indexes of those that went wrong"""
    return [index for index, (expected, sent) in values.items()
            if not tell("seq %d %d %d" % (remap.get(index, index), expected, sent))]
