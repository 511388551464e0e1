#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""The three protocols of tunnel4 (4, 41 and 137) and who gets their packets:
ipip before sit, the next one when the first has no tunnel, ICMP port
unreachable when nobody has.

    the test (192.0.2.2)
       | u0, a tun device
    n0: 192.0.2.1
        i1  ipip, remote 192.0.2.2
        s1  sit mode any, remote 192.0.2.2
        tunl0, sit0
"""
import subprocess

from ksft import ksft_run, need_modules, modprobe, check, NetNs, run_ip
from pkt import icmp, ip, ip6, mpls
from wire import Tun, case, every_protocol_known, sysctl

HERE, THERE, STRANGER = "192.0.2.1", "192.0.2.2", "192.0.2.9"
ENDPOINTS = f"local {HERE} remote {THERE}"
UNREACHABLE = "u0: icmp 3/3"
PROTOCOLS = (4, 41, 137)
PACKET = {4: (ip() / icmp()).bytes(), 41: (ip6() / icmp()).bytes(), 137: (mpls(100) / ip() / icmp()).bytes()}
# The inner header: less is not worth an answer.
LEAST = {4: 20, 41: 40, 137: 4}
MODES = {"ipip": {4}, "mplsip": {137}, "any": {4, 137}}


def to(dev, proto):
    return f"{dev} rx_bytes={len(PACKET[proto])} rx_packets=1"


def receive(u0, name, want, proto, payload=None, src=THERE):
    case(f"{name}, protocol {proto}", want, u0,
         ip(src, HERE, proto=proto) / (PACKET[proto] if payload is None else payload))


def no_tunnel(u0, name):
    for proto in PROTOCOLS:
        receive(u0, name, UNREACHABLE, proto)


def no_tunnel_short_packets(u0):
    for proto, least in LEAST.items():
        for length in (0, 1, least - 1, least, least + 1):
            receive(u0, f"no tunnel, {length} bytes", UNREACHABLE * (length >= least), proto, PACKET[proto][:length])


def to_ipip(u0, name, mode):
    """What the mode does not want is lost: the tunnel is known."""
    for proto in (4, 137):
        receive(u0, name, to("i1", proto) if proto in MODES[mode] else "", proto)


def ipip_alone(u0, mode):
    run_ip(f"link add i1 type ipip mode {mode} {ENDPOINTS}", "link set i1 up")
    to_ipip(u0, f"{mode}, alone", mode)
    receive(u0, f"{mode}, alone", UNREACHABLE, 41)
    receive(u0, f"{mode}, a stranger", UNREACHABLE, 4, src=STRANGER)


def ipip_before_sit(u0, mode):
    run_ip("link set s1 up")
    to_ipip(u0, f"{mode}, with sit", mode)
    receive(u0, f"{mode}, with sit", to("s1", 41), 41)
    run_ip("link set i1 down")
    for proto in PROTOCOLS:
        receive(u0, f"{mode} down, with sit", to("s1", proto), proto)


def fallback_devices(u0, mode):
    """tunl0 comes before sit, and behind a tunnel of the same kind"""
    run_ip("link set tunl0 up")
    receive(u0, f"{mode} down, tunl0 before sit", to("tunl0", 4), 4)
    receive(u0, f"{mode} down, tunl0 before sit", to("s1", 41), 41)
    run_ip("link set i1 up")
    receive(u0, f"{mode}, before tunl0", to("i1", 4) if 4 in MODES[mode] else "", 4)
    receive(u0, f"{mode}, a stranger to tunl0", to("tunl0", 4), 4, src=STRANGER)
    run_ip("link set s1 down", "link set sit0 up")
    receive(u0, f"{mode}, sit0", to("sit0", 41), 41)


def each_mode(u0):
    run_ip(f"link add s1 type sit mode any {ENDPOINTS}")
    for mode in MODES:
        ipip_alone(u0, mode)
        ipip_before_sit(u0, mode)
        fallback_devices(u0, mode)
        run_ip("link del i1", "link set s1 down", "link set tunl0 down", "link set sit0 down")
    run_ip("link del s1")


def main():
    need_modules("ipip")
    modprobe("sit", "tun")
    with NetNs() as n0:
        with n0.inside(), every_protocol_known():
            sysctl(net__ipv4__icmp_ratemask=0)
            u0 = Tun("u0", f"{HERE}/24")
            no_tunnel(u0, "no tunnel: port unreachable")
            no_tunnel_short_packets(u0)
            each_mode(u0)
            no_tunnel(u0, "they are gone: port unreachable")
        check("sit can go", subprocess.run(["modprobe", "-r", "sit"]).returncode == 0)


ksft_run(main)
