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
# What the smoke run allows for: how the linker and the boot lay things out moves a packet's cost by as much as 0.4 %,
# and no three passes of TCP are alike.
ALLOWED = {"encap": 0.01, "decap": 0.01, "tcp": -0.05}


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


def allowing(mark, row):
    """-> the mark as the smoke run takes it"""
    return mark and (mark[0] + ALLOWED.get(row["what"], 0), *mark[1:])


def reached(row, mark=None):
    """-> True, False, or None where nothing has to be reached"""
    mark = mark or of(row)
    if mark is None or row[mark[2]] is None:
        return None
    return row[mark[2]] <= mark[0] if mark[1] == "max" else row[mark[2]] >= mark[0]
