"""Where a kernel's weights come from: its parameters, and the lines that find W of an edge."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from fastequi.kernels.radial_grid import N_SEGMENTS
from fastequi.kernels.triton.form import Source


def _grid_numbers() -> tuple[str, ...]:
    """As `RadialGrid.constants` gives them."""
    segments = [f"{x}{k}" for k in range(1, N_SEGMENTS) for x in ("begin", "scale", "offset")]
    return 'per_angstrom: "fp64"', *[f'{x}: "fp32"' for x in ("n_cells", "scale0", *segments)]


@dataclass(frozen=True, slots=True)
class WeightSource(ABC):
    """n_weights of an edge; whether the slope is wanted too; the mask of loads.

    pointers, numbers  parameters of the kernel
    ahead              what is loaded while the edge before is computed
    guard              opens the part of the loop that an edge within reach runs; may be empty
    dlength            dE/dr from dradial, the sum of slope * dE/dw over paths
    """

    n_weights: int
    with_slope: bool
    masked: str

    title: ClassVar[str]
    pointers: ClassVar[tuple[str, ...]]
    numbers: ClassVar[tuple[str, ...]] = ()
    ahead: ClassVar[dict[str, str]] = {}
    guard: ClassVar[tuple[str, ...]] = ()
    dlength: ClassVar[str]

    @abstractmethod
    def place(self) -> list[str]:
        """Where the edge's weights are, channels u..."""

    @abstractmethod
    def weight(self, offset: int) -> list[str]:
        """w of the path whose weights begin at offset, and its slope."""


class Table(WeightSource):
    """W is a cubic between two knots of a radial table; the slope is by the place between them."""

    title = "W from a radial table"
    pointers = ("cutoff_scale", "knots")
    numbers = _grid_numbers()
    guard = (
        "length_scale = tl.full((), per_angstrom, vectors.dtype.element_ty)",
        "if cutoff_scale is not None:",
        "    length_scale *= tl.load(cutoff_scale + e)",
        "y = length * length_scale  # in cells of the table",
        "if not (y >= n_cells):  # beyond the cutoff nothing; NaN stays",
    )
    dlength = "dradial * (scale * length_scale)"

    def place(self) -> list[str]:
        slopes = ["d0, d1, d2 = spline_slope(t)"] if self.with_slope else []
        return [
            "scale, offset = scale0, 0.0",
            *[
                f"{name} = tl.where(y < begin{k}, {name}, {name}{k})"
                for k in range(1, N_SEGMENTS)
                for name in ("scale", "offset")
            ],
            "position = y * scale",
            "count = tl.maximum(position.to(tl.int32), 0)",
            "interval = count + offset.to(tl.int32)",
            "t = position - count",
            "i0, i1, i2 = spline(t)",
            *slopes,
            f"knot = knots + interval.to(tl.int64) * {2 * self.n_weights} + u",
        ]

    def weight(self, offset: int) -> list[str]:
        """Of three rows of the table.

        The order of the sum is the one of nine tried with which every kernel of registers.json
        compiles without spills. With v first, one instruction less, NequIP XL's 2e adjoint takes
        202 registers on sm_90 and Triton 3.9 aborts in l3i5's 3e adjoint for Blackwell.
        """
        loads = [
            f"{name} = tl.load(knot + {offset + q * self.n_weights}{self.masked})"
            for name, q in {"v": 1, "b0": 0, "b1": 2, "b2": 4}.items()
        ]
        slope = ["slope = d0 * b0 + d1 * b1 + d2 * b2"] if self.with_slope else []
        return [*loads, "w = i1 * b1 + i2 * b2 + v + i0 * b0", *slope]


class Pairs(WeightSource):
    """W and dW/dr are in memory, in the row of the edge's pair; every edge counts."""

    title = "W of pairs"
    pointers = ("values", "pair")
    ahead: ClassVar[dict[str, str]] = {"pair_row": "pair + {e}"}
    dlength = "dradial"

    def place(self) -> list[str]:
        return [f"w_row = values + pair_row * {2 * self.n_weights} + u"]

    def weight(self, offset: int) -> list[str]:
        slope = {"slope": self.n_weights + offset} if self.with_slope else {}
        places = {"w": offset} | slope
        return [f"{x} = tl.load(w_row + {place}{self.masked})" for x, place in places.items()]


SOURCES: dict[Source, type[WeightSource]] = {"table": Table, "pair_weights": Pairs}
