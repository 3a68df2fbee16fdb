"""The linear maps of a layer on the CPU: all products of a pass in one call.

A pass over a layer is dozens of products too small for a BLAS call each to pay, and to be shared by
threads. Here they are one plan (llvm/plan.py): threads share the rows, atoms forward and channels
in the gradient by the matrices.

Atoms come in segments that have one matrix in common: atoms of a species; values, then tangents.
"""

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from fastequi.kernels.cpu.activations import ACTIVATIONS
from fastequi.kernels.cpu.product import ROWS, product_calls
from fastequi.kernels.cpu.rows import Rows, cleared
from fastequi.kernels.llvm import threads
from fastequi.kernels.llvm.arguments import Named
from fastequi.kernels.llvm.plan import Plan, PlannedCall
from fastequi.kernels.parts import Multiplication, Segments, Term

__all__ = [
    "ACTIVATIONS", "Multiply", "Outer", "Rows", "cleared", "combine", "gathered", "run", "spread",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Multiply(Multiplication):
    """As compiled calls for threads."""

    @property
    def dtype(self) -> torch.dtype:
        return self.x[0].dtype

    @property
    def key(self) -> "_MultiplyKey":
        return _MultiplyKey(self.terms, self.segments.matrices, self.add)

    def values(self, name: str, shares: int) -> dict[str, Tensor | int]:
        """What the plan calls by name; threads share all atoms, each its part of every segment."""
        values = _by_number(f"{name}x", self.x) | _by_number(f"{name}y", self.y)
        values |= _by_number(f"{name}m", self.matrices)
        return values | _cuts(name, self.segments.bounds, shares)


@dataclass(frozen=True, slots=True)
class Outer:
    """gradients = scale x^T g, summed over the segments of each matrix: [matrices, n_in, n_out]."""

    terms: tuple[Term, ...]
    segments: Segments
    x: Sequence[Tensor]
    g: Sequence[Tensor]
    gradients: Sequence[Tensor]

    @property
    def dtype(self) -> torch.dtype:
        return self.x[0].dtype

    @property
    def key(self) -> "_OuterKey":
        return _OuterKey(self.terms, self.segments.matrices)

    def values(self, name: str, shares: int) -> dict[str, Tensor | int]:
        """What the plan calls by name; threads share the rows of the gradients."""
        values = _by_number(f"{name}x", self.x) | _by_number(f"{name}g", self.g)
        values |= _by_number(f"{name}d", self.gradients)
        for components in {term.components for term in self.terms}:
            for s, (begin, end) in enumerate(self.segments.bounds):
                values[f"{name}begin{s}.{components}"] = begin * components
                values[f"{name}end{s}.{components}"] = end * components
        return values


def gathered(matrices: list[Tensor]) -> list[Tensor]:
    """Matrices as products take them: where they are."""
    return matrices


def run(todo: Sequence[Multiply | Outer | Rows]) -> None:
    """All in one call; later ones may add to what earlier ones wrote, atom by atom."""
    if not todo:
        return
    shares = threads.n_threads()
    values: dict[str, Tensor | int] = {}
    for n, operation in enumerate(todo):
        values |= operation.values(f"{n}:", shares)
    dtype = todo[0].dtype
    _plan(tuple(operation.key for operation in todo), dtype, shares).run(values)


# -- plans ---------------------------------------------------------------------------------------


@functools.cache
def _plan(keys: tuple[Any, ...], dtype: torch.dtype, shares: int) -> Plan:
    return Plan(
        [
            [call for n, key in enumerate(keys) for call in key.calls(f"{n}:", dtype, k, shares)]
            for k in range(shares)
        ]
    )


class _MultiplyKey(NamedTuple):
    """What the calls of a `Multiply` depend on."""

    terms: tuple[Term, ...]
    matrices: tuple[int, ...]
    add: bool

    def calls(
        self, name: str, dtype: torch.dtype, share: int, shares: int
    ) -> Iterator[PlannedCall]:
        """The atoms of each segment that a share does."""
        for s, matrix in enumerate(self.matrices):
            rows = Named(f"{name}cut{s}.{share}"), Named(f"{name}cut{s}.{share + 1}")
            for k, term in enumerate(self.terms):
                arguments: dict[str, int | Named] = {
                    "a": Named(f"{name}x{term.source}"),
                    "b": Named(f"{name}m{k}", matrix * term.bytes(dtype)),
                    "c": Named(f"{name}y{term.target}"),
                    "components": term.components,
                    "depth_end": term.n_in,
                    "a_stride": term.n_in,
                    "b_stride": term.n_out,
                    "c_stride": term.n_out,
                }
                columns = 0, term.n_out
                yield from product_calls(dtype, rows, columns, arguments, term.scale, self.add)


class _OuterKey(NamedTuple):
    """What the calls of an `Outer` depend on."""

    terms: tuple[Term, ...]
    matrices: tuple[int, ...]

    def calls(
        self, name: str, dtype: torch.dtype, share: int, shares: int
    ) -> Iterator[PlannedCall]:
        """The input channels that a share does, rows of the gradients."""
        for k, term in enumerate(self.terms):
            rows = _split(term.n_in, share, shares)
            for s, matrix in enumerate(self.matrices):
                arguments: dict[str, int | Named] = {
                    "a": Named(f"{name}x{term.source}"),
                    "b": Named(f"{name}g{term.target}"),
                    "c": Named(f"{name}d{k}", matrix * term.bytes(dtype)),
                    "depth_begin": Named(f"{name}begin{s}.{term.components}"),
                    "depth_end": Named(f"{name}end{s}.{term.components}"),
                    "a_stride": 1,
                    "a_depth": term.n_in,
                    "b_stride": term.n_out,
                    "c_stride": term.n_out,
                }
                add = matrix in self.matrices[:s]
                yield from product_calls(dtype, rows, (0, term.n_out), arguments, term.scale, add)


# -- matrices of species: sums over the attributes -----------------------------------------------


def combine(
    mix: Tensor, weights: Sequence[Tensor], out: Sequence[Tensor], scales: tuple[float, ...]
) -> None:
    """out[s] = scale sum_a mix[s, a] weights[a]; matrices [n_in, n_out] of each s and a."""
    values = {"mix": mix} | _by_number("w", weights) | _by_number("m", out)
    sizes = tuple(w[0].numel() for w in weights)
    _combine_plan(tuple(mix.shape), sizes, scales, mix.dtype, threads.n_threads()).run(values)


def spread(
    mix: Tensor, out: Sequence[Tensor], d_weights: Sequence[Tensor], scales: tuple[float, ...]
) -> None:
    """The adjoint of `combine` by the weights: d_weights[a] = scale sum_s mix[s, a] out[s]."""
    values = {"mix": mix} | _by_number("w", d_weights) | _by_number("m", out)
    sizes = tuple(w[0].numel() for w in d_weights)
    _spread_plan(tuple(mix.shape), sizes, scales, mix.dtype, threads.n_threads()).run(values)


@functools.cache
def _combine_plan(
    shape: tuple[int, int], sizes: tuple[int, ...], scales: tuple[float, ...], dtype: torch.dtype,
    shares: int,
) -> Plan:  # fmt: skip
    """Threads share the columns: the weights are read once."""
    n_species, n_attributes = shape
    mix = {"a": Named("mix"), "a_stride": n_attributes, "depth_end": n_attributes}

    def calls(share: int) -> Iterator[PlannedCall]:
        for k, (size, scale) in enumerate(zip(sizes, scales, strict=True)):
            arguments = mix | _flat(f"w{k}", f"m{k}", size)
            columns = _split(size, share, shares)
            yield from product_calls(dtype, (0, n_species), columns, arguments, scale, vectors=8)

    return Plan([list(calls(share)) for share in range(shares)])


@functools.cache
def _spread_plan(
    shape: tuple[int, int], sizes: tuple[int, ...], scales: tuple[float, ...], dtype: torch.dtype,
    shares: int,
) -> Plan:  # fmt: skip
    """Threads share the rows; a tile of rows at a time, so that few streams are written at once."""
    n_species, n_attributes = shape
    mix = {"a": Named("mix"), "a_stride": 1, "a_depth": n_attributes, "depth_end": n_species}

    def calls(share: int) -> Iterator[PlannedCall]:
        begin, end = _split(n_attributes, share, shares)
        for k, (size, scale) in enumerate(zip(sizes, scales, strict=True)):
            arguments = mix | _flat(f"m{k}", f"w{k}", size)
            for row in range(begin, end, ROWS):
                rows = row, min(row + ROWS, end)
                yield from product_calls(dtype, rows, (0, size), arguments, scale)

    return Plan([list(calls(share)) for share in range(shares)])


def _flat(b: str, c: str, size: int) -> dict[str, int | Named]:
    """From matrices to matrices, each of so many elements in a row."""
    return {"b": Named(b), "c": Named(c), "b_stride": size, "c_stride": size}


def _split(n_rows: int, share: int, shares: int) -> tuple[int, int]:
    """The rows (or columns) of one share: whole tiles, but for the last."""
    tiles = -(-n_rows // ROWS)
    begin, end = (ROWS * (tiles * k // shares) for k in (share, share + 1))
    return min(begin, n_rows), min(end, n_rows)


@functools.lru_cache(maxsize=1024)
def _cuts(name: str, bounds: tuple[tuple[int, int], ...], shares: int) -> dict[str, int]:
    """Where shares begin and end in each segment."""
    last = bounds[-1][1] if bounds else 0  # of no rows where there are no atoms
    cuts = [last * share // shares for share in range(shares + 1)]
    return {
        f"{name}cut{s}.{share}": min(max(cut, begin), end)
        for s, (begin, end) in enumerate(bounds)
        for share, cut in enumerate(cuts)
    }


def _by_number(name: str, blocks: Sequence[Tensor]) -> dict[str, Tensor | int]:
    return dict(zip(_numbered(name, len(blocks)), blocks, strict=True))


@functools.cache
def _numbered(name: str, n: int) -> tuple[str, ...]:
    return tuple(f"{name}{i}" for i in range(n))
