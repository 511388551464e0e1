# SPDX-License-Identifier: GPL-2.0-only
"""In which functions the instructions of a packet are spent: samples of the processor's clock, which under icount counts
instructions, scaled to what a packet costs without sampling."""

import os
import signal
import subprocess
import tempfile
import time

import paths

PACKETS = 128000
DATA = "perf.data"


def sampled(world, operation, way, size, directory):
    """-> {(module, function): instructions per packet}"""
    cost = world.measure(operation, way, size)
    data = os.path.join(directory, DATA)
    with open("/proc/self/comm", encoding="ascii") as file:
        comm = file.read().strip()
    with subprocess.Popen(["perf", "record", "-q", "-e", "cpu-clock", "-F", "20000", "-a", "-o", data],
                          stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as perf:
        time.sleep(0.5)
        world.measure(operation, way, size, PACKETS)
        perf.send_signal(signal.SIGINT)
        said = perf.communicate()[1]
    if not os.path.exists(data):
        raise SystemExit(f"bench: perf: {said.strip()}")
    report = subprocess.run(["perf", "report", "-i", data, "--stdio", "--no-children", "-g", "none", "-t", ";", "-F",
                             "sample,dso,sym", "--comm", comm], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                            text=True, check=True).stdout
    counts = {}
    for line in report.splitlines():
        fields = [field.strip() for field in line.split(";")]
        if len(fields) == 3 and fields[0].isdecimal() and fields[2].startswith("[k] "):
            key = fields[1].strip("[]"), fields[2][4:]
            counts[key] = counts.get(key, 0) + int(fields[0])
    os.unlink(data)
    total = sum(counts.values())
    if total < 1000:
        raise SystemExit(f"bench: perf: only {total} samples")
    return {key: cost * count / total for key, count in counts.items()}


def profile(kind, size=60):
    """-> {operation: [[module, function, instructions per packet], ...]}"""
    result = {}
    with tempfile.TemporaryDirectory() as directory:
        for name, operations in ((None, ["plain"]), (kind, ["encap", "decap"])):
            world = paths.World(name, False)
            for operation in operations:
                found = sampled(world, operation, "forward", size, directory)
                result[operation] = [[*key, value] for key, value in found.items()]
            world.close()
    return result
