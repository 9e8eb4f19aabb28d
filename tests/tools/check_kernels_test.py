"""Hands tools/check_kernels.py listings with planted faults and expects it to find each."""

import pathlib
import stat
import subprocess
import sys
import tempfile
import unittest

CHECK = pathlib.Path(sys.argv.pop()) / "check_kernels.py"

RESOURCES = """
Fatbin elf code:
================
arch = sm_80
host = linux

Resource usage:
 Common:
  GLOBAL:0
 Function _Zencode_quads:
  REG:40 STACK:0 SHARED:0 LOCAL:0 CONSTANT[0]:448 TEXTURE:0 SURFACE:0 SAMPLER:0
 Function _ZHalfDecodeINS_7Float16ELb0EE:
  REG:32 STACK:0 SHARED:0 LOCAL:0 CONSTANT[0]:448 TEXTURE:0 SURFACE:0 SAMPLER:0
 Function _ZHalfNarrowINS_7Float16EE:
  REG:32 STACK:0 SHARED:0 LOCAL:0 CONSTANT[0]:448 TEXTURE:0 SURFACE:0 SAMPLER:0
 Function _Zencode_steps:
  REG:32 STACK:0 SHARED:0 LOCAL:0 CONSTANT[0]:448 TEXTURE:0 SURFACE:0 SAMPLER:0
"""

CODE = """
Fatbin elf code:
================
arch = sm_80
		Function : _Zencode_quads
        /*0010*/                   LDG.E.128 R4, [R2.64] ;
        /*0020*/                   STG.E.128 [R2.64], R4 ;
		Function : _Zencode_steps
        /*0010*/                   LDG.E R4, [R2.64] ;
		Function : _ZHalfDecodeINS_7Float16ELb0EE
        /*0010*/                   LDG.E.64 R4, [R2.64] ;
        /*0020*/                   STG.E.128 [R2.64], R4 ;
		Function : _ZHalfNarrowINS_7Float16EE
        /*0010*/                   LDG.E.128 R4, [R2.64] ;
        /*0020*/                   STG.E.64 [R2.64], R4 ;
"""


class CheckKernels(unittest.TestCase):
    def check(self, resources=RESOURCES, code=CODE, architectures="sm_80"):
        with tempfile.TemporaryDirectory() as folder:
            root = pathlib.Path(folder)
            (root / "resources").write_text(resources)
            (root / "code").write_text(code)
            program = root / "cuobjdump"
            program.write_text(f'#!/bin/sh\ncase $1 in *sass) cat {root}/code ;; *) cat {root}/resources ;; esac\n')
            program.chmod(program.stat().st_mode | stat.S_IXUSR)
            run = subprocess.run([sys.executable, CHECK, program, architectures, "an.o"], capture_output=True, text=True)
            return run.returncode, run.stdout

    def test_good_kernels_pass(self):
        status, out = self.check()
        self.assertEqual(status, 0, out)
        self.assertIn("sm_80: 4 kernels, at most 40 registers", out)

    def finds(self, text, **planted):
        status, out = self.check(**planted)
        self.assertEqual(status, 1, out)
        self.assertIn(text, out)

    def test_a_stack_is_found(self):
        self.finds("_Zencode_quads: 16 bytes of stack", resources=RESOURCES.replace("REG:40 STACK:0", "REG:40 STACK:16"))

    def test_local_memory_is_found(self):
        self.finds("_Zencode_steps: 0 bytes of stack, 8 of local", resources=RESOURCES[::-1].replace("0:LACOL", "8:LACOL", 1)[::-1])
        self.finds("uses local memory", code=CODE.replace("LDG.E R4, [R2.64]", "LDL R4, [R1]"))

    def test_narrow_accesses_are_found(self):
        self.finds("_ZHalfDecodeINS_7Float16ELb0EE: no store of 16 bytes", code=CODE.replace(".128", ""))

    def test_a_split_load_is_found(self):
        split = "LDG.E.64 R4, [R2.64] ;\n        /*0018*/                   LDG.E.64 R6, [R2.64+0x8] ;"
        self.finds("_Zencode_quads: no load of 16 bytes", code=CODE.replace("LDG.E.128 R4, [R2.64] ;", split))

    def test_a_split_store_is_found(self):
        self.finds("_Zencode_quads: no store of 16 bytes", code=CODE.replace("STG.E.128", "STG.E.64", 1))

    def test_loads_are_exempt_only_where_a_payload_is_all_that_is_read(self):
        self.finds("Lb1EE: no load of 16 bytes", code=CODE.replace("Lb0", "Lb1"), resources=RESOURCES.replace("Lb0", "Lb1"))

    def test_stores_are_exempt_only_where_elements_become_smaller(self):
        self.finds("_ZHalfNarrowINS_7Float16EE: no load of 16 bytes", code=CODE[::-1].replace("821.E.GDL", "46.E.GDL", 1)[::-1])
        self.finds("_ZHalfWidenINS_7Float16EE: no store", code=CODE.replace("Narrow", "Widen"), resources=RESOURCES.replace("Narrow", "Widen"))

    def test_a_missing_architecture_is_found(self):
        self.finds("sm_90: no kernels", architectures="sm_80,sm_90")

    def test_any_architecture_will_do_but_none(self):
        status, out = self.check(architectures="any")
        self.assertEqual(status, 0, out)
        self.assertIn("sm_80: 4 kernels", out)
        self.finds("no kernels for any architecture", architectures="any", resources="", code="")


if __name__ == "__main__":
    unittest.main()
