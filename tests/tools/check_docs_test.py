"""Plants faults in documents and expects tools/check_docs.py to find each."""

import pathlib
import subprocess
import sys
import tempfile
import unittest

CHECK = pathlib.Path(sys.argv.pop()) / "check_docs.py"

GOOD = """# A page

See [the other](docs/other.md#its-heading) and [this](#a-page).

<!-- file: examples/one.cpp -->
```cpp
int one() { return 1; }
```

<!-- compile -->
```cpp
#include <vector>
std::vector<int> numbers(kTen);
```

<!-- run -->
```sh
test 1 -lt 2 && touch here
```

<!-- run: in a checkout -->
```sh
test -f examples/one.cpp && test -z "$(ls "$HOME")" && touch build/new
```

<!-- not checked: it needs a cluster -->
```sh
srun program
```

```text
anything
```
"""


class CheckDocs(unittest.TestCase):
    def check(self, page):
        with tempfile.TemporaryDirectory() as folder:
            root = pathlib.Path(folder)
            for path, text in {
                "README.md": page,
                "docs/other.md": "# Other\n\n## Its heading\n",
                "examples/one.cpp": "int one() { return 1; }\n",
                "include/gradwire/gradwire.hpp": "#pragma once\ninline constexpr int kTen = 10;\n",
            }.items():
                (root / path).parent.mkdir(parents=True, exist_ok=True)
                (root / path).write_text(text)
            run = subprocess.run([sys.executable, CHECK, folder], capture_output=True, text=True)
            return run.returncode, run.stdout

    def refuses(self, before, after, message):
        self.assertIn(before, GOOD)
        status, output = self.check(GOOD.replace(before, after))
        self.assertEqual(status, 1, output)
        self.assertIn(message, output)

    def test_a_true_page_passes(self):
        status, output = self.check(GOOD)
        self.assertEqual(status, 0, output)
        self.assertIn("1 compile, 1 file, 1 not checked, 2 run; 0 faults", output)

    def test_a_link_to_nothing(self):
        self.refuses("docs/other.md#", "docs/another.md#", "leads nowhere")

    def test_a_link_to_no_heading(self):
        self.refuses("#its-heading", "#her-heading", "has no heading")

    def test_an_example_that_is_not_the_file(self):
        self.refuses("int one() { return 1; }", "int one() { return 2; }", "word for word")

    def test_a_block_that_does_not_compile(self):
        self.refuses("numbers(kTen)", "numbers(kEleven)", "the block fails")

    def test_a_command_that_fails(self):
        self.refuses("-lt", "-gt", "the block fails")

    def test_a_command_that_fails_in_a_checkout(self):
        self.refuses("test -f examples/one.cpp", "test -f examples/two.cpp", "the block fails")
        self.refuses('test -z "$(ls "$HOME")"', "gradwire info", "the block fails")

    def test_a_run_of_an_unknown_kind(self):
        self.refuses("<!-- run: in a checkout -->", "<!-- run: twice -->", "is unknown")

    def test_a_block_without_a_mark(self):
        self.refuses("<!-- compile -->", "", "needs a mark")

    def test_a_mark_without_a_reason(self):
        self.refuses("<!-- not checked: it needs a cluster -->", "<!-- not checked -->", "needs a reason")


if __name__ == "__main__":
    unittest.main()
