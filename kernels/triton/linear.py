"""The linear maps of a layer on a GPU: all products of a pass in one launch, and what is done to
rows besides; of constant weights (kernels/backend.py, `linear`)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from fastequi.kernels.parts import Multiplication
from fastequi.kernels.triton.memory import by_memory, made_once, memory_of, on_device, whole
from fastequi.kernels.triton.plan import LANES
from fastequi.kernels.triton.step.kernels import KERNELS
from fastequi.kernels.triton.step.operators import launch_

#: Between matrices of a readout.
ACTIVATIONS = ("silu", "tanh")


class Sizes(NamedTuple):
    """Of a product: which rows (of atoms and components), channels, what becomes of the result."""

    first_row: int
    end_row: int
    n_in: int
    n_out: int
    add: bool = False
    scale: float = 1.0


class Product(NamedTuple):
    """y[rows] (+)= scale x[rows] @ matrix, for tensors x, matrix, y in one piece of memory each."""

    tensors: tuple[Tensor, Tensor, Tensor]
    sizes: Sizes


@dataclass(frozen=True, slots=True)
class Multiply(Multiplication):
    """As products of one launch."""

    def products(self) -> Iterator[Product]:
        segments = list(zip(self.segments.bounds, self.segments.matrices, strict=True))
        for term, matrices in zip(self.terms, self.matrices, strict=True):
            of_segment = matrices.view(-1, term.n_in, term.n_out)
            x, y, m = self.x[term.source], self.y[term.target], term.components
            for (begin, end), number in segments:
                sizes = begin * m, end * m, term.n_in, term.n_out, self.add, term.scale
                yield Product((x, of_segment[number], y), Sizes(*sizes))


@dataclass(frozen=True, slots=True)
class Clear:
    """y = 0: the product of no channels."""

    y: Tensor

    def products(self) -> Iterator[Product]:
        rows = self.y.numel() // self.y.shape[-1]
        yield Product((self.y, self.y, self.y), Sizes(0, rows, 0, self.y.shape[-1]))


@dataclass(frozen=True, slots=True)
class Rows:
    """One of

        add_row   y += row             scale     y = a factor
        times     y = a b              activate  y = scale f(a), slope = scale f'(a)

    tensors [atoms, ...] by these names, 'factor' a number for each atom
    """

    name: Literal["add_row", "scale", "times", "activate"]
    tensors: dict[str, Tensor]
    function: str = ""
    scale: float = 1.0

    def run(self) -> None:
        t = self.tensors
        y = t["y"]
        if self.name == "add_row":
            y.add_(t["row"])
        elif self.name == "scale":
            torch.mul(t["a"], t["factor"].view(-1, 1, 1), out=y)
        elif self.name == "times":
            torch.mul(t["a"], t["b"], out=y)
        else:
            is_tanh, n = int(self.function == "tanh"), y.numel()
            launch_("activate", (-(-n // LANES),), n=n, is_tanh=is_tanh, scale=self.scale, **t)


def cleared(blocks: Sequence[Tensor]) -> list[Clear]:
    """What fills blocks with zeros."""
    return [Clear(block) for block in blocks]


def gathered(matrices: Sequence[Tensor]) -> list[Tensor]:
    """Matrices as products take them: copies in one piece of memory."""
    sizes = [matrix.numel() for matrix in matrices]
    pieces = torch.cat([matrix.reshape(-1) for matrix in matrices]).split(sizes)
    return [piece.view(m.shape) for piece, m in zip(pieces, matrices, strict=True)]


def combine(
    mix: Tensor, weights: Sequence[Tensor], out: Sequence[Tensor], scales: tuple[float, ...]
) -> None:
    """out[s] = scale sum_a mix[s, a] weights[a]; matrices [n_in, n_out] of each s and a."""
    for weight, matrices, scale in zip(weights, out, scales, strict=True):
        torch.mm(scale * mix, weight.flatten(1), out=matrices.view(len(mix), -1))


def times(x: Sequence[Tensor], matrices: Sequence[Tensor], y: Sequence[Tensor]) -> None:
    """y = x @ matrix, block by block; what is written to lies in one piece of memory each."""
    _multiply(
        [
            Product(
                (a.contiguous(), m, b), Sizes(0, a.shape[0] * a.shape[1], m.shape[0], m.shape[1])
            )
            for a, m, b in zip(x, matrices, y, strict=True)
        ]
    )


def run(todo: Sequence[Multiply | Clear | Rows]) -> None:
    """Products that write to different blocks, in one launch."""
    waiting: list[Product] = []
    for operation in todo:
        products = [] if isinstance(operation, Rows) else list(operation.products())
        written = {id(p.tensors[2]) for p in waiting}
        if not products or written & {id(p.tensors[2]) for p in products}:
            _multiply(waiting)
            waiting = []
        if isinstance(operation, Rows):
            operation.run()
        waiting += products
    _multiply(waiting)


def _multiply(products: Sequence[Product]) -> None:
    """In one launch where all are in the same memory; what is cleared goes with what is written."""
    groups = {
        tuple(map(memory_of, group[0].tensors)): group
        for group in by_memory([p for p in products if p.sizes.n_in], lambda p: p.tensors)
    }
    for p in products:
        if not p.sizes.n_in:
            to = memory_of(p.tensors[2])
            key = next((key for key in groups if key[2] == to), (to, to, to))
            groups.setdefault(key, []).append(p)
    for group in groups.values():
        _launch(group)


def _launch(products: Sequence[Product]) -> None:
    x, matrices, y = map(whole, products[0].tensors)
    key = tuple((*(t.storage_offset() for t in p.tensors), p.sizes) for p in products)
    tiles, entries, scales = _tables(key, y.device)
    named = {"x": x, "matrices": matrices, "y": y}
    launch_("multiply", tiles.shape[:1], **named, tiles=tiles, entries=entries, scales=scales)


@made_once
def _tables(
    products: tuple[tuple[int, int, int, Sizes], ...], device: torch.device
) -> tuple[Tensor, Tensor, Tensor]:
    """tiles, entries and scales as `products.multiply` takes them."""
    size = KERNELS["multiply"].constants
    tiles, entries, scales = [], [], []
    for number, (x, matrix, y, s) in enumerate(products):
        rows = np.arange(s.first_row, s.end_row, size["ROWS"])
        columns = np.arange(0, s.n_out, size["COLUMNS"])
        corners = np.stack(np.meshgrid(rows, columns, indexing="ij"), axis=-1).reshape(-1, 2)
        tiles.append(np.insert(corners, 0, number, axis=1).astype(np.int32))
        entries.append([x, matrix, y, s.end_row, s.n_in, s.n_out, s.add])
        scales.append(s.scale)
    places = np.array(entries, dtype=np.int64)
    return (
        on_device(np.concatenate(tiles), device), on_device(places, device),
        on_device(np.array(scales, dtype=np.float64), device),
    )  # fmt: skip
