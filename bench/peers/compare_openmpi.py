#!/usr/bin/env python3
"""Allreduce of float32 over shared memory, 2 ranks: gradwire with --codec none against MPI, in one run.

Both are run in turns, so that a machine that gets slower or faster meets both alike. Times are the medians of the turns' medians;
the ratio is the median of the turns' ratios, since a turn's two figures are of one time. Ratios above 1 favour gradwire.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile

# As root, in a container with fewer cores than ranks, or in neither: mpirun should just run.
MPIRUN = ["mpirun", "--oversubscribe"] + (["--allow-run-as-root"] if os.getuid() == 0 else [])


def run(command, json_file):
    result = subprocess.run([str(word) for word in command], capture_output=True, text=True)
    if result.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))} ended with {result.returncode}:\n{result.stdout}{result.stderr}")
    return {entry["bytes"]: entry["time_us"]["median"] for entry in json.loads(json_file.read_text())["results"]}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", default="build/release", type=pathlib.Path, help="where the project was built")
    parser.add_argument("--turns", default=7, type=int)
    parser.add_argument("--ranks", default=2, type=int)
    parser.add_argument("--json", type=pathlib.Path, help="write the figures to this file")
    arguments = parser.parse_args()

    mpi_program = arguments.build / "bench/peers/mpi_allreduce"
    gradwire = arguments.build / "src/cli/gradwire"
    if not mpi_program.is_file():
        sys.exit(f"there is no {mpi_program}: install libopenmpi-dev and openmpi-bin, configure again and build")
    sizes = ["--min", "4096", "--max", str(16 << 20), "--factor", "4"]
    times = {"gradwire": {}, "mpi": {}}
    with tempfile.TemporaryDirectory() as folder:
        file = pathlib.Path(folder, "results.json")
        commands = {
            "gradwire": [gradwire, "bench", "allreduce", "--ranks", arguments.ranks, "--transport", "shm", "--codec", "none",
                         *sizes, "--json", file],
            "mpi": [*MPIRUN, "-n", arguments.ranks, mpi_program, *sizes, "--json", file],
        }
        for turn in range(arguments.turns):
            for name in sorted(commands, reverse=turn % 2 == 1):
                for size, median in run(commands[name], file).items():
                    times[name].setdefault(size, []).append(median)

    bus = 2 * (arguments.ranks - 1) / arguments.ranks
    rows = []
    for size in sorted(times["mpi"]):
        ours, theirs = (statistics.median(times[name][size]) for name in ("gradwire", "mpi"))
        ratios = [mpi / gradwire for gradwire, mpi in zip(times["gradwire"][size], times["mpi"][size])]
        rows.append({
            "bytes": size,
            "gradwire_us": ours,
            "mpi_us": theirs,
            "gradwire_busbw_GBps": bus * size / ours / 1e3,
            "mpi_busbw_GBps": bus * size / theirs / 1e3,
            "ratio": {"min": min(ratios), "median": statistics.median(ratios), "max": max(ratios)},
        })
    print(f"{'bytes':>10} {'gradwire us':>12} {'mpi us':>12} {'gradwire GB/s':>14} {'mpi GB/s':>10} {'ratio':>7} {'of the turns':>14}")
    for row in rows:
        print(f"{row['bytes']:>10} {row['gradwire_us']:>12.2f} {row['mpi_us']:>12.2f} {row['gradwire_busbw_GBps']:>14.2f}"
              f" {row['mpi_busbw_GBps']:>10.2f} {row['ratio']['median']:>7.2f}"
              f" {row['ratio']['min']:>6.2f} .. {row['ratio']['max']:.2f}")
    print(f"{arguments.ranks} ranks, {arguments.turns} turns each: at 4 KB gradwire takes {1 / rows[0]['ratio']['median']:.2f} times MPI's time,"
          f" at 16 MB it moves {rows[-1]['ratio']['median']:.2f} times as many bytes a second")
    if arguments.json:
        arguments.json.write_text(json.dumps({"ranks": arguments.ranks, "turns": arguments.turns, "results": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
