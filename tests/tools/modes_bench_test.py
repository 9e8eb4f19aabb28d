"""bench/accuracy/modes.py trains in every mode that it compares, here for a moment and on noise."""

import json
import os
import random
import subprocess
import sys
import tempfile
import unittest

GRADWIRE, ROOT = sys.argv.pop(1), sys.argv.pop(1)
IMAGES = {"train": 256, "t10k": 64}


def write_idx(path, sizes, values):
    with open(path, "wb") as file:
        file.write(bytes([0, 0, 8, len(sizes)]))
        for size in sizes:
            file.write(size.to_bytes(4, "big"))
        file.write(bytes(values))


def write_data(folder):
    source = random.Random(1)
    for part, count in IMAGES.items():
        write_idx(os.path.join(folder, f"{part}-images-idx3-ubyte"), [count, 28, 28], source.randbytes(count * 784))
        write_idx(os.path.join(folder, f"{part}-labels-idx1-ubyte"), [count], [source.randrange(10) for _ in range(count)])


class ModesBench(unittest.TestCase):
    def run_script(self, *options):
        with tempfile.TemporaryDirectory() as folder:
            write_data(folder)
            out = os.path.join(folder, "out.json")
            command = [
                sys.executable, os.path.join(ROOT, "bench/accuracy/modes.py"), "--gradwire", GRADWIRE, "--out", out,
                "--seeds", "1", "--epochs", "1", "--timed-steps", "2", "--link-rate", "1gbit", *options,
                "--", "--data-dir", folder, "--hidden", "8", "--batch", "16", "--threads", "1",
            ]  # fmt: skip
            done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
            self.assertEqual(done.returncode, 0, done.stderr)
            with open(out, encoding="utf-8") as file:
                return done.stdout, json.load(file)

    def test_every_row_is_trained_and_timed(self):
        printed, rows = self.run_script()
        self.assertEqual(len(rows), 13)
        for row in rows:
            self.assertIn(" ".join(row["options"]), printed)
            self.assertEqual(len(row["accuracies"]), 1)
            self.assertGreater(row["sent_per_step"], 0)

    def test_stragglers_are_compared(self):
        printed, _ = self.run_script("--stragglers")
        for consistency in ("bsp", "ssp:3", "asp"):
            self.assertEqual(printed.count(f"| `{consistency}` |"), 2)


if __name__ == "__main__":
    unittest.main()
