"""Spherical harmonics as homogeneous polynomials in x, y, z, for those who print code.

From the raising tables of `spherical_harmonics.py`, so that there is one source of the convention.
"""

from functools import cache

from fastequi.kernels.spherical_harmonics import raising_table

#: Powers of x, y, z -> coefficient.
Polynomial = dict[tuple[int, int, int], float]

_UNIT = ((1, 0, 0), (0, 1, 0), (0, 0, 1))


@cache
def harmonic_polynomials(l: int) -> tuple[Polynomial, ...]:  # noqa: E741
    """The 2l+1 components of Y_l."""
    if l == 0:
        return ({(0, 0, 0): 1.0},)
    if l == 1:
        return tuple({unit: 3**0.5} for unit in _UNIT)
    lower, first, table = harmonic_polynomials(l - 1), harmonic_polynomials(1), raising_table(l)
    result: list[Polynomial] = []
    for k in range(2 * l + 1):
        total: Polynomial = {}
        for a, p in enumerate(lower):
            for b, q in enumerate(first):
                for powers, value in _product(p, q).items():
                    total[powers] = total.get(powers, 0.0) + table[a, b, k] * value
        kept = {powers: float(v) for powers, v in total.items() if abs(v) > 1e-12}
        result.append(kept)
    return tuple(result)


def derivative(p: Polynomial, axis: int) -> Polynomial:
    """dp/dx, dp/dy or dp/dz."""
    result = {}
    for powers, value in p.items():
        if powers[axis]:
            lowered = tuple(n - (i == axis) for i, n in enumerate(powers))
            result[lowered] = value * powers[axis]
    return result


def _product(p: Polynomial, q: Polynomial) -> Polynomial:
    result: Polynomial = {}
    for a, x in p.items():
        for b, y in q.items():
            powers = (a[0] + b[0], a[1] + b[1], a[2] + b[2])
            result[powers] = result.get(powers, 0.0) + x * y
    return result
