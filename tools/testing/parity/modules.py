# SPDX-License-Identifier: GPL-2.0-only
"""Load one of the two sets of modules, and verify which one is loaded."""

import glob
import gzip
import lzma
import os
import platform
import subprocess
import tempfile

# In load order
IN_TREE = ["tunnel4", "gre", "ip_tunnel", "ipip", "ip_gre"]
OURS = ["tunnel4", "gre", "ip_tunnel_core", "ipip", "ip_gre"]
SETS = {"in-tree": IN_TREE, "ours": OURS}
ALL = ["ipip", "ip_gre", "ip_tunnel_core", "ip_tunnel", "gre", "tunnel4"]
# Other modules that scenarios need. They are loaded before the first scenario, so that none is loaded during one.
HELPERS = ("tun veth dummy vrf bridge 8021q bonding fou mpls_router mpls_iptunnel sch_ingress cls_flower cls_matchall "
           "act_tunnel_key act_mirred act_gact act_skbedit cls_fw").split()


def run(*words):
    done = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"parity: {' '.join(words)}: {done.stdout.strip()}")


def is_loaded(name):
    return os.path.isdir("/sys/module/" + name)


def remove(name):
    """Unload a module after those that use it."""
    if not is_loaded(name):
        return
    for user in glob.glob(f"/sys/module/{name}/holders/*"):
        remove(os.path.basename(user))
    run("rmmod", name)


def remove_all():
    for name in ALL:
        remove(name)
    # It would create devices in every namespace.
    for name in ("ip_vti", "sit", "ip6_gre", "ip6_tunnel"):
        remove(name)


def in_tree_file(name):
    """-> the in-tree file, whichever file modprobe prefers"""
    found = glob.glob(f"/lib/modules/{platform.release()}/kernel/net/ipv4/{name}.ko*")
    if len(found) != 1:
        raise SystemExit(f"parity: {name}: {len(found)} files of the kernel's own")
    return found[0]


def insmod(path):
    """Load a file, unlike modprobe, which takes the one that depmod prefers."""
    openers = {".xz": lzma.open, ".gz": gzip.open, ".ko": open}
    with tempfile.TemporaryDirectory() as directory:
        plain = os.path.join(directory, "module.ko")
        with openers[os.path.splitext(path)[1]](path, "rb") as file, open(plain, "wb") as copy:
            copy.write(file.read())
        run("insmod", plain)


def load(which):
    """Unload all tunnel modules, and load one set and the helpers."""
    remove_all()
    run("modprobe", "udp_tunnel")
    if which == "in-tree":
        for name in IN_TREE:
            insmod(in_tree_file(name))
    else:
        run("modprobe", "-a", *OURS)
    run("modprobe", "-a", *HELPERS)
    verify(which)


def verify(which):
    """Check that all modules of the set are loaded, and none of the other."""
    for name in SETS[which]:
        if not is_loaded(name):
            raise SystemExit(f"parity: {name} is not loaded")
        with open(f"/sys/module/{name}/taint", encoding="ascii") as file:
            out_of_tree = "O" in file.read()
        if out_of_tree != (which == "ours"):
            raise SystemExit(f"parity: {name} is not that of the {which} set")
    if which == "in-tree" and is_loaded("ip_tunnel_core"):
        raise SystemExit("parity: ip_tunnel_core is loaded among the kernel's own modules")
