#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""A python that stays: lib.sh asks it for what would else start one each time.

    agent.py REQUESTS REPLIES       two named pipes

A request is a line of arguments, each ended by 0x1f (a newline in them is
0x1d): one of

    pkt|nl|tunctl ARGUMENT...       as the program of that name
    links NS [DEV]                  configuration of all devices, or one
    stats NS DEV                    its counters, NAME=VALUE by line
    save NS DEV | delta NS DEV      keep them; those that moved since, NAME=N
    has NS DEV                      is there such a device?
    running NS DEV                  has it a carrier (LOWER_UP)?
    mtu NS DEV                      its MTU

The reply is the output, then 0x1e and the exit status.
"""

import contextlib
import io
import os
import socket
import struct
import sys
import traceback

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import nl           # noqa: E402
import pkt          # noqa: E402
import tunctl       # noqa: E402

IFNAME, MTU, STATS32, STATS64, AF_SPEC, EXT_MASK = 3, 4, 7, 23, 26, 29
SKIP_STATS = 8
STATS = """rx_packets tx_packets rx_bytes tx_bytes rx_errors tx_errors
    rx_dropped tx_dropped multicast collisions rx_length_errors rx_over_errors
    rx_crc_errors rx_frame_errors rx_fifo_errors rx_missed_errors
    tx_aborted_errors tx_carrier_errors tx_fifo_errors tx_heartbeat_errors
    tx_window_errors rx_compressed tx_compressed rx_nohandler""".split()
saved = {}


def attributes(data):
    at = 0
    while at + 4 <= len(data):
        size, number = struct.unpack("=HH", data[at:at + 4])
        if size < 4:
            return
        yield number & 0x3fff, data[at + 4:at + size]
        at += (size + 3) & ~3


def dump(ns, mask):
    """-> (fixed part, attributes as a list) of each device"""
    with pkt.in_netns(ns):
        sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)
    with sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        sock.bind((0, 0))
        body = bytes(16) + struct.pack("=HHI", 8, EXT_MASK, mask)
        sock.send(struct.pack("=IHHII", 16 + len(body), 18, 0x301, 1, 0) +
                  body)
        while True:
            data = sock.recv(1 << 20)
            while data:
                size, kind = struct.unpack("=IH", data[:6])
                if kind == 3:
                    return
                if kind == 16:
                    yield data[16:32], list(attributes(data[32:size]))
                data = data[(size + 3) & ~3:]


def name_of(attrs):
    return dict(attrs)[IFNAME].rstrip(b"\0").decode()


def configuration(ns, dev=None):
    """-> a line for each device, or for one: all that netlink says of it, but for counters"""
    return [" ".join([name_of(attrs), head.hex(), *(
                "%d:%s" % (number, value.hex()) for number, value in attrs
                if number not in (AF_SPEC, STATS32, STATS64))])
            for head, attrs in dump(ns, SKIP_STATS) if dev in (None, name_of(attrs))]


def links(ns, dev=None):
    print(*configuration(ns, dev), sep="\n")
    return 0


def counters(ns, dev):
    for _, attrs in dump(ns, 0):
        if name_of(attrs) == dev:
            data = dict(attrs)[STATS64]
            values = struct.unpack("=%dQ" % (len(data) // 8), data)
            return dict(zip(STATS, values))
    raise LookupError("no device " + dev)


def stats(ns, dev):
    for item in counters(ns, dev).items():
        print("%s=%d" % item)
    return 0


def save(ns, dev):
    saved[ns, dev] = counters(ns, dev)
    return 0


def delta(ns, dev):
    old = saved[ns, dev]
    for name, value in counters(ns, dev).items():
        if value != old[name]:
            print("%s=%d" % (name, value - old[name]))
    return 0


def has(ns, dev):
    return 0 if any(name_of(a) == dev for _, a in dump(ns, SKIP_STATS)) else 1


def device(ns, dev):
    for head, attrs in dump(ns, SKIP_STATS):
        if name_of(attrs) == dev:
            return head, dict(attrs)
    raise LookupError("no device " + dev)


def running(ns, dev):
    head, _ = device(ns, dev)
    return 0 if struct.unpack("=I", head[8:12])[0] & 0x10000 else 1


def mtu(ns, dev):
    print(struct.unpack("=I", device(ns, dev)[1][MTU])[0])
    return 0


OPERATIONS = {"pkt": lambda *argv: pkt.main(list(argv)),
              "nl": lambda *argv: nl.main(list(argv)),
              "tunctl": lambda *argv: tunctl.main(list(argv)),
              "links": links, "stats": stats, "save": save, "delta": delta,
              "has": has, "running": running, "mtu": mtu}


def answer(argv):
    cpus = os.sched_getaffinity(0)
    try:
        return OPERATIONS[argv[0]](*argv[1:]) or 0
    except SystemExit as leave:
        if isinstance(leave.code, str):
            print(leave.code)
        return leave.code if isinstance(leave.code, int) else 1
    except Exception:
        traceback.print_exc(file=sys.stdout)
        return 1
    finally:
        os.sched_setaffinity(0, cpus)


def main():
    with open(sys.argv[1]) as requests, open(sys.argv[2], "w") as replies:
        for line in requests:
            argv = [word.replace("\x1d", "\n")
                    for word in line.rstrip("\n").split("\x1f")[:-1]]
            output = io.StringIO()
            with contextlib.redirect_stdout(output):
                status = answer(argv)
            text = output.getvalue()
            if text and not text.endswith("\n"):
                text += "\n"
            replies.write("%s\x1e%d\n" % (text, status))
            replies.flush()


if __name__ == "__main__":
    main()
