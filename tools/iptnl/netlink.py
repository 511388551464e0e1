# SPDX-License-Identifier: GPL-2.0-only
"""Netlink: sockets, requests, dumps, and attributes as bytes. Nothing here knows what a message is about."""

import errno
import os
import socket
import struct

ROUTE, NETFILTER = 0, 12
ERROR, DONE = 2, 3
REQUEST, ACK, DUMP = 0x1, 0x4, 0x300
DUMP_INTR = 0x10
REPLACE, EXCL, CREATE, APPEND = 0x100, 0x200, 0x400, 0x800
ACK_TLVS, CAPPED = 0x200, 0x100
SOL_NETLINK, CAP_ACK, EXT_ACK, STRICT = 270, 10, 11, 12
BATCH = 32              # messages in one go; their acknowledgements must fit into the receive buffer
RECEIVE = 1 << 16       # the kernel fills at most half of it
HEAD = struct.Struct("=HH").unpack_from
TRIES = 20              # of a dump that changes while it is read


class Error(OSError):
    """What the kernel refused, in its own words if it had any."""

    def __init__(self, number, words=""):
        super().__init__(number, os.strerror(number) + (": " + words if words else ""))
        self.words = words


def attribute(number, payload=b""):
    return struct.pack("=HH", 4 + len(payload), number) + payload + bytes(-len(payload) % 4)


def nested(number, *attributes):
    return attribute(number | 0x8000, b"".join(attributes))


def u32(number, value):
    return attribute(number, struct.pack("=I", value & 0xffffffff))


def string(number, text):
    return attribute(number, text.encode() + b"\0")


def attributes(data, at=0):
    """-> (number without its flags, payload) of each attribute"""
    end = len(data)
    while at + 4 <= end:
        size, number = HEAD(data, at)
        if size < 4:
            return
        yield number & 0x3fff, data[at + 4:at + size]
        at += (size + 3) & ~3


def table(data, at=0):
    """-> {number: payload}; most of the time of a swap goes by in here"""
    found, end = {}, len(data)
    while at + 4 <= end:
        size, number = HEAD(data, at)
        if size < 4:
            break
        found[number & 0x3fff] = data[at + 4:at + size]
        at += size + 3 & ~3
    return found


def number(payload):
    """-> the value of an attribute of 1, 2, 4 or 8 bytes in host order"""
    return int.from_bytes(payload, "little" if struct.pack("=H", 1)[0] else "big")


def text(payload):
    return payload.rstrip(b"\0").decode(errors="surrogateescape")


def verdict(data):
    """-> (errno, words) of an acknowledgement, header included"""
    flags = struct.unpack_from("=H", data, 6)[0]
    code = -struct.unpack_from("=i", data, 16)[0]
    words = ""
    if flags & ACK_TLVS:
        at = 36
        if not flags & CAPPED:
            at = 20 + (struct.unpack_from("=I", data, 20)[0] + 3 & ~3)
        words = text(table(data, at).get(1, b""))
    return code, words


class Socket:
    """One netlink socket; it stays in the network namespace it was made in."""

    def __init__(self, protocol=ROUTE):
        self.sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol)
        self.sock.bind((0, 0))
        for option in (socket.SO_RCVBUF, 33):           # 33: SO_RCVBUFFORCE
            self.sock.setsockopt(socket.SOL_SOCKET, option, 1 << 22)
        for option in (CAP_ACK, EXT_ACK):
            self.sock.setsockopt(SOL_NETLINK, option, 1)
        self.strict(True)
        self.sequence = 0

    def strict(self, on):
        """Whether a dump's request is checked, and filtered by, as a whole."""
        self.sock.setsockopt(SOL_NETLINK, STRICT, int(on))

    def close(self):
        self.sock.close()

    def fileno(self):
        return self.sock.fileno()

    def _pack(self, kind, flags, body):
        self.sequence = self.sequence + 1 & 0xffffffff
        return struct.pack("=IHHII", 16 + len(body), kind, REQUEST | flags, self.sequence, 0) + body

    def _messages(self):
        data, at = self.sock.recv(RECEIVE), 0
        while at + 16 <= len(data):
            size, kind, flags, sequence = struct.unpack_from("=IHHI", data, at)
            yield kind, flags, sequence, data[at:at + size]
            at += size + 3 & ~3

    def _dump(self, kind, body):
        found, torn = [], False
        self.sock.send(self._pack(kind, DUMP, body))
        while True:
            for answer, flags, sequence, data in self._messages():
                if sequence != self.sequence:
                    continue
                torn = torn or bool(flags & DUMP_INTR)
                if answer == DONE:
                    code = -struct.unpack_from("=i", data, 16)[0] if len(data) >= 20 else 0
                    if code:
                        raise Error(code)
                    return found, torn
                if answer == ERROR:
                    raise Error(*verdict(data))
                found.append(data[16:])

    def dump(self, kind, body):
        """-> the messages of a dump, without their headers; one that was torn is read again"""
        for _ in range(TRIES):
            found, torn = self._dump(kind, body)
            if not torn:
                return found
        raise Error(errno.EAGAIN, "the configuration changes all the time")

    def dump_if_known(self, kind, body):
        """As dump, but nothing where the kernel does not know of such things"""
        try:
            return self.dump(kind, body)
        except Error as error:
            if error.errno != errno.EOPNOTSUPP:
                raise
            return []

    def get(self, kind, body):
        """-> the one message that answers"""
        self.sock.send(self._pack(kind, 0, body))
        while True:
            for answer, _, sequence, data in self._messages():
                if sequence == self.sequence:
                    if answer == ERROR:
                        raise Error(*verdict(data))
                    return data[16:]

    def request(self, kind, flags, body):
        code, words = self.batch([(kind, flags, body)])[0]
        if code:
            raise Error(code, words)

    def batch(self, requests):
        """Send requests (kind, flags, body) in their order. -> (errno, words) of each"""
        results = []
        for start in range(0, len(requests), BATCH):
            part = requests[start:start + BATCH]
            first = self.sequence + 1
            self.sock.send(b"".join(
                packed + bytes(-len(packed) % 4)
                for packed in (self._pack(kind, flags | ACK, body) for kind, flags, body in part)))
            answers = {}
            while len(answers) < len(part):
                for answer, _, sequence, data in self._messages():
                    if answer == ERROR:
                        answers[sequence - first] = verdict(data)
            results += [answers[i] for i in range(len(part))]
        return results
