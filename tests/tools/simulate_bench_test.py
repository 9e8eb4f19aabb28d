"""bench/simulate prints its tables and draws its pictures, here of 8 ranks and without SimGrid; how it and bench/footprint refuse and end."""

import importlib.machinery
import importlib.util
import os
import signal
import subprocess
import sys
import tempfile
import unittest

GRADWIRE, ROOT = sys.argv.pop(1), sys.argv.pop(1)
sys.path.append(os.path.join(ROOT, "bench"))


def load(name):
    """A program of bench/ as a module."""
    loader = importlib.machinery.SourceFileLoader(name, os.path.join(ROOT, "bench", name))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader(name, loader))
    loader.exec_module(module)
    return module


class SimulateBench(unittest.TestCase):
    def test_prints_tables_and_draws_pictures(self):
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, os.path.join(ROOT, "bench/simulate"), "--gradwire", GRADWIRE, "--ranks", "8", "--frames", "0",
                       "--pictures", folder]  # fmt: skip
            done = subprocess.run(command, capture_output=True, text=True, timeout=280, check=False)
            self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
            self.assertRegex(done.stdout, r"\| ring \| none \| [0-9.]+ (ms|s) \|")
            self.assertRegex(done.stdout, r"\| hierarchical:ring \| onebit \| [0-9.]+ (ms|s) \|")
            self.assertIn("time of fp16 over that of onebit", done.stdout)
            drawn = set(os.listdir(folder)) if importlib.util.find_spec("matplotlib") else None
            for name in ("switch-1gbit", "switch-10gbit", "eight-ranks-a-host", "crossing"):
                self.assertTrue(drawn is None or f"{name}.svg" in drawn, name)
            self.assertEqual(drawn is None, "has no matplotlib" in done.stderr)

    def test_takes_few_ranks_and_no_simgrid(self):
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, os.path.join(ROOT, "bench/simulate"), "--gradwire", GRADWIRE, "--ranks", "4", "--pictures", folder]
            done = subprocess.run(command, capture_output=True, text=True, timeout=280, check=False, env={**os.environ, "PATH": folder})
            self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
            self.assertIn("there is no smpirun", done.stderr)

    def test_ends_what_takes_too_long(self):
        done = load("simulate").run(["sh", "-c", "sh -c 'while :; do :; done'"], 1)
        self.assertEqual(done.returncode, 128 + signal.SIGKILL)

    def test_every_platform_can_be_planned_for(self):
        platforms = os.path.join(ROOT, "bench/platforms")
        for name in sorted(os.listdir(platforms)):
            with self.subTest(name), tempfile.TemporaryDirectory() as folder:
                command = [GRADWIRE, "plan", "--simulate", "--hosts", "16x8", "--algorithm", "hierarchical:ring", "--bytes", "64K",
                           "--simgrid", os.path.join(platforms, name), "--traces", folder]  # fmt: skip
                done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
                self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
                with open(os.path.join(folder, "hosts.txt"), encoding="ascii") as hosts:
                    self.assertEqual(len(set(hosts.read().split())), 16)

    def test_says_what_is_missing(self):
        command = [sys.executable, os.path.join(ROOT, "bench/simulate"), "--gradwire", "/no/such/program"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("there is no /no/such/program", done.stderr)

    def test_refuses_what_makes_no_sense(self):
        for name in ("simulate", "footprint"):
            for option, value in (("--ranks", "0"), ("--ranks", "4,,4"), ("--ranks", "-1"), ("--patience", "0")):
                with self.subTest(f"{name} {option} {value}"):
                    done = subprocess.run([sys.executable, os.path.join(ROOT, "bench", name), f"{option}={value}"], capture_output=True,
                                          text=True, timeout=60, check=False)  # fmt: skip
                    self.assertEqual(done.returncode, 2)
                    self.assertIn("is no count: 1 or more", done.stderr)
        done = subprocess.run([sys.executable, os.path.join(ROOT, "bench/footprint"), "--gradwire", GRADWIRE, "--json", "/no/such/file"],
                              capture_output=True, text=True, timeout=60, check=False)  # fmt: skip
        self.assertEqual((done.returncode, done.stdout), (1, ""))
        self.assertIn("cannot write /no/such/file", done.stderr)
        done = subprocess.run([sys.executable, os.path.join(ROOT, "bench/simulate"), "--gradwire", "/bin/false", "--frames", "0",
                               "--pictures", "/dev/null"], capture_output=True, text=True, timeout=60, check=False)  # fmt: skip
        self.assertEqual(done.returncode, 1)
        self.assertIn("it ended with status 1", done.stderr)

    def test_ends_quietly_where_nobody_reads(self):
        for command in (["simulate", "--ranks", "2", "--frames", "0", "--pictures", "/dev/null"], ["footprint", "--ranks", "2", "--patience", "20"]):
            with self.subTest(command[0]):
                unread, written = os.pipe()
                os.close(unread)
                done = subprocess.run([sys.executable, os.path.join(ROOT, "bench", command[0]), "--gradwire", GRADWIRE, *command[1:]],
                                      stdout=written, stderr=subprocess.PIPE, text=True, timeout=60, check=False)  # fmt: skip
                os.close(written)
                self.assertEqual(done.returncode, 128 + signal.SIGPIPE)
                self.assertNotIn("Traceback", done.stderr)


unittest.main()
