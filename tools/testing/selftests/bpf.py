# SPDX-License-Identifier: GPL-2.0-only
"""Small BPF programs of raw instructions, by bpf(2), for the tests of metadata:
there is no compiler where they run.

    setter = Setter(id=5, remote="192.0.2.2")       set the tunnel of a packet
    getter = Getter()                               keep what a packet came by
    attach("gx", "egress", setter); attach("gx", "ingress", getter)
    getter.last()       -> {"id": 5, "remote": "192.0.2.2", ...} or None
"""

import contextlib
import ctypes
import os
import platform
import socket
import struct
import subprocess
import sys

__all__ = ["Setter", "Getter", "FouSetter", "FouGetter", "attach", "ZERO_CSUM", "DONT_FRAGMENT",
           "SEQ_NUMBER", "NO_KEY"]

BPF = {"x86_64": 321, "aarch64": 280}[platform.machine()]
MAP_CREATE, LOOKUP, UPDATE, PROG_LOAD, OBJ_PIN = 0, 1, 2, 5, 6
ARRAY, SCHED_CLS = 2, 3
# Flags of bpf_skb_set_tunnel_key()
ZERO_CSUM, DONT_FRAGMENT, SEQ_NUMBER, NO_KEY = 2, 4, 8, 16
TUNINFO_FLAGS = 16              # of bpf_skb_get_tunnel_key()
MAP_UPDATE_ELEM, GET_KEY, SET_KEY, GET_OPT, SET_OPT = 2, 20, 21, 29, 30
KEY_SIZE, OPT_SIZE = 44, 12     # struct bpf_tunnel_key, erspan_metadata

BTF_FD_BY_ID, OBJ_INFO, BTF_NEXT_ID = 19, 15, 23
FOU_TYPES = {"fou": 0, "gue": 1}        # enum bpf_fou_encap_type

libc = ctypes.CDLL(None, use_errno=True)


def bpf(command, attributes):
    buffer = ctypes.create_string_buffer(attributes,
                                         max(len(attributes), 128))
    result = libc.syscall(BPF, command, buffer, len(buffer))
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


def pointer(buffer):
    return ctypes.addressof(buffer)


# ----------------------------------------------------------- instructions

def insn(code, dst=0, src=0, off=0, imm=0):
    return struct.pack("=BBhi", code, src << 4 | dst, off, imm)


def mov(dst, imm):
    return insn(0xb7, dst, imm=imm)


def copy(dst, src):
    return insn(0xbf, dst, src)


def on_stack(dst, off):
    """dst = address of the stack at off"""
    return copy(dst, 10) + insn(0x07, dst, imm=off)


def store(off, data):
    """bytes, a multiple of 4, to the stack at off"""
    return b"".join(
        insn(0x62, 10, off=off + at, imm=struct.unpack_from("=i", data, at)[0])
        for at in range(0, len(data), 4))


def save(off, src):
    return insn(0x63, 10, src, off)


def call(number):
    return insn(0x85, imm=number)


def leave(value):
    return mov(0, value) + insn(0x95)


class Program:
    """code gets the packet in r6"""

    count = 0

    def __init__(self, code, fds=()):
        code = copy(6, 1) + code
        fds = struct.pack("=%di" % (len(fds) + 1), 0, *fds)
        fds = ctypes.create_string_buffer(fds)
        text = ctypes.create_string_buffer(code)
        log = ctypes.create_string_buffer(65536)
        licence = ctypes.create_string_buffer(b"GPL")

        def load(verbose):
            return bpf(PROG_LOAD, struct.pack(
                "=IIQQIIQ80xQ", SCHED_CLS, len(code) // 8, pointer(text), pointer(licence),
                verbose, len(log) if verbose else 0, pointer(log) if verbose else 0, pointer(fds)))

        try:
            self.fd = load(0)
        except OSError as error:
            with contextlib.suppress(OSError):
                load(1)
            sys.exit(f"bpf: {error}\n{log.value.decode()}")


class Array:
    """A map of one value, between programs and the test"""

    def __init__(self, size):
        self.fd = bpf(MAP_CREATE, struct.pack("=IIIII", ARRAY, 4, size, 1, 0))
        self.key = ctypes.create_string_buffer(4)
        self.value = ctypes.create_string_buffer(size)

    def arguments(self):
        """code: map and key, for a helper; the key is at the end of the stack"""
        return store(-4, bytes(4)) + insn(0x18, 1, 1, imm=self.fd) + insn(0) + on_stack(2, -4)

    def access(self, command):
        bpf(command, struct.pack("=IIQQQ", self.fd, 0, pointer(self.key), pointer(self.value), 0))

    def read(self):
        self.access(LOOKUP)
        return self.value.raw

    def write(self, data):
        self.value.raw = data.ljust(len(self.value), b"\0")
        self.access(UPDATE)


def directory():
    """where programs are pinned: of this process, gone with its namespace"""
    path = "/sys/fs/bpf"
    if not os.path.ismount(path):
        subprocess.run(["mount", "-t", "bpf", "bpf", path], check=True)
    return path


def attach(dev, way, program):
    """to the ingress or egress of a device that has a clsact qdisc"""
    Program.count += 1
    path = f"{directory()}/iptnl-{os.getpid()}-{Program.count}"
    name = ctypes.create_string_buffer(path.encode())
    bpf(OBJ_PIN, struct.pack("=QI", pointer(name), program.fd))
    subprocess.run(["tc", "filter", "replace", "dev", dev, way, "prio", "1",
                    "handle", "1", "bpf", "direct-action", "object-pinned",
                    path], check=True, stdout=subprocess.DEVNULL)
    os.unlink(path)


def host(address):
    return struct.unpack("!I", socket.inet_aton(address))[0]


class Setter(Program):
    """bpf_skb_set_tunnel_key(), and with options bpf_skb_set_tunnel_opt();
    a packet that they do not accept is dropped"""

    def __init__(self, remote, id=0, tos=0, ttl=0, local="0.0.0.0", flags=0,
                 options=None):
        key = struct.pack("=IIIIIBBHIIIII", id, host(remote), 0, 0, 0, tos,
                          ttl, 0, 0, host(local), 0, 0, 0)
        code = store(-KEY_SIZE - 4, key) + copy(1, 6) + \
            on_stack(2, -KEY_SIZE - 4) + mov(3, KEY_SIZE) + mov(4, flags) + \
            call(SET_KEY) + self.drop_unless_0()
        if options is not None:
            code += store(-64, options) + copy(1, 6) + on_stack(2, -64) + \
                mov(3, len(options)) + call(SET_OPT) + self.drop_unless_0()
        super().__init__(code + leave(0))

    @staticmethod
    def drop_unless_0():
        return insn(0x15, 0, off=2) + leave(2)      # TC_ACT_SHOT


class Getter(Program):
    """bpf_skb_get_tunnel_key() and _opt() of each packet, the last is kept"""

    # result of both, then what they wrote
    VALUE = struct.Struct("=ii%ds%ds" % (KEY_SIZE, OPT_SIZE))
    MORE = struct.Struct("=I%ds" % VALUE.size)      # number of packets

    def __init__(self):
        self.array = Array(self.VALUE.size)
        base = -self.VALUE.size - 8
        code = store(base, bytes(self.VALUE.size)) + \
            copy(1, 6) + on_stack(2, base + 8) + mov(3, KEY_SIZE) + \
            mov(4, TUNINFO_FLAGS) + call(GET_KEY) + save(base, 0) + \
            copy(1, 6) + on_stack(2, base + 8 + KEY_SIZE) + \
            mov(3, OPT_SIZE) + call(GET_OPT) + save(base + 4, 0) + \
            self.array.arguments() + on_stack(3, base) + mov(4, 0) + \
            call(MAP_UPDATE_ELEM) + leave(0)
        super().__init__(code)
        self.forget()

    def forget(self):
        self.array.write(struct.pack("=i", 1))

    def last(self):
        """-> what the last packet since the last call came with, None if
        there was no packet, {} if it came without"""
        got, options, key, data = self.VALUE.unpack(self.array.read())
        self.forget()
        if got == 1:
            return None
        if got < 0:
            return {}
        id, remote, tos, ttl, flags, local = struct.unpack_from(
            "=II12xBB2s4xI", key)
        found = {"id": id, "remote": socket.inet_ntoa(struct.pack("!I", remote)),
                 "local": socket.inet_ntoa(struct.pack("!I", local)),
                 "tos": tos, "ttl": ttl,
                 "flags": struct.unpack("!H", flags)[0]}
        if options > 0:
            found["options"] = data[:options].hex()
        return found


# ----------------------------------------------- functions of the module fou

EXTRA = {1: 4, 3: 12, 14: 4, 17: 4}     # bytes behind a BTF type, by kind
EACH = {4: 12, 5: 12, 6: 8, 13: 8, 15: 12, 19: 12}      # and for each member
STRUCT, FUNC = 4, 12


def btf(name):
    """-> (types, strings) of a module, or of vmlinux"""
    with open("/sys/kernel/btf/" + name, "rb") as file:
        data = file.read()
    head, types, size, strings, length = struct.unpack_from("=5I", data, 4)
    return data[head + types:head + types + size], \
        data[head + strings:head + strings + length]


def btf_types(types):
    """-> the offset of each"""
    at = 0
    while at < len(types):
        yield at
        word = struct.unpack_from("=I", types, at + 4)[0]
        kind = word >> 24 & 31
        at += 12 + EXTRA.get(kind, 0) + EACH.get(kind, 0) * (word & 0xffff)


def btf_offset(struct_name, member):
    """-> the bytes in front of a member of a struct of vmlinux"""
    types, strings = btf("vmlinux")

    def name(offset):
        return strings[offset:strings.index(b"\0", offset)].decode()

    for at in btf_types(types):
        offset, word = struct.unpack_from("=II", types, at)
        if word >> 24 & 31 != STRUCT or name(offset) != struct_name:
            continue
        for number in range(word & 0xffff):
            text, _, bits = struct.unpack_from("=III", types, at + 12 + 12 * number)
            if name(text) == member:
                return (bits & 0xffffff) // 8
    raise LookupError(f"{struct_name}.{member}")


def btf_function(module, name):
    """-> its number"""
    base, base_strings = btf("vmlinux")
    number = 1 + sum(1 for _ in btf_types(base))
    types, strings = btf(module)
    for number, at in enumerate(btf_types(types), number):
        offset, word = struct.unpack_from("=II", types, at)
        begin = offset - len(base_strings)
        if word >> 24 & 31 == FUNC and begin >= 0 and \
                strings[begin:strings.index(b"\0", begin)] == name.encode():
            return number
    raise LookupError(name)


def btf_fd(module):
    """-> a file descriptor of its types"""
    found = 0
    while True:
        request = ctypes.create_string_buffer(struct.pack("=I", found), 128)
        if libc.syscall(BPF, BTF_NEXT_ID, request, 128):
            raise LookupError(module)
        found = struct.unpack_from("=I", request.raw, 4)[0]
        fd = bpf(BTF_FD_BY_ID, struct.pack("=I", found))
        name = ctypes.create_string_buffer(64)
        # struct bpf_btf_info: btf, btf_size, id, name, name_len, ...
        about = ctypes.create_string_buffer(struct.pack(
            "=QIIQII", 0, 0, 0, pointer(name), len(name), 0))
        bpf(OBJ_INFO, struct.pack("=IIQ", fd, 32, pointer(about)))
        if name.value.decode() == module:
            return fd
        os.close(fd)


def call_module(number):
    """of the first module among the descriptors"""
    return insn(0x85, 0, 2, 1, number)


class FouSetter(Program):
    """bpf_skb_set_tunnel_key(), then bpf_skb_set_fou_encap()"""

    def __init__(self, remote, sport, dport, type):
        key = struct.pack("=IIIIIBBHIIIII", 0, host(remote), 0, 0, 0, 0, 0, 0,
                          0, 0, 0, 0, 0)
        code = store(-KEY_SIZE - 4, key) + copy(1, 6) + \
            on_stack(2, -KEY_SIZE - 4) + mov(3, KEY_SIZE) + \
            mov(4, ZERO_CSUM) + call(SET_KEY) + Setter.drop_unless_0() + \
            store(-8, struct.pack("!HH", sport, dport)) + copy(1, 6) + \
            on_stack(2, -8) + mov(3, FOU_TYPES[type]) + \
            call_module(btf_function("fou", "bpf_skb_set_fou_encap")) + \
            Setter.drop_unless_0()
        super().__init__(code + leave(0), [btf_fd("fou")])


class FouGetter(Program):
    """bpf_skb_get_fou_encap() of each packet, the last is kept"""

    VALUE = struct.Struct("=i4s")

    def __init__(self):
        self.array = Array(self.VALUE.size)
        code = store(-16, bytes(8)) + copy(1, 6) + on_stack(2, -12) + \
            call_module(btf_function("fou", "bpf_skb_get_fou_encap")) + \
            save(-16, 0) + self.array.arguments() + \
            on_stack(3, -16) + mov(4, 0) + call(MAP_UPDATE_ELEM) + leave(0)
        super().__init__(code, [btf_fd("fou")])

    def last(self):
        """-> (result, source port, destination port)"""
        result, ports = self.VALUE.unpack(self.array.read())
        return (result, *struct.unpack("!HH", ports))
