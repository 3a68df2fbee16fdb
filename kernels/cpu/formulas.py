"""Formulas of a vector of edges: coefficients of splines, and polynomials of directions."""

from fastequi.kernels.cpu.dual import sum_of
from fastequi.kernels.llvm.ir import Function, Value
from fastequi.kernels.polynomials import Polynomial
from fastequi.kernels.radial_grid import N_CONSTANTS


def read_grid(f: Function, constants: Value, lanes: int) -> list[Value]:
    """`RadialGrid.constants`, each in every lane."""
    addresses = [f.at(constants, i) for i in range(N_CONSTANTS)]
    return [f.spread(f.load(address), lanes) for address in addresses]


def spline(
    f: Function, grid: list[Value], r: Value, cutoff_scale: Value | None
) -> tuple[Value, list[Value]]:
    """The row of a radial table at r, i32, and three coefficients each of W and dW/dr.

    Beyond the cutoff, and where r is not a number, the table is read at its end.
    """
    length_scale, n_cells, *cells = grid
    if cutoff_scale is not None:
        length_scale = cutoff_scale * length_scale
    y = r * length_scale
    y = f.select_less(y, n_cells, y, n_cells)
    scale, offset = _cells(f, cells, y)
    position = y * scale
    n = f.to_i32(position)
    t = position - f.to_real(n)
    s = 1.0 - t
    last = (t * t * t) * (1 / 6)
    first = t * (0.5 - t * 0.5 + (t * t) * (1 / 6))
    slopes = (s * s) * 0.5, 0.5 + t * s, (t * t) * 0.5
    scale = scale * length_scale
    values = [first, t - first - last, last]
    return n + f.to_i32(offset), values + [slope * scale for slope in slopes]


def _cells(f: Function, cells: list[Value], y: Value) -> tuple[Value, Value]:
    """Knots per cell, and what to add for the row, where y is in cells (`RadialGrid`)."""
    scale, *further = cells
    offset = f.constant(0.0, "real", y.lanes)
    for begin, new_scale, new_offset in zip(*(further[k::3] for k in range(3)), strict=True):
        scale = f.select_less(y, begin, scale, new_scale)
        offset = f.select_less(y, begin, offset, new_offset)
    return scale, offset


def evaluate(
    f: Function, n: list[Value], blocks: list[tuple[Polynomial, ...]] | list[list[Polynomial]]
) -> list[list[Value]]:
    """Polynomials at the unit vectors n; monomials are computed once."""
    lanes = n[0].lanes
    known: dict[tuple[int, int, int], Value] = {(0, 0, 0): f.constant(1.0, "real", lanes)}

    def monomial(powers: tuple[int, int, int]) -> Value:
        if powers not in known:
            axis = max(range(3), key=lambda i: powers[i])
            x, y, z = (p - (i == axis) for i, p in enumerate(powers))
            known[powers] = monomial((x, y, z)) * n[axis] if x + y + z else n[axis]
        return known[powers]

    def value(p: Polynomial) -> Value:
        terms = [monomial(powers) * c for powers, c in p.items()]
        return sum_of(terms) if terms else f.constant(0.0, "real", lanes)

    return [[value(p) for p in block] for block in blocks]
