# SPDX-License-Identifier: GPL-2.0-only
"""Cost of a received packet by number of tunnels"""

import socket
import struct
import time

import links
import paths
from inject import Frame, Injector, ethernet, ipv4, udp

SHAPES = ("remotes", "remote-key", "any-key", "one-remote")
COUNTS = (1, 100, 1000, 10000, 100000)
PACKETS = 6400


def frame(shape, i):
    """-> packet for the i-th tunnel"""
    kind, remote, key = links.SHAPES[shape]
    inner = udp(paths.SOURCE, paths.PLAIN, 60)
    source = socket.inet_ntoa(struct.pack("!I", remote(i) or links.ONE_REMOTE))
    if kind == "ipip":
        data = ipv4(4, source, links.LOCAL, inner)
    else:
        header = struct.pack("!HHI", paths.GRE_KEY, 0x0800, key(i)) if key else struct.pack("!HH", 0, 0x0800)
        data = ipv4(47, source, links.LOCAL, header + inner)
    data = ethernet(paths.MAC["in0"], data)
    return Frame(data, len(data) - 40)


def cost(shape, i):
    """-> instructions per packet for the i-th tunnel"""
    paths.ip(f"link set dev t{i} up", "a")
    source = Injector(frame(shape, i), "in0")
    try:
        source.run(paths.WARM_UP)
        before = paths.packets("a", "out0", "tx")
        spent = source.run(PACKETS)
        moved = paths.packets("a", "out0", "tx") - before
    finally:
        source.close()
    if moved != PACKETS:
        raise SystemExit(f"bench: lookup {shape} {i}: {moved} of {PACKETS} packets arrived")
    return spent / PACKETS


def targets(count):
    """-> up to 9 tunnels that receive packets: the first, the last and some in between"""
    return sorted({step * (count - 1) // 8 for step in range(9)})


def measure(shape, counts, note, leave=False):
    """-> {number of tunnels: {"mean", "worst": instructions per packet, "create": instructions per tunnel}}"""
    world = paths.World(None, False)
    link = links.Links()
    result, made = {}, 0
    for count in counts:
        start = time.monotonic_ns()
        link.create(shape, made, count)
        create = (time.monotonic_ns() - start) / (count - made)
        made = count
        costs = [cost(shape, i) for i in targets(count)]
        result[count] = {"mean": sum(costs) / len(costs), "worst": max(costs), "create": create}
        note(f"{shape}: {count} tunnels: " + " ".join(f"{k} {v:.0f}" for k, v in result[count].items()))
    link.close()
    if not leave:
        world.close()
    return result
