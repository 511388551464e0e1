# SPDX-License-Identifier: GPL-2.0-only
"""Convert results of the guest to rows, and rows to a table.

A row: kernel, its release, what, kind, and where it has them way, size, tunnels, flows; ours, in-tree (None if not
measured), their ratio, and spread: how far the passes of one set of modules lie apart, in percent of their mean, the
larger of both.
"""

from statistics import mean

import marks

BASE = {"encap": "plain", "decap": "plain", "pair": "plain2"}
SETS = ("ours", "in-tree")


def spread(values):
    return 100 * (max(values) - min(values)) / abs(mean(values)) if len(values) > 1 and mean(values) else None


def row(kernel, what, kind, ours, theirs, **more):
    """ours, theirs: lists with one value per pass"""
    spreads = [spread(values) for values in (ours, theirs) if values]
    result = {"kernel": kernel, "what": what, "kind": kind, **more, "ours": mean(ours) if ours else None,
              "in-tree": mean(theirs) if theirs else None, "ratio": None,
              "spread": max(spreads) if spreads and None not in spreads else None}
    if ours and theirs and result["in-tree"]:
        result["ratio"] = result["ours"] / result["in-tree"]
    return result


def packets(kernel, passes):
    def added(which, name, base):
        return [one[name] - one[base] for one in passes[which]]

    for name in passes["ours"][0]:
        kind, operation, way, size = name.split()
        if kind == "none":
            continue
        base = "plain-rx" if (operation, way) == ("decap", "local") else BASE[operation]
        base = f"none {base} {way} {size}"
        yield row(kernel, operation, kind, added("ours", name, base), added("in-tree", name, base),
                  way=way, size=int(size))


def plain(kernel, passes):
    """The baseline without a tunnel"""
    for name in passes["ours"][0]:
        kind, operation, way, size = name.split()
        if kind == "none":
            yield row(kernel, operation, kind, *([one[name] for one in passes[which]] for which in SETS),
                      way=way, size=int(size))


def lookup(kernel, shapes):
    """ours and in-tree: additional instructions over one tunnel"""
    for shape, counts in shapes["ours"].items():
        for count in counts:
            figures = {}
            for which in SETS:
                of = shapes[which].get(shape, {})
                figures[which] = [of[count]["mean"] - of["1"]["mean"]] if count in of else []
                figures[which + " worst"] = of[count]["worst"] - of["1"]["mean"] if count in of else None
                figures[which + " packet"] = of[count]["mean"] if count in of else None
            ours, theirs = figures.pop("ours"), figures.pop("in-tree")
            result = row(kernel, "lookup", shape, ours, theirs, tunnels=int(count), **figures)
            if theirs:
                result["ratio"] = figures["ours packet"] / figures["in-tree packet"]
            yield result


def life(kernel, passes, suffix=""):
    for name in passes["ours"][0]:
        kind, what = name.split(" ", 1) if not name.startswith("namespace") else ("", name)
        result = row(kernel, what + suffix, kind, *([one[name] for one in passes[which]] for which in SETS))
        if "none" in passes and name in passes["none"][0]:
            result["without"] = passes["none"][0][name]
        yield result


def tcp(kernel, passes):
    """The ratio is that of throughput: above 1, iptnl is faster."""
    for name in passes["ours"][0]:
        kind, flows = name.split()
        result = row(kernel, "tcp", kind, *([one[name] for one in passes[which]] for which in SETS), flows=int(flows))
        result["ratio"] = 1 / result["ratio"]
        yield result


# ---------------------------------------------------------------- text

def number(value, digits=0):
    return "-" if value is None else f"{value:,.{digits}f}"


SECTIONS = (
    ("Instructions per packet without a tunnel", ("plain", "plain-rx", "plain2"), ("what", "way", "size")),
    ("Instructions per packet that a tunnel adds", ("encap", "decap", "pair"), ("what", "way", "size", "kind")),
    ("Instructions per received packet, more than with one tunnel; the ratio is that of the whole packet",
     ("lookup",), ("kind", "tunnels")),
    ("Instructions per tunnel", ("create", "dump", "change", "delete", "delete together", "delete namespace"),
     ("what", "kind")),
    ("Bytes per tunnel", ("memory used", "memory slab", "memory percpu", "memory used, 16 CPUs", "memory slab, 16 CPUs",
                          "memory percpu, 16 CPUs"), ("what", "kind")),
    ("Instructions and bytes per network namespace, nothing in it but fallback devices",
     ("namespace create", "namespace delete", "namespace memory used",
      "namespace memory slab", "namespace memory percpu"), ("what",)),
    ("Instructions per MB of TCP; the ratio is that of throughput", ("tcp",), ("kind", "flows")),
)
WIDTHS = {"what": 24, "way": 9, "size": 6, "kind": 14, "tunnels": 9, "flows": 7}


def heading(columns, wide):
    line = f"{'kernel':8}" + "".join(f"{name:{WIDTHS[name]}}" for name in columns)
    return line + f"{'ours':>11}{'in-tree':>11}{'ratio':>8}{'spread':>8}" + wide


def text(rows):
    """-> the lines"""
    releases = {one["kernel"]: one["release"] for one in rows}
    yield from ("", *(f"{kernel}: {release}" for kernel, release in releases.items()))
    for title, whats, columns in SECTIONS:
        chosen = [one for one in rows if one["what"] in whats]
        if not chosen:
            continue
        extra = "without" if whats[0].startswith("namespace") else "ours worst" if "lookup" in whats else ""
        yield from ("", title, "", heading(columns, f"{extra:>12}" if extra else ""))
        for one in sorted(chosen, key=lambda r: whats.index(r["what"])):
            line = f"{one['kernel']:8}" + "".join(f"{one[name]!s:{WIDTHS[name]}}" for name in columns)
            line += f"{number(one['ours']):>11}{number(one['in-tree']):>11}{number(one['ratio'], 2):>8}"
            line += f"{number(one['spread'], 1) + '%' if one['spread'] is not None else '-':>8}"
            line += f"{number(one.get(extra)):>12}" if extra else ""
            yield line + ("   missed" if marks.reached(one) is False else "")


# ---------------------------------------------------------------- profile

def profile(kernel, kind, sets, least=10):
    """-> lines: functions with at least `least` instructions per packet, without and with a tunnel"""
    for operation in ("encap", "decap"):
        table = {}
        for column, which, one in ((0, "ours", "plain"), (1, "ours", operation), (2, "in-tree", operation)):
            for place, function, value in sets[which][one]:
                table.setdefault((place, function), [0, 0, 0])[column] += value
        yield from ("", f"{kernel}, {kind}, {operation}: instructions per packet, forwarded, 60 bytes", "",
                    f"{'plain':>7}{'ours':>8}{'in-tree':>9}  of      function")
        sums = {place: [sum(values[i] for key, values in table.items() if key[0] == place) for i in range(3)]
                for place in ("tunnel", "kernel")}
        for place in ("tunnel", "kernel"):
            for key, values in sorted(table.items(), key=lambda item: -item[1][1]):
                if key[0] == place and max(values) >= least:
                    yield f"{values[0]:7.0f}{values[1]:8.0f}{values[2]:9.0f}  {place:7} {key[1]}"
        for place, values in sums.items():
            yield f"{values[0]:7.0f}{values[1]:8.0f}{values[2]:9.0f}  {place:7} in all"
        both = [a + b for a, b in zip(sums["tunnel"], sums["kernel"])]
        yield f"{both[0]:7.0f}{both[1]:8.0f}{both[2]:9.0f}"
