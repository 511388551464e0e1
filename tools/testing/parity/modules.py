# SPDX-License-Identifier: GPL-2.0-only
"""Loading one of the two sets of modules, and proving which one it is."""

import glob
import gzip
import lzma
import os
import platform
import subprocess
import tempfile

# In the order in which insmod can load them.
IN_TREE = ["tunnel4", "gre", "ip_tunnel", "ipip", "ip_gre"]
OURS = ["tunnel4", "gre", "ip_tunnel_core", "ipip", "ip_gre"]
SETS = {"in-tree": IN_TREE, "ours": OURS}
ALL = ["ipip", "ip_gre", "ip_tunnel_core", "ip_tunnel", "gre", "tunnel4"]
# What scenarios need besides. It is there before the first scenario, so that nothing is loaded in its middle.
HELPERS = ("tun veth dummy vrf bridge 8021q bonding fou mpls_router mpls_iptunnel sch_ingress cls_flower cls_matchall "
           "act_tunnel_key act_mirred act_gact act_skbedit cls_fw").split()


def run(*words):
    done = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"parity: {' '.join(words)}: {done.stdout.strip()}")


def is_loaded(name):
    return os.path.isdir("/sys/module/" + name)


def remove(name):
    """Unload a module, and those that use it before"""
    if not is_loaded(name):
        return
    for user in glob.glob(f"/sys/module/{name}/holders/*"):
        remove(os.path.basename(user))
    run("rmmod", name)


def remove_all():
    for name in ALL:
        remove(name)
    # It would put devices of its own into every namespace.
    for name in ("ip_vti", "sit", "ip6_gre", "ip6_tunnel"):
        remove(name)


def in_tree_file(name):
    """-> the distribution's file, whatever depmod prefers"""
    found = glob.glob(f"/lib/modules/{platform.release()}/kernel/net/ipv4/{name}.ko*")
    if len(found) != 1:
        raise SystemExit(f"parity: {name}: {len(found)} files of the kernel's own")
    return found[0]


def insmod(path):
    """modprobe would take the file that depmod prefers"""
    openers = {".xz": lzma.open, ".gz": gzip.open, ".ko": open}
    with tempfile.TemporaryDirectory() as directory:
        plain = os.path.join(directory, "module.ko")
        with openers[os.path.splitext(path)[1]](path, "rb") as file, open(plain, "wb") as copy:
            copy.write(file.read())
        run("insmod", plain)


def load(which):
    """Load one set of modules, the other being gone, and the helpers"""
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
    """The set is loaded, all of it from the right place, and nothing of the other one"""
    for name in SETS[which]:
        if not is_loaded(name):
            raise SystemExit(f"parity: {name} is not loaded")
        with open(f"/sys/module/{name}/taint", encoding="ascii") as file:
            out_of_tree = "O" in file.read()
        if out_of_tree != (which == "ours"):
            raise SystemExit(f"parity: {name} is not that of the {which} set")
    if which == "in-tree" and is_loaded("ip_tunnel_core"):
        raise SystemExit("parity: ip_tunnel_core is loaded among the kernel's own modules")
