# SPDX-License-Identifier: GPL-2.0-only
"""All that is configured in namespaces, in lines that can be compared before and after a swap.

It omits what a recreated device cannot inherit: statistics, times, entries that depend on traffic, and the interface
index of fallback devices.
"""

import json
import os
import subprocess
import sys

import links
import pkt
from ethtool import Features

FALLBACKS = ("tunl0", "gre0", "gretap0", "erspan0")
QUESTIONS = (("ip -d -j", "link", "addr", "route show table all", "nexthop"),
             ("ip -d -6 -j", "route show table all"),
             ("ip -j", "rule", "neigh show nud permanent", "neigh show proxy"),
             ("ip -6 -j", "rule", "neigh show nud permanent", "neigh show proxy"),
             ("bridge -d -j", "link"),
             ("bridge -j", "vlan", "fdb"))
MPLS = "ip -d -j -f mpls", "route"
LINKS, FDB = "ip -d -j link", "bridge -j fdb"
VOLATILE = ("stats", "stats64", "valid_life_time", "preferred_life_time", "cache", "expires", "used", "age",
            "hello_timer", "tcn_timer", "topology_change_timer", "gc_timer", "message_age_timer",
            "forward_delay_timer", "hold_timer", "mcast_n_groups")
# Those that ours and the kernel's drivers both have
FEATURES = ("tx-generic-segmentation", "rx-gro", "tx-checksum-ip-generic", "tx-nocache-copy", "rx-gro-list",
            "rx-udp-gro-forwarding")
# Of a link message; how often the carrier changed is counted too, and the head- and tailroom that a device asks for
# follows its traffic
COUNTERS = (links.AF_SPEC, links.STATS32, links.STATS64, 35, 47, 48, 68, 69)
SKIP = ("all", "default", "lo")


def answers(program, *lines):
    """-> {command: what it prints}, by one process for all lines"""
    done = subprocess.run([*program.split(), "-batch", "-"], input="\n".join(lines) + "\n", capture_output=True,
                          text=True, check=False)
    if done.returncode:
        sys.exit("%s: %s" % (program, done.stderr.strip()))
    found, text = {}, done.stdout.strip()
    for line in lines:
        found["%s %s" % (program, line)], end = json.JSONDecoder().raw_decode(text)
        text = text[end:].lstrip()
    return found


def strip(item):
    if isinstance(item, list):
        return [strip(one) for one in item]
    if not isinstance(item, dict):
        return item
    kept = {key: strip(value) for key, value in item.items() if key not in VOLATILE}
    if kept.get("ifname") in FALLBACKS:
        kept.pop("ifindex", None)
    return kept


def records(command, answer):
    for one in answer:
        yield "%s: %s" % (command, json.dumps(strip(one), sort_keys=True))


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
    for head, attrs in links.dump(name, links.SKIP_STATS):
        device = links.name_of(attrs)
        shown = sorted("%d:%s" % (number, link_info(value) if number == 18 else value.hex())
                       for number, value in attrs if number not in COUNTERS)
        yield "raw %s %s %s" % (device, head[8:12].hex() if device in FALLBACKS else head.hex(), " ".join(shown))


def link_info(value):
    """-> kind and sorted driver attributes. Those of bridges and ports are omitted: they have timers, and the output of
    ip has the rest."""
    info = dict(links.attributes(value))
    kind = info[1].rstrip(b"\0").decode() if 1 in info else ""
    data = sorted("%d=%s" % (number, one.hex()) for number, one in links.attributes(info.get(2, b"")))
    return "%s{%s}" % (kind, "" if kind == "bridge" else " ".join(data))


def static_fdb(entries, devices):
    own = {link.get("address") for link in devices}
    # The bridge creates entries for device addresses by itself.
    return [entry for entry in entries if static(entry) and entry["mac"] not in own]


def picture(name):
    found = {}
    for question in (*QUESTIONS, *[MPLS] * os.path.isdir("/proc/sys/net/mpls")):
        found.update(answers(*question))
    found[FDB] = static_fdb(found[FDB], found[LINKS])
    for command, answer in found.items():
        yield from records(command, answer)
    for kind in ("ipv4/conf", "ipv6/conf", "mpls/conf", "ipv4/neigh", "ipv6/neigh"):
        yield from sysctls(kind)
    offloads = Features()
    for link in found[LINKS]:
        if link.get("link_type") != "loopback" and link["ifname"] not in FALLBACKS:
            for line in offloads.lines(link["ifname"], FEATURES.__contains__):
                yield "feature %s %s" % (link["ifname"], line)
    yield from raw_links(name)


def of(*spaces):
    """-> the lines for all these namespaces"""
    lines = []
    for ns in spaces:
        with pkt.in_netns(ns.name):
            lines += ("%s: %s" % (ns.name, line) for line in sorted(picture(ns.name)))
    return lines
