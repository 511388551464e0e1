#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""mroute.py DEVICE : act as multicast router with interface DEVICE, until killed."""

import signal
import socket
import struct
import sys

MRT_INIT, MRT_ADD_VIF, VIFF_USE_IFINDEX = 200, 202, 0x8

sock = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_IGMP)
sock.setsockopt(socket.IPPROTO_IP, MRT_INIT, 1)
sock.setsockopt(socket.IPPROTO_IP, MRT_ADD_VIF, struct.pack(
    "=HBBIII", 0, VIFF_USE_IFINDEX, 1, 0, socket.if_nametoindex(sys.argv[1]), 0))
print("there", flush=True)
signal.pause()
