"""Processors that LLVM does not know by name, and one cache folder for several machines."""

import os
import subprocess
import sys
from pathlib import Path

import llvmlite.binding as llvm
import pytest

from fastequi.kernels.llvm import compiler, target

#: Pretends to be on another processor, compiles and runs the kernels of a problem, and prints the
#: assembly of 1.0 + eight numbers.
STRANGER = """
import sys
import llvmlite.binding as llvm
llvm.get_host_cpu_name = lambda: sys.argv[1]
from fastequi.kernels.cpu import backend
from fastequi.kernels.llvm.target import host
from fastequi.kernels.testing import problems
from fastequi.kernels.testing_operations import assert_forward_parity
assert_forward_parity(backend, problems()[0])
module = llvm.parse_assembly('''
define void @add(ptr %p) {
  %v = load <8 x float>, ptr %p
  %w = fadd <8 x float> %v, %v
  store <8 x float> %w, ptr %p
  ret void
}
''')
print(host().compiling_machine.emit_assembly(module))
"""


@pytest.mark.parametrize("name", ["generic", "some-processor-of-2040"])
def test_a_processor_without_a_known_name(name: str, tmp_path: Path):
    """Its features are found all the same: where there is AVX, eight floats are one register."""
    done = subprocess.run(
        [sys.executable, "-c", STRANGER, name], env=os.environ | {"FASTEQUI_CACHE": str(tmp_path)},
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    if llvm.get_host_cpu_features().get("avx"):
        assert "%ymm0" in done.stdout


def entry_on(monkeypatch: pytest.MonkeyPatch, name: str, features: dict[str, bool]) -> str:
    """Where a machine with such a processor would keep a kernel."""
    there = target._described("x86_64-unknown-linux-gnu", name, features)
    monkeypatch.setattr(compiler, "host", lambda: there)
    return compiler.entry_name("kernel", "define void @kernel() { ret void }")


def test_machines_do_not_take_each_others_kernels(monkeypatch: pytest.MonkeyPatch):
    """A laptop and a server share a home folder; so do guests of one hypervisor that hides AVX."""
    avx2, avx512 = {"avx2": True, "avx512f": False}, {"avx2": True, "avx512f": True}
    machines = [("znver3", avx2), ("znver4", avx512), ("znver4", avx2), ("generic", avx2)]
    entries = [entry_on(monkeypatch, *machine) for machine in machines]
    assert len(set(entries)) == len(machines)
    assert entries[0] == entry_on(monkeypatch, *machines[0])
