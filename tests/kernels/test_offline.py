"""No kernel spills or grows unnoticed: compiled offline and compared with registers.json."""

import json
import os
import subprocess
import sys

import pytest

pytest.importorskip("triton")

from fastequi.kernels.offline import README, RECORD, Usage, faults, readme_with, rows, table

REPRESENTATIVE = [
    "sevennet-0 table float32 sm_90",
    "sevennet-0 pair_weights float32 sm_90 1e",
    "sevennet-0 table 2e sm_80",
    "sevennet-0 table 2e sm_100",
    "sevennet-0 table 2e gfx942",
    "sevennet-0 jvp 2e sm_80",
    "sevennet-0 jvp_vjp 2e sm_100",
    "sevennet-0 jvp_vjp 1e gfx942",
    "sevennet-0 jvp_vjp float64 0e",
    "sevennet-l3i5 table float32 sm_90 3e",
    "nequip-l table vjp float32 sm_90 1o",
    "step fill_neighbors sm_90",
    "step sum_forces float32 sm_100",
    "step draw_noise sm_80",
    "step edge_vectors gfx942",
    "step multiply float32 sm_100",
    "step gate_vjp float64",
]


def check(words: str) -> None:
    """In a process of its own: this one may hold Triton's interpreter."""
    environment = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    command = [sys.executable, "-m", "fastequi.kernels.offline", *words.split()]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if "ROCm linker" in done.stderr:
        pytest.skip("NOT COMPILED FOR AMD: this Triton has no linker for it; 3.9 has")
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]


@pytest.mark.parametrize("words", REPRESENTATIVE)
def test_compiled_kernels_are_as_recorded(words):
    check(words)


@pytest.mark.slow
def test_all_compiled_kernels_are_as_recorded():
    check("")


def test_the_record_is_complete_and_free_of_spills():
    kernels = json.loads(RECORD.read_text())["kernels"]
    assert set(kernels) == {row.name for row in rows()}
    for name, numbers in kernels.items():
        usage = Usage(**numbers)
        assert usage.spills == 0, name
        # sums by atomics may change layout, tiles of a product pass through shared memory
        assert usage.shared == 0 or "vjp" in name or "multiply" in name, name
        if "float32 sm_" in name:  # 12 warps of 32 fit on a multiprocessor, on Blackwell 10
            assert usage.registers <= (192 if "sm_100" in name else 168), name


def test_readme_shows_the_record():
    assert README.read_text() == readme_with(RECORD, table(json.loads(RECORD.read_text())))


def test_regressions_are_named():
    before = Usage(registers=100, spills=0, shared=0, instructions=400)
    assert faults("k", before, before, True) == []
    spilled = Usage(registers=100, spills=8, shared=0, instructions=400)
    assert faults("k", spilled, before, False) == ["k: spills 8 bytes"]
    grown = Usage(registers=106, spills=0, shared=0, instructions=421)
    assert faults("k", grown, before, True) == [
        "k: registers 100 -> 106",
        "k: instructions 400 -> 421",
    ]
    assert faults("k", grown, before, False) == []  # recorded with another Triton
