#!/usr/bin/env python3
"""Checks the machine code of the CUDA kernels: check_kernels.py CUOBJDUMP ARCHITECTURES OBJECT...

For every architecture of the list (sm_80,sm_90; "any": of those that are there) there are kernels, none of them has a stack or local memory
(registers that spilled, arrays that are indexed at run time), and each loads and stores 16 bytes at a time, but for those with "steps" in their
names, which take single elements, the loads of those that only decode a smaller payload (the last argument of ...Decode<...> is false), and the
stores of those that only narrow elements (...Narrow<...>).
"""

import re
import subprocess
import sys

ARCHITECTURE = re.compile(r"^\s*arch = (sm_\d+\w*)")
FUNCTION = re.compile(r"^\s*Function\s*:?\s*([\w$.]+)")
RESOURCES = re.compile(r"REG:(\d+)\s+STACK:(\d+)\s+SHARED:\d+\s+LOCAL:(\d+)")
WIDE = re.compile(r"\b(LDG|STG)\.[\w.]*128\b")
DECODES_ONLY = re.compile(r"Decode\w*Lb0EE")
NARROWS_ONLY = re.compile(r"NarrowI")
LOCAL = re.compile(r"\b(?:LDL|STL)\b")


def dump(cuobjdump, option, path):
    run = subprocess.run([cuobjdump, option, path], capture_output=True, text=True)
    if run.returncode != 0:
        sys.exit(f"{cuobjdump} {option} {path} ended with {run.returncode}: {run.stderr.strip()}")
    return run.stdout.splitlines()


def functions(lines):
    """Yields (architecture, function, line) for every line that belongs to a function."""
    architecture = name = None
    for line in lines:
        if match := ARCHITECTURE.match(line):
            architecture, name = match[1], None
        elif match := FUNCTION.match(line):
            name = match[1]
        elif name:
            yield architecture, name, line


def main():
    if len(sys.argv) < 4:
        sys.exit(__doc__)
    cuobjdump, wanted, objects = sys.argv[1], sys.argv[2].split(","), sys.argv[3:]
    registers, faults, wide = {}, [], set()
    for path in objects:
        for architecture, name, line in functions(dump(cuobjdump, "--dump-resource-usage", path)):
            if match := RESOURCES.search(line):
                registers[architecture, name] = int(match[1])
                if int(match[2]) or int(match[3]):
                    faults.append(f"{architecture} {name}: {match[2]} bytes of stack, {match[3]} of local memory")
        for architecture, name, line in functions(dump(cuobjdump, "--dump-sass", path)):
            if match := WIDE.search(line):
                wide.add((architecture, name, match[1]))
            if LOCAL.search(line):
                faults.append(f"{architecture} {name}: uses local memory: {line.strip()}")
    for architecture, name in sorted(registers):
        for access, what in ("LDG", "load"), ("STG", "store"):
            smaller = DECODES_ONLY if access == "LDG" else NARROWS_ONLY
            exempt = "steps" in name or smaller.search(name)
            if not exempt and (architecture, name, access) not in wide:
                faults.append(f"{architecture} {name}: no {what} of 16 bytes")
    if wanted == ["any"]:
        wanted = sorted({architecture for architecture, _ in registers})
        if not wanted:
            faults.append("no kernels for any architecture")
    for architecture in wanted:
        count = sum(1 for key in registers if key[0] == architecture)
        most = max((value for key, value in registers.items() if key[0] == architecture), default=0)
        print(f"{architecture}: {count} kernels, at most {most} registers")
        if count == 0:
            faults.append(f"{architecture}: no kernels")
    for fault in faults:
        print(fault)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
