"""Radial tables: the weights of a convolution as cubic Hermite functions of the distance.

For inference the radial network W(r) is replaced by values and slopes at evenly spaced knots,
taken from the network in float64. Between knots, with t in [0, 1] and spacing h,

    W = H0(t) v_n + H1(t) h s_n + H2(t) v_{n+1} + H3(t) h s_{n+1}
    H0 = (1 + 2t)(1 - t)^2,  H1 = t (1 - t)^2,  H2 = t^2 (3 - 2t),  H3 = t^2 (t - 1)

The slope of the same polynomial enters the forces, so energy is conserved exactly as tabulated.
The cutoff function is inside W; value and slope at the cutoff are exactly zero, and so is all
beyond it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from safetensors.torch import load, save
from torch import Tensor
from torch.autograd import forward_ad

#: Intervals of the trial table, and the most that a table may have.
COARSE, FINEST = 256, 2048

#: Errors are measured from here to the cutoff: no two nuclei of a healthy simulation are closer.
SHORTEST_A = 0.5


@dataclass(frozen=True)
class RadialTable:
    """W(r) of one layer.

    knots        [intervals + 1, 2, weights]: value and slope times spacing at each knot
    cutoff       Å, the last knot; the first is at 0
    value_error  largest deviation from the network beyond 0.5 Å, relative to the largest |W| there
    slope_error  the same for dW/dr
    """

    knots: Tensor
    cutoff: float
    value_error: float
    slope_error: float

    @cached_property
    def kept(self) -> dict[Any, Any]:
        """What kernels made of this table, for the next call."""
        return {}

    @property
    def n_intervals(self) -> int:
        return self.knots.shape[0] - 1

    @property
    def n_weights(self) -> int:
        return self.knots.shape[2]

    @property
    def spacing(self) -> float:
        return self.cutoff / self.n_intervals

    def to(self, dtype: torch.dtype, device: torch.device | str) -> "RadialTable":
        """The same table in the arithmetic of a model."""
        knots = self.knots.to(device=device, dtype=dtype).contiguous()
        return RadialTable(knots, self.cutoff, self.value_error, self.slope_error)


def tables_to_bytes(tables: list[RadialTable]) -> bytes:
    """For a file; see `tables_from_bytes`."""
    tensors = {f"knots.{k}": table.knots for k, table in enumerate(tables)}
    facts = [(table.cutoff, table.value_error, table.slope_error) for table in tables]
    return save(tensors | {"facts": torch.tensor(facts, dtype=torch.float64)})


def tables_from_bytes(content: bytes) -> list[RadialTable]:
    """What `tables_to_bytes` wrote."""
    tensors = load(content)
    facts = tensors["facts"].tolist()
    return [RadialTable(tensors[f"knots.{k}"], *fact) for k, fact in enumerate(facts)]


def locate(lengths: Tensor, table: RadialTable) -> tuple[Tensor, Tensor, Tensor]:
    """Interval [edges], the position t in it, and whether the edge is within the cutoff."""
    scaled = lengths * (table.n_intervals / table.cutoff)
    interval = scaled.detach().floor().long().clamp(0, table.n_intervals - 1)
    return interval, scaled - interval, lengths.detach() < table.cutoff


def hermite(t: Tensor) -> Tensor:
    """H0..H3 at t: [..., 4]."""
    one = 1 - t
    return torch.stack([(1 + 2 * t) * one**2, t * one**2, t**2 * (3 - 2 * t), -(t**2) * one], -1)


def evaluate(lengths: Tensor, table: RadialTable) -> Tensor:
    """W [edges, weights] at distances [edges] in Å; differentiable; the reference."""
    interval, t, inside = locate(lengths, table)
    pairs = torch.stack([table.knots[interval], table.knots[interval + 1]], dim=1)
    weights = torch.einsum("eq,eqw->ew", hermite(t), pairs.flatten(1, 2))
    return torch.where(inside.unsqueeze(1), weights, torch.zeros_like(weights))


def build_tables(
    functions: list[Callable[[Tensor], Tensor]],
    cutoff: float,
    *,
    value_tolerance: float = 2e-7,
    slope_tolerance: float = 2e-5,
    kink: float | None = None,
) -> list[RadialTable]:
    """Tables of several layers on the same knots.

    functions  W(r), [points] float64 -> [points, weights] float64, one per layer
    kink       a distance that must be a knot (XPLOR's switch, where W'' jumps)

    The interval count follows from the errors measured on a coarse table (values fall with h^4,
    slopes with h^3); the errors of the final tables are measured again and kept.
    """
    n = _with_knot_at(COARSE, cutoff, kink)
    tables = [_tabulate(function, cutoff, n) for function in functions]
    factor = max(
        max((t.value_error / value_tolerance) ** 0.25, (t.slope_error / slope_tolerance) ** (1 / 3))
        for t in tables
    )
    if factor <= 1:
        return tables
    wanted = min(int(n * factor * 1.1) + 1, FINEST)
    n = _with_knot_at(wanted, cutoff, kink)
    return [_tabulate(function, cutoff, n) for function in functions]


def _with_knot_at(n: int, cutoff: float, kink: float | None) -> int:
    """The count nearest to n, from n upward, that puts a knot at the kink."""
    if kink is None:
        return n
    for candidate in range(n, 2 * n):
        position = kink / cutoff * candidate
        if abs(position - round(position)) < 1e-9 * candidate:
            return candidate
    return n  # an irrational ratio: no even spacing has a knot there


def _tabulate(function: Callable[[Tensor], Tensor], cutoff: float, n: int) -> RadialTable:
    spacing = cutoff / n
    r = torch.arange(n + 1, dtype=torch.float64) * spacing
    r[0] = 1e-9 * cutoff  # the limit at zero, where sin(x)/x is not evaluated
    values, slopes = _with_slope(function, r)
    values[-1], slopes[-1] = 0.0, 0.0
    table = RadialTable(torch.stack([values, slopes * spacing], dim=1), cutoff, 0.0, 0.0)
    return RadialTable(table.knots, cutoff, *_measure(function, table))


def _measure(function: Callable[[Tensor], Tensor], table: RadialTable) -> tuple[float, float]:
    """Errors of value and slope where they are largest in an interval, relative to the maxima."""
    intervals = torch.arange(table.n_intervals, dtype=torch.float64)
    errors, scales = torch.zeros(2), torch.full((2,), 1e-300)
    for t in (0.21, 0.5):  # slopes are worst at t = 0.21 and 0.79, values at 0.5
        r = (intervals + t) * table.spacing
        r = r[r >= SHORTEST_A]
        exact, ours = _with_slope(function, r), _with_slope(lambda x: evaluate(x, table), r)
        error = torch.stack([(a - b).abs().max() for a, b in zip(exact, ours, strict=True)])
        errors = torch.maximum(errors, error)
        scales = torch.maximum(scales, torch.stack([a.abs().max() for a in exact]))
    value_error, slope_error = (errors / scales).tolist()
    return value_error, slope_error


def _with_slope(function: Callable[[Tensor], Tensor], r: Tensor) -> tuple[Tensor, Tensor]:
    """W and dW/dr at r, by forward differentiation (many outputs, one input)."""
    with torch.no_grad(), forward_ad.dual_level():
        dual = function(forward_ad.make_dual(r, torch.ones_like(r)))
        primal, tangent = forward_ad.unpack_dual(dual)
        assert tangent is not None
        return primal.clone(), tangent.clone()
