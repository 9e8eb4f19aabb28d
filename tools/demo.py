#!/usr/bin/env python3
"""Trains the same network over the same slow link with three codecs, prints what each took, and draws accuracy against seconds."""

import argparse
import json
import pathlib
import subprocess
import sys
import tempfile
import time

CODECS = ("none", "fp16", "onebit")


def train(arguments, codec, folder):
    file = pathlib.Path(folder, f"{codec}.json")
    command = [
        arguments.gradwire, "train", "--data", arguments.data, "--ranks", arguments.ranks, "--link-rate", arguments.link_rate,
        "--hidden", "512,512", "--batch", "64", "--steps", arguments.steps, "--eval-every", max(1, arguments.steps // 12),
        "--codec", codec, "--json", file,
    ]
    if arguments.data_dir:
        command += ["--data-dir", arguments.data_dir]
    begin = time.monotonic()
    # The progress bar goes to standard error; the table of each run would only repeat ours.
    result = subprocess.run([str(word) for word in command], stdout=subprocess.DEVNULL)
    if result.returncode != 0:
        sys.exit(f"demo: training with {codec} ended with {result.returncode}")
    print(f"{codec}: done after {time.monotonic() - begin:.0f} s", file=sys.stderr)
    return json.loads(file.read_text())


def elements(widths):
    """Weights and biases of a multilayer perceptron."""
    return sum((inputs + 1) * outputs for inputs, outputs in zip(widths, widths[1:]))


def row(report):
    config, final = report["config"], report["final"]
    # An allreduce moves every element out of and into a rank, less the share that it owns.
    moved = 2 * (config["ranks"] - 1) / config["ranks"] * elements(config["widths"])
    return {
        "codec": config["codec"],
        "bits_per_element": 8 * final["wire_bytes_per_step"] / moved,
        "bytes_per_step": final["wire_bytes_per_step"],
        "ms_per_step": 1e3 * final["seconds"] / final["steps"],
        "samples_per_second": final["samples_per_second"],
        "test_accuracy": final["test_accuracy"],
    }


def print_table(rows, steps):
    print(f"\n{'codec':<8}{'bits per element':>18}{'bytes per step':>16}{'ms per step':>13}{'samples/s':>11}"
          f"{f'accuracy after {steps} steps':>28}{'speedup':>9}")
    for line in rows:
        speedup = line["samples_per_second"] / rows[0]["samples_per_second"]
        print(f"{line['codec']:<8}{line['bits_per_element']:>18.2f}{line['bytes_per_step']:>16,.0f}{line['ms_per_step']:>13.1f}"
              f"{line['samples_per_second']:>11,.0f}{line['test_accuracy']:>26.2%}  {speedup:>7.1f}x")


def draw(reports, title, path):
    try:
        import matplotlib
    except ImportError:
        return False
    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(8, 5), layout="constrained")
    for report in reports:
        points = report["evaluations"]
        axes.plot([point["seconds"] for point in points], [100 * point["test_accuracy"] for point in points],
                  marker="o", markersize=3, label=report["config"]["codec"])
    axes.set(title=title, xlabel="seconds of training", ylabel="test accuracy, %")
    axes.grid(alpha=0.3)
    axes.legend(title="codec")
    figure.savefig(path, dpi=120)
    return True


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gradwire", default="build/release/src/cli/gradwire", type=pathlib.Path, help="the program")
    parser.add_argument("--data", default="fashion-mnist")
    parser.add_argument("--data-dir", help="folder of the data set's IDX files, if not the usual one")
    parser.add_argument("--ranks", default=4, type=int)
    parser.add_argument("--link-rate", default="100mbit")
    parser.add_argument("--steps", default=400, type=int)
    parser.add_argument("--output", default="out", type=pathlib.Path, help="folder for demo.png and demo.json")
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)

    with tempfile.TemporaryDirectory() as folder:
        reports = [train(arguments, codec, folder) for codec in CODECS]
    rows = [row(report) for report in reports]
    title = f"{arguments.data}, MLP {'-'.join(map(str, reports[0]['config']['widths']))}, {arguments.ranks} ranks over {arguments.link_rate} links"
    print(f"\n{title}")
    print_table(rows, arguments.steps)
    (arguments.output / "demo.json").write_text(json.dumps({"title": title, "rows": rows, "runs": reports}, indent=1) + "\n")
    if draw(reports, title, arguments.output / "demo.png"):
        print(f"\nTest accuracy against seconds: {arguments.output / 'demo.png'}")
    else:
        print("\nNo picture: matplotlib is not installed")


if __name__ == "__main__":
    main()
