"""Parity of the two passes of training: `rows_pass` and `tangent_pass`.

    for problem in problems():
        assert_rows_parity(differentiable_rows(my_rows_pass), problem, torch.float32)
        assert_tangent_parity(differentiable_tangents(my_tangent_pass), problem, torch.float32)

As `testing.py`: float64 references from the same rounded inputs, errors per tensor and per path.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from fastequi.kernels.convolution.edges import Edges
from fastequi.kernels.convolution.rows_reference import Pullback, rows_convolution
from fastequi.kernels.convolution.tangent_reference import tangent_convolution
from fastequi.kernels.instructions import Instructions
from fastequi.kernels.testing import FusedForm, Place, Problem, compare, derivatives, edges_on


def differentiable_rows(rows_pass: Callable[..., Any]) -> FusedForm:
    """`rows_convolution` made of a pass and its pullback."""

    def convolution(
        x: list[Tensor], vectors: Tensor, edges: Edges, rows: Tensor, pair: Tensor,
        instructions: Instructions,
    ) -> list[Tensor]:  # fmt: skip
        def run(vectors: Tensor, *x: Tensor) -> tuple[list[Tensor], Pullback]:
            wants_x = any(block.requires_grad for block in x)
            return rows_pass(list(x), vectors, edges, rows, pair, instructions, wants_x)

        return list(_Pulled.apply(run, vectors, *x))

    return convolution


def differentiable_tangents(tangent_pass: Callable[..., Any]) -> FusedForm:
    """`tangent_convolution` made of a pass and its pullback."""

    def convolution(
        x: list[Tensor], rows: Tensor, vectors: Tensor, displacements: Tensor, pair: Tensor,
        edges: Edges, instructions: Instructions, moving: bool = True,
    ) -> list[Tensor]:  # fmt: skip
        def run(rows: Tensor, *x: Tensor) -> tuple[list[Tensor], Pullback]:
            geometry = vectors, displacements, pair, edges
            return tangent_pass(list(x), rows, *geometry, instructions, moving)

        return list(_Pulled.apply(run, rows, *x))

    return convolution


class _Pulled(torch.autograd.Function):
    """run(*leaves) gives an output and its pullback."""

    @staticmethod
    def forward(ctx: Any, run: Callable[..., Any], *leaves: Tensor) -> tuple[Tensor, ...]:
        ctx.n_leaves = len(leaves)
        out, ctx.pullback = run(*leaves)
        return tuple(out)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, *gradients: Tensor
    ) -> tuple[Tensor | None, ...]:
        found = ctx.pullback(gradients)
        return None, *found, *[None] * (ctx.n_leaves - len(found))


def pairs_of(problem: Problem) -> tuple[Tensor, int]:
    """The row of each edge, and how many rows.

    Most rows have two edges, anywhere; where edges are odd in number one row has one, one none.
    """
    n = sum(problem.degrees)
    random = torch.Generator().manual_seed(problem.seed + 4)
    return torch.randperm(n, generator=random) // 2, (n + 1) // 2 + n % 2


def random_rows(problem: Problem, n_pairs: int) -> Tensor:
    """[pairs, 2, n_weights] float64."""
    random = torch.Generator().manual_seed(problem.seed + 5)
    shape = (n_pairs, 2, problem.instructions.n_weights)
    return torch.randn(shape, generator=random, dtype=torch.float64)


def random_displacements(problem: Problem) -> Tensor:
    """[edges, 3] float64."""
    random = torch.Generator().manual_seed(problem.seed + 6)
    shape = (sum(problem.degrees), 3)
    return torch.randn(shape, generator=random, dtype=torch.float64)


def assert_rows_parity(
    candidate: FusedForm,
    problem: Problem,
    dtype: torch.dtype = torch.float64,
    device: torch.device | str = "cpu",
) -> None:
    """Values and gradients with respect to features and edge vectors."""
    pair, n_pairs = pairs_of(problem)
    rows = random_rows(problem, n_pairs)
    features = {f"x[{i}]": block for i, block in enumerate(problem.features())}

    def run(form: FusedForm, place: Place) -> dict[str, Tensor]:
        edges, held = edges_on(problem.edges(), place), place.leaf(rows)

        def function(leaves: dict[str, Tensor]) -> list[Tensor]:
            x = [leaves[name] for name in features]
            row = pair.to(place.device)
            return form(x, leaves["vectors"], edges, held, row, problem.instructions)

        return derivatives(function, {"vectors": problem.vectors()} | features, place, 1)

    compare(run, candidate, rows_convolution, problem, dtype, device)


def assert_tangent_parity(
    candidate: FusedForm,
    problem: Problem,
    dtype: torch.dtype = torch.float64,
    device: torch.device | str = "cpu",
    moving: bool = True,
) -> None:
    """Values, tangents, and their gradients with respect to features and rows."""
    pair, n_pairs = pairs_of(problem)
    constants = {"vectors": problem.vectors(), "displacements": random_displacements(problem)}
    features = {f"x[{i}]": block for i, block in enumerate(problem.features())}
    if moving:
        random = torch.Generator().manual_seed(problem.seed + 7)
        for name, block in features.items():
            tangents = torch.randn(block.shape, generator=random, dtype=block.dtype)
            features[name] = torch.cat([block, tangents])

    def run(form: FusedForm, place: Place) -> dict[str, Tensor]:
        edges = edges_on(problem.edges(), place)

        def function(leaves: dict[str, Tensor]) -> list[Tensor]:
            x = [leaves[name] for name in features]
            vectors, displacements = leaves["vectors"], leaves["displacements"]
            geometry = (vectors, displacements, pair.to(place.device), edges)
            return form(x, leaves["rows"], *geometry, problem.instructions, moving)

        leaves = {"rows": random_rows(problem, n_pairs)} | constants | features
        return derivatives(function, leaves, place, 1)

    compare(run, candidate, tangent_convolution, problem, dtype, device)
