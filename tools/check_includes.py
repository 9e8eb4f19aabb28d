#!/usr/bin/env python3
"""Checks that every include points down the layers.

The table under "Layers" in docs/architecture.md is what is checked against: its first column names a layer, its second the
layer's folder, its last the layers that it may include. What those may include, it may include too. "codecs (only `a.hpp`)"
allows nothing of that layer but the file. The interface may include the standard library and itself, and nothing else.
"""

import pathlib
import re
import sys

INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]')
SUFFIXES = {".hpp", ".cpp", ".h", ".c", ".cu", ".cuh"}
# Folders that "..." includes are resolved against; cmake/GradwireLayer.cmake has the same.
ROOTS = ("include", "", "src")
# The one public header that names somebody else's: it is for those who have that.
VENDORS_HEADERS = {"include/gradwire/mpi.hpp": {"mpi.h"}}


class Layer:
    def __init__(self, name, folder, allowed):
        self.name = name
        self.folder = folder
        self.allowed = allowed  # layer name -> None, or the set of files that may be included


def read_layers(root):
    text = (root / "docs/architecture.md").read_text()
    section = text.split("\n## Layers\n", 1)
    if len(section) != 2:
        sys.exit("docs/architecture.md has no section called Layers")
    layers = {}
    for line in section[1].split("\n## ", 1)[0].splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        folder = re.fullmatch(r"`([\w/]+)/`", cells[1]) if len(cells) >= 4 else None
        if not folder:
            continue
        allowed = {}
        for entry in re.findall(r"[\w ]+(?:\([^)]*\))?", cells[-1]):
            name = entry.split("(")[0].strip()
            files = re.findall(r"`([^`]+)`", entry)
            allowed[name] = set(files) or None
        layers[cells[0]] = Layer(cells[0], folder[1], allowed)
    for layer in layers.values():
        layer.allowed.pop("standard library", None)
        for name in layer.allowed:
            if name not in layers:
                sys.exit(f"docs/architecture.md: layer {layer.name} may include {name}, which is not a layer")
    return layers


def closure(layers, name):
    """All that a layer may include, directly or through what it includes; its own restrictions win."""
    own = layers[name].allowed
    allowed = dict(own)
    for below in own:
        for key, files in closure(layers, below).items():
            if key in own:
                continue
            known = allowed.get(key, set())
            allowed[key] = None if files is None or known is None else known | files
    return allowed


def layer_of(layers, path):
    for layer in layers.values():
        if path.startswith(layer.folder + "/"):
            return layer
    return None


def resolve(root, including, included):
    candidates = [(including.parent / included).resolve()] + [(root / r / included).resolve() for r in ROOTS]
    for candidate in candidates:
        if candidate.is_file() and candidate.is_relative_to(root):
            return candidate.relative_to(root).as_posix()
    return None


def check_file(root, layers, allowed, path):
    including = layer_of(layers, path.relative_to(root).as_posix())
    for number, line in enumerate(path.read_text().splitlines(), 1):
        match = INCLUDE.match(line)
        if not match:
            continue
        quote, included = match.groups()
        where = f"{path.relative_to(root)}:{number}"
        if quote == "<":
            # Standard headers have no folder and no suffix; vendors' have.
            allowed_here = VENDORS_HEADERS.get(path.relative_to(root).as_posix(), ())
            if including.name == "interface" and included not in allowed_here and not re.fullmatch(r"[a-z_0-9]+", included):
                yield f"{where}: a public header includes <{included}>, which is not of the standard library"
            continue
        if including.name == "interface" and not included.startswith("gradwire/"):
            yield f"{where}: a public header includes \"{included}\", which is not one"
            continue
        target = resolve(root, path, included)
        if target is None:
            # version.hpp is made by CMake, Highway includes a file again through a macro; the compiler knows the rest.
            continue
        layer = layer_of(layers, target)
        if layer is None:
            yield f"{where}: {target} is in no layer"
        elif layer.name == including.name:
            continue
        elif layer.name not in allowed[including.name]:
            yield (f"{where}: {including.name} includes {target} of {layer.name}; it may include only "
                   f"{', '.join(sorted(allowed[including.name])) or 'the standard library'}")
        else:
            files = allowed[including.name][layer.name]
            if files is not None and target not in files and target.removeprefix("src/") not in files:
                yield f"{where}: {including.name} may include of {layer.name} only {', '.join(sorted(files))}, not {target}"


def main():
    root = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else ".").resolve()
    layers = read_layers(root)
    allowed = {name: closure(layers, name) for name in layers}
    faults, count = [], 0
    for layer in layers.values():
        for path in sorted((root / layer.folder).rglob("*")):
            if path.suffix in SUFFIXES and layer_of(layers, path.relative_to(root).as_posix()) is layer:
                faults += check_file(root, layers, allowed, path)
                count += 1
    for fault in faults:
        print(fault)
    print(f"includes: {count} files in {len(layers)} layers, {len(faults)} faults")
    if count == 0:
        sys.exit("no files found: is this the root of the project?")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
