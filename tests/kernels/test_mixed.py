"""The convolution with the linear map behind it, in blocks of receivers, against the reference."""

from functools import partial

import pytest
import torch

from fastequi.kernels.convolution.differentiable import differentiable
from fastequi.kernels.cpu import arrays, backend, convolution
from fastequi.kernels.llvm import threads
from fastequi.kernels.testing import Problem, problems
from fastequi.kernels.testing_operations import assert_forward_parity, random_linear_out

pytestmark = pytest.mark.widths

DTYPES = (torch.float32, torch.float64)


@pytest.mark.parametrize("at_once", [2**10, 2**18])
@pytest.mark.parametrize("n_threads", [1, 3])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("problem", problems(), ids=str)
def test_parity(
    problem: Problem,
    dtype: torch.dtype,
    n_threads: int,
    at_once: int,
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(threads, "n_threads", lambda: n_threads)
    monkeypatch.setattr(convolution, "_MESSAGES_AT_ONCE", at_once)
    for source in ("table", "pair_weights"):
        assert_forward_parity(backend, problem, dtype, source=source, with_linear_out=True)


def test_result_does_not_depend_on_timing():
    """Bit for bit the same, run after run, with threads."""
    problem = problems()[6]
    x = [block.requires_grad_() for block in problem.features()]
    vectors, edges, table = problem.vectors().requires_grad_(), problem.edges(), problem.table()
    form, behind = differentiable(backend), random_linear_out(problem, vectors.dtype)
    results = []
    for _ in range(5):
        out = form(x, vectors, edges, table, problem.instructions, behind)
        gradients = torch.autograd.grad([block.sum() for block in out], [vectors, *x])
        results.append([*out, *gradients])
    for again in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], again, strict=True))


def test_arrays_are_made_once_for_the_same_vectors():
    problem = problems()[0]
    edges, vectors = problem.edges(), problem.vectors()
    shared = partial(arrays.shared_arrays, edges, vectors.dtype, vectors)
    first = shared()
    assert shared() is first
    vectors += 0.1
    assert shared() is not first
