"""Activations and their derivatives for a vector of numbers, printed as LLVM IR.

libm's exponential takes one number at a time. This one is 2^n p(r), with n the nearest integer to
x / ln 2 and p the Taylor polynomial of e^r for |r| <= ln 2 / 2, good to the last bit or two.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

from fastequi.kernels.llvm.ir import Function, Number, Value


@dataclass(frozen=True)
class _Format:
    """Of a real: the integer of its size, bits of its mantissa, the arguments that e^x may have,
    terms of the polynomial, and ln 2 as a number with so many zeros at its end that its products
    with n are exact, and the rest."""

    integer: str
    mantissa: int
    limit: float
    terms: int
    ln2: tuple[float, float]


_FORMATS = {
    "float": _Format("i32", 23, 87.0, 8, (0.693359375, -2.12194440054690583e-4)),
    "double": _Format("i64", 52, 708.0, 14, (0.693147180369123816490, 1.90821492927058770002e-10)),
}


def exponential(f: Function, x: Value, is_small: bool = False) -> Value:
    """e^x; x beyond the limits counts as the limit, and what is not a number as the upper one.

    is_small: x is known to be within the limits.
    """
    r, exponent = _reduced(f, x, is_small)
    return f.real_of_bits(f.bits(_series(f, r, 0)) + exponent)


def exponential_minus_one(f: Function, x: Value) -> Value:
    """e^x - 1 = 2^n (e^r - 1) + (2^n - 1), which cancels nowhere; limits as above."""
    r, exponent = _reduced(f, x)
    power = f.real_of_bits(f.bits(f.constant(1.0, "real", x.lanes)) + exponent)
    return power * (r * _series(f, r, 1)) + (power - 1.0)


def _reduced(f: Function, x: Value, is_small: bool = False) -> tuple[Value, Value]:
    """r = x - n ln 2, and n where the exponent of a real stands."""
    form = _FORMATS[f.real]
    if not is_small:
        x = f.select_less(x, form.limit, x, form.limit)
        x = f.select_less(x, -form.limit, -form.limit, x)
    # Added to a number whose last bit counts ones, x / ln 2 is rounded and stands in the last bits.
    magic = 1.5 * 2.0**form.mantissa
    shifted = x * (1 / math.log(2)) + magic
    n = shifted - magic
    r = x - n * form.ln2[0] - n * form.ln2[1]
    return r, f.shifted_left(f.bits(shifted), form.mantissa)


def _series(f: Function, r: Value, first: int) -> Value:
    """The terms of e^r from r^first on, over r^first."""
    terms = _FORMATS[f.real].terms
    power = f.constant(1 / math.factorial(terms - 1), "real", r.lanes)
    for k in reversed(range(first, terms - 1)):
        power = power * r + 1 / math.factorial(k)
    return power


def none(f: Function, x: Value, scale: Number, order: int) -> list[Value]:
    """scale x and its first derivatives."""
    one, zero = (f.constant(value, "real", x.lanes) for value in (1.0, 0.0))
    return [found * scale for found in (x, one, zero)[: order + 1]]


def silu(f: Function, x: Value, scale: Number, order: int) -> list[Value]:
    """scale x s(x) and its first derivatives, s the sigmoid."""
    e = exponential(f, -x)
    s = 1.0 / (1.0 + e)
    value, rest = x * s, e * s  # 1 - s would cancel
    first = s + value * rest
    second = s * rest * (1.0 - value) + first * rest
    return [found * scale for found in (value, first, second)[: order + 1]]


def tanh(f: Function, x: Value, scale: Number, order: int) -> list[Value]:
    """scale tanh x = scale d / (d + 2) with d = e^2x - 1, and its first derivatives."""
    d = exponential_minus_one(f, x * 2.0)
    value = d / (d + 2.0)
    first = 1.0 - value * value
    second = value * first * -2.0
    return [found * scale for found in (value, first, second)[: order + 1]]


#: By their names in fastequi.model.activations, of which these are compiled: (function, x, scale,
#: order) -> scale times value and first derivatives, up to `order`.
ACTIVATIONS: dict[str, Callable[[Function, Value, Number, int], list[Value]]] = {
    "none": none,
    "silu": silu,
    "tanh": tanh,
}
