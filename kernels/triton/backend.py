"""What Triton has compiled of a layer (kernels/backend.py): the four operations, by their names.

Results have the same bits every time (sums over senders, pairs and channels in a fixed order) where
torch.use_deterministic_algorithms asks for it; that costs one row of x, or of weights, per edge.
"""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from fastequi.kernels.convolution.edges import Edges
from fastequi.kernels.convolution.weights import LinearOut, PairWeights, Weights
from fastequi.kernels.instructions import Instructions
from fastequi.kernels.triton.checks import check_blocks, check_tensor, check_weights
from fastequi.kernels.triton.form import Form, Operation
from fastequi.kernels.triton.operators import run_, sum_rows_
from fastequi.kernels.triton.plan import n_slots, plan

#: Messages are wide (SevenNet-0: 12 kB per atom); with a linear map behind they are in memory for
#: so many bytes of receivers at a time.
MESSAGES_AT_ONCE = 2**28
#: A range of receivers begins at a multiple of this many: Triton compiles anew for an address that
#: is no multiple of 16 bytes.
ALIGNED = 16


@torch.no_grad()
def forward(
    x: list[Tensor],
    vectors: Tensor,
    edges: Edges,
    weights: Weights,
    instructions: Instructions,
    linear_out: LinearOut | None = None,
) -> list[Tensor]:
    """As `definitions.forward`."""
    run = _Pass("forward", instructions, edges, weights, x, vectors)
    if linear_out is None:
        out = run.new_messages(edges.n_receivers)
        run(edges.row_start, {}, _numbered("out", out))
        return out
    shapes = zip(instructions.irreps_out, linear_out.matrices, strict=True)
    out = [x[0].new_empty((edges.n_receivers, ir.dim, m.shape[1])) for (_, ir), m in shapes]
    for begin, end in _ranges(instructions, edges.n_receivers, vectors.dtype):
        messages = run.new_messages(end - begin)
        run(edges.row_start[begin : end + 1], {}, _numbered("out", messages))
        for block, matrix, total in zip(messages, linear_out.matrices, out, strict=True):
            torch.matmul(block, matrix, out=total[begin:end])
    return out


@torch.no_grad()
def vjp(
    g: Sequence[Tensor],
    x: list[Tensor],
    vectors: Tensor,
    edges: Edges,
    weights: Weights,
    instructions: Instructions,
    linear_out: LinearOut | None = None,
    dx: Sequence[Tensor] | None = None,
) -> Tensor:
    """As `definitions.vjp`; dx, where given, lies in one piece of memory each."""
    assert all(block.is_contiguous() for block in dx or [])
    run = _Pass("vjp", instructions, edges, weights, x, vectors)
    targets = run.row_per_edge(dx or [])
    slots = n_slots(plan(instructions, run.form, vectors.dtype)) if run.deterministic else 1
    dvectors = vectors.new_zeros((edges.n_edges, slots, 3))
    written = _numbered("dx", targets) | {"dvectors": dvectors}
    if linear_out is None:
        check_blocks("g", g, edges.n_receivers, instructions.irreps_out)
        run(edges.row_start, _numbered("g", g), written)
    else:
        for begin, end in _ranges(instructions, edges.n_receivers, vectors.dtype):
            pairs = zip(g, linear_out.transposed, strict=True)
            behind = [block[begin:end] @ matrix for block, matrix in pairs]
            run(edges.row_start[begin : end + 1], _numbered("g", behind), written)
    run.sum_by(edges.sender, targets, dx or [])
    return dvectors.sum(dim=1) if slots > 1 else dvectors[:, 0]


@torch.no_grad()
def jvp(
    x: list[Tensor],
    vectors: Tensor,
    displacements: Tensor,
    edges: Edges,
    weights: PairWeights,
    instructions: Instructions,
    has_tangents: bool = True,
) -> list[Tensor]:
    """As `definitions.jvp`."""
    run = _Pass("jvp", instructions, edges, weights, x, vectors, displacements, has_tangents)
    out = run.new_messages(2 * edges.n_receivers)
    run(edges.row_start, {}, _numbered("out", out))
    return out


@torch.no_grad()
def jvp_vjp(
    g: Sequence[Tensor],
    x: list[Tensor],
    vectors: Tensor,
    displacements: Tensor,
    edges: Edges,
    weights: PairWeights,
    instructions: Instructions,
    has_tangents: bool = True,
) -> tuple[Tensor, list[Tensor]]:
    """As `definitions.jvp_vjp`."""
    check_blocks("g", g, 2 * edges.n_receivers, instructions.irreps_out)
    run = _Pass("jvp_vjp", instructions, edges, weights, x, vectors, displacements, has_tangents)
    halves = 1 + has_tangents
    dx = [block.new_zeros(block.shape) for block in x]
    d_values = weights.values.new_zeros(weights.values.shape)
    targets, [rows] = run.row_per_edge(dx, halves), run.row_per_edge([d_values])
    run(edges.row_start, _numbered("g", g), _numbered("dx", targets) | {"d_values": rows})
    run.sum_by(edges.sender, targets, dx, halves)
    run.sum_by(weights.pair, [rows], [d_values])
    return d_values, dx


class _Pass:
    """One operation on the edges of a graph, called with ranges of receivers."""

    def __init__(
        self,
        operation: Operation,
        instructions: Instructions,
        edges: Edges,
        weights: Weights,
        x: Sequence[Tensor],
        vectors: Tensor,
        displacements: Tensor | None = None,
        has_tangents: bool = False,
    ) -> None:
        check_blocks("x", x, len(x[0]), instructions.irreps_in)
        check_tensor("vectors", vectors, (edges.n_edges, 3), x[0])
        check_weights(weights, edges, instructions, x[0])
        self.instructions, self.x, self.n_edges = instructions, x, edges.n_edges
        self.deterministic = torch.are_deterministic_algorithms_enabled()
        self.read = _numbered("x", x) | {"sender": edges.sender, "vectors": vectors}
        self.numbers: Sequence[float] = ()
        if displacements is not None:
            check_tensor("displacements", displacements, (edges.n_edges, 3), x[0])
            self.read["displacements"] = displacements
        if isinstance(weights, PairWeights):
            self.form = Form(operation, "pair_weights", has_tangents)
            self.read |= {"values": weights.values, "pair": weights.pair}
        else:
            self.form = Form(operation, "table")
            self.read["knots"], self.numbers = weights.knots, weights.grid.constants
            self.read |= {} if edges.cutoff_scale is None else {"cutoff_scale": edges.cutoff_scale}
        self.read = {name: tensor.contiguous() for name, tensor in self.read.items()}

    def __call__(
        self, row_start: Tensor, read: dict[str, Tensor], written: dict[str, Tensor]
    ) -> None:
        """For the receivers whose edges begin at row_start."""
        read = self.read | {name: tensor.contiguous() for name, tensor in read.items()}
        read["row_start"] = row_start.contiguous()
        run_(self.instructions, self.form, read, written, self.numbers, self.deterministic)

    def new_messages(self, rows: int) -> list[Tensor]:
        """Every element is written exactly once."""
        return [
            self.x[0].new_empty((rows, ir.dim, mul)) for mul, ir in self.instructions.irreps_out
        ]

    def row_per_edge(self, totals: Sequence[Tensor], halves: int = 1) -> Sequence[Tensor]:
        """Where kernels add: to the totals, or for fixed bits to a row per edge (and half)."""
        if not self.deterministic:
            return totals
        return [total.new_zeros((halves * self.n_edges, *total.shape[1:])) for total in totals]

    def sum_by(
        self, owner: Tensor, per_edge: Sequence[Tensor], totals: Sequence[Tensor], halves: int = 1
    ) -> None:
        """Then, the rows of each owner."""
        if not self.deterministic:
            return
        for rows, total in zip(per_edge, totals, strict=True):
            for part, sum_ in zip(rows.chunk(halves), total.chunk(halves), strict=True):
                sum_rows_(part, owner, sum_)


def _numbered(name: str, blocks: Sequence[Tensor]) -> dict[str, Tensor]:
    return {f"{name}{i}": block for i, block in enumerate(blocks)}


def _ranges(
    instructions: Instructions, n_receivers: int, dtype: torch.dtype
) -> Iterator[tuple[int, int]]:
    """(begin, end) of receivers whose messages fit."""
    per_receiver = dtype.itemsize * sum(ir.dim * mul for mul, ir in instructions.irreps_out)
    size = max(MESSAGES_AT_ONCE // max(per_receiver, 1) // ALIGNED, 1) * ALIGNED
    for begin in range(0, n_receivers, size):
        yield begin, min(begin + size, n_receivers)
