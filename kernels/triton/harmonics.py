"""Prints spherical harmonics of a unit vector (ux, uy, uz), their changes, and the way back.

Of `polynomials.py`, on the unit sphere and with y as the polar axis,

    Y_l,±m = q_lm(y) * (c_m or s_m)          c_m + i s_m = (z + i x)^m

where q_lm has degree l - m: two multiplications per component, and derivatives run through the same
two factors instead of a table of dY/dvector. c_m and s_m are printed as cos and sin; `_t` after a
name is its change along the displacement of the edge.
"""

from functools import cache
from math import comb

from fastequi.kernels.polynomials import harmonic_polynomials


def component(l: int, b: int) -> str:  # noqa: E741
    """Name of component b (m = b - l) of Y_l."""
    return f"y{l * l + b}"


@cache
def polar_factor(l: int, m: int) -> tuple[float, ...]:  # noqa: E741
    """Coefficients of q_lm, rising powers of y.

    In the plane x = 0, where c_m = z^m, Y_l,m is a sum of y^j z^(l-j), and z^2 = 1 - y^2.
    """
    # Rounded otherwise than in closed form: on NVIDIA float32 kernels are the same, instruction
    # for instruction; float64 ones share fewer constants: up to 10 registers, 8 instructions more.
    coefficients = [0.0] * (l - m + 1)
    for (x, j, k), value in harmonic_polynomials(l)[l + m].items():
        if x == 0:
            half = (k - m) // 2
            for i in range(half + 1):
                coefficients[j + 2 * i] += value * comb(half, i) * (-1) ** i
    return tuple(coefficients)


def print_harmonics(degrees: list[int]) -> list[str]:
    """Lines that define y1, y2, ... for the degrees asked for (Y_0 is 1)."""
    lines = []
    for m in range(1, max(degrees) + 1):
        if m == 1:
            lines.append("cos1, sin1 = uz, ux")
        else:
            lines.append(f"cos{m} = uz * cos{m - 1} - ux * sin{m - 1}")
            lines.append(f"sin{m} = uz * sin{m - 1} + ux * cos{m - 1}")
    lines += ["yy = uy * uy"] if max(degrees) > 1 else []
    for l, m in _factors(degrees):  # noqa: E741
        if 0 < m < l:
            lines.append(f"q{l}{m} = {_polynomial(polar_factor(l, m))}")
        if m == 0:
            lines.append(f"{component(l, l)} = {_polynomial(polar_factor(l, m))}")
        else:
            lines.append(f"{component(l, l + m)} = {_factor_name(l, m)} * cos{m}")
            lines.append(f"{component(l, l - m)} = {_factor_name(l, m)} * sin{m}")
    return lines


def print_changes(degrees: list[int]) -> list[str]:
    """Lines that define y1_t, y2_t, ... from ux_t, uy_t, uz_t, behind those of `print_harmonics`.

    c_m and s_m change by m (c_(m-1) dz - s_(m-1) dx) and m (s_(m-1) dz + c_(m-1) dx).
    """
    lines = ["cos1_t, sin1_t = uz_t, ux_t"] if max(degrees) > 0 else []
    for m in range(2, max(degrees) + 1):
        cos, sin = f"cos{m - 1}", f"sin{m - 1}"
        lines.append(f"cos{m}_t = {float(m)} * ({cos} * uz_t - {sin} * ux_t)")
        lines.append(f"sin{m}_t = {float(m)} * ({sin} * uz_t + {cos} * ux_t)")
    for l, m in _factors(degrees):  # noqa: E741
        change = f"{_slope(l, m)} * uy_t" if m < l else ""
        if m == 0:
            lines.append(f"{component(l, l)}_t = {change}")
            continue
        if change:
            lines.append(f"q_t = {change}")
        for b, circle in ((l + m, f"cos{m}"), (l - m, f"sin{m}")):
            turned = f" + q_t * {circle}" if change else ""
            lines.append(f"{component(l, b)}_t = {_factor_name(l, m)} * {circle}_t{turned}")
    return lines


def print_vector_gradient(degrees: list[int]) -> list[str]:
    """Lines from dy1, dy2, ... to fx, fy, fz: the gradient by the vector at fixed length.

    c_m, s_m have the derivatives m c_(m-1), m s_(m-1) by z and -m s_(m-1), m c_(m-1) by x. The part
    along the unit vector is taken out and the rest divided by the length.
    """
    sums: dict[str, list[str]] = {}
    for l, m in _factors(degrees):  # noqa: E741
        plus, minus = f"d{component(l, l + m)}", f"d{component(l, l - m)}"
        if m:
            sums.setdefault(f"dcos{m}", []).append(f"{plus} * {_factor_name(l, m)}")
            sums.setdefault(f"dsin{m}", []).append(f"{minus} * {_factor_name(l, m)}")
        if m < l:
            dq = f"({plus} * cos{m} + {minus} * sin{m})" if m else plus
            sums.setdefault("fy", []).append(f"{dq} * {_slope(l, m)}")
    lines = [f"{name} = {' + '.join(terms)}" for name, terms in sums.items()]
    fz, fx = ["dcos1"], ["dsin1"]
    for m in range(2, max(degrees) + 1):
        fz.append(f"{float(m)} * (dcos{m} * cos{m - 1} + dsin{m} * sin{m - 1})")
        fx.append(f"{float(m)} * (dsin{m} * cos{m - 1} - dcos{m} * sin{m - 1})")
    lines += [f"fz = {' + '.join(fz)}", f"fx = {' + '.join(fx)}"]
    lines.append("along = fx * ux + fy * uy + fz * uz")
    return lines + [f"f{axis} = (f{axis} - along * u{axis}) * inverse" for axis in "xyz"]


def _factors(degrees: list[int]) -> list[tuple[int, int]]:
    return [(l, m) for l in degrees if l > 0 for m in range(l + 1)]  # noqa: E741


def _factor_name(l: int, m: int) -> str:  # noqa: E741
    """q_lm, or its value where it is a constant."""
    return f"q{l}{m}" if m < l else repr(polar_factor(l, m)[0])


def _slope(l: int, m: int) -> str:  # noqa: E741
    """dq_lm/dy, as a factor."""
    text = _polynomial(tuple(i * value for i, value in enumerate(polar_factor(l, m)))[1:])
    return f"({text})" if " " in text else text


def _polynomial(coefficients: tuple[float, ...]) -> str:
    """Horner's rule in yy; the polynomials are even or odd in y."""
    odd = (len(coefficients) - 1) % 2
    *lower, text = [repr(value) for value in coefficients[odd::2]]
    for value in reversed(lower):
        text = f"{value} + yy * ({text})" if "yy" in text else f"{value} + yy * {text}"
    if odd:
        text = f"uy * ({text})" if "yy" in text else f"uy * {text}"
    return text
