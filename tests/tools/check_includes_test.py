"""Plants includes that break the layers' rules and expects tools/check_includes.py to find each."""

import pathlib
import subprocess
import sys
import tempfile
import unittest

CHECK = pathlib.Path(sys.argv.pop()) / "check_includes.py"

TABLE = """# Architecture

## Layers

| layer | folder | holds | may include |
|---|---|---|---|
| interface | `include/gradwire/` | public headers | standard library |
| base | `src/base/` | small things | interface |
| codecs | `compress/` | codecs | base |
| collectives | `collectives/` | schedules | codecs (only `compress/codec.hpp`) |
| trainer | `src/trainer/` | training | interface |

## Other
"""

TREE = {
    "docs/architecture.md": TABLE,
    "include/gradwire/error.hpp": "#include <string>\n#include \"gradwire/export.hpp\"\n",
    "include/gradwire/export.hpp": "",
    "src/base/clock.hpp": "#include \"gradwire/error.hpp\"\n#include <fmt/format.h>\n",
    "compress/codec.hpp": "#include \"base/clock.hpp\"\n",
    "compress/onebit.hpp": "#include \"compress/codec.hpp\"\n#include <hwy/highway.h>\n",
    "collectives/plan.cpp": "#include \"compress/codec.hpp\"\n#include \"gradwire/error.hpp\"\n",
    "src/trainer/model.cpp": "#include \"gradwire/error.hpp\"\n",
}


class CheckIncludes(unittest.TestCase):
    def check(self, files=None):
        with tempfile.TemporaryDirectory() as folder:
            for path, text in (TREE | (files or {})).items():
                file = pathlib.Path(folder, path)
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(text)
            run = subprocess.run([sys.executable, CHECK, folder], capture_output=True, text=True)
            return run.returncode, run.stdout

    def refuses(self, path, text, message):
        status, output = self.check(files={path: text})
        self.assertEqual(status, 1, output)
        self.assertIn(message, output)
        self.assertIn(f"{path}:1", output)

    def test_a_clean_tree_passes(self):
        status, output = self.check()
        self.assertEqual(status, 0, output)

    def test_an_include_that_points_up(self):
        self.refuses("src/base/clock.cpp", '#include "compress/codec.hpp"\n', "base includes compress/codec.hpp of codecs")

    def test_an_include_that_points_up_from_the_same_folder(self):
        self.refuses("compress/none.cpp", '#include "../collectives/plan.cpp"\n', "codecs includes collectives/plan.cpp")

    def test_a_file_that_is_not_the_visible_one(self):
        self.refuses("collectives/ring.cpp", '#include "compress/onebit.hpp"\n', "only compress/codec.hpp")

    def test_a_layer_that_is_not_named(self):
        self.refuses("src/trainer/data.cpp", '#include "base/clock.hpp"\n', "trainer includes src/base/clock.hpp")

    def test_a_vendor_header_in_the_interface(self):
        self.refuses("include/gradwire/tensor.hpp", "#include <fmt/format.h>\n", "not of the standard library")

    def test_an_internal_header_in_the_interface(self):
        self.refuses("include/gradwire/work.hpp", '#include "base/clock.hpp"\n', "a public header includes")

    def test_an_empty_tree_is_not_clean(self):
        with tempfile.TemporaryDirectory() as folder:
            pathlib.Path(folder, "docs").mkdir()
            pathlib.Path(folder, "docs/architecture.md").write_text(TABLE)
            run = subprocess.run([sys.executable, CHECK, folder], capture_output=True, text=True)
            self.assertNotEqual(run.returncode, 0)


if __name__ == "__main__":
    unittest.main()
