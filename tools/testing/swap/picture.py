#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""picture.py NAMESPACE... : print the complete configuration of namespaces, to be compared with diff.

It omits what a recreated device cannot inherit: statistics, times, entries that depend on traffic, and the interface
index of fallback devices.
"""

import json
import os
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../selftests"))

import agent        # noqa: E402
import pkt          # noqa: E402

FALLBACKS = ("tunl0", "gre0", "gretap0", "erspan0")
COMMANDS = ("ip -d -j link", "ip -d -j addr", "ip -d -j route show table all", "ip -d -6 -j route show table all",
            "ip -d -j nexthop", "ip -j rule", "ip -6 -j rule", "bridge -d -j link", "bridge -j vlan")
NEIGHBOURS = ("ip -j neigh show nud permanent", "ip -6 -j neigh show nud permanent", "ip -j neigh show proxy",
              "ip -6 -j neigh show proxy")
VOLATILE = ("stats", "stats64", "valid_life_time", "preferred_life_time", "cache", "expires", "used", "age",
            "hello_timer", "tcn_timer", "topology_change_timer", "gc_timer", "message_age_timer",
            "forward_delay_timer", "hold_timer", "mcast_n_groups")
# Features of both iptnl and the in-tree driver
FEATURES = ("generic-segmentation-offload", "generic-receive-offload", "tx-checksum-ip-generic", "tx-nocache-copy",
            "rx-gro-list", "rx-udp-gro-forwarding")
# Attributes of a link message with counters, including carrier changes, and head- and tailroom, which depend on traffic
COUNTERS = (agent.AF_SPEC, agent.STATS32, agent.STATS64, 35, 47, 48, 68, 69)
SKIP = ("all", "default", "lo")


def run(command):
    done = subprocess.run(command.split(), capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit("%s: %s" % (command, done.stderr.strip()))
    return done.stdout


def strip(item):
    if isinstance(item, list):
        return [strip(one) for one in item]
    if not isinstance(item, dict):
        return item
    kept = {key: strip(value) for key, value in item.items() if key not in VOLATILE}
    if kept.get("ifname") in FALLBACKS:
        kept.pop("ifindex", None)
    return kept


def records(command):
    text = run(command)
    return sorted(json.dumps(strip(one), sort_keys=True) for one in (json.loads(text) if text.strip() else []))


def static(entry):
    return entry.get("state") in ("permanent", "static") and not entry.get("mac", "").startswith(("33:33", "01:00:5e"))


def sysctls(kind):
    base = "/proc/sys/net/" + kind
    for device in sorted(os.listdir(base)) if os.path.isdir(base) else []:
        if device in SKIP:
            continue
        for name in sorted(os.listdir(os.path.join(base, device))):
            try:
                with open(os.path.join(base, device, name)) as file:
                    yield "%s %s %s=%s" % (kind, device, name, file.read().strip())
            except OSError as error:
                yield "%s %s %s: %s" % (kind, device, name, error.strerror)


def raw_links(name):
    for head, attrs in agent.dump(name, agent.SKIP_STATS):
        device = agent.name_of(attrs)
        shown = sorted("%d:%s" % (number, link_info(value) if number == 18 else value.hex())
                       for number, value in attrs if number not in COUNTERS)
        yield "raw %s %s %s" % (device, head[8:12].hex() if device in FALLBACKS else head.hex(), " ".join(shown))


def link_info(value):
    """-> kind and sorted driver attributes. Those of bridges and ports are omitted: they have timers, and the output of
    ip has the rest."""
    info = dict(agent.attributes(value))
    kind = info[1].rstrip(b"\0").decode() if 1 in info else ""
    data = sorted("%d=%s" % (number, one.hex()) for number, one in agent.attributes(info.get(2, b"")))
    return "%s{%s}" % (kind, "" if kind == "bridge" else " ".join(data))


def picture(name):
    for command in COMMANDS:
        for line in records(command):
            yield "%s: %s" % (command, line)
    for command in NEIGHBOURS:
        for line in records(command):
            yield "%s: %s" % (command, line)
    own = {link.get("address") for link in json.loads(run("ip -j link"))}
    for entry in json.loads(run("bridge -j fdb") or "[]"):
        # The bridge creates entries for device addresses by itself.
        if static(entry) and entry["mac"] not in own:
            yield "fdb: " + json.dumps(strip(entry), sort_keys=True)
    if os.path.isdir("/proc/sys/net/mpls"):
        for line in records("ip -d -j -f mpls route"):
            yield "mpls: " + line
    for kind in ("ipv4/conf", "ipv6/conf", "mpls/conf", "ipv4/neigh", "ipv6/neigh"):
        yield from sysctls(kind)
    for link in json.loads(run("ip -j link")):
        if link.get("link_type") != "loopback" and link["ifname"] not in FALLBACKS:
            for line in run("ethtool -k " + link["ifname"]).splitlines():
                if line.strip().startswith(FEATURES):
                    yield "feature %s %s" % (link["ifname"], line.strip())
    yield from raw_links(name)


def main(names):
    for name in names:
        with pkt.in_netns(name):
            for line in sorted(picture(name)):
                print("%s: %s" % (name, line))


if __name__ == "__main__":
    main(sys.argv[1:])
