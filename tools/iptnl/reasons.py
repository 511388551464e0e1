# SPDX-License-Identifier: GPL-2.0-only
"""Why the in-tree modules are in use"""

import glob
import os

import modules


def not_built(release):
    """-> why iptnl has no modules for this kernel"""
    failed = sorted(glob.glob("/var/lib/dkms/iptnl/*/failed-%s.log" % release))
    if failed:
        return "they did not build: see %s" % failed[-1]
    if not os.path.exists("/lib/modules/%s/build/include" % release):
        return "its headers are missing: install linux-headers-%s" % release
    if glob.glob("/var/lib/dkms/iptnl/*/source"):
        return "DKMS has not built them: dkms autoinstall -k %s" % release
    return "neither iptnl-dkms nor 'make install' has put them there"


def why_in_tree():
    """-> one line with the reason, "" if iptnl's modules are or would be used"""
    theirs = [name for name in modules.MODULES if modules.owner(name) == modules.THEIRS]
    if any(modules.our_file(name) for name in modules.MODULES):
        return "in-tree: %s: loaded before iptnl's, see 'iptnl swap'" % " ".join(theirs) if theirs else ""
    if modules.OURS in modules.state().values():
        return ""
    return "in-tree: no modules of iptnl for kernel %s: %s" % (modules.release(), not_built(modules.release()))
