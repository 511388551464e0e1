# SPDX-License-Identifier: GPL-2.0-only
"""Generic netlink library: sockets, requests, dumps, attributes"""

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
BATCH = 32              # messages per send; their acks must fit into the receive buffer
RECEIVE = 1 << 16       # the kernel fills at most half of it
UNPACK_HEADER = struct.Struct("=HH").unpack_from
DUMP_RETRIES = 20       # of an inconsistent dump (NLM_F_DUMP_INTR)


class Error(OSError):
    """An error from the kernel, with its extack message if there is one"""

    def __init__(self, number, message=""):
        super().__init__(number, os.strerror(number) + (": " + message if message else ""))
        self.message = message


def attr(number, payload=b""):
    return struct.pack("=HH", 4 + len(payload), number) + payload + bytes(-len(payload) % 4)


def nested(number, *attrs):
    return attr(number | 0x8000, b"".join(attrs))


def u32(number, value):
    return attr(number, struct.pack("=I", value & 0xffffffff))


def string(number, text):
    return attr(number, text.encode(errors="surrogateescape") + b"\0")


def iter_attrs(data, at=0):
    """Yield (type without flags, payload) of each attribute."""
    end = len(data)
    while at + 4 <= end:
        size, number = UNPACK_HEADER(data, at)
        if size < 4:
            return
        yield number & 0x3fff, data[at + 4:at + size]
        at += (size + 3) & ~3


def parse_attrs(data, at=0):
    """-> {type: payload}; inlined because it is the hot spot of a swap"""
    found, end = {}, len(data)
    while at + 4 <= end:
        size, number = UNPACK_HEADER(data, at)
        if size < 4:
            break
        found[number & 0x3fff] = data[at + 4:at + size]
        at += size + 3 & ~3
    return found


def to_int(payload):
    """-> the integer in an attribute of 1, 2, 4 or 8 bytes in host byte order"""
    return int.from_bytes(payload, "little" if struct.pack("=H", 1)[0] else "big")


def to_str(payload):
    return payload.rstrip(b"\0").decode(errors="surrogateescape")


def parse_ack(data):
    """-> (errno, extack message) of an ack that includes the netlink header"""
    flags = struct.unpack_from("=H", data, 6)[0]
    code = -struct.unpack_from("=i", data, 16)[0]
    message = ""
    if flags & ACK_TLVS:
        at = 36
        if not flags & CAPPED:
            at = 20 + (struct.unpack_from("=I", data, 20)[0] + 3 & ~3)
        message = to_str(parse_attrs(data, at).get(1, b""))
    return code, message


class Socket:
    """A netlink socket in the network namespace where it was created"""

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
        """Set strict checking of dump requests (NETLINK_GET_STRICT_CHK)."""
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
        found, interrupted = [], False
        self.sock.send(self._pack(kind, DUMP, body))
        while True:
            for answer, flags, sequence, data in self._messages():
                if sequence != self.sequence:
                    continue
                interrupted = interrupted or bool(flags & DUMP_INTR)
                if answer == DONE:
                    code = -struct.unpack_from("=i", data, 16)[0] if len(data) >= 20 else 0
                    if code:
                        raise Error(code)
                    return found, interrupted
                if answer == ERROR:
                    raise Error(*parse_ack(data))
                found.append(data[16:])

    def dump(self, kind, body):
        """-> messages of a dump without netlink headers; an inconsistent dump is repeated"""
        for _ in range(DUMP_RETRIES):
            found, interrupted = self._dump(kind, body)
            if not interrupted:
                return found
        raise Error(errno.EAGAIN, "the configuration keeps changing")

    def dump_if_supported(self, kind, body):
        """Like dump(), but return nothing if the kernel does not support the request."""
        try:
            return self.dump(kind, body)
        except Error as error:
            if error.errno != errno.EOPNOTSUPP:
                raise
            return []

    def get(self, kind, body):
        """-> the reply to a request that has a single one"""
        self.sock.send(self._pack(kind, 0, body))
        while True:
            for answer, _, sequence, data in self._messages():
                if sequence == self.sequence:
                    if answer == ERROR:
                        raise Error(*parse_ack(data))
                    return data[16:]

    def request(self, kind, flags, body):
        code, message = self.batch([(kind, flags, body)])[0]
        if code:
            raise Error(code, message)

    def batch(self, requests):
        """Send requests (kind, flags, body) in order. -> [(errno, extack message)]"""
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
                        answers[sequence - first] = parse_ack(data)
            results += [answers[i] for i in range(len(part))]
        return results
