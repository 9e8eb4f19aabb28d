#!/usr/bin/env python3
"""Does one-bit training cost accuracy? Trains with the same seeds under several codecs and compares seed by seed.

Prints Markdown tables and writes all results as JSON. A pair is two runs that differ in nothing but the codec: same
first weights, same order of samples.

With --choose it trains over a grid of learning rates and momenta instead, on all but the last 10,000 training images,
and compares accuracies on those: how to choose settings without a look at the test set.
"""

import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time

import validation_split

# Name and what it adds to `gradwire train`; the first is what the others are compared with.
VARIANTS = {
    "none": ["--codec", "none"],
    "onebit": ["--codec", "onebit"],
    "onebit without feedback": ["--codec", "onebit", "--no-error-feedback"],
}
CHOICE_CODECS = ("none", "onebit")
# How many points of mean accuracy onebit may lose.
ALLOWED = {"fashion-mnist": 0.5, "mnist": 0.2}


def training_parser(description):
    """A parser of what train() needs beside data sets and seeds."""
    parser = argparse.ArgumentParser(description=description)
    built = os.path.join(os.path.dirname(os.path.realpath(__file__)), "../../build/release/src/cli/gradwire")
    parser.add_argument("--gradwire", default=os.path.normpath(built), help="the gradwire program (%(default)s)")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--ranks", type=int, default=4)
    parser.add_argument("options", nargs="*", help="more options of gradwire train, after --")
    return parser


def parse_arguments():
    parser = training_parser(__doc__.splitlines()[0])
    parser.add_argument("--out", help="results (out/accuracy.json; out/choice.json with --choose)")
    parser.add_argument("--data", default="fashion-mnist,mnist", help="data sets (%(default)s)")
    parser.add_argument("--seeds", help="(1,2,3,4,5; 1,2 with --choose)")
    parser.add_argument("--choose", action="store_true", help="choose settings by validation accuracy")
    parser.add_argument("--lr", default="0.05,0.1,0.2", help="learning rates to choose from (%(default)s)")
    parser.add_argument("--momentum", default="0,0.5,0.9", help="momenta to choose from (%(default)s)")
    arguments = parser.parse_args()
    arguments.out = arguments.out or ("out/choice.json" if arguments.choose else "out/accuracy.json")
    arguments.seeds = arguments.seeds or ("1,2" if arguments.choose else "1,2,3,4,5")
    return arguments


def train(arguments, data, seed, extra, may_diverge=False):
    """The report of a run; None of one that diverged, if it may."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "train.json")
        length = [] if "--steps" in extra else ["--epochs", str(arguments.epochs)]
        command = [
            arguments.gradwire, "train", "--data", data, "--ranks", str(arguments.ranks), *length,
            "--seed", str(seed), "--json", path, *extra, *arguments.options,
        ]  # fmt: skip
        run = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        if may_diverge and run.returncode != 0 and "non_finite" in run.stderr:
            return None
        if run.returncode != 0:
            sys.exit(f"accuracy: '{' '.join(command)}' failed with status {run.returncode}:\n{run.stderr}")
        with open(path, encoding="utf-8") as file:
            return json.load(file)


def spread(values):
    return statistics.stdev(values) if len(values) > 1 else 0.0


def summarize(runs, seeds):
    """Per variant: accuracies in percent, by seed, and their paired differences to the first variant's."""
    base = None
    summary = {}
    for variant, results in runs.items():
        accuracies = [100 * results[str(seed)]["final"]["test_accuracy"] for seed in seeds]
        base = base or accuracies
        differences = [a - b for a, b in zip(accuracies, base)]
        summary[variant] = {
            "accuracies": accuracies,
            "mean": statistics.fmean(accuracies),
            "spread": spread(accuracies),
            "differences": differences,
            "mean_difference": statistics.fmean(differences),
            "spread_of_differences": spread(differences),
            "final_train_loss": statistics.fmean(r["epochs"][-1]["train_loss"] for r in results.values()),
        }
    return summary


def markdown(data, summary, seeds, epochs):
    lines = [
        f"### {data}, {epochs} epochs, seeds {', '.join(map(str, seeds))}",
        "",
        "| gradients | test accuracy, % (mean ± standard deviation) | per seed | paired difference, points | train loss |",
        "|---|---|---|---|---|",
    ]
    for position, (variant, s) in enumerate(summary.items()):
        difference = "" if position == 0 else f"{s['mean_difference']:+.2f} ± {s['spread_of_differences']:.2f}"
        lines.append(
            f"| {variant} | {s['mean']:.2f} ± {s['spread']:.2f} | {', '.join(f'{a:.2f}' for a in s['accuracies'])} "
            f"| {difference} | {s['final_train_loss']:.4f} |"
        )
    return "\n".join(lines)


def save(path, everything):
    os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
    with open(path, "w", encoding="utf-8") as file:
        json.dump(everything, file, indent=2)
        file.write("\n")


def choice_markdown(data, settings, seeds, epochs):
    """The table, and the setting that serves both kinds of gradients best: the highest mean of the two."""
    lines = [
        f"### {data}, {epochs} epochs, seeds {', '.join(map(str, seeds))}, validation accuracy in %",
        "",
        "| lr | momentum | none | onebit | difference |",
        "|---|---|---|---|---|",
    ]
    for setting in settings:
        cells = [" ".join("diverged" if a is None else f"{a:.2f}" for a in setting[codec]) for codec in CHOICE_CODECS]
        means = [setting["means"][codec] for codec in CHOICE_CODECS]
        if None not in means:
            cells = [f"{mean:.2f} ({cell})" for mean, cell in zip(means, cells)]
        difference = "" if None in means else f"{means[1] - means[0]:+.2f}"
        lines.append(f"| {setting['lr']} | {setting['momentum']} | {cells[0]} | {cells[1]} | {difference} |")
    finite = [setting for setting in settings if None not in setting["means"].values()]
    lines.append("")
    for codec in CHOICE_CODECS:
        best = max((s for s in settings if s["means"][codec] is not None), key=lambda s: s["means"][codec], default=None)
        if best:
            lines.append(f"- best for {codec}: lr {best['lr']}, momentum {best['momentum']}")
    if finite:
        best = max(finite, key=lambda s: sum(s["means"].values()))
        lines.append(f"- best for both together: lr {best['lr']}, momentum {best['momentum']}")
    return "\n".join(lines) + "\n"


def choose(arguments, seeds):
    everything = {}
    for data in arguments.data.split(","):
        with tempfile.TemporaryDirectory() as folder:
            validation_split.write_split(validation_split.find(data), folder)
            settings = everything[data] = []
            for lr, momentum in itertools.product(arguments.lr.split(","), arguments.momentum.split(",")):
                setting = {"lr": lr, "momentum": momentum, **{codec: [] for codec in CHOICE_CODECS}}
                for seed, codec in itertools.product(seeds, CHOICE_CODECS):
                    extra = ["--data-dir", folder, "--lr", lr, "--momentum", momentum, "--codec", codec]
                    result = train(arguments, data, seed, extra, may_diverge=True)
                    setting[codec].append(result and 100 * result["final"]["test_accuracy"])
                    reached = "diverged" if result is None else f"{setting[codec][-1]:.2f} %"
                    print(f"accuracy: {data}, lr {lr}, momentum {momentum}, seed {seed}, {codec}: {reached}",
                          file=sys.stderr, flush=True)  # fmt: skip
                setting["means"] = {
                    codec: None if None in setting[codec] else statistics.fmean(setting[codec]) for codec in CHOICE_CODECS
                }
                settings.append(setting)
                save(arguments.out, everything)
            print(choice_markdown(data, settings, seeds, arguments.epochs), flush=True)


def main():
    arguments = parse_arguments()
    seeds = [int(seed) for seed in arguments.seeds.split(",")]
    if arguments.choose:
        choose(arguments, seeds)
        return
    everything = {}
    failed = False
    for data in arguments.data.split(","):
        runs = {variant: {} for variant in VARIANTS}
        everything[data] = {"runs": runs}
        # Seeds outside, variants inside: what slows the machine down for a while meets all variants.
        for seed in seeds:
            for variant, extra in VARIANTS.items():
                begin = time.monotonic()
                result = runs[variant][str(seed)] = train(arguments, data, seed, extra)
                print(f"accuracy: {data}, seed {seed}, {variant}: {100 * result['final']['test_accuracy']:.2f} % "
                      f"({time.monotonic() - begin:.0f} s)", file=sys.stderr, flush=True)  # fmt: skip
                failed |= not result["final"]["replicas_identical"]
                save(arguments.out, everything)
        summary = everything[data]["summary"] = summarize(runs, seeds)
        save(arguments.out, everything)
        print(markdown(data, summary, seeds, arguments.epochs))
        if data in ALLOWED:
            lost = -summary["onebit"]["mean_difference"]
            holds = lost <= ALLOWED[data]
            failed |= not holds
            print(f"\nonebit is within {ALLOWED[data]} points of none: {'yes' if holds else 'NO'}\n", flush=True)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
