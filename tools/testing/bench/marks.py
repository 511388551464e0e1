# SPDX-License-Identifier: GPL-2.0-only
"""What has to be reached: ratios ours / in-tree, in counted instructions of one boot. Kept here only."""

FOUR = ("ipip", "gre", "gre-key", "gretap")

# What a tunnel adds to a forwarded packet, at most: {what: ({kind: ratio})}
PACKETS = {
    "encap": dict.fromkeys(FOUR, 0.75),
    "decap": dict.fromkeys(FOUR, 0.70),
}
# Instructions more than with one tunnel, mean of the tunnels asked for, whatever the shape
LOOKUP = 100
# TCP throughput, at least; what is not named
BULK = {"gre-seq": 1.5, "gre-full": 1.5}
BULK_OTHERS = 1.0
# Create, dump, delete
LIFE = 1.0
MEMORY = 0.9


def of(row):
    """-> (mark, "max" or "min", which of the row's figures), or None"""
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


def reached(row):
    """-> True, False, or None where nothing has to be reached"""
    mark = of(row)
    if mark is None or row[mark[2]] is None:
        return None
    return row[mark[2]] <= mark[0] if mark[1] == "max" else row[mark[2]] >= mark[0]
