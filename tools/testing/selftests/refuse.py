# SPDX-License-Identifier: GPL-2.0
"""Requests to the kernel that must succeed, or must be refused.

A request is a function that returns an exit status and a text: ip(), command(),
batches(), unload(), nl(), tunctl(). It is handed, with its arguments, to one of

    works("made", nl, n0, "new x gre REMOTE=192.0.2.9")
    works_each(n0, ("made", "link add x type gre"), ("up", "link set x up"))
    refuse("not twice", "exists", ip, n0, "link add x type gre", unchanged=n0)
    bad(n0, "EINVAL", "a TTL without a value", "set x gre TTL=hex:")

Each of these reports one result, works_each() one for each line.
"""
import re
import subprocess

import links
import nl as netlink
import tunctl as ioctl
from ksft import check, with_holders
from wire import IN_TREE

EXTACK = "^Error: .+[^ ]"       # what "ip" prints when the kernel gave a reason
# The in-tree drivers give few reasons.
WORDS = "" if IN_TREE else ": .+"


# ------------------------------------------------------------------ requests

def name_of(ns):
    return ns.name if ns else "-"


def command(*words, stdin=""):
    done = subprocess.run(words, input=stdin, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    return done.returncode, done.stdout


def batch(ns, lines, *options):
    """all the lines by one "ip" """
    return command("ip", *(["-n", ns.name] if ns else []), *options, "-batch", "-", stdin="\n".join(lines) + "\n")


def batches(*cases):
    """(ns, lines)..., until one fails"""
    for ns, lines in cases:
        status, text = batch(ns, lines)
        if status:
            return status, text
    return 0, ""


def unload(*modules):
    """those that are loaded, and before each what uses it"""
    order = with_holders(*modules)
    return command("rmmod", *order) if order else (0, "")


def ip(ns, line):
    """None is the present namespace"""
    return command("ip", *(["-n", ns.name] if ns else []), *line.split())


def nl(ns, line):
    """raw rtnetlink: VERB DEV KIND ATTRIBUTE..., see nl.py"""
    return netlink.ask(name_of(ns), *line.split())


def tunctl(ns, line):
    """a raw tunnel ioctl: DEV COMMAND FIELD=VALUE..., see tunctl.py"""
    return ioctl.ask(name_of(ns), *line.split())


# ------------------------------------------------------------------- results

def works(name, request, *args):
    status, text = request(*args)
    return check(name, status == 0, f"exit status {status}: {args}", text)


def fails(name, request, *args):
    """for a command that fails without a message; otherwise use refuse()"""
    status, text = request(*args)
    return check(name, status != 0, f"was accepted: {args}", text)


def works_each(ns, *cases):
    """(name, line of ip)..., all by one "ip". A line that fails does not end it."""
    status, text = batch(ns, [line for _, line in cases], "-force")
    failed = {int(number) for number in re.findall(r"^Command failed -:(\d+)", text, re.M)}
    if status not in (0, 1):            # a line that is not understood ends it there, and is not named
        failed.update(range(1, len(cases) + 1))
    for number, (name, line) in enumerate(cases, 1):
        check(name, number not in failed, line, f"exit status {status}", text)


def refuse(name, regex, request, *args, unchanged=None, dev=None):
    """The request fails, a line of its text matches, and in the namespace
    "unchanged" no device (or not dev) has changed, appeared or gone."""
    before = unchanged and links.configuration(unchanged.name, dev)
    status, text = request(*args)
    after = unchanged and links.configuration(unchanged.name, dev)
    if status == 0:
        return check(name, False, f"was accepted: {args}", text)
    if not re.search(regex, text, re.M):
        return check(name, False, f"no message like /{regex}/, exit status {status}: {args}", text)
    return check(name, before == after, f"refused, but changed something: {args}",
                 "before:", *(before or ()), "after:", *(after or ()))


def drop_x(ns):
    """What was wrongly accepted must not be in the way of the next case."""
    if ns.has_dev("x"):
        ns.ip("link del x")


def refused(ns, name, regex, request, line):
    refuse(name, regex, request, ns, line, unchanged=ns)
    if not line.startswith("set "):
        drop_x(ns)


def bad(ns, errno, name, line):
    """Netlink refuses and gives a reason. A device that would be made is called x."""
    refused(ns, f"{name}: {errno}", f"^({errno}){WORDS}", nl, line)


def mute(ns, errno, name, line):
    """Netlink refuses, where no driver can give a reason."""
    refused(ns, f"{name}: {errno}", f"^{errno}", nl, line)


def bad_ioctl(ns, errno, name, line):
    refused(ns, f"ioctl: {name}: {errno}", f"^{errno}$", tunctl, line)
