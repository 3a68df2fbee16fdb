"""Parity of the four operations of a convolution with their definitions, path by path.

    for problem in problems():
        assert_forward_parity(my_operations, problem, torch.float32)
        assert_jvp_parity(my_operations, problem, torch.float32)

As `testing.py`: float64 references from the same rounded inputs, errors per tensor and per path.
"""

from typing import Any

import torch
from torch import Tensor

from fastequi.kernels.convolution import definitions
from fastequi.kernels.convolution.differentiable import Form, differentiable, differentiable_jvp
from fastequi.kernels.convolution.weights import LinearOut, PairWeights, Weights
from fastequi.kernels.testing import Place, Problem, compare, derivatives, edges_on

# -- random numbers ------------------------------------------------------------------------------


def pairs_of(problem: Problem) -> tuple[Tensor, int]:
    """The pair of each edge, and how many pairs.

    Most have two edges, anywhere; where edges are odd in number one has one, one none.
    """
    n = sum(problem.degrees)
    random = torch.Generator().manual_seed(problem.seed + 4)
    return torch.randperm(n, generator=random) // 2, (n + 1) // 2 + n % 2


def random_values(problem: Problem, n_pairs: int) -> Tensor:
    """W and dW/dr [pairs, 2, n_weights], float64."""
    random = torch.Generator().manual_seed(problem.seed + 5)
    shape = (n_pairs, 2, problem.instructions.n_weights)
    return torch.randn(shape, generator=random, dtype=torch.float64)


def random_displacements(problem: Problem) -> Tensor:
    """[edges, 3] float64."""
    random = torch.Generator().manual_seed(problem.seed + 6)
    shape = (sum(problem.degrees), 3)
    return torch.randn(shape, generator=random, dtype=torch.float64)


def random_linear_out(problem: Problem, dtype: torch.dtype) -> LinearOut:
    """Matrices of odd widths."""
    random = torch.Generator().manual_seed(0)
    return LinearOut(
        [
            torch.randn(channels, 37 + 8 * ir.l, generator=random).to(dtype) / channels**0.5
            for channels, ir in problem.instructions.irreps_out
        ]
    )


# -- parity --------------------------------------------------------------------------------------


def assert_forward_parity(
    operations: Any,
    problem: Problem,
    dtype: torch.dtype = torch.float64,
    device: torch.device | str = "cpu",
    source: str = "table",
    with_linear_out: bool = False,
) -> None:
    """forward and vjp; source 'table' or 'pair_weights'."""
    pair, n_pairs = pairs_of(problem)
    table, values = problem.table().to(dtype, "cpu"), random_values(problem, n_pairs)
    features = {f"x[{i}]": block for i, block in enumerate(problem.features())}
    matrices = random_linear_out(problem, dtype).matrices

    def run(form: Form, place: Place) -> dict[str, Tensor]:
        edges = edges_on(problem.edges(), place)
        weights: Weights = table.to(place.dtype, place.device)
        if source == "pair_weights":
            weights = PairWeights(place.leaf(values), pair.to(place.device))
        behind = LinearOut([place.leaf(m).detach() for m in matrices])

        def function(leaves: dict[str, Tensor]) -> list[Tensor]:
            x = [leaves[name] for name in features]
            more = [behind] if with_linear_out else []
            return form(x, leaves["vectors"], edges, weights, problem.instructions, *more)

        return derivatives(function, {"vectors": problem.vectors()} | features, place, 1)

    compare(run, differentiable(operations), definitions.forward, problem, dtype, device)


def assert_jvp_parity(
    operations: Any,
    problem: Problem,
    dtype: torch.dtype = torch.float64,
    device: torch.device | str = "cpu",
    has_tangents: bool = True,
) -> None:
    """jvp and jvp_vjp."""
    pair, n_pairs = pairs_of(problem)
    constants = {"vectors": problem.vectors(), "displacements": random_displacements(problem)}
    features = {f"x[{i}]": block for i, block in enumerate(problem.features())}
    if has_tangents:
        random = torch.Generator().manual_seed(problem.seed + 7)
        for name, block in features.items():
            tangents = torch.randn(block.shape, generator=random, dtype=block.dtype)
            features[name] = torch.cat([block, tangents])

    def run(form: Form, place: Place) -> dict[str, Tensor]:
        edges, of_edges = edges_on(problem.edges(), place), pair.to(place.device)

        def function(leaves: dict[str, Tensor]) -> list[Tensor]:
            x, weights = [leaves[name] for name in features], PairWeights(leaves["W"], of_edges)
            geometry = leaves["vectors"], leaves["displacements"], edges
            return form(x, *geometry, weights, problem.instructions, has_tangents)

        leaves = {"W": random_values(problem, n_pairs)} | constants | features
        return derivatives(function, leaves, place, 1)

    compare(run, differentiable_jvp(operations), definitions.jvp, problem, dtype, device)
