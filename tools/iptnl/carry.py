# SPDX-License-Identifier: GPL-2.0-only
"""Carry over state that only the driver has: sequence numbers of GRE, and the interface indexes of fallback devices.

iptnl's ip_tunnel_core provides it in FILE, for the namespace of the caller. It is loaded before the in-tree modules are
unloaded, and unloaded after they are loaded. See ip_tnl_carry.c.
"""

import namespaces

FILE = "/proc/driver/iptnl"


def send(line):
    """Return true if the kernel accepted the line."""
    try:
        with open(FILE, "w") as file:
            file.write(line + "\n")
    except OSError:
        return False
    return True


def start_recording():
    """Keep the sequence numbers of tunnels that are deleted from now on."""
    return send("record")


def discard_recorded():
    return send("forget")


def collect_numbers(netns_list):
    """-> {netns: {index: (next expected, next sent)}} of deleted tunnels"""
    found = {}
    for netns in netns_list:
        if netns.links:
            with namespaces.inside(netns.handle.fd):
                found[netns] = read_numbers()
    return {netns: value for netns, value in found.items() if value}


def read_numbers():
    try:
        with open(FILE) as file:
            lines = [line.split() for line in file if line.startswith("seq ")]
    except FileNotFoundError:
        return {}
    return {int(index): (int(expected), int(sent)) for _, index, expected, sent in lines}


def request_indexes(netns_list):
    """Request that new fallback devices get the indexes of the old ones."""
    for netns in netns_list:
        if netns.fallbacks():
            with namespaces.inside(netns.handle.fd):
                for link in netns.fallbacks():
                    send("index %s %d" % (link.name, link.index))


def set_numbers(values, remap):
    """Set sequence numbers of tunnels in the caller's namespace. -> indexes of tunnels where it failed"""
    return [index for index, (expected, sent) in values.items()
            if not send("seq %d %d %d" % (remap.get(index, index), expected, sent))]
