# SPDX-License-Identifier: GPL-2.0-only
"""Device settings that are not in the link message: offload features, IPv6 and MPLS sysctls, neighbour parameters.
They are read before the swap; afterwards those that differ are set."""

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
MTU_POSITION = 2                        # in the dumped array of IPv6 sysctls
# Not in that array, or handled separately
SPECIAL = ("mtu", "addr_gen_mode", "stable_secret")
STABLE_MODES = (2, 3)                   # address generation modes that use a secret
# Addresses have passed DAD already; repeating it would take seconds.
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
    """-> (available, wanted), each a list of 32-bit blocks"""
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


# ---- sysctls, in the caller's namespace

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


def conf_key(conf):
    """-> a key that is the same for devices with the same IPv6 sysctls, the MTU excepted"""
    return (conf[:4 * MTU_POSITION] + conf[4 * MTU_POSITION + 4:]).hex()


def ipv6_values(name):
    """-> {sysctl: value} of a device, without the SPECIAL ones"""
    found = {}
    for item in sorted(os.listdir(ipv6_path(name))):
        if item not in SPECIAL:
            try:
                found[item] = read(ipv6_path(name, item))
            except OSError:
                continue
    return found


def ipv6_secret(link):
    """-> the secret for stable addresses, None if it has none"""
    if nl.to_int(link.family(AF_INET6).get(IPV6_GEN_MODE, b"")) not in STABLE_MODES:
        return None
    try:
        return read(ipv6_path(link.name, "stable_secret"))
    except OSError:
        return None


def ipv6_mtu(conf):
    return struct.unpack_from("=I", conf, 4 * MTU_POSITION)[0]


class Ipv6ConfCache:
    """Cache of IPv6 sysctls by conf_key(), so that few files are read even with many devices"""

    def __init__(self, known=None):
        self.known = known or {}

    def add(self, link):
        if link.ipv6_conf and conf_key(link.ipv6_conf) not in self.known:
            self.known[conf_key(link.ipv6_conf)] = ipv6_values(link.name)

    def differences(self, old, new):
        """-> [(sysctl, value)] to set on new to make it like old"""
        if not old.ipv6_conf or not new.ipv6_conf:
            return []
        found = []
        if conf_key(old.ipv6_conf) != conf_key(new.ipv6_conf):
            self.add(new)
            now = self.known[conf_key(new.ipv6_conf)]
            found = [(item, value) for item, value in self.known[conf_key(old.ipv6_conf)].items()
                     if now.get(item) not in (None, value)]
        return found


def set_ipv6(name, values):
    for item, value in values:
        write(ipv6_path(name, item), value)


# ---- neighbour parameters

def neigh_parameters(sock):
    """-> {(table, index): dumped parameters without the index} of devices"""
    found = {}
    for body in sock.dump(GETNEIGHTBL, bytes(4)):
        attrs = nl.parse_attrs(body, 4)
        parameters = attrs.get(NDTA_PARMS, b"")
        # The default parameters of a table have no index.
        if len(parameters) >= 8 and struct.unpack_from("=HH", parameters) == (8, NDTPA_IFINDEX):
            found[nl.to_str(attrs[NDTA_NAME]), nl.to_int(parameters[4:8])] = parameters[8:]
    return found


def set_neigh_parameters(name, index, old, new):
    """-> requests for the parameters that differ"""
    if old == new:
        return []
    now = nl.parse_attrs(new)
    change = [nl.attr(n, v) for n, v in nl.iter_attrs(old) if n != NDTPA_REFCNT and now.get(n, v) != v]
    if not change:
        return []
    return [(SETNEIGHTBL, nl.REPLACE, bytes(4) + nl.string(NDTA_NAME, name) + nl.nested(
        NDTA_PARMS, nl.u32(NDTPA_IFINDEX, index), *change))]


# ---- MPLS

def mpls_inputs(sock):
    """-> indexes of the devices with MPLS input enabled"""
    if not os.path.exists("/proc/sys/net/mpls"):
        return set()
    found = set()
    for body in sock.dump(GETNETCONF, struct.pack("=Bxxx", AF_MPLS)):
        attrs = nl.parse_attrs(body, 4)
        if nl.to_int(attrs.get(NETCONFA_INPUT, b"")):
            found.add(nl.to_int(attrs[NETCONFA_IFINDEX]))
    return found


def set_mpls(name, on):
    write("/proc/sys/net/mpls/conf/%s/input" % name, str(int(on)))
