# SPDX-License-Identifier: GPL-2.0-only
"""Normalisation: remove differences without meaning between two passes. README.md lists the rules."""

import json
import re
import struct
import zlib

from layers import csum

IGMP, ICMPV6_MLD = 2, (130, 131, 132, 143)
BRIEF = 160                     # digits of a header or payload to show in full
KNOWN_MAC = "02:00:00:00:00:"
NUMBERS = ("ifindex", "expires", "handle", "installed", "last_used", "first_used")
TEXT = (
    (re.compile(r"^\d+: ", re.M), "N: "),                              # ifindex
    (re.compile(r"\bexpires \d+sec\b"), "expires Nsec"),               # age of a route exception
    (re.compile(r"\bqdisc (\w+) [0-9a-f]+:"), r"qdisc \1 N:"),         # qdisc handle
)


def lines_of(text):
    """-> lines of a program's output; for JSON one line per value"""
    if text.startswith(("[", "{")):
        try:
            return [line for item in documents(text) for line in leaves(item, name_of(item))]
        except ValueError:
            pass
    for pattern, instead in TEXT:
        text = pattern.sub(instead, text)
    return [line.rstrip() for line in text.splitlines()]


def documents(text):
    """-> the elements of one or more JSON arrays"""
    decoder, found, at = json.JSONDecoder(), [], 0
    while at < len(text):
        value, at = decoder.raw_decode(text, at)
        found += value if isinstance(value, list) else [value]
        while at < len(text) and text[at].isspace():
            at += 1
    return [item for item in found if item]


def name_of(item):
    """-> the name of a device, route, address, ..."""
    if isinstance(item, dict):
        return next((str(item[key]) for key in ("ifname", "dst", "local", "mac") if key in item), "-")
    return "-"


def leaves(item, path):
    """Yield one line per value, without interface indexes and times."""
    if isinstance(item, dict):
        for key, value in item.items():
            if key not in NUMBERS and not key.endswith("_timer"):
                # The path of "linkinfo.info_data" is redundant.
                yield from leaves(value, path if key in ("linkinfo", "info_data") else f"{path} {key}")
    elif isinstance(item, list) and any(isinstance(value, (dict, list)) for value in item):
        for number, value in enumerate(item):
            yield from leaves(value, f"{path} {number}")
    elif isinstance(item, list):
        yield f"{path}={','.join(map(str, item))}"
    else:
        yield f"{path}={json.dumps(item)}"


class Macs:
    """Replaces random Ethernet addresses by device names"""

    def __init__(self):
        self.names = {}

    def learn(self, label, mac):
        if mac and not mac.startswith(KNOWN_MAC) and mac != "00:00:00:00:00:00":
            self.names[mac] = label

    def scrub(self, text):
        for mac, label in self.names.items():
            text = text.replace(mac, f"<mac {label}>").replace(mac.replace(":", ""), f"<mac {label}>")
            first = int(mac[:2], 16) ^ 2
            digits = f"{first:02x}" + mac.replace(":", "")[2:6] + "fffe" + mac.replace(":", "")[6:]
            text = text.replace(digits, f"<eui64 {label}>")
            groups = [digits[i:i + 4].lstrip("0") or "0" for i in range(0, 16, 4)]
            text = text.replace(":".join(groups), f"<eui64 {label}>")
        return text


def noise(packet):
    """Return true for IGMP and MLD reports, which are sent at random times."""
    if len(packet) >= 20 and packet[0] >> 4 == 4:
        return packet[9] == IGMP
    return len(packet) > 48 and packet[0] >> 4 == 6 and packet[6] == 0 and packet[40] == 58 and \
        packet[48] in ICMPV6_MLD


class Idents:
    """Numbers identifications of fragments in order of appearance, and drops others"""

    def __init__(self):
        self.seen = {}

    def text(self, word, offset):
        if not offset & 0x3fff:
            return "----"
        return f"-id{self.seen.setdefault(word, len(self.seen) + 1)}"


def gre_length(data):
    """-> length and ethertype of a GRE header"""
    word, kind = struct.unpack_from("!HH", data)
    return 4 + 4 * (word >> 15 & 1) + 4 * (word >> 13 & 1) + 4 * (word >> 12 & 1), kind


def gre_words(data, depth, idents):
    """-> the words of a GRE packet"""
    size, kind = gre_length(data)
    words, rest = [data[:size].hex()], data[size:]
    if kind == 0x22eb and len(rest) >= 12:
        words.append(rest[:4].hex() + "-stamp--" + rest[8:12].hex())
        rest = rest[12:]
    elif kind == 0x88be and size == 8 and len(rest) >= 8:
        words.append(rest[:8].hex())
        rest = rest[8:]
    if kind in (0x6558, 0x88be, 0x22eb) and rest[12:14] == b"\x08\x00":
        words.append(rest[:14].hex())
        rest, kind = rest[14:], 0x0800
    return words + (packet_words(rest, depth, idents) if kind == 0x0800 else [rest.hex()])


def packet_words(data, depth, idents):
    """-> a packet as hexadecimal words, one per header. The identifications of the outermost DEPTH IPv4 headers were
    generated locally and are ignored."""
    if len(data) < 20 or data[0] >> 4 != 4 or depth <= 0 or len(data) < (data[0] & 15) * 4:
        return [data.hex()] if data else []
    size = (data[0] & 15) * 4
    head = data[:size]
    ident, offset = struct.unpack_from("!HH", head, 4)
    check = "good" if csum(head) == 0 else head[10:12].hex()
    words = [head[:4].hex() + idents.text(ident, offset) + head[6:10].hex() + check + head[12:].hex()]
    rest, proto = data[size:], head[9]
    if not rest:
        return words
    if offset & 0x1fff:
        return words + [rest.hex()]
    if proto == 47 and len(rest) >= 4:
        return words + gre_words(rest, depth - 1, idents)
    if proto == 4:
        return words + packet_words(rest, depth - 1, idents)
    if proto == 17 and len(rest) > 8:
        return words + [rest[:8].hex(), rest[8:].hex()]
    return words + [rest.hex()]


def brief(word):
    """-> the start of a long word, with its length and a checksum of the rest"""
    if len(word) <= BRIEF + 24:
        return word
    return f"{word[:BRIEF]}..{len(word) // 2 - BRIEF // 2}:{zlib.crc32(word[BRIEF:].encode()):08x}"


def packet_line(text, link, data, depth, idents):
    """-> one line for a packet"""
    # The link header of a gre device is the outer IP header.
    words = packet_words(link, 1, idents) + packet_words(data, depth, idents)
    return " ".join([text + ":"] + [brief(word) for word in words])
