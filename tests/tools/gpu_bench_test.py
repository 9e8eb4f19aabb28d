"""bench/gpu with programs in place of the driver's, the build's and the tests': what it says of them, and how it ends."""

import json
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

ROOT = pathlib.Path(sys.argv.pop(1))

SMI = "echo 'Stub GPU, 999.9'"
# Their options come before the program.
SANITIZER = 'shift 4; exec "$@"'
# Makes what it would build, each the program of that name beside it.
CMAKE = """[ "$1" = --build ] && exit 0
for kind in compress collectives runtime trainer; do
  for program in $PROGRAMS; do
    printf '#!/bin/sh\\nexec "$STUBS/gtest" %s\\n' $program > "$4/tests/$kind/$program"
    chmod +x "$4/tests/$kind/$program"
  done
done"""
# As GoogleTest reports: a file for each process.
GTEST = """echo '{"testsuites": [{"testsuite": [{"result": "COMPLETED"}, {"result": "COMPLETED"}, {"result": "SKIPPED"}]}]}' \\
  > "${GTEST_OUTPUT#json:}/$1-$$.json"
printf 'first line\\nlast line of %s\\n' "$1"
[ "$1" != "$FAILS" ]"""
GRADWIRE = """if [ "$1" = run ]; then
  shift 4
  GRADWIRE_RANK=0 "$@" && GRADWIRE_RANK=1 "$@"
  exit
fi
while [ "$1" != --device ]; do shift; done
[ "$2" = "$DIFFERS" ] && accuracy=0.5 || accuracy=0.97
echo "{\\"final\\": {\\"test_accuracy\\": $accuracy, \\"seconds\\": 3, \\"steps\\": 1000}}" > "$4\""""
KERNELS = """echo "{\\"results\\": [{\\"codec\\": \\"onebit\\", \\"operation\\": \\"encode\\", \\"times_copy\\": ${RATE-0.9}, \\"goal\\": true}]}" > "$1\""""
PROGRAMS = ["device_codec_test", "device_executor_test", "device_tensor_test", "device_collectives_test", "device_reducer_test",
            "reducer_memory_test", "nccl_device_test", "cublas_test", "device_training_test"]  # fmt: skip


class GpuBench(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        self.stubs = pathlib.Path(self.folder.name, "stubs")
        self.build = pathlib.Path(self.folder.name, "build")
        for kind in ("compress", "collectives", "runtime", "trainer"):
            (self.build / "tests" / kind).mkdir(parents=True)
        self.put(self.stubs / "nvidia-smi", SMI)
        self.put(self.stubs / "cmake", CMAKE)
        self.put(self.stubs / "compute-sanitizer", SANITIZER)
        self.put(self.stubs / "gtest", GTEST)
        self.put(self.build / "src/cli/gradwire", GRADWIRE)
        self.put(self.build / "bench/codec_cuda_bench", KERNELS)
        os.symlink("/bin/sh", self.stubs / "sh")
        os.symlink("/bin/chmod", self.stubs / "chmod")

    def put(self, path, text):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)

    def run_script(self, **environment):
        out = pathlib.Path(self.folder.name, "out.json")
        command = [sys.executable, ROOT / "bench/gpu", "--build", self.build, "--jobs", "1", "--limit", "60", "--json", out]
        done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False, umask=0o022, cwd=self.folder.name,
                              env={"PATH": str(self.stubs), "STUBS": str(self.stubs), "PROGRAMS": " ".join(PROGRAMS), **environment})  # fmt: skip
        return done, json.loads(out.read_text()) if out.exists() else None

    def test_ends_with_2_without_a_device(self):
        self.put(self.stubs / "nvidia-smi", "echo 'no devices were found'; exit 6")
        done, results = self.run_script()
        self.assertEqual(done.returncode, 2)
        self.assertIn("no CUDA device was found (no devices were found)", done.stderr)
        self.assertIsNone(results)
        (self.stubs / "nvidia-smi").unlink()
        done, _ = self.run_script()
        self.assertEqual(done.returncode, 2)
        self.assertIn("nvidia-smi: No such file or directory", done.stderr)

    def test_prints_what_came_out(self):
        done, results = self.run_script()
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertIn("Stub GPU, 999.9", done.stdout)
        for program in PROGRAMS:
            self.assertRegex(done.stdout, rf"(?m)^{program} +3 +1 +0 +[0-9.]+  good$")
            self.assertRegex(done.stdout, rf"(?m)^{program}, compute-sanitizer +3 +1 +0 +[0-9.]+  good$")
        self.assertRegex(done.stdout, r"(?m)^onebit encode +0\.90 +0\.85$")
        for device in ("cpu", "cuda"):
            self.assertRegex(done.stdout, rf"(?m)^--device {device} +97\.00% +3\.00$")
        self.assertEqual(results["shortfalls"], [])

    def test_counts_the_tests_of_all_ranks(self):
        done, _ = self.run_script()
        self.assertRegex(done.stdout, r"(?m)^nccl_device_test, 2 ranks on a device +6 +2 +0 +[0-9.]+  good$")

    def test_ends_with_1_where_something_falls_short(self):
        for environment, shortfall in (({"FAILS": "cublas_test"}, "cublas_test ended with 1"),
                                       ({"RATE": "0.5"}, "onebit encode runs at 0.50 of a copy's rate"),
                                       ({"DIFFERS": "cuda"}, "reaches another accuracy")):  # fmt: skip
            with self.subTest(shortfall):
                done, results = self.run_script(**environment)
                self.assertEqual(done.returncode, 1, done.stderr)
                self.assertIn(shortfall, done.stderr)
                self.assertIn(shortfall, " ".join(results["shortfalls"]))
        done, _ = self.run_script(FAILS="cublas_test")
        self.assertRegex(done.stdout, r"(?m)^cublas_test +3 +1 +0 +[0-9.]+  status 1: last line of cublas_test$")

    def test_says_that_the_build_failed(self):
        self.put(self.stubs / "cmake", "exit 3")
        done, _ = self.run_script()
        self.assertEqual(done.returncode, 1)
        self.assertIn("the build failed", done.stderr)


if __name__ == "__main__":
    unittest.main()
