"""Radial tables: the weights of a convolution as cubic splines of the distance.

For inference the radial network W(r) is replaced by splines through its values at the knots of a
`RadialGrid`, taken in float64. In an interval, with t in [0, 1] and width h,

    W  = v + I0 b0 + I1 b1 + I2 b2     I0 = t (3 - 3t + t^2) / 6   I2 = t^3 / 6   I1 = t - I0 - I2
    hW' = B0 b0 + B1 b1 + B2 b2        B0 = (1 - t)^2 / 2          B2 = t^2 / 2   B1 = 1 - B0 - B2

v is the value at its beginning, and I the integrals of B, the quadratic B-splines: W' is a spline
of its own. It is not made of differences of values: those, rounded to float32, would put errors of
1e-7 W / h into forces, more the finer the table is.

Forces use the slope of the same polynomial, so energy is conserved exactly as tabulated. Within a
segment of the grid W'' is continuous; where segments meet, W and W' are. The cutoff function is
inside W; value and slope at the cutoff are exactly zero, and so is all beyond it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from safetensors.torch import load, save
from torch import Tensor

from fastequi.kernels.radial_grid import MORE_ROWS, N_SEGMENTS, ROWS, RadialGrid, fitted_grid

#: Cells of a grid; intervals of the trial that says how steep functions are; most of a table.
CELLS, TRIAL, FINEST = 100, 1024, 4600

#: Errors are bounded from TIGHT_FROM_A on: no two nuclei of a healthy simulation are closer. The
#: spacing there goes on to SHORTEST_A; what is closer still has so many times wider intervals.
TIGHT_FROM_A, SHORTEST_A, WIDER = 0.65, 0.55, 8

#: Errors of slopes up to MANY_FROM_A, per Å and for weights of unit size, by the arithmetic of a
#: model. In float32 a fifth of what rounding does to forces; finer tables leave the caches.
TOLERANCE = {torch.float32: 5e-8, torch.float64: 8e-10}

#: From here on errors are to fall with distance like r to the power of minus FALL: there are r^2
#: more neighbours whose errors add up. Of 0, 0.9, 1.5, 2, 2.5 and 3 it has the smallest errors of
#: forces for the memory (SevenNet-0, silicon with one pair from 0.7 to 1.6 Å).
MANY_FROM_A, FALL = 2.0, 1.5

#: Slope error of a cubic spline: at most this times h^3 W'''', t (1 - t) (1 - 2t) / 12 at t = 0.21.
_SLOPE_ERROR = 1 / (72 * 3**0.5)


@dataclass(frozen=True)
class RadialTable:
    """W(r) of one layer.

    knots        [rows, 2, weights]: coefficient b of the slope, and value v
    grid         which row serves which distance
    value_error  largest deviation from the network beyond SHORTEST_A, relative to the largest |W|
    slope_error  the same for dW/dr
    """

    knots: Tensor
    grid: RadialGrid
    value_error: float = 0.0
    slope_error: float = 0.0

    @cached_property
    def kept(self) -> dict[Any, Any]:
        """What kernels made of this table, for the next call."""
        return {}

    @property
    def cutoff(self) -> float:
        return self.grid.cutoff

    @property
    def n_intervals(self) -> int:
        return self.grid.n_intervals

    @property
    def n_weights(self) -> int:
        return self.knots.shape[2]

    def to(self, dtype: torch.dtype, device: torch.device | str) -> "RadialTable":
        """The same table in the arithmetic of a model."""
        knots = self.knots.to(device=device, dtype=dtype).contiguous()
        return RadialTable(knots, self.grid, self.value_error, self.slope_error)


def tables_to_bytes(tables: list[RadialTable]) -> bytes:
    """For a file; see `tables_from_bytes`."""
    tensors = {f"knots.{k}": table.knots for k, table in enumerate(tables)}
    facts = [
        (t.value_error, t.slope_error, t.cutoff, t.grid.n_cells, *t.grid.begins, *t.grid.scales)
        for t in tables
    ]
    return save(tensors | {"facts": torch.tensor(facts, dtype=torch.float64)})


def tables_from_bytes(content: bytes) -> list[RadialTable]:
    """What `tables_to_bytes` wrote."""
    tensors = load(content)
    tables = []
    for k, (value_error, slope_error, cutoff, *whole) in enumerate(tensors["facts"].tolist()):
        n_cells, *segments = (int(number) for number in whole)
        begins, scales = tuple(segments[:N_SEGMENTS]), tuple(segments[N_SEGMENTS:])
        grid = RadialGrid(cutoff, n_cells, begins, scales)
        tables.append(RadialTable(tensors[f"knots.{k}"], grid, value_error, slope_error))
    return tables


def evaluate(lengths: Tensor, table: RadialTable) -> Tensor:
    """W [edges, weights] at distances [edges] in Å; differentiable; the reference."""
    interval, t, _ = table.grid.locate(lengths)
    t = t.unsqueeze(1)
    b0, b1, b2 = (table.knots[interval + k, 0] for k in range(ROWS))
    i0, i2 = t * (3 - 3 * t + t * t) / 6, t**3 / 6
    return table.knots[interval, 1] + i0 * b0 + (t - i0 - i2) * b1 + i2 * b2


def build_table(
    function: Callable[[Tensor], Tensor],
    cutoff: float,
    dtype: torch.dtype,
    *,
    kink: float | None = None,
) -> RadialTable:
    """The table of one layer, as fine as the arithmetic of a model asks for.

    function  W(r), [points] float64 -> [points, weights] float64
    dtype     of the model: of n weights of unit size, the slope's error at any distance beyond
              TIGHT_FROM_A is TOLERANCE[dtype] * sqrt(n) or less, as root mean square over the
              weights; where errors of many weights add up at random, more may be larger
    kink      a distance that must be a knot (XPLOR's switch, where W'' jumps)

    How many knots that takes follows from W'''' on a trial grid (slopes err by h^3 W''''); the
    errors of the table are then measured, and kept. Its numbers are float64 still.
    """
    n_cells = _with_knot_at(CELLS, cutoff, kink)
    wall = None if kink is None else round(kink / cutoff * n_cells)
    r = (torch.arange(TRIAL, dtype=torch.float64) + 0.5) * (cutoff / TRIAL)
    bend = _fourth_derivative(function, r, kink)
    tolerance = TOLERANCE[dtype] * (r / MANY_FROM_A).clamp(min=1.0) ** -FALL
    spacing = (tolerance / (_SLOPE_ERROR * bend)) ** (1 / 3)
    wanted, core = _knots_per_cell(r, spacing, cutoff, n_cells)
    return tabulate(function, fitted_grid(cutoff, wanted, core, wall))


def tabulate(function: Callable[[Tensor], Tensor], grid: RadialGrid) -> RadialTable:
    """The table of one function, with its errors."""
    used = [k for k in range(N_SEGMENTS) if grid.intervals[k]]
    knots = [grid.knots(k) for k in used]
    lowest = 1e-9 * grid.cutoff  # the limit at zero, where sin(x)/x is not evaluated
    with torch.no_grad():
        values = function(torch.cat(knots).clamp(min=lowest)).split([len(r) for r in knots])
    ends = torch.stack([r[[0, -1]] for r in knots])
    slopes = _with_slope(function, ends.flatten().clamp(min=lowest))[1].unflatten(0, ends.shape)
    values[-1][-1], slopes[-1, -1] = 0.0, 0.0
    rows = torch.zeros((grid.n_rows, 2, slopes.shape[2]), dtype=torch.float64)
    for k, v, s in zip(used, values, slopes, strict=True):
        width = 1 / (grid.scales[k] * grid.per_angstrom)
        first, n = grid.first_rows[k], grid.intervals[k]
        rows[first : first + n + 1, 1] = v  # the last where y * scale is rounded up to the end
        rows[first : first + n + MORE_ROWS, 0] = _slope_coefficients(v.diff(dim=0), s * width)
    table = RadialTable(rows, grid)
    return RadialTable(rows, grid, *_measure(function, table))


def _slope_coefficients(steps: Tensor, ends: Tensor) -> Tensor:
    """b [intervals + 2, weights] of the cubic spline with given steps and slopes at both ends.

    steps  [intervals, weights], by how much values change: (b_n + 4 b_(n+1) + b_(n+2)) / 6
    ends   [2, weights], slopes times the spacing: (b_0 + b_1) / 2 and that of the last two

    Without the first and the last b the equations are tridiagonal: 1, 4, 1, and 3 at the ends.
    """
    n = len(steps)
    right = (6 * steps).numpy()
    first, last = (2 * ends).numpy()
    right[0] -= first
    right[-1] -= last
    diagonal = np.full(n, 4.0)
    diagonal[0] -= 1
    diagonal[-1] -= 1
    for i in range(1, n):
        diagonal[i] -= 1 / diagonal[i - 1]
        right[i] -= right[i - 1] / diagonal[i - 1]
    right[-1] /= diagonal[-1]
    for i in reversed(range(n - 1)):
        right[i] = (right[i] - right[i + 1]) / diagonal[i]
    return torch.from_numpy(np.concatenate([[first - right[0]], right, [last - right[-1]]]))


# -- how many knots ------------------------------------------------------------------------------


def _with_knot_at(n: int, cutoff: float, kink: float | None) -> int:
    """The count nearest to n, from n upward, that puts a knot at the kink."""
    if kink is None:
        return n
    for candidate in range(n, 2 * n):
        position = kink / cutoff * candidate
        if abs(position - round(position)) < 1e-9 * candidate:
            return candidate
    return n  # an irrational ratio: the knot nearest to it has to do


def _fourth_derivative(
    function: Callable[[Tensor], Tensor], r: Tensor, kink: float | None
) -> Tensor:
    """Size of d4W/dr4 at evenly spaced r [points], by differences of slopes; not across a kink.

    Root mean square over the n weights of a layer, in units of their size and of sqrt(n).
    """
    values, slopes = _with_slope(function, r)
    size = values[r >= min(TIGHT_FROM_A, float(r[-1]) / 2)].square().mean().sqrt()
    spacing = float(r[1] - r[0])
    third = slopes.diff(n=3, dim=0).square().mean(dim=1).sqrt() / spacing**3
    bend = torch.cat([third[:1], third, third[-1:].expand(2)])  # between r[i + 1] and r[i + 2]
    if kink is not None:
        bend[(r - kink).abs() < 3 * spacing] = 0.0
    return bend / (size * slopes.shape[1] ** 0.5).clamp(min=1e-300)


def _knots_per_cell(
    r: Tensor, spacing: Tensor, cutoff: float, n_cells: int
) -> tuple[list[int], int]:
    """Knots per cell for largest spacings [points] at distances r, in Å; and cells of the core."""
    width = cutoff / n_cells
    cell = (r / width).long().clamp(max=n_cells - 1)
    least = torch.full((n_cells,), cutoff, dtype=torch.float64)
    wanted = (width / least.scatter_reduce(0, cell, spacing, "amin")).ceil().clamp(min=1)
    core, tight = (int(min(r, cutoff / 2) / width) for r in (SHORTEST_A, TIGHT_FROM_A))
    wanted[core:tight] = wanted[tight]
    wanted[:core] = wanted[tight] / WIDER
    wanted = (wanted * min(1.0, FINEST / float(wanted.sum()))).ceil().long()
    return wanted.tolist(), core


def _measure(function: Callable[[Tensor], Tensor], table: RadialTable) -> tuple[float, float]:
    """Errors of value and slope where they are largest in an interval, relative to the maxima."""
    grid = table.grid
    errors, scales = torch.zeros(2), torch.full((2,), 1e-300)
    for t in (0.21, 0.5):  # slopes are worst at t = 0.21 and 0.79, values at 0.5
        knots = [grid.knots(k) for k in range(N_SEGMENTS)]
        r = torch.cat([(1 - t) * x[:-1] + t * x[1:] for x in knots])
        r = r[r >= SHORTEST_A]
        exact, ours = _with_slope(function, r), _with_slope(lambda x: evaluate(x, table), r)
        error = torch.stack([(a - b).abs().max() for a, b in zip(exact, ours, strict=True)])
        errors = torch.maximum(errors, error)
        scales = torch.maximum(scales, torch.stack([a.abs().max() for a in exact]))
    value_error, slope_error = (errors / scales).tolist()
    return value_error, slope_error


def _with_slope(function: Callable[[Tensor], Tensor], r: Tensor) -> tuple[Tensor, Tensor]:
    """W and dW/dr at r [points], both [points, weights].

    Each point has its own r and many weights: sum_w u dW_w/dr by one reverse pass is linear in u,
    and its derivative by u is dW/dr. (Forward differentiation would load all of torch's compiler,
    a second and a half of a first start.)
    """
    with torch.enable_grad():
        r = r.detach().requires_grad_()
        values = function(r)
        u = torch.zeros_like(values, requires_grad=True)
        (along,) = torch.autograd.grad(values, r, u, create_graph=True)
        (slopes,) = torch.autograd.grad(along.sum(), u)
    return values.detach(), slopes
