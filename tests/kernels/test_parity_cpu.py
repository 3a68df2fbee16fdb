"""The CPU kernels against the reference, path by path, and how compiled code is kept."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch

from fastequi.kernels.convolution.differentiable import differentiable
from fastequi.kernels.cpu import backend
from fastequi.kernels.cpu.kernels import print_kernel
from fastequi.kernels.cpu.launch import Convolution
from fastequi.kernels.llvm import compiler, threads
from fastequi.kernels.testing import Problem, problems
from fastequi.kernels.testing_operations import assert_forward_parity

DTYPES = (torch.float32, torch.float64)


@pytest.fixture(params=[1, 3], ids=lambda n: f"{n} threads")
def n_threads(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(threads, "n_threads", lambda: request.param)
    return request.param


@pytest.mark.widths
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("problem", problems(), ids=str)
def test_fused(problem: Problem, dtype: torch.dtype, n_threads: int):
    assert_forward_parity(backend, problem, dtype)


@pytest.mark.widths
def test_result_does_not_depend_on_timing():
    """Bit for bit the same, run after run, with threads."""
    problem = problems()[6]
    x = [block.requires_grad_() for block in problem.features()]
    vectors, edges, table = problem.vectors().requires_grad_(), problem.edges(), problem.table()
    results = []
    for _ in range(5):
        out = differentiable(backend)(x, vectors, edges, table, problem.instructions)
        gradients = torch.autograd.grad([block.sum() for block in out], [vectors, *x])
        results.append([*out, *gradients])
    for again in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], again, strict=True))


def a_kernel_source() -> tuple[str, str]:
    problem = problems()[0]
    layer = Convolution(problem.instructions, torch.float32, "table", "forward")
    spec = layer.spec(layer.ranges()[0])
    return spec.name, print_kernel(spec)


def test_cache_survives_damage_races_and_read_only_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    name, source = a_kernel_source()
    monkeypatch.setenv("FASTEQUI_CACHE", str(tmp_path / "cache"))
    compiler.Kernel(name, source, 4)
    (cached,) = (tmp_path / "cache").iterdir()
    good = cached.read_bytes()

    cached.write_bytes(good[:-100] + b"x" * 100)  # damaged: compiled and written again
    compiler.Kernel(name, source, 4)
    assert cached.read_bytes()[:32] == good[:32] or len(cached.read_bytes()) == len(good)

    cached.unlink()  # many at once
    starts = [threading.Thread(target=compiler.Kernel, args=(name, source, 4)) for _ in range(8)]
    for thread in starts:
        thread.start()
    for thread in starts:
        thread.join()
    assert [path.name for path in (tmp_path / "cache").iterdir()] == [cached.name]

    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    monkeypatch.setenv("FASTEQUI_CACHE", str(blocked / "cache"))
    compiler.Kernel(name, source, 4)  # nothing can be written there: it still works


def test_second_start_compiles_nothing(tmp_path: Path):
    code = (
        "from fastequi.kernels.llvm import compiler\n"
        "def refuse(source): raise SystemExit('compiled again')\n"
        "import os\n"
        "if os.environ.get('SECOND'): compiler.compile_ir = refuse\n"
        f"name, source = {a_kernel_source()!r}\n"
        "compiler.Kernel(name, source, 4)\n"
    )
    for extra in ({}, {"SECOND": "1"}):
        environment = os.environ | {"FASTEQUI_CACHE": str(tmp_path)} | extra
        done = subprocess.run(
            [sys.executable, "-c", code], env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
