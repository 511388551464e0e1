#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""gre and ipip in ESP transport mode, negotiated by two strongSwan daemons when the first packet is sent.

    n0 charon                        n1 charon
       v0 192.0.2.1 ---- ESP ---- 192.0.2.2 v1
       gre    198.51.100.1 === 198.51.100.2
              2001:db8:1::1 == 2001:db8:1::2
       ipip   203.0.113.1 ====== 203.0.113.2
"""
import os
import re
import struct

from client import IPPROTO_ESP, IPPROTO_UDP, Capture, Files, Program, traffic
from ksft import Stats, check, expect, ksft_run, namespaces, need_modules, veth_pair
from pkt import gre, icmp, ip
from refuse import command, works

IKE_PORTS = 500, 4500
DAEMON = """
charon {
    load_modular = yes
    install_routes = no
    plugins {
        include /etc/strongswan.d/charon/*.conf
        vici {
            socket = unix://%s
        }
    }
    filelog {
        stderr {
            default = 1
            flush_line = yes
        }
    }
}
"""
CONNECTION = """
connections {
    peer {
        version = 2
        local_addrs = 192.0.2.%(number)d
        remote_addrs = 192.0.2.%(peer)d
        proposals = aes128-sha256-modp2048
        local {
            auth = psk
        }
        remote {
            auth = psk
        }
        children {
            gre {
                local_ts = dynamic[gre]
                remote_ts = dynamic[gre]
                mode = transport
                esp_proposals = aes128-sha256
                start_action = %(action)s
            }
            ipip {
                local_ts = dynamic[4]
                remote_ts = dynamic[4]
                mode = transport
                esp_proposals = aes128-sha256
                start_action = %(action)s
            }
        }
    }
}
secrets {
    ike {
        secret = "documentation only"
    }
}
"""


class Ike:
    """A daemon. action: what it does with the children once they are loaded."""

    def __init__(self, files, ns, name, action):
        number = int(name[1:]) + 1
        self.socket = files.path(name + ".vici")
        self.config = files.add(name + ".strongswan.conf", DAEMON % self.socket)
        connection = files.add(name + ".swanctl.conf", CONNECTION % {
            "number": number, "peer": 3 - number, "action": action})
        Program(ns, "/usr/lib/ipsec/charon", prepare=self.environment).wait_for(self.socket)
        works(f"the daemon of {name} takes its configuration", self.swanctl, "--load-all", "--file", connection)

    def environment(self):
        os.environ["STRONGSWAN_CONF"] = self.config

    def swanctl(self, *words):
        """-> exit status, text"""
        return command("env", "STRONGSWAN_CONF=" + self.config, "swanctl", *words, "--uri", "unix://" + self.socket)

    def has(self, child):
        """installed, in transport mode"""
        text = self.swanctl("--list-sas")[1]
        check(f"{child}: its security association",
              re.search(f"{child}: .*INSTALLED, TRANSPORT, ESP", text), text)


def tunnels(n0, n1):
    for ns, own, peer in (n0, 1, 2), (n1, 2, 1):
        ends = f"local 192.0.2.{own} remote 192.0.2.{peer}"
        ns.ip(f"link add g1 type gre {ends} key 7", f"link add i1 type ipip {ends}",
              f"addr add 198.51.100.{own}/24 dev g1", f"addr add 2001:db8:1::{own}/64 dev g1 nodad",
              f"addr add 203.0.113.{own}/24 dev i1", "link set g1 up", "link set i1 up")


def clear_packet(dev):
    """for this device of n1, without ESP"""
    if dev == "g1":
        return ip("192.0.2.1", "192.0.2.2") / gre(key=7) / ip("198.51.100.1", "198.51.100.2") / icmp()
    return ip("192.0.2.1", "192.0.2.2") / ip("203.0.113.1", "203.0.113.2") / icmp()


def without_policy(n0, n1):
    stats = Stats(n1, "g1")
    n0.inject("v0", n1, "v1", clear_packet("g1"))
    stats.expect("without a policy, clear packets come in", rx_packets=1, tx_packets=1)


def is_ike(packet):
    return packet["proto"] == IPPROTO_UDP and \
        any(port in IKE_PORTS for port in struct.unpack_from("!HH", packet["payload"]))


def only_esp(name, capture):
    packets = capture.packets()
    esp = [packet for packet in packets if packet["proto"] == IPPROTO_ESP]
    expect(f"{name}: on the wire is nothing but ESP and IKE", [],
           [packet for packet in packets if packet["proto"] != IPPROTO_ESP and not is_ike(packet)])
    check(f"{name}: on the wire is ESP", len(esp) > 100, len(esp))


def clear_is_dropped(name, n0, n1, dev):
    stats = Stats(n1, dev)
    n0.inject("v0", n1, "v1", clear_packet(dev))
    stats.expect(f"{name}: what comes in clear is dropped")


def protected(n0, n1, ike, kind, dev, networks):
    """networks: (name, prefix of the addresses)..."""
    capture = Capture(n0, "v0")
    for name, prefix in networks:
        traffic(name, n0, n1, f"{prefix}1", f"{prefix}2")
    ike.has(kind)
    capture.close()
    only_esp(kind, capture)
    clear_is_dropped(kind, n0, n1, dev)


def new_keys(n0, n1, ike):
    works("new keys", ike.swanctl, "--rekey", "--child", "gre")
    traffic("gre with new keys", n0, n1, "198.51.100.1", "198.51.100.2")


def main():
    need_modules("ipip", "ip_gre")
    with Files() as files, namespaces(2, ipv6=True) as (n0, n1):
        veth_pair(n0, "v0", "192.0.2.1/24", n1, "v1", "192.0.2.2/24")
        tunnels(n0, n1)
        without_policy(n0, n1)
        Ike(files, n1, "n1", "none")
        ike = Ike(files, n0, "n0", "trap")
        protected(n0, n1, ike, "gre", "g1", (("gre", "198.51.100."), ("gre, IPv6", "2001:db8:1::")))
        protected(n0, n1, ike, "ipip", "i1", (("ipip", "203.0.113."),))
        new_keys(n0, n1, ike)


ksft_run(main)
