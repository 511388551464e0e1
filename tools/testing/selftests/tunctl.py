# SPDX-License-Identifier: GPL-2.0
"""The tunnel ioctls with any parameters.

    ask(NETNS, DEV, "get"|"add"|"chg"|"del"|"getprl"|"addprl"|"chgprl"|"delprl"|
        "get6rd"|NUMBER, FIELD=VALUE...)

DEV is the device the ioctl is done on. The fields of struct ip_tunnel_parm:
name link i_flags o_flags i_key o_key version ihl tos tot_len id frag_off ttl
protocol check saddr daddr; what is not given is 0, except version 4, ihl 5 and
name "". "pointer=8" passes that address instead of the struct. NETNS "-" is the present
one.
"""

import ctypes
import fcntl
import socket
import struct
import sys

from nl import errno_name
from pkt import in_netns

COMMANDS = {"get": 0x89f0, "add": 0x89f1, "del": 0x89f2, "chg": 0x89f3,
            "getprl": 0x89f4, "addprl": 0x89f5, "delprl": 0x89f6,
            "chgprl": 0x89f7, "get6rd": 0x89f8, "add6rd": 0x89f9,
            "del6rd": 0x89fa, "chg6rd": 0x89fb}
NAMES = ("name link i_flags o_flags i_key o_key ver_ihl tos tot_len id "
         "frag_off ttl protocol check saddr daddr").split()
# Links and ports are in host order, what is on the wire in network order.
HOST = "=16si"
WIRE = "!HHIIBBHHHBBH4s4s"


def pack(fields):
    head = struct.pack(HOST, fields["name"].encode(), fields["link"])
    return head + struct.pack(
        WIRE, fields["i_flags"], fields["o_flags"], fields["i_key"],
        fields["o_key"], fields["version"] << 4 | fields["ihl"],
        fields["tos"], fields["tot_len"], fields["id"], fields["frag_off"],
        fields["ttl"], fields["protocol"], fields["check"],
        socket.inet_aton(fields["saddr"]), socket.inet_aton(fields["daddr"]))


def unpack(data):
    values = struct.unpack(HOST, data[:20]) + struct.unpack(WIRE, data[20:52])
    fields = dict(zip(NAMES, values))
    fields["name"] = fields["name"].split(b"\0")[0].decode()
    for name in ("saddr", "daddr"):
        fields[name] = socket.inet_ntoa(fields[name])
    for name in ("i_flags", "o_flags", "frag_off"):
        fields[name] = "0x%04x" % fields[name]
    return fields


def parse(texts):
    fields = dict.fromkeys(NAMES, 0)
    fields.update(name="", version=4, ihl=5, saddr="0.0.0.0",
                  daddr="0.0.0.0", pointer=0)
    for text in texts:
        name, _, value = text.partition("=")
        if name not in fields:
            sys.exit("no field " + name)
        words = name in ("name", "saddr", "daddr")
        fields[name] = value if words else int(value, 0)
    return fields


def ioctl(dev, number, parm, pointer):
    buffer = ctypes.create_string_buffer(parm, 256)
    request = struct.pack("16sQ16x", dev.encode(),
                          pointer or ctypes.addressof(buffer))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        fcntl.ioctl(sock, number, request)
    return buffer.raw


def ask(netns, dev, command, *texts):
    """-> 0 and the struct that came back as FIELD=VALUE, or 2 and ERRNO"""
    number = COMMANDS.get(command) or int(command, 0)
    fields = parse(texts)
    with in_netns(netns):
        try:
            back = ioctl(dev, number, pack(fields), fields["pointer"])
        except OSError as error:
            return 2, errno_name(error.errno)
    return 0, " ".join("%s=%s" % item for item in unpack(back).items())
