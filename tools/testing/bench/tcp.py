# SPDX-License-Identifier: GPL-2.0-only
"""Bulk TCP through a tunnel between two namespaces"""

import os
import selectors
import socket
import struct
import time

from inject import enter

CHUNK = 1 << 18
SOURCE, ADDRESS = "198.18.6.1", "198.18.3.130"      # see paths.World


def receive(listener, flows, size, go, report):
    """Start that many flows, receive everything, check that nothing is missing, and print the duration."""
    connections = [listener.accept()[0] for _ in range(flows)]
    buffer = bytearray(CHUNK)
    selector = selectors.DefaultSelector()
    for one in connections:
        selector.register(one, selectors.EVENT_READ)
    taken, left = 0, flows
    start = time.monotonic_ns()
    os.close(go)
    while left:
        for key, _ in selector.select():
            came = key.fileobj.recv_into(buffer, CHUNK, socket.MSG_TRUNC)
            taken += came
            if not came:
                selector.unregister(key.fileobj)
                left -= 1
    spent = time.monotonic_ns() - start
    if taken == size * flows:
        os.write(report, struct.pack("=Q", spent))


def send(address, size, start):
    """One flow, which starts together with the others"""
    connection = socket.create_connection((address, 5201), source_address=(SOURCE, 0))
    chunk = bytes(CHUNK)
    os.read(start, 1)
    for _ in range(size // CHUNK):
        connection.sendall(chunk)
    connection.close()


def fork(namespace, work, *words):
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        enter(namespace)
        work(*words)
        status = 0
    finally:
        os._exit(status)


def bulk(flows, megabytes, address=ADDRESS):
    """
    -> instructions per megabyte, sender's and receiver's

    From the first byte of a transfer to its last there is always something to do, and before and after it nothing
    is under way: so it counts the same work each time, wherever the scheduler's ticks fall.
    """
    size = (megabytes << 20) // flows // CHUNK * CHUNK
    enter("b")
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((address, 5201))
    listener.listen(flows)
    enter("a")
    come, report = os.pipe()
    start, go = os.pipe()
    receiver = fork("b", receive, listener, flows, size, go, report)
    os.close(go)
    listener.close()
    senders = [fork("a", send, address, size, start) for _ in range(flows)]
    os.close(start)
    os.close(report)
    answer = os.read(come, 8)
    os.close(come)
    for pid in [receiver, *senders]:
        os.waitpid(pid, 0)
    if len(answer) != 8:
        raise SystemExit("bench: TCP: the transfer ended early")
    return struct.unpack("=Q", answer)[0] / (size * flows) * (1 << 20)
