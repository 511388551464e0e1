#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Move bytes over TCP, or datagrams over UDP, and be sure they all came.

    xfer.py tcp|udp NS PEER_NS ADDRESS COUNT [SIZE]

Sends COUNT writes (datagrams) of SIZE bytes (1000) from NS to ADDRESS, which
is PEER_NS's; every datagram is waited for. Prints what arrived other than it
was sent, and exits 1, or else prints nothing.
"""

import hashlib
import random
import socket
import sys
import threading

from pkt import in_netns

TIMEOUT = 60


def listen(ns, kind, address):
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with in_netns(ns):
        sock = socket.socket(family, kind)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind((address, 4001))
    sock.settimeout(TIMEOUT)
    return sock


def dial(ns, like):
    with in_netns(ns):
        sock = socket.socket(like.family, like.type)
    sock.settimeout(TIMEOUT)
    sock.connect(like.getsockname())
    return sock


def tcp(ns, peer_ns, address, count, size):
    server = listen(peer_ns, socket.SOCK_STREAM, address)
    server.listen()
    data = random.Random(1).randbytes(size)
    sent, came = hashlib.sha256(), hashlib.sha256()

    def receive():
        conn = server.accept()[0]
        conn.settimeout(TIMEOUT)
        for chunk in iter(lambda: conn.recv(1 << 18), b""):
            came.update(chunk)

    thread = threading.Thread(target=receive, daemon=True)
    thread.start()
    sock = dial(ns, server)
    for _ in range(count):
        sock.sendall(data)
        sent.update(data)
    sock.shutdown(socket.SHUT_WR)
    thread.join(TIMEOUT)
    if thread.is_alive() or sent.digest() != came.digest():
        sys.exit("the stream did not arrive as it was sent")


def udp(ns, peer_ns, address, count, size):
    server = listen(peer_ns, socket.SOCK_DGRAM, address)
    sock = dial(ns, server)
    choose = random.Random(1)
    for number in range(count):
        data = choose.randbytes(size)
        sock.send(data)
        if server.recv(65536) != data:
            sys.exit(f"datagram {number} did not arrive as it was sent")


def transfer(ns, peer_ns, address, count, size, datagrams=10):
    """TCP, then datagrams over UDP -> None, or what went wrong"""
    try:
        tcp(ns, peer_ns, address, count, size)
        udp(ns, peer_ns, address, datagrams, 1200)
    except (OSError, SystemExit) as error:
        return repr(error)
    return None


if __name__ == "__main__":
    if len(sys.argv) not in (6, 7):
        sys.exit(__doc__)
    {"tcp": tcp, "udp": udp}[sys.argv[1]](
        *sys.argv[2:5], int(sys.argv[5]), int((sys.argv[6:] or [1000])[0]))
