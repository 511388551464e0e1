#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""What of this machine the tests would take away, which load and unload the tunnel modules and all that holds them: a
line for each tunnel, FOU port and module. Exit status 1 if there is any."""

import os
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../iptnl"))

import modules          # noqa: E402
import namespaces       # noqa: E402
import status           # noqa: E402
import swap             # noqa: E402

OURS = set(modules.MODULES) | {"ip_tunnel", "ip_tnl_table_test"}
SIDE = modules.THEIRS if os.environ.get("IPTNL_IN_TREE") == "1" else modules.OURS


def of_modules(found):
    for module in found:
        if module["state"] not in (SIDE, modules.BUILTIN, modules.ABSENT):
            yield "module %s (%s) would be unloaded" % (module["name"], module["state"])
        for holder in module["holders"]:
            if holder not in OURS:
                yield "module %s, which holds %s, would be unloaded" % (holder, module["name"])


def of_fou():
    if not modules.is_loaded("fou"):
        return
    for netns in swap.open_netns():
        with namespaces.inside(netns.handle.fd):
            for line in subprocess.run(["ip", "fou", "show"], capture_output=True, text=True,
                                       check=False).stdout.splitlines():
                yield "the FOU port '%s' in %s would go" % (line.strip(), netns.title)
        netns.close()


def main():
    found = status.gather(False)
    lines = ["tunnel %s in %s would go" % (tunnel["name"], tunnel["namespace"]) for tunnel in found["tunnels"]
             if not tunnel["fallback"] or tunnel["up"]]
    lines += list(of_modules(found["modules"])) + list(of_fou())
    print("\n".join(lines))
    return 1 if lines else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except swap.Refused as refused:
        print("\n".join(refused.lines))
        sys.exit(1)
