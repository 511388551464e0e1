# SPDX-License-Identifier: GPL-2.0-only
"""What belongs to a device and is not in its link message: offload features, IPv6 and MPLS sysctls, the timers of its
neighbours. Each is read before; afterwards, what differs is set."""

import array
import fcntl
import os
import socket
import struct

import netlink as nl
from link import IPV6_GEN_MODE, AF_INET6

SIOCETHTOOL = 0x8946
GFEATURES, SFEATURES = 0x3a, 0x3b
BLOCKS = 2                              # of 32 features
GETNEIGHTBL, SETNEIGHTBL, GETNETCONF = 66, 67, 82
NDTA_NAME, NDTA_PARMS, NDTPA_IFINDEX, NDTPA_REFCNT = 1, 6, 1, 2
AF_MPLS, NETCONFA_IFINDEX, NETCONFA_INPUT = 28, 1, 7
MTU6 = 2                                # its place in the dumped array
# Not in that array, or with a way of their own.
APART = ("mtu", "addr_gen_mode", "stable_secret")
STABLE = (2, 3)                         # address generation modes that have a secret
# Duplicate addresses were looked for when the address was first given: not again, it would take seconds.
NO_DAD = (("dad_transmits", "0"), ("router_solicitation_delay", "0"))


def control_socket():
    return socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)


# ---- offload features

def _ethtool(sock, name, words):
    buffer = array.array("I", words)
    request = struct.pack("16sP", name.encode(errors="surrogateescape"), buffer.buffer_info()[0])
    fcntl.ioctl(sock, SIOCETHTOOL, request + bytes(40 - len(request)))
    return list(buffer)


def features(sock, name):
    """-> (available, wanted), each a list of blocks"""
    words = _ethtool(sock, name, [GFEATURES, BLOCKS] + [0] * 4 * BLOCKS)[2:]
    return words[0::4], words[1::4]


def restore_features(sock, name, old):
    (old_can, old_want), (new_can, new_want) = old, features(sock, name)
    both = [a & b for a, b in zip(old_can, new_can)]
    change = [(a ^ b) & c for a, b, c in zip(old_want, new_want, both)]
    if any(change):
        words = [SFEATURES, BLOCKS]
        for mask, want in zip(change, old_want):
            words += [mask, want & mask]
        _ethtool(sock, name, words)


# ---- sysctls, in the namespace the caller is in

def read(path):
    with open(path) as file:
        return file.read().strip()


def write(path, value):
    try:
        with open(path, "w") as file:
            file.write(value)
    except OSError as error:
        error.filename = path
        raise


def ipv6_path(name, item=""):
    return "/proc/sys/net/ipv6/conf/%s/%s" % (name, item)


def shape(conf):
    """-> a device's IPv6 configuration as one word, but for the MTU: those of the same shape read the same"""
    return (conf[:4 * MTU6] + conf[4 * MTU6 + 4:]).hex()


def ipv6_values(name):
    """-> what each sysctl of a device says, but for those that are apart"""
    found = {}
    for item in sorted(os.listdir(ipv6_path(name))):
        if item not in APART:
            try:
                found[item] = read(ipv6_path(name, item))
            except OSError:
                continue
    return found


def ipv6_secret(link):
    """-> the secret that stable addresses are made of, None if there is none"""
    if nl.number(link.family(AF_INET6).get(IPV6_GEN_MODE, b"")) not in STABLE:
        return None
    try:
        return read(ipv6_path(link.name, "stable_secret"))
    except OSError:
        return None


def ipv6_mtu(conf):
    return struct.unpack_from("=I", conf, 4 * MTU6)[0]


class Shapes:
    """The IPv6 sysctls of each shape that was met, so that few files are read however many devices there are"""

    def __init__(self, known=None):
        self.known = known or {}

    def learn(self, link):
        if link.ipv6_conf and shape(link.ipv6_conf) not in self.known:
            self.known[shape(link.ipv6_conf)] = ipv6_values(link.name)

    def differences(self, old, new):
        """-> [(sysctl, value)] that turn the device new into old"""
        if not old.ipv6_conf or not new.ipv6_conf:
            return []
        found = []
        if shape(old.ipv6_conf) != shape(new.ipv6_conf):
            self.learn(new)
            now = self.known[shape(new.ipv6_conf)]
            found = [(item, value) for item, value in self.known[shape(old.ipv6_conf)].items()
                     if now.get(item) not in (None, value)]
        return found


def set_ipv6(name, values):
    for item, value in values:
        write(ipv6_path(name, item), value)


# ---- the neighbours' timers

def neighbour_tables(sock):
    """-> {(table, index): parameters as dumped but for the index}, of single devices"""
    found = {}
    for body in sock.dump(GETNEIGHTBL, bytes(4)):
        attrs = nl.table(body, 4)
        parameters = attrs.get(NDTA_PARMS, b"")
        # Those of a device begin with its index; the table's own have none.
        if len(parameters) >= 8 and struct.unpack_from("=HH", parameters) == (8, NDTPA_IFINDEX):
            found[nl.text(attrs[NDTA_NAME]), nl.number(parameters[4:8])] = parameters[8:]
    return found


def set_neighbour_table(name, index, old, new):
    """-> requests for what differs"""
    if old == new:
        return []
    now = nl.table(new)
    change = [nl.attribute(n, v) for n, v in nl.attributes(old) if n != NDTPA_REFCNT and now.get(n, v) != v]
    if not change:
        return []
    return [(SETNEIGHTBL, nl.REPLACE, bytes(4) + nl.string(NDTA_NAME, name) + nl.nested(
        NDTA_PARMS, nl.u32(NDTPA_IFINDEX, index), *change))]


# ---- MPLS

def mpls_inputs(sock):
    """-> indexes of the devices that take MPLS packets"""
    if not os.path.exists("/proc/sys/net/mpls"):
        return set()
    found = set()
    for body in sock.dump(GETNETCONF, struct.pack("=Bxxx", AF_MPLS)):
        attrs = nl.table(body, 4)
        if nl.number(attrs.get(NETCONFA_INPUT, b"")):
            found.add(nl.number(attrs[NETCONFA_IFINDEX]))
    return found


def set_mpls(name, on):
    write("/proc/sys/net/mpls/conf/%s/input" % name, str(int(on)))
