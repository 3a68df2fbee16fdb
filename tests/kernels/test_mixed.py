"""The convolution with the linear map behind it, in blocks of receivers, against the reference."""

from functools import partial

import pytest
import torch
from torch import Tensor

from fastequi.kernels.convolution import fused_reference, mixing
from fastequi.kernels.convolution.mixing import Mixing
from fastequi.kernels.cpu import arrays, convolution
from fastequi.kernels.llvm import threads
from fastequi.kernels.testing import FusedForm, Problem, assert_fused_parity, problems

pytestmark = pytest.mark.widths

DTYPES = (torch.float32, torch.float64)
reference = mixing.mixed_after(fused_reference.fused_convolution)


def mixed(form: FusedForm, problem: Problem, dtype: torch.dtype) -> FusedForm:
    """A form with random matrices of odd widths."""
    generator = torch.Generator().manual_seed(0)
    matrices = [
        torch.randn(channels, 37 + 8 * ir.l, generator=generator).to(dtype) / channels**0.5
        for channels, ir in problem.instructions.irreps_out
    ]

    def with_matrices(x: list[Tensor], *arguments: object) -> list[Tensor]:
        return form(x, *arguments, Mixing([matrix.to(x[0].dtype) for matrix in matrices]))

    return with_matrices


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
    forms = [mixed(form, problem, dtype) for form in (convolution.fused_convolution, reference)]
    assert_fused_parity(forms[0], problem, dtype, reference=forms[1])


def test_result_does_not_depend_on_timing():
    """Bit for bit the same, run after run, with threads."""
    problem = problems()[6]
    x = [block.requires_grad_() for block in problem.features()]
    vectors, edges, table = problem.vectors().requires_grad_(), problem.edges(), problem.table()
    form = mixed(convolution.fused_convolution, problem, vectors.dtype)
    results = []
    for _ in range(5):
        out = form(x, vectors, edges, table, problem.instructions)
        gradients = torch.autograd.grad([block.sum() for block in out], [vectors, *x])
        results.append([*out, *gradients])
    for again in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], again, strict=True))


def test_arrays_are_made_once_for_the_same_vectors():
    problem = problems()[0]
    edges, vectors = problem.edges(), problem.vectors()
    shared = partial(arrays.shared_arrays, edges, vectors)
    first = shared()
    assert shared() is first
    vectors += 0.1
    assert shared() is not first
