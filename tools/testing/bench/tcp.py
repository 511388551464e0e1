# SPDX-License-Identifier: GPL-2.0-only
"""TCP through a tunnel between two namespaces, in bulk."""

import os
import selectors
import socket
import struct
import time

from inject import enter

CHUNK = 1 << 18
SOURCE, ADDRESS = "198.18.6.1", "198.18.3.130"      # see paths.World


def receive(listener, flows, warm_up, size, report):
    """Take so many bytes of each of so many flows, tell how long those after the warm-up took, all flows together"""
    connections = [listener.accept()[0] for _ in range(flows)]
    left = warm_up + size * flows
    buffer = bytearray(CHUNK)
    start = None
    selector = selectors.DefaultSelector()
    for one in connections:
        selector.register(one, selectors.EVENT_READ)
    while left > 0:
        for key, _ in selector.select():
            left -= key.fileobj.recv_into(buffer, CHUNK, socket.MSG_TRUNC)
        if start is None and left <= size * flows:
            start, begin = time.monotonic_ns(), left
    os.write(report, struct.pack("=QQ", time.monotonic_ns() - start, begin - left))


def send(address):
    """One flow, until the receiver has gone"""
    connection = socket.create_connection((address, 5201), source_address=(SOURCE, 0))
    chunk = bytes(CHUNK)
    try:
        while True:
            connection.sendall(chunk)
    except OSError:
        pass


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
    """-> instructions per megabyte, sender's and receiver's"""
    enter("b")
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((address, 5201))
    listener.listen(flows)
    enter("a")
    come, report = os.pipe()
    receiver = fork("b", receive, listener, flows, megabytes << 18, (megabytes << 20) // flows, report)
    listener.close()
    senders = [fork("a", send, address) for _ in range(flows)]
    os.close(report)
    answer = os.read(come, 16)
    os.close(come)
    for pid in [receiver, *senders]:
        os.waitpid(pid, 0)
    if len(answer) != 16:
        raise SystemExit("bench: TCP: the transfer ended early")
    spent, size = struct.unpack("=QQ", answer)
    return spent / size * (1 << 20)
