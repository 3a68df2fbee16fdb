"""No CPU kernel keeps more on the stack unnoticed: compiled for five processors, against a file."""

import json

import pytest
import torch

from fastequi.kernels import offline_cpu
from fastequi.kernels.cpu.product import ProductSpec, print_product
from fastequi.kernels.llvm.target import OFFLINE, offline
from fastequi.kernels.offline_cpu import (
    README,
    RECORD,
    Usage,
    assembly,
    faults,
    readme_with,
    rows,
    table,
    usage,
)

RECORDED = json.loads(RECORD.read_text())


@pytest.mark.parametrize(
    "words",
    ["sevennet-0 table-forward", "nequip-m 2e x86-64-v3", "nequip-m 1o apple-m1", "product"],
)
def test_compiled_kernels_are_as_recorded(words: str):
    if RECORDED["llvm"] != offline_cpu.llvm_version():
        pytest.skip(f"recorded with LLVM {RECORDED['llvm']}, not {offline_cpu.llvm_version()}")
    assert offline_cpu.main(words.split()) == 0


@pytest.mark.slow
def test_all_compiled_kernels_are_as_recorded():
    assert offline_cpu.main([]) == 0


def test_the_record_is_complete():
    assert set(RECORDED["kernels"]) == {row.name for row in rows()}
    assert {name.split()[-1] for name in RECORDED["kernels"]} == set(OFFLINE)


def test_readme_shows_the_record():
    assert README.read_text() == readme_with(RECORD, table(RECORDED))


def test_products_keep_their_sums_in_registers():
    """README.md says what was measured of the others, whose sums are more than the registers."""
    for name, numbers in RECORDED["kernels"].items():
        if " product " in name:
            assert numbers["spills"] == 0, name


def test_spills_are_seen():
    """Sixteen sums in sixteen registers, beside what is multiplied."""
    target = offline("x86-64-v3")
    crowded = ProductSpec(torch.float32, 8, 2, True, vector_count=32)
    roomy = ProductSpec(torch.float32, 8, 2, True, vector_count=target.vector_count)
    assert usage(assembly(print_product(crowded), target)).spills > 0
    assert usage(assembly(print_product(roomy), target)).spills == 0


def test_regressions_are_named():
    before = Usage(instructions=100, spills=0, reloads=2)
    assert faults("k", before, before, True) == []
    worse = Usage(instructions=106, spills=1, reloads=3)
    assert faults("k", worse, before, True) == [
        "k: instructions 100 -> 106", "k: spills 0 -> 1", "k: reloads 2 -> 3",
    ]  # fmt: skip
    assert faults("k", worse, before, False) == []  # recorded with another LLVM
    assert faults("k", before, None, True) == ["k: not in spills.json; run with --write"]
