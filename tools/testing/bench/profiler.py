# SPDX-License-Identifier: GPL-2.0-only
"""Profile the instructions of a packet by function: samples of the CPU clock, which counts instructions under icount,
scaled to the cost of a packet without sampling."""

import os
import signal
import subprocess
import tempfile

import paths

PACKETS = 128000
DATA = "perf.data"


# The tunnel modules of both sets
TUNNEL = {"tunnel4", "gre", "ip_tunnel_core", "ip_tunnel", "ipip", "ip_gre"}


def tunnel_functions():
    """-> names; perf attributes modules whose file it cannot find to the kernel"""
    with open("/proc/kallsyms", encoding="ascii") as file:
        rows = [line.split() for line in file]
    return {row[2] for row in rows if len(row) > 3 and row[3].strip("[]") in TUNNEL}


def sampled(world, operation, way, size, directory):
    """-> {("tunnel" or "kernel", function): instructions per packet}"""
    tunnel = tunnel_functions()
    cost = world.measure(operation, way, size)
    data = os.path.join(directory, DATA)
    with open("/proc/self/comm", encoding="ascii") as file:
        comm = file.read().strip()
    # Guest time passes quickly while perf is loaded from the host: wait until it says that it has started.
    control, answer = os.pipe(), os.pipe()
    with subprocess.Popen(["perf", "record", "-q", "-e", "cpu-clock", "-F", "20000", "-a", "-D", "-1", "-o", data,
                           "--control", f"fd:{control[0]},{answer[1]}"], pass_fds=(control[0], answer[1]),
                          stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as perf:
        os.close(answer[1])
        os.write(control[1], b"enable\n")
        os.read(answer[0], 16)
        world.measure(operation, way, size, PACKETS)
        perf.send_signal(signal.SIGINT)
        said = perf.communicate()[1]
    for file in control[0], control[1], answer[0]:
        os.close(file)
    if not os.path.exists(data):
        raise SystemExit(f"bench: perf: {said.strip()}")
    report = subprocess.run(["perf", "report", "-i", data, "--stdio", "--no-children", "-g", "none", "-t", ";", "-F",
                             "sample,sym", "--comm", comm], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                            text=True, check=True).stdout
    counts = {}
    for line in report.splitlines():
        fields = [field.strip() for field in line.split(";")]
        if len(fields) == 2 and fields[0].isdecimal() and fields[1].startswith("[k] "):
            key = "tunnel" if fields[1][4:] in tunnel else "kernel", fields[1][4:]
            counts[key] = counts.get(key, 0) + int(fields[0])
    os.unlink(data)
    total = sum(counts.values())
    if total < 1000:
        raise SystemExit(f"bench: perf: only {total} samples")
    return {key: cost * count / total for key, count in counts.items()}


def profile(kind, size=60):
    """-> {operation: [["tunnel" or "kernel", function, instructions per packet], ...]}"""
    result = {}
    with tempfile.TemporaryDirectory() as directory:
        for name, operations in ((None, ["plain"]), (kind, ["encap", "decap"])):
            world = paths.World(name, False)
            for operation in operations:
                found = sampled(world, operation, "forward", size, directory)
                result[operation] = [[*key, value] for key, value in found.items()]
            world.close()
    return result
