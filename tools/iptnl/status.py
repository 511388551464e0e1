# SPDX-License-Identifier: GPL-2.0-only
"""Print which modules are loaded, where they come from, and their tunnels."""

import json
import os

import link as ln
import modules
import reasons
import swap

NONE = "-"


def gather(hidden):
    """-> the output of "status --json", without the tunnels if hidden"""
    found = []
    for name in modules.MODULES:
        found.append({"name": name, "state": modules.owner(name), "version": modules.version(name),
                      "modprobe": modules.found_by_modprobe(name), "holders": modules.holders(name),
                      "references": modules.references(name), "stale": modules.is_stale(name)})
    return {"kernel": modules.release(), "modules": found, "tunnels": None if hidden else all_tunnels(),
            "why in-tree": reasons.why_in_tree()}


def all_tunnels():
    tunnels = []
    for netns in swap.open_netns():
        netns.find_tunnels(ln.KINDS)
        for index, link in sorted(netns.links.items()):
            tunnels.append({"namespace": netns.title, "name": link.name, "index": index, "kind": link.kind,
                            "module": ln.KINDS[link.kind], "fallback": link.fallback, "up": link.is_up})
        netns.close()
    return tunnels


def held(module):
    beyond = module["references"] - len(module["holders"])
    return " ".join(module["holders"] + (["(%d more)" % beyond] if beyond > 0 else [])) or NONE


def print_columns(rows):
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip())


def show(as_json, hidden=()):
    """hidden: reasons why this process cannot see all tunnels"""
    found = gather(hidden)
    if as_json:
        print(json.dumps(found, indent=1))
        return
    print_columns([("module", "loaded", "version", "held by", "modprobe takes")] + [
        (m["name"], m["state"], m["version"] or NONE, held(m), m["modprobe"] or NONE) for m in found["modules"]])
    if found["why in-tree"]:
        print(found["why in-tree"])
    for module in found["modules"]:
        if module["state"] == modules.FOREIGN:
            print("%s: neither the kernel's module nor iptnl's" % module["name"])
    stale = [module["name"] for module in found["modules"] if module["stale"]]
    if stale:
        print("%s: another build of iptnl is installed than the one that is loaded; 'iptnl swap' loads it" %
              " ".join(stale))
    if os.path.exists(swap.STATE):
        print("an earlier run was interrupted: 'iptnl recover' finishes it")
    for line in hidden:
        print("tunnels are not shown: " + line)
    places = {}
    for tunnel in found["tunnels"] or ():
        if not tunnel["fallback"] or tunnel["up"]:
            places.setdefault((tunnel["module"], tunnel["namespace"]), []).append(tunnel["name"])
    for (module, namespace), names in sorted(places.items()):
        print("%s: %s in %s: %s" % (module, swap.plural(len(names), "tunnel"), namespace, " ".join(names)))
