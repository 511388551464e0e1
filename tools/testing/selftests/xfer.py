# SPDX-License-Identifier: GPL-2.0
"""Move bytes over TCP, or datagrams over UDP, and be sure they all came.

tcp() and udp() send COUNT writes (datagrams) of SIZE bytes from a namespace to
an address of another one; every datagram is waited for. What arrives other than
it was sent ends the program, or what attempt() calls.
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


def attempt(move, *args):
    """tcp() or udp() with its arguments -> None, or what went wrong"""
    try:
        move(*args)
    except (OSError, SystemExit) as error:
        return repr(error)
    return None


def transfer(ns, peer_ns, address, count, size, datagrams=10):
    """TCP, then datagrams over UDP -> None, or what went wrong"""
    return attempt(tcp, ns, peer_ns, address, count, size) or attempt(udp, ns, peer_ns, address, datagrams, 1200)
