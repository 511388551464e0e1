# SPDX-License-Identifier: GPL-2.0-only
"""Receive frames on a device as from a network card: BPF_PROG_RUN of an XDP program in live-frames mode. The frames
come in batches with softirqs off, in recycled pages with headroom, neither cloned nor shared."""

import ctypes
import os
import socket
import struct

BPF = 321                       # the VMs are x86_64
MAP_CREATE, MAP_UPDATE, PROG_LOAD, PROG_RUN = 0, 2, 5, 10
XDP, ARRAY = 6, 2
LIVE_FRAMES = 2
XDP_PASS, XDP_ABORTED = 2, 0
BATCH = 64                      # as in a network driver, NAPI_POLL_WEIGHT

libc = ctypes.CDLL(None, use_errno=True)


def bpf(command, attributes):
    buffer = ctypes.create_string_buffer(attributes, max(len(attributes), 144))
    result = libc.syscall(BPF, command, buffer, len(buffer))
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


def enter(namespace):
    """Move this process to a network namespace; None is the initial one."""
    with open(f"/run/netns/{namespace}" if namespace else "/proc/1/ns/net", "rb") as file:
        if libc.setns(file.fileno(), 0x40000000):
            raise OSError(ctypes.get_errno(), f"setns {namespace}")


# ---------------------------------------------------------------- frames

def checksum(data):
    data += bytes(len(data) % 2)
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xffff) + (total >> 16)
    return ~total & 0xffff


def ipv4(protocol, source, target, payload):
    header = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(payload), 0, 0x4000, 64, protocol, 0,
                         socket.inet_aton(source), socket.inet_aton(target))
    return header[:10] + struct.pack("!H", checksum(header)) + header[12:] + payload


def udp(source, target, size):
    """An IPv4 packet of that many bytes, without UDP checksum"""
    payload = struct.pack("!HHHH", 4000, 9, size - 20, 0) + bytes(size - 28)
    return ipv4(17, source, target, payload)


def ethernet(target, payload):
    return bytes.fromhex(target.replace(":", "")) + bytes.fromhex("020000000001") + b"\x08\0" + payload


class Frame:
    """A frame. The stack may change its first `mutable` bytes. `seq` is the offset of a 4-byte sequence number to
    increment, `csum` that of a checksum that covers it, or None."""

    def __init__(self, data, mutable, seq=None, csum=None):
        self.data, self.mutable, self.seq, self.csum = data, -(-mutable // 8) * 8, seq, csum
        assert self.mutable <= len(data)


# ---------------------------------------------------------------- XDP program

def insn(code, dst=0, src=0, off=0, imm=0):
    return struct.pack("=BBhi", code, src << 4 | dst, off, imm)


def load64(dst, value, src=0):
    low, high = struct.unpack("=ii", struct.pack("=Q", value))
    return insn(0x18, dst, src, imm=low) + insn(0, imm=high)


def count_up(frame, map_fd):
    """Write the next sequence number into the frame (r2), and update the checksum."""
    code = load64(6, map_fd, src=2)                             # r6 = &value of the map
    code += insn(0x61, 7, 6) + insn(0x07, 7, imm=1) + insn(0x63, 6, 7)
    code += insn(0xbf, 8, 7) + insn(0xdc, 8, imm=32) + insn(0x63, 2, 8, frame.seq)
    if frame.csum is not None:
        base = ~struct.unpack_from("!H", frame.data, frame.csum)[0] & 0xffff
        code += insn(0xbc, 8, 7) + insn(0x77, 7, imm=16) + insn(0x57, 8, imm=0xffff)
        code += insn(0x57, 7, imm=0xffff) + insn(0x0f, 7, 8) + insn(0x07, 7, imm=base)
        for _ in range(2):
            code += insn(0xbf, 8, 7) + insn(0x77, 8, imm=16) + insn(0x57, 7, imm=0xffff) + insn(0x0f, 7, 8)
        code += insn(0xa7, 7, imm=-1) + insn(0xdc, 7, imm=16) + insn(0x6b, 2, 7, frame.csum)
    return code


class Injector:
    """Receives copies of a frame on a device of the current namespace"""

    numbers = 1                 # next sequence number

    def __init__(self, frame, device):
        self.frame, self.device = frame, socket.if_nametoindex(device)
        self.map = None
        if frame.seq is not None:
            self.map = bpf(MAP_CREATE, struct.pack("=IIIII", ARRAY, 4, 8, 1, 0))
        self.program = self.load(self.code())

    def code(self):
        frame = self.frame
        # Recycled pages have the changes of the stack, so restore those bytes.
        code = insn(0x61, 2, 1, 0) + insn(0x61, 3, 1, 4)
        code += insn(0xbf, 4, 2) + insn(0x07, 4, imm=len(frame.data))
        code += insn(0xbd, 4, 3, off=2) + insn(0xb7, 0, imm=XDP_ABORTED) + insn(0x95)
        for at in range(0, frame.mutable, 8):
            code += load64(5, struct.unpack_from("=Q", frame.data, at)[0]) + insn(0x7b, 2, 5, at)
        if frame.seq is not None:
            code += count_up(frame, self.map)
        return code + insn(0xb7, 0, imm=XDP_PASS) + insn(0x95)

    @staticmethod
    def load(code):
        text = ctypes.create_string_buffer(code)
        log = ctypes.create_string_buffer(65536)
        licence = ctypes.create_string_buffer(b"GPL")
        try:
            return bpf(PROG_LOAD, struct.pack("=IIQQIIQ", XDP, len(code) // 8, ctypes.addressof(text),
                                              ctypes.addressof(licence), 1, len(log), ctypes.addressof(log)))
        except OSError as error:
            raise SystemExit(f"bench: XDP program: {error}\n{log.value.decode()}") from error

    def run(self, count):
        """-> duration in nanoseconds, measured by the kernel around its loop, without the RCU waits before and after"""
        if self.map is not None:
            key = ctypes.create_string_buffer(4)
            value = ctypes.create_string_buffer(struct.pack("=Q", self.numbers), 8)
            bpf(MAP_UPDATE, struct.pack("=IIQQQ", self.map, 0, ctypes.addressof(key), ctypes.addressof(value), 0))
            Injector.numbers += count
        data = ctypes.create_string_buffer(self.frame.data, len(self.frame.data))
        context = ctypes.create_string_buffer(struct.pack("=IIIIII", 0, len(data), 0, self.device, 0, 0))
        attributes = ctypes.create_string_buffer(struct.pack(
            "=IIIIQQIIIIQQIII", self.program, 0, len(data), 0, ctypes.addressof(data), 0, count, 0, 24, 0,
            ctypes.addressof(context), 0, LIVE_FRAMES, 0, BATCH), 144)
        if libc.syscall(BPF, PROG_RUN, attributes, 80) < 0:
            raise OSError(ctypes.get_errno(), "BPF_PROG_RUN: " + os.strerror(ctypes.get_errno()))
        return struct.unpack_from("=I", attributes.raw, 36)[0] * count

    def close(self):
        os.close(self.program)
        if self.map is not None:
            os.close(self.map)
