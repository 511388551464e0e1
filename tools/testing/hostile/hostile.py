# SPDX-License-Identifier: GPL-2.0-only
"""What the tests here share. It puts the directories of selftests and segments in sys.path: import it first."""
import os
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, "..", name) for name in ("selftests", "segments")]

from ksft import unreclaimable, write       # noqa: E402

__all__ = ["DEBUGFS", "add_pktgen", "mount_debugfs", "pktgen", "processor", "start_pktgen", "unreclaimable"]

DEBUGFS = "/sys/kernel/debug"


def mount_debugfs():
    if not os.path.isdir(f"{DEBUGFS}/bdi"):
        subprocess.run(["mount", "-t", "debugfs", "none", DEBUGFS], check=True)


def processor(number, online):
    """Take a processor off, or back on, if there is one."""
    path = f"/sys/devices/system/cpu/cpu{number}/online"
    if os.path.exists(path):
        write(path, int(online))


def pktgen(file, *lines):
    for line in lines:
        write("/proc/net/pktgen/" + file, line + "\n")


def add_pktgen(dev, mac, *settings, cpu=0):
    """In the present namespace: datagrams of 100 bytes to addresses of 198.18.0.0/16, as if received by this device"""
    pktgen(f"kpktgend_{cpu}", "rem_device_all", "add_device " + dev)
    pktgen(dev, "pkt_size 100", "xmit_mode netif_receive", "dst_mac " + mac, "src_min 198.19.0.1", "src_max 198.19.0.9",
           "dst_min 198.18.0.1", "dst_max 198.18.0.250", "flag IPDST_RND", *settings)


def start_pktgen():
    """Returns when it has ended."""
    pktgen("pgctrl", "start")
