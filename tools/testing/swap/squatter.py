#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""squatter.py NAME leave|stay : when ip_gre is unloaded, create another device NAME. leave: delete it when ip_gre is
unloaded again."""

import os
import subprocess
import sys
import time

FILE = "/sys/module/ip_gre/initstate"


def until(there):
    while os.path.exists(FILE) != there:
        time.sleep(0.002)


print("waiting", flush=True)
until(False)
subprocess.run(["ip", "link", "add", sys.argv[1], "type", "dummy"], check=True)
if sys.argv[2] == "leave":
    until(True)
    until(False)
    subprocess.run(["ip", "link", "del", sys.argv[1]], check=True)
