# SPDX-License-Identifier: GPL-2.0-only
"""What the tests here share. It puts the selftests' directory in sys.path, so import it first."""
import os
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "../selftests"))

from ksft import write      # noqa: E402

DEBUGFS = "/sys/kernel/debug"


def mount_debugfs():
    if not os.path.isdir(f"{DEBUGFS}/bdi"):
        subprocess.run(["mount", "-t", "debugfs", "none", DEBUGFS], check=True)


def processor(number, online):
    """Take a processor off, or back on. -> whether there is one"""
    path = f"/sys/devices/system/cpu/cpu{number}/online"
    if not os.path.exists(path):
        return False
    write(path, int(online))
    return True


def unreclaimable():
    """-> bytes of the kernel's objects that cannot be given back"""
    with open("/proc/meminfo") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("SUnreclaim")) * 1024
