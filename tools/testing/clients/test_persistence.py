#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""What README.md says of tunnels that are there after a reboot: the files it shows, put where it says and read by
systemd-networkd, ifupdown, netplan and NetworkManager, each as it starts, make the tunnel it shows on our modules.

    n0, with /run and /sys of its own for each manager
    e0 192.0.2.1        t0 gre 192.0.2.1 === 198.51.100.2 key 7 ttl 64, 203.0.113.1/30
"""

import os
import re
import signal
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, "../selftests"), os.path.join(HERE, "..")]

import blocks           # noqa: E402
from ksft import NetNs, check, ksft_run, need_modules, until, write     # noqa: E402

README = os.path.join(HERE, "../../../README.md")
NETWORKD = """install -d -o systemd-network -g systemd-network /run/systemd /run/systemd/netif
mount -o remount,bind,ro /sys
exec /usr/lib/systemd/systemd-networkd
"""
MANAGERS = {
    "networkd": NETWORKD,
    "ifupdown": "echo 'source /etc/network/interfaces.d/*' >/etc/network/interfaces\nmkdir -p /run/network\n"
                "ifup t0\nexec sleep 1000\n",
    "netplan": "mkdir -p /run/systemd/system\nnetplan generate\n" + NETWORKD,
    "networkmanager": "mkdir -p /run/dbus\ndbus-daemon --system --fork\n"
                      "NetworkManager --no-daemon &\n"
                      "until nmcli -t general status >/dev/null 2>&1; do sleep 0.1; done\n%s\nwait\n",
}
placed = []             # the files that are to go again
WANTED = re.compile(r"gre remote 198.51.100.2 local 192.0.2.1 .*ttl 64 .*ikey 0.0.0.7 okey 0.0.0.7")


def place_files(manager):
    """-> the commands of the blocks that are none"""
    commands = []
    for _, mark, text in blocks.blocks(README):
        words = mark.split()
        if words[:1] != ["persist-" + manager]:
            continue
        if len(words) == 1:
            commands += text
            continue
        os.makedirs(os.path.dirname(words[1]), exist_ok=True)
        write(words[1], "\n".join(text))
        os.chmod(words[1], 0o600 if "netplan" in words[1] else 0o644)
        placed.append(words[1])
    return "\n".join(commands)


def shown(n0):
    done = subprocess.run(["ip", "-n", n0.name, "-d", "-o", "addr", "show", "t0"], capture_output=True, text=True,
                          check=False).stdout
    link = subprocess.run(["ip", "-n", n0.name, "-d", "-o", "link", "show", "t0", "up"], capture_output=True, text=True,
                          check=False).stdout
    return bool(WANTED.search(link)) and "203.0.113.1/30" in done


def manager(name, script):
    commands = place_files(name)
    check("README has a way for " + name, commands or placed)
    script = script % commands if "%s" in script else script
    with NetNs() as n0, tempfile.TemporaryFile("w+") as log:
        n0.ip("link add e0 type dummy", "addr add 192.0.2.1/24 dev e0", "link set e0 up")
        process = subprocess.Popen(
            ["ip", "netns", "exec", n0.name, "unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc",
             "--propagation", "private", "sh", "-exc", "mount -t tmpfs tmpfs /run\n" + script],
            stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT)
        there = until(True, lambda: shown(n0), 300)     # emulated, beside other machines, netplan needs a minute
        # The first process of its namespace takes all others along; it may have dropped what ends it with its parent.
        with open("/proc/%d/task/%d/children" % (process.pid, process.pid)) as file:
            for child in file.read().split():
                os.kill(int(child), signal.SIGKILL)
        process.wait()
        log.seek(0)
        check("%s makes the tunnel" % name, there, *() if there else (
            subprocess.run(["ip", "-n", n0.name, "-d", "addr"], capture_output=True, text=True, check=False).stdout,
            log.read()[-4000:]))
    while placed:
        os.unlink(placed.pop())


def main():
    need_modules("ip_gre")
    for name, script in MANAGERS.items():
        manager(name, script)


ksft_run(main)
