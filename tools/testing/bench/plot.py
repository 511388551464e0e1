# SPDX-License-Identifier: GPL-2.0-only
"""Two plots with gnuplot: cost per packet by number of tunnels, and by kind"""

import os
import shutil
import subprocess

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7")
SET = {"ours": "iptnl", "in-tree": "kernel's own"}


def run(file, script):
    head = f'set terminal svg size 900,520 font "sans,13" background "white"\nset output "{file}"\n' \
        "set grid ytics lc rgb '#dddddd'\nset border 3\nset tics nomirror\n"
    done = subprocess.run(["gnuplot"], input=head + script, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          check=False)
    if done.returncode:
        raise SystemExit(f"bench: gnuplot: {done.stdout.strip()}")


def tunnels(result, kernel, file):
    """One line per shape and set of modules"""
    blocks, lines = [], []
    chosen = [row for row in result if row["what"] == "lookup" and row["kernel"] == kernel]
    for colour, shape in zip(COLOURS, dict.fromkeys(row["kind"] for row in chosen)):
        for which, dash, point in (("ours", 1, 7), ("in-tree", 2, 6)):
            points = [(row["tunnels"], row[which + " packet"]) for row in chosen
                      if row["kind"] == shape and row[which + " packet"] is not None]
            if not points:
                continue
            name = f"$d{len(blocks)}"
            blocks.append(f"{name} << END\n" + "\n".join(f"{x} {y:.0f}" for x, y in points) + "\nEND\n")
            style = f'linespoints lw 2 pt {point} ps 0.8 dt {dash} lc rgb "{colour}"'
            lines.append(f'{name} with {style} title "{shape}, {SET[which]}"')
    run(file, "".join(blocks) + f"""
set title "Instructions per received packet, decapsulated and forwarded; kernel {kernel}"
set logscale xy
set format x "%.0s%c"
set format y "%.0f"
set xlabel "tunnels"
set key left top
plot {', '.join(lines)}
""")


def kinds(result, kernel, file):
    """Bars: encap, decap and pair of each kind, forwarded, 60 bytes"""
    chosen = {(row["what"], row["kind"]): row for row in result
              if row["kernel"] == kernel and row.get("way") == "forward" and row.get("size") == 60
              and row["what"] in ("encap", "decap", "pair")}
    groups = [(what, kind) for what in ("encap", "decap", "pair") for kind in dict.fromkeys(key[1] for key in chosen)
              if (what, kind) in chosen]
    table = "\n".join(f'"{kind} {what}" {chosen[what, kind]["ours"]:.0f} {chosen[what, kind]["in-tree"]:.0f}'
                      for what, kind in groups)
    run(file, f"""$d << END
{table}
END
set title "Instructions per packet that a tunnel adds, forwarded, 60 bytes; kernel {kernel}"
set style data histogram
set style histogram clustered gap 1
set style fill solid 0.9 noborder
set xtics rotate by 45 right
set yrange [0:*]
set key left top
plot $d using 2:xtic(1) lc rgb "{COLOURS[0]}" title "{SET['ours']}", \\
    "" using 3 lc rgb "{COLOURS[1]}" title "{SET['in-tree']}"
""")


def draw(result, directory):
    """-> files, none without gnuplot"""
    if not shutil.which("gnuplot"):
        print("# no plots: gnuplot is missing ('make bench' installs it)")
        return []
    files = []
    for kernel in dict.fromkeys(row["kernel"] for row in result):
        if any(row["kernel"] == kernel and row["what"] == "lookup" for row in result):
            files.append(os.path.join(directory, f"tunnels-{kernel}.svg"))
            tunnels(result, kernel, files[-1])
        if any(row["kernel"] == kernel and row.get("way") == "forward" and row["kind"] != "none" for row in result):
            files.append(os.path.join(directory, f"kinds-{kernel}.svg"))
            kinds(result, kernel, files[-1])
    return files
