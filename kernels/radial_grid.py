"""Where the knots of a radial table are: close where radial functions are steep, wide elsewhere.

Distances from 0 to the cutoff are divided into equal cells, and the cells into a few segments with
a whole number of knots per cell each. With y the distance in cells, an edge finds its place by

    count = floor(y * scale)      interval = count + offset      t = y * scale - count

with scale and offset of its segment, whole numbers. In float32, t has but the relative rounding of
the distance itself; the offset added first would cost several times as much.

An interval n reads the rows n, n + 1 and n + 2 (`radial_table.py`), so a segment has two rows more
than intervals; segments share none. What is beyond the cutoff is read at the end of the last, where
value and slope are zero: at t = 0 of an interval that would follow, so there is one row more.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import torch
from torch import Tensor

#: Segments of every grid, some of them possibly empty; the kernels choose between so many.
N_SEGMENTS = 6

#: Rows of an interval, and how many more rows than intervals a segment therefore has.
ROWS, MORE_ROWS = 3, 2

#: Numbers that describe a grid to kernels, `RadialGrid.constants`.
N_CONSTANTS = 3 * N_SEGMENTS


@dataclass(frozen=True)
class RadialGrid:
    """Knots at (cell + i / scale) * cutoff / n_cells.

    cutoff   Å, the last knot; the first is at 0
    n_cells  cells from 0 to the cutoff
    begins   the cell in which each segment begins; ascending, the first is 0
    scales   knots per cell of each segment
    """

    cutoff: float
    n_cells: int
    begins: tuple[int, ...]
    scales: tuple[int, ...]

    def __post_init__(self) -> None:
        bounds = [*self.begins, self.n_cells]
        assert len(self.begins) == len(self.scales) == N_SEGMENTS
        assert bounds[0] == 0
        assert bounds == sorted(bounds)
        assert self.begins[-1] < self.n_cells  # where what is beyond the cutoff is read
        assert min(self.scales) > 0

    @property
    def per_angstrom(self) -> float:
        """Cells per Å."""
        return self.n_cells / self.cutoff

    @property
    def intervals(self) -> list[int]:
        """Of each segment."""
        bounds = pairwise([*self.begins, self.n_cells])
        return [(end - begin) * s for (begin, end), s in zip(bounds, self.scales, strict=True)]

    @property
    def n_intervals(self) -> int:
        return sum(self.intervals)

    @property
    def first_rows(self) -> list[int]:
        """Of each segment, and how many there are in all."""
        rows = [0]
        for n in self.intervals:
            rows.append(rows[-1] + (n + MORE_ROWS if n else 0))
        return rows

    @property
    def offsets(self) -> list[int]:
        """What is added to the whole part of y * scale in each segment."""
        starts = zip(self.first_rows, self.begins, self.scales, strict=False)
        return [row - begin * scale for row, begin, scale in starts]

    @property
    def n_rows(self) -> int:
        return self.first_rows[-1] + 1

    @cached_property
    def constants(self) -> list[float]:
        """As kernels take a grid: cells per Å, cells, the first scale (the first segment begins at
        0, offset 0); then begin, scale and offset of each further segment.
        """
        segments = zip(self.begins, self.scales, self.offsets, strict=True)
        numbers = [number for of_segment in segments for number in of_segment]
        start = [self.per_angstrom, self.n_cells, self.scales[0]]
        return [float(number) for number in (*start, *numbers[3:])]

    def knots(self, segment: int) -> Tensor:
        """Distances [intervals + 1] in Å, both ends included."""
        count = self.intervals[segment] + 1
        within = torch.arange(count, dtype=torch.float64) / self.scales[segment]
        return (self.begins[segment] + within) / self.per_angstrom

    def locate(self, lengths: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Interval [edges], t in [0, 1], and its change per Å; distances [edges] in Å.

        Beyond the cutoff, and where a distance is not a number, it is the end of the last segment.
        """
        y = lengths * self.per_angstrom
        y = torch.where(y < self.n_cells, y, torch.full_like(y, self.n_cells))
        bounds = torch.tensor(self.begins[1:], device=y.device, dtype=y.dtype)
        segment = torch.bucketize(y.detach(), bounds, right=True)
        scale = torch.tensor(self.scales, device=y.device, dtype=y.dtype)[segment]
        position = y * scale
        count = position.detach().floor()
        interval = count.long() + torch.tensor(self.offsets, device=y.device)[segment]
        return interval, position - count, scale * self.per_angstrom


def fitted_grid(cutoff: float, wanted: Sequence[int], core: int, wall: int | None) -> RadialGrid:
    """The grid with fewest knots that has at least as many per cell as are wanted.

    wanted  knots per cell, of each cell
    core    cells at the beginning that are a segment of their own
    wall    a cell at whose beginning a segment has to end
    """
    n = len(wanted)
    # cheapest[j]: (knots, cuts) of the best division of the cells core:j into the segments so far
    cheapest: dict[int, tuple[int, tuple[int, ...]]] = {core: (0, ())}
    for _ in range(N_SEGMENTS - 1):
        found: dict[int, tuple[int, tuple[int, ...]]] = {}
        for begin, (knots, cuts) in cheapest.items():
            scale = 0
            for end in range(begin, n + 1):
                scale = max(scale, wanted[end - 1]) if end > begin else scale
                cost = knots + (end - begin) * scale
                if end not in found or cost < found[end][0]:
                    found[end] = cost, (*cuts, begin)
                if begin != wall == end:
                    break
        cheapest = found
    _, cuts = cheapest[n]
    begins = sorted(set(cuts) - {n})
    bounds = [0, *[core] * (N_SEGMENTS - 1 - len(begins)), *begins, n]
    scales = [max(wanted[a:b], default=1) for a, b in pairwise(bounds)]
    return RadialGrid(cutoff, n, tuple(bounds[:-1]), tuple(scales))
