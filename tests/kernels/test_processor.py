"""What is said of the processor, for bug reports and for rows of benchmarks."""

from pathlib import Path

import pytest

from fastequi.kernels import processor as module
from fastequi.kernels.llvm.target import host
from fastequi.kernels.processor import cpu_list, processor, share_a_core


def siblings(folder: Path, *lists: str) -> str:
    """A file for each CPU, as in /sys; the pattern of their names."""
    for cpu, text in enumerate(lists):
        (folder / f"cpu{cpu}").write_text(f"{text}\n")
    return str(folder / "cpu{}")


@pytest.mark.parametrize(
    ("text", "cpus"), [("0", {0}), ("0-1\n", {0, 1}), ("0,64", {0, 64}), ("0-2,8", {0, 1, 2, 8})]
)
def test_lists_of_cpus(text, cpus):
    assert cpu_list(text) == cpus


def test_cores_of_their_own(tmp_path):
    assert share_a_core([0, 1], siblings(tmp_path, "0", "1")) is False


def test_hyperthreads_of_one_core(tmp_path):
    pattern = siblings(tmp_path, "0,1", "0,1")
    assert share_a_core([0, 1], pattern) is True
    assert share_a_core([0], pattern) is False  # the other one belongs to somebody else


@pytest.mark.parametrize("text", ["", "nonsense"])
def test_unknown_is_said(tmp_path, text):
    assert share_a_core([0], str(tmp_path / "nothing{}")) == "unknown"
    assert share_a_core([0], siblings(tmp_path, text)) == "unknown"


def test_registers_are_those_of_the_kernels():
    found = processor()
    assert found.vector_bytes == host().vector_bytes
    assert (found.register_bytes, found.vector_registers) == (
        host().register_bytes,
        host().register_count,
    )
    assert found.avx512 <= found.avx2


def test_without_llvmlite(monkeypatch):
    """As on a machine that has Triton alone: the instructions are the kernel's own word."""
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    found = processor.__wrapped__()
    assert found.vector_bytes == found.register_bytes == "unknown"
    if Path("/proc/cpuinfo").exists():
        assert (found.avx2, found.avx512) == (processor().avx2, processor().avx512)
