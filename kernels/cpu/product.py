"""Matrix products for CPUs, printed as LLVM IR: c (+)= scale a @ b for the rows of some receivers.

Small enough to stay in the cache with the convolution that made `a` or that reads `c`. A tile of
rows and columns is summed up in registers; the columns are spread over lanes.
"""

import functools
from collections.abc import Iterator
from dataclasses import dataclass

import torch

from fastequi.kernels.llvm.arguments import REALS, Arguments, Kind, Named
from fastequi.kernels.llvm.compiler import Kernel
from fastequi.kernels.llvm.ir import Function, Value, Variable
from fastequi.kernels.llvm.plan import PlannedCall
from fastequi.kernels.llvm.target import host, lanes_of

#: Each receiver has `components` rows; strides are between rows, in reals, a_depth between the
#: columns of a (1, or a is a transpose); the sum is over its columns from depth_begin to depth_end;
#: a matrix that is local begins with the first receiver of the call.
_ARGUMENTS: dict[str, Kind] = {
    **dict.fromkeys(("a", "b", "c"), "reals"),
    **dict.fromkeys(
        ("a_stride", "b_stride", "c_stride", "a_depth", "a_local", "c_local"), "integer"
    ),
    **dict.fromkeys(("components", "depth_begin", "depth_end"), "integer"),
    "scale": "real",
}
_DEFAULTS = {"components": 1, "depth_begin": 0, "a_depth": 1, "a_local": 0, "c_local": 0}
#: Most rows of a tile, a power of two.
ROWS = 8


@dataclass(frozen=True, slots=True)
class ProductSpec:
    """What the code depends on: `vectors` of so many lanes are the columns of a tile.

    vector_count  vectors that the processor's registers hold
    """

    dtype: torch.dtype
    lanes: int
    vectors: int
    add: bool
    vector_count: int

    @property
    def arguments(self) -> Arguments:
        return Arguments(self.dtype, _ARGUMENTS)

    @property
    def name(self) -> str:
        return f"product_{REALS[self.dtype]}{self.lanes}x{self.vectors}{'_add' if self.add else ''}"

    @property
    def tile_rows(self) -> int:
        """Half of the registers hold sums: with 16 sums in 16 registers, products took 1.6x as long
        (AVX2)."""
        return max(min(self.vector_count // (2 * self.vectors), ROWS), 1)


def product_calls(
    dtype: torch.dtype,
    rows: tuple[int | Named, int | Named],
    columns: tuple[int, int],
    arguments: dict[str, int | Named],
    scale: float = 1.0,
    add: bool = False,
    vectors: int = 2,
) -> list[PlannedCall]:
    """Some rows (of receivers) and columns of a product; arguments by the names above.

    vectors  of columns in a tile, a power of two; more, and fewer rows, where b is read once
    """
    given = {**_DEFAULTS, **arguments, "scale": float(scale)}
    return [
        PlannedCall(_compiled(spec), (*rows, begin, end), given)
        for spec, begin, end in _tiles(dtype, *columns, vectors, add)
    ]


def _tiles(
    dtype: torch.dtype, begin: int, end: int, vectors: int, add: bool
) -> Iterator[tuple[ProductSpec, int, int]]:
    """Columns in tiles of so many vectors, then of fewer, then of narrower ones."""
    lanes = lanes_of(dtype)
    while begin < end:
        whole = (end - begin) // (lanes * vectors) * (lanes * vectors)
        if whole:
            spec = ProductSpec(dtype, lanes, vectors, add, host().vector_count)
            yield spec, begin, begin + whole
        begin += whole
        lanes, vectors = (lanes, vectors // 2) if vectors > 1 else (lanes // 2, 1)


@functools.cache
def _compiled(spec: ProductSpec) -> Kernel:
    return Kernel(spec.name, print_product(spec), 4, spec.arguments)


def print_product(spec: ProductSpec) -> str:
    """void name(first receiver, end, first column, end, arguments)."""
    return _Printer(spec).text()


class _Printer:
    def __init__(self, spec: ProductSpec) -> None:
        self.spec = spec
        names = [("begin", "i64"), ("end", "i64"), ("u_begin", "i64"), ("u_end", "i64")]
        self.f = Function(spec.name, REALS[spec.dtype], [*names, ("arguments", "ptr")])
        self.arg = spec.arguments.load(self.f)

    def text(self) -> str:
        f = self.f
        begin, end, u_begin, u_end, _ = f.parameters
        self.a, self.c = self._first_row("a"), self._first_row("c")
        n_rows = (end - begin) * self.arg["components"]
        with f.loop(u_begin, u_end, self.spec.lanes * self.spec.vectors) as u:
            done: Value | int = 0
            tile = self.spec.tile_rows
            while tile:
                whole = f.emit(f"and i64 {n_rows.name}, {-tile}", "i64")
                with f.loop(done, whole, tile) as row:
                    self._tile(row, tile, u)
                done, tile = whole, tile // 2
        return f.text()

    def _first_row(self, name: str) -> Value:
        begin, *_ = self.f.parameters
        row = (begin - begin * self.arg[f"{name}_local"]) * self.arg["components"]
        return self.f.at(self.arg[name], row * self.arg[f"{name}_stride"])

    def _tile(self, row: Value, n_rows: int, u: Value) -> None:
        f, lanes, rows = self.f, self.spec.lanes, range(n_rows)
        columns = [u + v * lanes for v in range(self.spec.vectors)]
        zero = f.constant(0.0, "real", lanes)
        sums = [[Variable(f, zero) for _ in columns] for _ in rows]
        a_rows = [f.at(self.a, (row + r) * self.arg["a_stride"]) for r in rows]
        with f.loop(self.arg["depth_begin"], self.arg["depth_end"]) as k:
            b_row = f.at(self.arg["b"], k * self.arg["b_stride"])
            b = [f.load(f.at(b_row, column), "real", lanes) for column in columns]
            for r in rows:
                value = f.load(f.at(a_rows[r], k * self.arg["a_depth"]))
                for total, vector in zip(sums[r], b, strict=True):
                    total.add(vector * value)
        for r in rows:
            c_row = f.at(self.c, (row + r) * self.arg["c_stride"])
            for total, column in zip(sums[r], columns, strict=True):
                value, place = total.get() * self.arg["scale"], f.at(c_row, column)
                if self.spec.add:
                    value = value + f.load(place, "real", lanes)
                f.store(value, place)
