"""Threads on machines that differ: few cores and many, without libgomp, in forked processes.

Not here: other OpenMP libraries than libgomp, which pip's torch loads on Linux. Where torch brings
another (macOS, conda), kernels run on the pool of Python threads that is tested here.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from fastequi.kernels.convolution.differentiable import differentiable
from fastequi.kernels.cpu import backend
from fastequi.kernels.llvm import threads
from fastequi.kernels.testing import Problem, problems
from fastequi.kernels.testing_operations import assert_forward_parity

WORKER = Path(__file__).with_name("thread_worker.py")
#: Longer than the slowest machine needs; a process that waits for threads that are gone never ends.
TIMEOUT_S = 120
PROBLEM = next(problem for problem in problems() if problem.name == "many neighbors")
#: More than most machines have cores, and more than the problems have receivers or channels.
COUNTS = [2, 7, 64]


@pytest.fixture(params=COUNTS, ids=lambda n: f"{n} threads")
def n_threads(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(threads, "n_threads", lambda: request.param)
    return request.param


@pytest.fixture
def no_libgomp(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "_gomp_parallel", lambda: None)


def results(problem: Problem) -> list[Tensor]:
    """Values and gradients."""
    x = [block.requires_grad_() for block in problem.features()]
    vectors, edges, table = problem.vectors().requires_grad_(), problem.edges(), problem.table()
    out = differentiable(backend)(x, vectors, edges, table, problem.instructions)
    return [*out, *torch.autograd.grad([block.sum() for block in out], [vectors, *x])]


def run_worker(*options: str, **environment: str) -> list[dict[str, Any]]:
    """What the worker printed, with as many threads as it finds unless `environment` says so."""
    inherited = {k: v for k, v in os.environ.items() if not k.endswith("_NUM_THREADS")}
    done = subprocess.run(
        [sys.executable, str(WORKER), *options],
        env=inherited | environment, capture_output=True, text=True, timeout=TIMEOUT_S,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@contextmanager
def on_one_core() -> Iterator[None]:
    """This thread, and the processes that it starts."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    yield
    os.sched_setaffinity(0, before)


@pytest.mark.skipif(sys.platform != "linux", reason="pip's torch brings libgomp on Linux alone")
def test_kernels_run_on_the_threads_of_torch():
    assert threads._gomp_parallel() is not None


@pytest.mark.parametrize("name", ["natural", "many neighbors", "isolated atoms", "no atoms"])
def test_more_threads_than_cores_or_work(name: str, n_threads: int):
    (problem,) = (problem for problem in problems() if problem.name == name)
    assert_forward_parity(backend, problem)


def test_without_libgomp_results_are_the_same_bit_for_bit(n_threads: int, request):
    by_libgomp = results(PROBLEM)
    request.getfixturevalue("no_libgomp")
    by_pool = results(PROBLEM)
    assert all(torch.equal(a, b) for a, b in zip(by_libgomp, by_pool, strict=True))


@pytest.mark.usefixtures("no_libgomp")
def test_errors_of_a_share_are_not_lost(n_threads: int, monkeypatch: pytest.MonkeyPatch):
    def fail(data: int) -> None:
        raise OSError("no")

    monkeypatch.setattr(threads, "_team", lambda: fail)
    with pytest.raises(OSError, match="no"):
        results(PROBLEM)


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="needs a choice of cores")
def test_one_core():
    """It is seen; two threads there are slow at worst, with the results of two cores."""
    with on_one_core():
        ((alone,), (shared,)) = run_worker(), run_worker(OMP_NUM_THREADS="2")
    assert (alone["threads"], shared["threads"]) == (1, 2)
    assert shared["digest"] == run_worker(OMP_NUM_THREADS="2")[0]["digest"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("team", ["libgomp", "pool"])
@pytest.mark.parametrize("kind", ["fork=1", "pool_of_processes=1"])
def test_a_forked_process_computes_as_its_parent_did(team: str, kind: str):
    """With as many threads; the parent's own, which fork leaves behind, are not waited for."""
    first, *others = run_worker(f"team={team}", kind, OMP_NUM_THREADS="2")
    assert first["threads"] == 2
    assert others
    assert all(other == first for other in others)
