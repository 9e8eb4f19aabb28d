#!/usr/bin/env python3
"""Checks what the documentation promises, without a network.

- Every relative link leads to a file, and its #fragment to a heading.
- A code block under `<!-- file: PATH -->` is that file, word for word.
- A C++ block under `<!-- compile -->` compiles against the public headers; without a main() it is the body of a function.
- A shell block under `<!-- run -->` succeeds, in an empty folder, with the built `gradwire` on the PATH.
- A shell block under `<!-- run: in a checkout -->` succeeds in a copy of the tree whose build/release is the build, with an empty home
  and nothing added to the PATH.

Every other block of C++ or shell needs `<!-- not checked: REASON -->`, so that nothing goes unchecked by oversight.
"""

import argparse
import os
import pathlib
import re
import subprocess
import sys
import tempfile

FENCE = re.compile(r"^```(\w*)\s*$")
MARK = re.compile(r"^<!--\s*(file|compile|run|not checked)(?::\s*(.*?))?\s*-->\s*$")
LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)|!\[[^\]]*\]\(([^)\s]+)\)")
CHECKED_LANGUAGES = {"cpp", "sh", "bash"}


class Block:
    def __init__(self, path, line, language, mark, argument, text):
        self.path, self.line, self.language = path, line, language
        self.mark, self.argument, self.text = mark, argument, text

    def __str__(self):
        return f"{self.path}:{self.line}"


def documents(root):
    yield from sorted(root.glob("*.md"))
    for folder in ("docs", "bench", "examples", "tests"):
        yield from sorted((root / folder).rglob("*.md"))


def read(root, path):
    """Splits a document into its code blocks and the lines outside them."""
    blocks, prose, mark, fence = [], [], (None, None), None
    for number, line in enumerate(path.read_text().splitlines(), 1):
        match = FENCE.match(line)
        if fence is None and match:
            fence, body = (number, match[1]), []
        elif fence is not None and line.strip() == "```":
            blocks.append(Block(path.relative_to(root), fence[0], fence[1], *mark, "\n".join(body) + "\n"))
            fence, mark = None, (None, None)
        elif fence is not None:
            body.append(line)
        else:
            comment = MARK.match(line)
            if comment:
                mark = (comment[1], comment[2])
            elif line.strip():
                mark = (None, None)
            prose.append((number, line))
    if fence is not None:
        raise SystemExit(f"{path}:{fence[0]}: a code block that nothing ends")
    return blocks, prose


def anchors(root, path):
    """The fragments that a page's headings get."""
    found = set()
    for _, line in read(root, path)[1]:
        if line.startswith("#"):
            title = re.sub(r"[`*]", "", line.lstrip("#").strip()).lower()
            found.add(re.sub(r"[^\w\- ]", "", title).replace(" ", "-"))
    return found


def check_links(root, path, prose):
    for number, line in prose:
        for match in LINK.finditer(re.sub(r"`[^`]*`", "", line)):
            link = match[1] or match[2]
            if re.match(r"[a-z]+:", link):
                continue
            name, _, fragment = link.partition("#")
            target = (path.parent / name).resolve() if name else path
            where = f"{path.relative_to(root)}:{number}"
            if not target.exists():
                yield f"{where}: the link {link} leads nowhere"
            elif fragment and target.suffix == ".md" and fragment not in anchors(root, target):
                yield f"{where}: {name or 'this page'} has no heading #{fragment}"


def compile_block(root, build, block, folder):
    text = block.text
    if "int main(" not in text:
        includes = "".join(line + "\n" for line in text.splitlines() if line.startswith("#include"))
        body = "".join(line + "\n" for line in text.splitlines() if not line.startswith("#include"))
        text = f'#include "gradwire/gradwire.hpp"\n{includes}\n[[maybe_unused]] static void snippet() {{\n{body}}}\n'
    source = pathlib.Path(folder, "snippet.cpp")
    source.write_text(text)
    return subprocess.run([os.environ.get("CXX", "c++"), "-std=c++20", "-fsyntax-only", "-Wall", "-Wextra", "-Werror",
                           "-I", root / "include", "-I", build / "include", source], capture_output=True, text=True)


IN_A_CHECKOUT = "in a checkout"


def imitate_checkout(root, build, folder):
    """Links to the tree and the build: what a block writes beside them goes with the folder."""
    for entry in root.iterdir():
        if entry.name not in ("build", "out", ".git"):
            pathlib.Path(folder, entry.name).symlink_to(entry)
    for name in ("build", "home"):
        pathlib.Path(folder, name).mkdir()
    pathlib.Path(folder, "build/release").symlink_to(build)
    return {"HOME": os.path.join(folder, "home")}


def run_block(root, build, block, folder):
    if block.argument == IN_A_CHECKOUT:
        environment = imitate_checkout(root, build, folder)
    else:
        environment = {"PATH": f"{build / 'src/cli'}{os.pathsep}{os.environ['PATH']}"}
    try:
        return subprocess.run(["bash", "-euo", "pipefail", "-c", block.text], cwd=folder, capture_output=True, text=True,
                              env=os.environ | environment, timeout=120)
    except subprocess.TimeoutExpired as late:
        return subprocess.CompletedProcess(late.cmd, 1, "", "it had not ended after two minutes")


def check_block(root, build, block):
    if block.mark == "not checked":
        if not block.argument:
            yield f"{block}: 'not checked' needs a reason"
    elif block.mark == "file":
        file = root / block.argument
        if not file.is_file():
            yield f"{block}: there is no {block.argument}"
        elif file.read_text() != block.text:
            yield f"{block}: this is not {block.argument}, word for word"
    elif block.mark == "run" and block.argument not in (None, IN_A_CHECKOUT):
        yield f"{block}: 'run: {block.argument}' is unknown; there is 'run: {IN_A_CHECKOUT}'"
    elif block.mark in ("compile", "run"):
        with tempfile.TemporaryDirectory() as folder:
            result = (compile_block(root, build, block, folder) if block.mark == "compile"
                      else run_block(root, build, block, folder))
        if result.returncode != 0:
            yield f"{block}: the block fails:\n{result.stdout[-2000:]}{result.stderr[-2000:]}"
    elif block.language in CHECKED_LANGUAGES:
        yield f"{block}: a {block.language} block needs a mark above it: file, compile, run or not checked"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", nargs="?", default=".", type=pathlib.Path)
    parser.add_argument("--build", default="build/release", type=pathlib.Path, help="where the project was built")
    arguments = parser.parse_args()
    root = arguments.root.resolve()
    build = (root / arguments.build).resolve()
    faults, counts = [], {}
    for path in documents(root):
        blocks, prose = read(root, path)
        faults += check_links(root, path, prose)
        for block in blocks:
            faults += check_block(root, build, block)
            if block.mark:
                counts[block.mark] = counts.get(block.mark, 0) + 1
    for fault in faults:
        print(fault)
    summary = ", ".join(f"{counts[mark]} {mark}" for mark in sorted(counts))
    print(f"docs: code blocks: {summary or 'none'}; {len(faults)} faults")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
