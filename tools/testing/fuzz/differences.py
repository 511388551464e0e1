# SPDX-License-Identifier: GPL-2.0-only
"""What differs between two passes of inject --log."""
import collections
import json
import struct

RECORD = struct.Struct("=QHHI")     # struct record of record.h
# Counted by iptnl only, or at another device: see doc/differences.md.
COUNTED_APART = {"rx_crc_errors", "rx_errors", "rx_nohandler", "rx_dropped"}
# Packets for an NBMA device that do not begin with its header; in-tree sends some.
SILENT = ("transmit:tc3:ethernet",)
UNDERLAY = {"in", "full", "csum", "none", "partial", "loop", "lo", "tap9", "tun9"}


def records(log):
    """-> {number: (way, sum, frames)}"""
    return {number: (way, total, frames) for total, frames, way, number in RECORD.iter_unpack(log)}


# Of a tunnel to one peer: i, g or e and a number, which decides about OPTIONS, ENCAPS and kinds in world.py.

def number_of(dev):
    """-> that number, or None"""
    return int(dev[1:]) if dev[0] in "eig" and dev[1:].isdigit() else None


def is_numbered(number):
    """-> whether gre and gretap have sequence numbers"""
    return number % 8 in (3, 4)


def has_remcsum(number):
    return number // 8 % 5 == 4


def is_erspan(dev):
    return dev[0] == "e" and number_of(dev) is not None and number_of(dev) % 3 == 0


def is_counted_apart(dev):
    """-> whether GSO packets are kept whole by one set of modules only: with sequence numbers, with encap-remcsum, and
    by g80, in which other tunnels are"""
    number = number_of(dev)
    if number is None:
        return dev in UNDERLAY | {"nbma"}
    return is_numbered(number) or has_remcsum(number) or number == 80 or is_erspan(dev)


def count(log):
    return len(log) // RECORD.size


def left_out(text):
    return sum(int(line.split()[1]) for line in text.splitlines() if line.startswith("left-out "))


def numbers(left, right, silent):
    """-> those of the records that differ; by the ways in "silent" the right one has to send nothing at all"""
    left, right = records(left), records(right)

    def differ(number):
        mine = right.get(number)
        return mine[2] if mine and mine[0] in silent else left.get(number) != mine

    return sorted(number for number in left.keys() | right.keys() if differ(number))


def counted(before, after):
    """-> {device: {direction: {counter: packets or bytes between two outputs of ip}}}; devices come later, too"""
    before, after = ({link["ifname"]: link["stats64"] for link in json.loads(text) if "stats64" in link}
                     for text in (before, after))
    return {dev: {way: {name: value - before.get(dev, {}).get(way, {}).get(name, 0) for name, value in values.items()}
                  for way, values in stats.items()} for dev, stats in after.items()}


def counters(left, right):
    """-> a line for each counter of a device that differs; each is of counted()"""
    lines = []
    for dev in sorted(dev for dev in left.keys() & right.keys() if not is_counted_apart(dev)):
        for direction in "rx", "tx":
            for name, value in left[dev][direction].items():
                other = right[dev][direction].get(name)
                if value != other and f"{direction}_{name}" not in COUNTED_APART:
                    lines.append(f"{dev} {direction} {name}: in-tree {value}, ours {other}")
    return lines


def sent(text):
    """-> {number: frames}, [line of an input]"""
    frames, inputs = collections.defaultdict(collections.Counter), collections.defaultdict(list)
    for line in text.splitlines():
        if line.startswith("sent "):
            _, number, frame = line.split(" ", 2)
            frames[int(number)][frame] += 1
        elif line.startswith("input "):
            inputs[int(line.split()[1])].append(line.split(" ", 2)[2])
    return frames, inputs


def explain(shown, left, right):
    """Yield the inputs, and the frames that only one of the two sent."""
    left, inputs = sent(left)
    right, _ = sent(right)
    for number in shown:
        yield f"input {number}"
        for line in inputs[number]:
            yield "  " + line
        for name, mine, other in (("in-tree", left, right), ("ours", right, left)):
            for frame, times in (mine[number] - other[number]).items():
                yield f"  only {name}, {times}: {frame}"
