#!/usr/bin/env python3
"""Trains the same network with plain, half-precision and one-bit gradients over a slow link, and compares.

Prints one table and writes demo.png, test accuracy against seconds of training, and demo.json with all that was
measured. Needs matplotlib (Debian: python3-matplotlib).
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile

DEBIAN_PYTHON = "/usr/bin/python3"


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    built = os.path.join(os.path.dirname(os.path.realpath(__file__)), "../../build/release/src/cli/gradwire")
    parser.add_argument("--gradwire", default=os.path.normpath(built), help="the gradwire program (%(default)s)")
    parser.add_argument("--out", default="out/demo", help="folder for demo.png and demo.json (%(default)s)")
    parser.add_argument("--codecs", default="none,fp16,onebit", help="the first is what the others are compared with")
    parser.add_argument("--data", default="fashion-mnist", help="data set (%(default)s)")
    parser.add_argument("--data-dir", help="folder of its files, where it isn't in the usual place")
    parser.add_argument("--ranks", type=int, default=4)
    parser.add_argument("--link-rate", default="100mbit", help="of every rank's link, each way (%(default)s)")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--eval-every", type=int, default=30)
    parser.add_argument("--batch", type=int, default=64, help="samples per rank and step (%(default)s)")
    return parser.parse_args()


def load_pyplot():
    """matplotlib.pyplot; where this Python has none, the script starts again with Debian's."""
    try:
        import matplotlib
    except ImportError:
        if os.path.realpath(sys.executable) != os.path.realpath(DEBIAN_PYTHON) and os.path.exists(DEBIAN_PYTHON):
            os.execv(DEBIAN_PYTHON, [DEBIAN_PYTHON, *sys.argv])
        sys.exit("demo: matplotlib is missing; install python3-matplotlib (./dev setup does)")
    matplotlib.use("Agg")
    from matplotlib import pyplot

    return pyplot


def train(arguments, codec):
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "train.json")
        command = [
            arguments.gradwire, "train", "--data", arguments.data, "--ranks", str(arguments.ranks),
            "--link-rate", arguments.link_rate, "--codec", codec, "--batch", str(arguments.batch),
            "--steps", str(arguments.steps), "--eval-every", str(arguments.eval_every), "--json", path,
        ]  # fmt: skip
        if arguments.data_dir:
            command += ["--data-dir", arguments.data_dir]
        print(f"demo: training {arguments.steps} steps with codec {codec}", file=sys.stderr, flush=True)
        # The program's own summary would stand between ours; its progress bar and errors may show.
        status = subprocess.run(command, stdout=subprocess.DEVNULL).returncode
        if status != 0:
            sys.exit(f"demo: '{' '.join(command)}' failed with status {status}")
        with open(path, encoding="utf-8") as file:
            return json.load(file)


def elements(widths):
    return sum((inputs + 1) * outputs for inputs, outputs in zip(widths, widths[1:]))


def summarize(codec, result):
    final = result["final"]
    ranks = result["config"]["ranks"]
    # What an allreduce at the floor of bytes would send per element and rank.
    sent_elements = 2 * (ranks - 1) / ranks * elements(result["config"]["widths"])
    return {
        "codec": codec,
        "bits_per_element": 8 * final["wire_bytes_per_step"] / sent_elements if ranks > 1 else 0.0,
        "bytes_per_step": final["wire_bytes_per_step"],
        "ms_per_step": 1e3 * final["seconds"] / final["steps"],
        "samples_per_second": final["samples_per_second"],
        "test_accuracy": final["test_accuracy"],
        "replicas_identical": final["replicas_identical"],
    }


def table(rows, steps):
    base = rows[0]["samples_per_second"]
    header = ["codec", "bits/element", "bytes/step", "ms/step", "samples/s", f"accuracy at step {steps}", "speedup"]
    lines = [
        [
            row["codec"],
            f"{row['bits_per_element']:.3f}",
            f"{row['bytes_per_step']:,.0f}",
            f"{row['ms_per_step']:.1f}",
            f"{row['samples_per_second']:,.0f}",
            f"{100 * row['test_accuracy']:.2f} %",
            f"{row['samples_per_second'] / base:.1f}x",
        ]
        for row in rows
    ]
    widths = [max(len(line[i]) for line in [header, *lines]) for i in range(len(header))]
    rule = "  ".join("-" * width for width in widths)
    text = [line[0].ljust(widths[0]) + "".join("  " + c.rjust(w) for c, w in zip(line[1:], widths[1:]))
            for line in [header, *lines]]  # fmt: skip
    return "\n".join([text[0], rule, *text[1:]])


def plot(pyplot, results, arguments, path):
    from matplotlib import ticker

    figure, axes = pyplot.subplots(figsize=(8, 4.8))
    for codec, result in results.items():
        points = result["evaluations"]
        axes.plot([p["seconds"] for p in points], [100 * p["test_accuracy"] for p in points], marker="o",
                  markersize=4, label=codec)  # fmt: skip
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_minor_locator(ticker.NullLocator())
    axes.xaxis.set_major_formatter(ticker.FormatStrFormatter("%g"))
    axes.set_xlabel("seconds of training (logarithmic)")
    axes.set_ylabel("test accuracy, %")
    axes.set_title(f"{arguments.data}, {arguments.ranks} ranks on {arguments.link_rate} links, "
                   f"{arguments.steps} steps each")  # fmt: skip
    axes.grid(True, which="both", alpha=0.3)
    axes.legend(title="codec")
    figure.tight_layout()
    figure.savefig(path, dpi=120)


def main():
    arguments = parse_arguments()
    pyplot = load_pyplot()
    os.makedirs(arguments.out, exist_ok=True)
    results = {codec: train(arguments, codec) for codec in arguments.codecs.split(",")}
    rows = [summarize(codec, result) for codec, result in results.items()]
    picture = os.path.join(arguments.out, "demo.png")
    numbers = os.path.join(arguments.out, "demo.json")
    plot(pyplot, results, arguments, picture)
    with open(numbers, "w", encoding="utf-8") as file:
        json.dump({"summary": rows, "runs": results}, file, indent=2)
        file.write("\n")
    print(f"\n{arguments.data}, {arguments.ranks} ranks on {arguments.link_rate} links, batch {arguments.batch} "
          "per rank; bytes are what a rank sends, with headers, and the bits follow from them\n")  # fmt: skip
    print(table(rows, arguments.steps))
    print(f"\nTest accuracy against seconds: {picture}\nAll numbers: {numbers}")


if __name__ == "__main__":
    main()
