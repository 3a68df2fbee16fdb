"""Features with more than 2^31 numbers: offsets into them are 64-bit.

The memory is asked for and hardly touched, so the test needs address space rather than memory.
"""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from fastequi.irreps import Irreps
from fastequi.kernels.convolution import definitions
from fastequi.kernels.convolution.weights import PairWeights
from fastequi.kernels.cpu import backend
from fastequi.kernels.instructions import make_instructions
from fastequi.kernels.testing import Problem, relative_rms

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
    assert_same_far_away(lambda x, e: backend.forward(x, vectors, e, table, PROBLEM.instructions))


def test_pair_weights():
    vectors, weights = PROBLEM.vectors().to(torch.float32), weights_of_every_edge()
    assert_same_far_away(lambda x, e: backend.forward(x, vectors, e, weights, PROBLEM.instructions))


def test_jvp():
    vectors, weights = PROBLEM.vectors().to(torch.float32), weights_of_every_edge()
    for operations in (backend, definitions):
        assert_same_far_away(
            lambda x, e, jvp=operations.jvp: jvp(
                x, vectors, 0.1 * vectors, e, weights, PROBLEM.instructions, has_tangents=False
            )
        )


def weights_of_every_edge() -> PairWeights:
    weights = PROBLEM.weights().to(torch.float32)
    pair = torch.arange(PROBLEM.edges().n_edges)
    return PairWeights(torch.stack([weights, -weights], dim=1), pair)
