"""What Triton has compiled of a layer (kernels/backend.py): the four operations, by their names.

Results have the same bits every time (sums over senders, pairs and channels in a fixed order) where
torch.use_deterministic_algorithms asks for it; that costs one row of x, or of weights, per edge.
"""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from fastequi.irreps import Irreps
from fastequi.kernels.convolution.edges import Edges
from fastequi.kernels.convolution.weights import LinearOut, PairWeights, Weights
from fastequi.kernels.instructions import Instructions
from fastequi.kernels.parts import new_blocks
from fastequi.kernels.triton import gate, linear
from fastequi.kernels.triton import skin_edges as step
from fastequi.kernels.triton.checks import check_blocks, check_tensor, check_weights
from fastequi.kernels.triton.form import Form, Operation
from fastequi.kernels.triton.operators import run_, sum_rows_
from fastequi.kernels.triton.plan import n_slots, plan

__all__ = ["edge_sums", "forward", "gate", "jvp", "jvp_vjp", "linear", "prepare", "step", "vjp"]

#: Messages are wide (SevenNet-0: 12 kB per atom); with a linear map behind they are in memory for
#: so many bytes of receivers at a time.
MESSAGES_AT_ONCE = 2**28
#: A range of receivers begins at a multiple of this many: Triton compiles anew for an address that
#: is no multiple of 16 bytes.
ALIGNED = 16


def prepare(
    layers: list[Instructions], dtype: torch.dtype, *, training: bool, has_cutoff_scale: bool
) -> None:
    """The kernels of dynamics; nothing to do when all are in Triton's cache, or without a GPU."""
    if torch.cuda.is_available() and not training:
        from fastequi.kernels.triton import compile_ahead

        compile_ahead.prepare(layers, dtype, has_cutoff_scale)


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
    matrices = linear_out.kept("triton", lambda: linear.gathered(linear_out.matrices))
    shapes = zip(matrices, instructions.irreps_out, strict=True)
    irreps_out = Irreps(tuple((matrix.shape[1], ir) for matrix, (_, ir) in shapes))
    out = new_blocks(irreps_out, x[0], edges.n_receivers)
    for begin, end in _ranges(instructions, edges.n_receivers, vectors.dtype):
        messages = run.new_messages(end - begin)
        run(edges.row_start[begin : end + 1], {}, _numbered("out", messages))
        linear.times(messages, matrices, [total[begin:end] for total in out])
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
    sums = EdgeSums(vectors, edges)
    sums.add(g, x, vectors, edges, weights, instructions, linear_out, dx)
    return sums.gradient()


class EdgeSums:
    """As `fastequi.kernels.convolution.edges.EdgeSums`: all layers add to one tensor."""

    def __init__(self, vectors: Tensor, edges: Edges) -> None:
        self.total = torch.zeros_like(vectors, memory_format=torch.contiguous_format)

    def gradient(self) -> Tensor:
        """[edges, 3]."""
        return self.total

    @torch.no_grad()
    def add(
        self,
        g: Sequence[Tensor],
        x: list[Tensor],
        vectors: Tensor,
        edges: Edges,
        weights: Weights,
        instructions: Instructions,
        linear_out: LinearOut | None = None,
        dx: Sequence[Tensor] | None = None,
    ) -> None:
        """Those of a layer; arguments as those of `definitions.vjp`."""
        assert all(block.is_contiguous() for block in dx or [])
        run = _Pass("vjp", instructions, edges, weights, x, vectors)
        targets = run.row_per_edge(dx or [])
        dvectors = run.slot_per_program(self.total)
        written = _numbered("dx", targets) | {"dvectors": dvectors}
        if linear_out is None:
            check_blocks("g", g, edges.n_receivers, instructions.irreps_out)
            run(edges.row_start, _numbered("g", g), written)
        else:
            transposed = linear_out.kept("triton T", lambda: linear.gathered(linear_out.transposed))
            for begin, end in _ranges(instructions, edges.n_receivers, vectors.dtype):
                behind = run.new_messages(end - begin)
                linear.times([block[begin:end] for block in g], transposed, behind)
                run(edges.row_start[begin : end + 1], _numbered("g", behind), written)
        run.sum_by_sender(targets, dx or [])
        if dvectors is not self.total:
            self.total += dvectors.sum(dim=1)


edge_sums = EdgeSums


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
    run.sum_by_sender(targets, dx, halves)
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
        self.instructions, self.x, self.edges = instructions, x, edges
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
        return new_blocks(self.instructions.irreps_out, self.x[0], rows)

    def row_per_edge(self, totals: Sequence[Tensor], halves: int = 1) -> Sequence[Tensor]:
        """Where kernels add: to the totals, or for fixed bits to a row per edge (and half)."""
        if not self.deterministic:
            return totals
        return [
            total.new_zeros((halves * self.edges.n_edges, *total.shape[1:])) for total in totals
        ]

    def slot_per_program(self, total: Tensor) -> Tensor:
        """The same for gradients of edges [edges, 3], to which several programs add."""
        if not self.deterministic:
            return total
        slots = n_slots(plan(self.instructions, self.form, total.dtype))
        return total.new_zeros((len(total), slots, 3))

    def sum_by_sender(
        self, per_edge: Sequence[Tensor], totals: Sequence[Tensor], halves: int = 1
    ) -> None:
        """Then, the rows of each sender: of the edges that lead back, in the order of its own."""
        edges = self.edges
        if edges.reverse is None:
            self.sum_by(edges.sender, per_edge, totals, halves)
        elif self.deterministic:
            for rows, total in zip(per_edge, totals, strict=True):
                sum_rows_(rows, edges.reverse, edges.row_start, total)

    def sum_by(
        self, owner: Tensor, per_edge: Sequence[Tensor], totals: Sequence[Tensor], halves: int = 1
    ) -> None:
        """Then, the rows of each owner."""
        if not self.deterministic or not totals:
            return
        order = torch.argsort(owner, stable=True)
        owners = torch.arange(len(totals[0]) // halves + 1, device=owner.device)
        start_of = torch.searchsorted(owner[order], owners)
        for rows, total in zip(per_edge, totals, strict=True):
            for part, sum_ in zip(rows.chunk(halves), total.chunk(halves), strict=True):
                sum_rows_(part, order, start_of, sum_)


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
