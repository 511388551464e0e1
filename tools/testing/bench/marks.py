# SPDX-License-Identifier: GPL-2.0-only
"""Pass marks: ratios iptnl / in-tree of counted instructions in one boot"""

FOUR = ("ipip", "gre", "gre-key", "gretap")

# Maximum of what a tunnel adds to a forwarded packet: {measurement: {kind: ratio}}
PACKETS = {
    "encap": dict.fromkeys(FOUR, 0.75),
    "decap": dict.fromkeys(FOUR, 0.70),
}
# Maximum of additional instructions over one tunnel, mean of the tunnels, for every shape
LOOKUP = 100
# Minimum of TCP throughput
BULK = {"gre-seq": 1.5, "gre-full": 1.5}
BULK_OTHERS = 1.0
# Create, dump, delete
LIFE = 1.0
MEMORY = 0.9
# Tolerance of the smoke run: the memory layout changes the cost of a packet by up to 0.4 %, and TCP varies between
# passes.
ALLOWED = {"encap": 0.01, "decap": 0.01, "tcp": -0.05}


def of(row):
    """-> (mark, "max" or "min", field of the row), or None"""
    what = row["what"]
    if what in PACKETS and row["way"] == "forward" and row["kind"] in PACKETS[what]:
        return PACKETS[what][row["kind"]], "max", "ratio"
    if what == "lookup":
        return LOOKUP, "max", "ours"
    if what == "tcp":
        return BULK.get(row["kind"], BULK_OTHERS), "min", "ratio"
    if what in ("create", "dump", "delete", "delete together", "delete namespace"):
        return LIFE, "max", "ratio"
    if what.startswith("memory used"):
        return MEMORY, "max", "ratio"
    return None


def allowing(mark, row):
    """-> the mark with the tolerance of the smoke run"""
    return mark and (mark[0] + ALLOWED.get(row["what"], 0), *mark[1:])


def reached(row, mark=None):
    """-> True, False, or None without a mark"""
    mark = mark or of(row)
    if mark is None or row[mark[2]] is None:
        return None
    return row[mark[2]] <= mark[0] if mark[1] == "max" else row[mark[2]] >= mark[0]
