#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""A day in the life of tunnels that carry little: a packet an hour each way, what the kernel learned of a path and of
errors expires in between, and its memory is the same in the evening as in the morning. For vm/run --icount, where the
clock jumps ahead while nothing happens.

    the test, 192.0.2.2
       | u0, a tun device
    n0: 192.0.2.1
       tg  gre   ti  ipip   tf  ipip in FOU   tr  gre to where errors come from   tm  gre to a group
"""
import time

from hostile import unreclaimable
from ksft import NetNs, diag, expect, ksft_run, modprobe, need_modules, no_reference_left
from pkt import gre, icmp, ip, raw, udp
from wire import Tun, case, run_ip, sends

HOURS, HOUR = 24, 3600
LIMIT = 1 << 20                 # bytes
BACK = "192.0.2.2", "192.0.2.1"
INNER = ip(flags=2) / udp() / raw(100)
LARGE = ip(flags=2) / udp() / raw(1400)


def tunnels():
    ends = "local 192.0.2.1 remote 192.0.2.2"
    run_ip("fou add port 5555 ipproto 4", f"link add tg type gre {ends}", f"link add ti type ipip {ends}",
           "link add tf type ipip local 192.0.2.1 remote 192.0.2.3 encap fou encap-sport 7000 encap-dport 5555",
           "link add tr type gre local 192.0.2.1 remote 192.0.2.9",
           "link add tm type gre local 192.0.2.1 remote 239.1.1.1 dev u0 key 9",
           *(f"link set t{kind} up" for kind in "gifrm"))


def learn(u0):
    """Errors, and a path of fewer bytes"""
    about = (ip("192.0.2.1", "192.0.2.9") / gre() / INNER).bytes()
    for error in icmp(3, 4, 1200), icmp(3, 1, 0), icmp(11, 0, 0):
        u0.send(ip("192.0.2.254", "192.0.2.1") / error / about)
    u0.drain()


def hour(number, u0):
    case(f"hour {number}: gre is received", "tg rx_bytes=128 rx_packets=1", u0, ip(*BACK) / gre() / INNER)
    case(f"hour {number}: ipip is received", "ti rx_bytes=128 rx_packets=1", u0, ip(*BACK) / INNER)
    case(f"hour {number}: FOU is received", "tf rx_bytes=128 rx_packets=1", u0,
         ip("192.0.2.3", "192.0.2.1") / udp(7000, 5555) / INNER)
    sends(f"hour {number}: gre sends", "gre 152", u0, "tg", INNER)
    sends(f"hour {number}: what was learned has expired", "gre 1452", u0, "tr", LARGE)
    learn(u0)


def main():
    need_modules("ipip", "ip_gre")
    modprobe("fou", "tun")
    with NetNs() as n0, n0.inside():
        u0 = Tun("u0", "192.0.2.1/24")
        tunnels()
        hour(0, u0)
        morning, start = unreclaimable(), time.monotonic()
        for number in range(1, HOURS + 1):
            time.sleep(HOUR)
            hour(number, u0)
        expect("a day has passed", True, time.monotonic() - start >= HOURS * HOUR)
        expect("memory is what it was", True, unreclaimable() - morning < LIMIT)
        diag(f"{unreclaimable() - morning} bytes more in the evening; {HOURS} hours")
    no_reference_left()


ksft_run(main)
