# SPDX-License-Identifier: GPL-2.0
"""RTM_NEWLINK with attributes that "ip" would not send.

    ask(NETNS, "new"|"set"|"replace", NAME, KIND, ATTRIBUTE...)

"new" creates exclusively, "set" changes, "replace" does either.

ATTRIBUTE is NAME=VALUE, the names being those of the uapi header without
IFLA_GRE_ or IFLA_IPTUN_; or NUMBER=TYPE:VALUE; TYPE is u8, u16, be16, u32,
be32, s32, ip4, hex, str or flag, and may be given for a name as well
(LOCAL=hex:c000). "@" in front means an attribute of the link itself, as
@MTU=1400. KIND may be "-": no IFLA_LINKINFO; KIND ending in "-" sends no
IFLA_INFO_DATA. "index:N" as NAME asks for the device by its number. NETNS "-" is
the present one.
"""

import errno
import socket
import struct

from pkt import in_netns

GRE = "LINK:u32 IFLAGS:be16 OFLAGS:be16 IKEY:be32 OKEY:be32 LOCAL:ip4 " \
    "REMOTE:ip4 TTL:u8 TOS:u8 PMTUDISC:u8 ENCAP_LIMIT:u8 FLOWINFO:be32 " \
    "FLAGS:u32 ENCAP_TYPE:u16 ENCAP_FLAGS:u16 ENCAP_SPORT:be16 " \
    "ENCAP_DPORT:be16 COLLECT_METADATA:flag IGNORE_DF:u8 FWMARK:u32 " \
    "ERSPAN_INDEX:u32 ERSPAN_VER:u8 ERSPAN_DIR:u8 ERSPAN_HWID:u16"
IPTUN = "LINK:u32 LOCAL:ip4 REMOTE:ip4 TTL:u8 TOS:u8 ENCAP_LIMIT:u8 " \
    "FLOWINFO:be32 FLAGS:be16 PROTO:u8 PMTUDISC:u8 6RD_PREFIX:hex " \
    "6RD_RELAY_PREFIX:be32 6RD_PREFIXLEN:u16 6RD_RELAY_PREFIXLEN:u16 " \
    "ENCAP_TYPE:u16 ENCAP_FLAGS:u16 ENCAP_SPORT:be16 ENCAP_DPORT:be16 " \
    "COLLECT_METADATA:flag FWMARK:u32"
LINK = {"ADDRESS": (1, "hex"), "BROADCAST": (2, "hex"), "IFNAME": (3, "str"),
        "MTU": (4, "u32"), "LINK": (5, "u32"), "LINKINFO": (18, "hex"),
        "NET_NS_PID": (19, "u32"), "NET_NS_FD": (28, "u32"),
        "LINK_NETNSID": (37, "s32"), "NEW_NETNSID": (45, "s32"),
        "TARGET_NETNSID": (46, "s32")}


def table(text):
    return {item.split(":")[0]: (number, item.split(":")[1])
            for number, item in enumerate(text.split(), 1)}


def encode(kind, value):
    if kind == "flag":
        return b""
    if kind == "hex":
        return bytes.fromhex(value)
    if kind == "str":
        return value.encode() + b"\0"
    if kind == "ip4":
        return socket.inet_aton(value)
    form = {"u8": "=B", "u16": "=H", "be16": "!H", "u32": "=I", "be32": "!I",
            "s32": "=i"}[kind]
    return struct.pack(form, int(value, 0))


def attribute(number, payload):
    head = struct.pack("=HH", 4 + len(payload), number)
    return head + payload + b"\0" * (-len(payload) % 4)


def parse(text, names):
    name, _, value = text.partition("=")
    number, kind = names[name] if name in names else (int(name, 0), None)
    given, colon, rest = value.partition(":")
    if colon or kind is None:
        kind, value = given, rest
    return attribute(number, encode(kind, value))


def request(verb, name, kind, texts):
    names = table(GRE if kind.startswith(("gre", "erspan")) else IPTUN)
    data = b"".join(parse(t, names) for t in texts if t[0] != "@")
    body = b"".join(parse(t[1:], LINK) for t in texts if t[0] == "@")
    index = 0
    if name.startswith("index:"):
        index = int(name[6:])
    elif name:
        body += attribute(3, encode("str", name))
    if kind != "-":
        info = attribute(1, kind.rstrip("-").encode())
        if not kind.endswith("-"):
            info += attribute(2, data)
        body += attribute(18, info)
    flags = {"new": 0x605, "set": 0x005, "replace": 0x405}[verb]
    body = struct.pack("=BxHiII", 0, 0, index, 0, 0) + body
    return struct.pack("=IHHII", 16 + len(body), 16, flags, 1, 0) + body


def answer(data):
    """-> (errno, words)"""
    flags = struct.unpack("=H", data[6:8])[0]
    error = -struct.unpack("=i", data[16:20])[0]
    words = ""
    if flags & 0x200:                           # NLM_F_ACK_TLVS
        at = 36
        if not flags & 0x100:                   # not capped: request follows
            at = 20 + struct.unpack("=I", data[20:24])[0]
            at += -at % 4
        while at + 4 <= len(data):
            size, number = struct.unpack("=HH", data[at:at + 4])
            if number == 1:
                words = data[at + 4:at + size].rstrip(b"\0").decode()
            at += max(size + 3 & ~3, 4)
    return error, words


def errno_name(number):
    if number == errno.EOPNOTSUPP:      # python's name is another
        return "EOPNOTSUPP"
    return errno.errorcode.get(number, str(number)) if number else "warning"


def ask(netns, verb, name, kind, *attributes):
    """-> 0 and an empty text, or 2 and "ERRNO" or "ERRNO: the kernel's own words" """
    message = request(verb, name, kind, attributes)
    with in_netns(netns):
        sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)
    with sock:
        sock.bind((0, 0))
        sock.setsockopt(270, 11, 1)             # NETLINK_EXT_ACK
        sock.settimeout(60)
        sock.send(message)
        error, words = answer(sock.recv(65536))
    text = errno_name(error) if error or words else ""
    return 2 if error else 0, text + (": " + words if words else "")
