"""The linear maps of a layer on the CPU, for training: all products of a pass in one call.

A pass over a layer is dozens of products too small for a BLAS call each to pay, and to be shared by
threads. Here they are one plan (llvm/plan.py): threads share the rows, atoms forward and channels
in the gradient by the matrices.

Atoms come in segments that have one matrix in common: atoms of a species; values, then tangents.
"""

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from fastequi.kernels.convolution.cpu_product import ROWS, product_calls
from fastequi.kernels.llvm.plan import Named, Plan, PlannedCall
from fastequi.kernels.llvm.threads import n_threads

@dataclass(frozen=True, slots=True)
class Term:
    """Block `source` times matrices [n_in, n_out] gives, or adds to, block `target`.

    Blocks are [atoms, components, channels].
    """

    source: int
    target: int
    components: int
    n_in: int
    n_out: int
    scale: float = 1.0

    @property
    def transposed(self) -> "Term":
        return Term(self.target, self.source, self.components, self.n_out, self.n_in, self.scale)


@dataclass(frozen=True, slots=True)
class Segments:
    """Atoms first:end of each segment, and which of the matrices is theirs."""

    bounds: tuple[tuple[int, int], ...]
    matrices: tuple[int, ...]

    @property
    def doubled(self) -> "Segments":
        """Of stacks: values, then as many tangents."""
        n = self.bounds[-1][1]
        later = tuple((begin + n, end + n) for begin, end in self.bounds)
        return Segments(self.bounds + later, self.matrices * 2)


def multiply(
    terms: tuple[Term, ...], segments: Segments, x: Sequence[Tensor], matrices: Sequence[Tensor],
    y: Sequence[Tensor], add: bool,
) -> None:  # fmt: skip
    """y (+)= scale x @ matrix of each term; matrices [different ones, n_in, n_out] of each term.

    One matrix may be without its first dimension.
    """
    shares = n_threads()
    values = _addresses("x", x) | _addresses("m", matrices) | _addresses("y", y)
    for s, (begin, end) in enumerate(segments.bounds):
        values |= {f"cut{s}.{k}": begin + (end - begin) * k // shares for k in range(shares + 1)}
    _multiply_plan(terms, segments.matrices, matrices[0].dtype, add, shares).run(values)


def outer(
    terms: tuple[Term, ...], segments: Segments, x: Sequence[Tensor], g: Sequence[Tensor],
    gradients: Sequence[Tensor],
) -> None:  # fmt: skip
    """gradients = scale x^T g, summed over the segments of each matrix: [matrices, n_in, n_out]."""
    values = _addresses("x", x) | _addresses("g", g) | _addresses("d", gradients)
    dtype = gradients[0].dtype
    for s, (begin, end) in enumerate(segments.bounds):
        for term in terms:
            values[f"depth{s}.{term.components}"] = (end - begin) * term.components
            for name, block, width in (("x", term.source, term.n_in), ("g", term.target, term.n_out)):
                step = term.components * width * dtype.itemsize
                values[f"{name}{block}.{s}"] = values[f"{name}{block}"] + begin * step
    _outer_plan(terms, segments.matrices, dtype, n_threads()).run(values)


class ScaledProduct(torch.autograd.Function):
    """scale x @ w for rows x [..., n_in] and w [n_in, n_out]; differentiable once."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, w: Tensor, scale: float) -> Tensor:
        x = x.contiguous()
        y = x.new_empty((*x.shape[:-1], w.shape[1]))
        ctx.save_for_backward(x, w)
        ctx.term, ctx.segments = Term(0, 0, 1, *w.shape, scale), _one_segment(x)
        multiply((ctx.term,), ctx.segments, [x], [w], [y], add=False)
        return y

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, Tensor | None, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        x, w = ctx.saved_tensors
        g, dx, dw = g.contiguous(), None, None
        if ctx.needs_input_grad[0]:
            dx, back = torch.empty_like(x), w.T.contiguous()
            multiply((ctx.term.transposed,), ctx.segments, [g], [back], [dx], add=False)
        if ctx.needs_input_grad[1]:
            dw = torch.empty_like(w)
            outer((ctx.term,), ctx.segments, [x], [g], [dw])
        return dx, dw, None


def _one_segment(x: Tensor) -> Segments:
    return Segments(((0, x.numel() // max(x.shape[-1], 1)),), (0,))


@functools.cache
def _multiply_plan(
    terms: tuple[Term, ...], matrices: tuple[int, ...], dtype: torch.dtype, add: bool, shares: int
) -> Plan:
    return Plan(
        [
            [
                call
                for s, matrix in enumerate(matrices)
                for k, term in enumerate(terms)
                for call in _rows_of(term, k, s, matrix, share, dtype, add)
            ]
            for share in range(shares)
        ]
    )


def _rows_of(
    term: Term, k: int, s: int, matrix: int, share: int, dtype: torch.dtype, add: bool
) -> list[PlannedCall]:
    """The atoms of one segment that a share does."""
    size = term.n_in * term.n_out * dtype.itemsize
    arguments: dict[str, int | Named] = {
        "a": Named(f"x{term.source}"),
        "b": Named(f"m{k}", matrix * size),
        "c": Named(f"y{term.target}"),
        "components": term.components,
        "depth": term.n_in,
        "a_stride": term.n_in,
        "b_stride": term.n_out,
        "c_stride": term.n_out,
    }
    rows = Named(f"cut{s}.{share}"), Named(f"cut{s}.{share + 1}")
    return product_calls(dtype, rows, (0, term.n_out), arguments, term.scale, add)


@functools.cache
def _outer_plan(
    terms: tuple[Term, ...], matrices: tuple[int, ...], dtype: torch.dtype, shares: int
) -> Plan:
    return Plan(
        [
            [
                call
                for k, term in enumerate(terms)
                for s, matrix in enumerate(matrices)
                for call in _channels_of(
                    term, k, s, matrix, (share, shares), dtype, matrix in matrices[:s]
                )
            ]
            for share in range(shares)
        ]
    )


def _channels_of(
    term: Term, k: int, s: int, matrix: int, part: tuple[int, int], dtype: torch.dtype, add: bool
) -> list[PlannedCall]:
    """Rows of a matrix that a share does: input channels, in whole tiles."""
    size = term.n_in * term.n_out * dtype.itemsize
    arguments: dict[str, int | Named] = {
        "a": Named(f"x{term.source}.{s}"),
        "b": Named(f"g{term.target}.{s}"),
        "c": Named(f"d{k}", matrix * size),
        "depth": Named(f"depth{s}.{term.components}"),
        "a_stride": 1,
        "a_depth": term.n_in,
        "b_stride": term.n_out,
        "c_stride": term.n_out,
    }
    rows = _split(term.n_in, *part)
    return product_calls(dtype, rows, (0, term.n_out), arguments, term.scale, add)


# -- matrices of species: sums over the attributes -----------------------------------------------


def combine(mix: Tensor, weights: Sequence[Tensor], out: Sequence[Tensor], scales: tuple[float, ...]) -> None:
    """out[s] = scale sum_a mix[s, a] weights[a]; matrices [n_in, n_out] of each s and a."""
    values = {"mix": mix.data_ptr()} | _addresses("w", weights) | _addresses("m", out)
    sizes = tuple(w[0].numel() for w in weights)
    _combine_plan(tuple(mix.shape), sizes, scales, mix.dtype, n_threads()).run(values)


def spread(mix: Tensor, out: Sequence[Tensor], d_weights: Sequence[Tensor], scales: tuple[float, ...]) -> None:
    """The adjoint of `combine` by the weights: d_weights[a] = scale sum_s mix[s, a] out[s]."""
    values = {"mix": mix.data_ptr()} | _addresses("w", d_weights) | _addresses("m", out)
    sizes = tuple(w[0].numel() for w in d_weights)
    _spread_plan(tuple(mix.shape), sizes, scales, mix.dtype, n_threads()).run(values)


@functools.cache
def _combine_plan(
    shape: tuple[int, int], sizes: tuple[int, ...], scales: tuple[float, ...], dtype: torch.dtype,
    shares: int,
) -> Plan:  # fmt: skip
    """Threads share the columns: the weights are read once."""
    n_species, n_attributes = shape

    def calls(share: int) -> Iterator[PlannedCall]:
        for k, (size, scale) in enumerate(zip(sizes, scales, strict=True)):
            strides = {"depth": n_attributes, "a_stride": n_attributes, "b_stride": size, "c_stride": size}
            names = {"a": Named("mix"), "b": Named(f"w{k}"), "c": Named(f"m{k}")}
            columns = _split(size, share, shares)
            yield from product_calls(
                dtype, (0, n_species), columns, names | strides, scale, vectors=8
            )

    return Plan([list(calls(share)) for share in range(shares)])


@functools.cache
def _spread_plan(
    shape: tuple[int, int], sizes: tuple[int, ...], scales: tuple[float, ...], dtype: torch.dtype,
    shares: int,
) -> Plan:  # fmt: skip
    """Threads share the rows; a tile of rows at a time, so that few streams are written at once."""
    n_species, n_attributes = shape

    def calls(share: int) -> Iterator[PlannedCall]:
        begin, end = _split(n_attributes, share, shares)
        for k, (size, scale) in enumerate(zip(sizes, scales, strict=True)):
            strides = {"depth": n_species, "a_stride": 1, "a_depth": n_attributes, "b_stride": size, "c_stride": size}
            names = {"a": Named("mix"), "b": Named(f"m{k}"), "c": Named(f"w{k}")}
            for row in range(begin, end, ROWS):
                rows = row, min(row + ROWS, end)
                yield from product_calls(dtype, rows, (0, size), names | strides, scale)

    return Plan([list(calls(share)) for share in range(shares)])


def _split(n_rows: int, share: int, shares: int) -> tuple[int, int]:
    """The rows (or columns) of one share: whole tiles, but for the last."""
    tiles = -(-n_rows // ROWS)
    begin, end = (ROWS * (tiles * k // shares) for k in (share, share + 1))
    return min(begin, n_rows), min(end, n_rows)


def _addresses(name: str, blocks: Sequence[Tensor]) -> dict[str, int]:
    return {f"{name}{i}": block.data_ptr() for i, block in enumerate(blocks)}
