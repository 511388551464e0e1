# SPDX-License-Identifier: GPL-2.0-only
"""What the tests here share. It puts the selftests' directory in sys.path, so import it first."""
import os
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "../selftests"))

from ksft import unreclaimable, write       # noqa: E402

__all__ = ["DEBUGFS", "mount_debugfs", "processor", "unreclaimable"]

DEBUGFS = "/sys/kernel/debug"


def mount_debugfs():
    if not os.path.isdir(f"{DEBUGFS}/bdi"):
        subprocess.run(["mount", "-t", "debugfs", "none", DEBUGFS], check=True)


def processor(number, online):
    """Take a processor off, or back on, if there is one."""
    path = f"/sys/devices/system/cpu/cpu{number}/online"
    if os.path.exists(path):
        write(path, int(online))
