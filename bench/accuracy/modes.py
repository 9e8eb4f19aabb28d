#!/usr/bin/env python3
"""What does each mode of training reach, send and cost? Trains in every mode with the same seeds, and compares.

Prints a Markdown table and writes all results as JSON: test accuracy over seeds at full speed, then bytes and time a
step behind links of --link-rate. With --stragglers it compares how long the consistencies take where random steps are
slow, and where one rank always is, instead.
"""

import statistics
import sys

import accuracy

ONEBIT = ["--codec", "onebit"]
SERVERS = ["--mode", "server", "--servers", "2"]
# What each adds to `gradwire train`; the first is what the others are compared with.
ROWS = [
    ["--codec", "none"],
    ONEBIT,
    ["--delay", "1", *ONEBIT],
    [*SERVERS, "--consistency", "bsp", "--codec", "none"],
    [*SERVERS, "--consistency", "ssp:3", "--codec", "none"],
    [*SERVERS, "--consistency", "asp", "--codec", "none"],
    [*SERVERS, "--consistency", "bsp", *ONEBIT],
    [*SERVERS, "--consistency", "ssp:3", *ONEBIT],
    [*SERVERS, "--consistency", "asp", *ONEBIT],
    ["--mode", "local", "--period", "8", *ONEBIT],
    ["--mode", "bmuf", "--period", "8", *ONEBIT],
    ["--mode", "elastic", "--servers", "2", "--period", "8", "--alpha", "0.1", *ONEBIT],
    ["--mode", "groups", "--group-size", "2", "--servers", "2", *ONEBIT],
]
STRAGGLERS = {"random:4:0.25": "random steps of random ranks take four times as long",
              "1:4": "every step of rank 1 takes four times as long"}  # fmt: skip
CONSISTENCIES = ["bsp", "ssp:3", "asp"]


def parse_arguments():
    parser = accuracy.training_parser(__doc__.splitlines()[0])
    parser.add_argument("--out", help="results (out/modes.json; out/stragglers.json with --stragglers)")
    parser.add_argument("--data", default="mnist", help="data set (%(default)s)")
    parser.add_argument("--seeds", default="1,2,3,4,5", help="(%(default)s)")
    parser.add_argument("--link-rate", default="100mbit", help="of the timed runs (%(default)s)")
    parser.add_argument("--timed-steps", default="24", help="how long they are (%(default)s)")
    parser.add_argument("--stragglers", action="store_true", help="time consistencies with slow steps")
    arguments = parser.parse_args()
    arguments.out = arguments.out or ("out/stragglers.json" if arguments.stragglers else "out/modes.json")
    return arguments


def tell(text):
    print(f"modes: {text}", file=sys.stderr, flush=True)


def run(arguments, seed, extra):
    final = accuracy.train(arguments, arguments.data, seed, extra)["final"]
    if final["replicas_identical"] is False:
        sys.exit(f"modes: the ranks ended with different weights: {' '.join(extra)}")
    return final


def time_row(arguments, row):
    """A step's time and bytes behind slow links."""
    final = run(arguments, 1, [*row, "--link-rate", arguments.link_rate, "--steps", arguments.timed_steps])
    return {
        "ms_per_step": 1000 * final["seconds"] / final["steps"],
        "sent_per_step": final["wire_bytes_per_step"],
        "received_per_step": final["wire_bytes_received_per_step"],
    }


def markdown(arguments, rows):
    lines = [
        f"### {arguments.data}, {arguments.ranks} ranks, {arguments.epochs} epochs, seeds {arguments.seeds}",
        "",
        f"| `gradwire train --ranks {arguments.ranks} ...` | test accuracy, % | against the first, points | bytes sent "
        f"a step | received | ms a step at {arguments.link_rate} |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        lines.append(
            f"| `{' '.join(row['options'])}` | {row['mean']:.2f} ± {row['spread']:.2f} | {row['difference']:+.2f} "
            f"| {row['sent_per_step']:,.0f} | {row['received_per_step']:,.0f} | {row['ms_per_step']:.1f} |"
        )
    return "\n".join(lines)


def compare_modes(arguments):
    seeds = [int(seed) for seed in arguments.seeds.split(",")]
    rows = [{"options": row, "accuracies": [], **time_row(arguments, row)} for row in ROWS]
    # Seeds outside, rows inside: what slows the machine down for a while meets all rows.
    for seed in seeds:
        for row in rows:
            row["accuracies"].append(100 * run(arguments, seed, row["options"])["test_accuracy"])
            tell(f"seed {seed}, {' '.join(row['options'])}: {row['accuracies'][-1]:.2f} %")
            accuracy.save(arguments.out, rows)
    for row in rows:
        row["mean"] = statistics.fmean(row["accuracies"])
        row["spread"] = accuracy.spread(row["accuracies"])
        row["difference"] = row["mean"] - rows[0]["mean"]
    accuracy.save(arguments.out, rows)
    print(markdown(arguments, rows))


def compare_stragglers(arguments):
    results = []
    for straggler, meaning in STRAGGLERS.items():
        seconds = {}
        for consistency in CONSISTENCIES:
            extra = [*SERVERS, *ONEBIT, "--consistency", consistency, "--straggler", straggler, "--min-step", "20"]
            final = run(arguments, 1, extra)
            seconds[consistency] = final["seconds"]
            results.append({"straggler": straggler, "consistency": consistency, "final": final})
            tell(f"{straggler}, {consistency}: {final['seconds']:.1f} s, {100 * final['test_accuracy']:.2f} %, "
                 f"staleness {final['staleness']}")  # fmt: skip
            accuracy.save(arguments.out, results)
        print(f"\n`--straggler {straggler}`: {meaning}\n")
        print("| consistency | seconds | of bsp's | test accuracy, % | mean staleness | largest |\n|---|---|---|---|---|---|")
        for result in results[-len(CONSISTENCIES):]:  # fmt: skip
            final = result["final"]
            print(
                f"| `{result['consistency']}` | {final['seconds']:.1f} | {final['seconds'] / seconds['bsp']:.2f} "
                f"| {100 * final['test_accuracy']:.2f} | {final['staleness']['mean']:.2f} | {final['staleness']['max']} |"
            )


def main():
    arguments = parse_arguments()
    (compare_stragglers if arguments.stragglers else compare_modes)(arguments)


if __name__ == "__main__":
    main()
