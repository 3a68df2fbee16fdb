"""Features with more than 2^31 numbers: offsets into them are 64-bit.

The memory is asked for and hardly touched, so the test needs address space rather than memory.
"""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from fastequi.irreps import Irreps
from fastequi.kernels.convolution.tangent_reference import tangent_convolution as tangents
from fastequi.kernels.cpu.convolution import fused_convolution, rows_pass
from fastequi.kernels.cpu.tangent import tangent_pass
from fastequi.kernels.instructions import make_instructions
from fastequi.kernels.testing import Problem, relative_rms
from fastequi.kernels.testing_tangents import differentiable_rows, differentiable_tangents

CHANNELS = 64
IRREPS = Irreps.parse(f"{CHANNELS}x0e+{CHANNELS}x1o+{CHANNELS}x2e")
PROBLEM = Problem(
    "scalars", make_instructions(Irreps.parse(f"{CHANNELS}x0e"), 2, "natural", IRREPS), (5, 0, 3, 2)
)
#: Rows of features in front of those that send.
BEFORE = 2**31 // CHANNELS


def far_away(x: torch.Tensor) -> torch.Tensor:
    """The same rows at the end of a block of more than 2^31 numbers."""
    try:
        block = torch.empty((BEFORE + len(x), *x.shape[1:]), dtype=x.dtype)
    except RuntimeError as error:
        pytest.skip(f"OFFSETS WERE NOT TESTED, no address space: {error}")
    block[BEFORE:] = x
    return block


def assert_same_far_away(run: Callable[..., list[torch.Tensor]]) -> None:
    """run(x, edges) gives the same wherever the senders stand."""
    edges = PROBLEM.edges()
    x = PROBLEM.features()[0].to(torch.float32)
    moved = replace(edges, sender=edges.sender + BEFORE)
    for near, far in zip(run([x], edges), run([far_away(x)], moved), strict=True):
        assert float(near.abs().max()) > 0
        assert relative_rms(far, near) == 0


def test_tables():
    table = PROBLEM.table().to(torch.float32, "cpu")
    vectors = PROBLEM.vectors().to(torch.float32)
    assert_same_far_away(lambda x, e: fused_convolution(x, vectors, e, table, PROBLEM.instructions))


def test_rows():
    vectors, rows, pair = PROBLEM.vectors().to(torch.float32), rows_of(), every_edge()
    assert_same_far_away(
        lambda x, e: differentiable_rows(rows_pass)(x, vectors, e, rows, pair, PROBLEM.instructions)
    )


def test_tangents():
    vectors, rows, pair = PROBLEM.vectors().to(torch.float32), rows_of(), every_edge()
    for run in (differentiable_tangents(tangent_pass), tangents):
        assert_same_far_away(
            lambda x, e, run=run: run(
                x, rows, vectors, 0.1 * vectors, pair, e, PROBLEM.instructions, moving=False
            )
        )


def rows_of() -> torch.Tensor:
    weights = PROBLEM.weights().to(torch.float32)
    return torch.stack([weights, -weights], dim=1)


def every_edge() -> torch.Tensor:
    return torch.arange(PROBLEM.edges().n_edges)
