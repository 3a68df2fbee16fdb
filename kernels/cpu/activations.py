"""silu and its derivatives for a vector of numbers, printed as LLVM IR.

libm's exponential takes one number at a time. This one is 2^n p(r), with n the nearest integer to
x / ln 2 and p the Taylor polynomial of e^r for |r| <= ln 2 / 2, good to the last bit or two.
"""

import math
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


def exponential(f: Function, x: Value) -> Value:
    """e^x; x beyond the limits counts as the limit, and what is not a number as the upper one."""
    form = _FORMATS[f.real]
    x = f.select_less(x, form.limit, x, form.limit)
    x = f.select_less(x, -form.limit, -form.limit, x)
    # Added to a number whose last bit counts ones, x / ln 2 is rounded and stands in the last bits.
    magic = 1.5 * 2.0**form.mantissa
    shifted = x * (1 / math.log(2)) + magic
    n = shifted - magic
    r = x - n * form.ln2[0] - n * form.ln2[1]
    power = f.constant(1 / math.factorial(form.terms - 1), "real", x.lanes)
    for k in reversed(range(form.terms - 1)):
        power = power * r + 1 / math.factorial(k)
    exponent = f.shifted_left(f.bits(shifted), form.mantissa)
    return f.real_of_bits(f.bits(power) + exponent)


def silu(f: Function, x: Value, scale: Number, order: int) -> list[Value]:
    """scale x s(x) and its first derivatives, up to `order`; as fastequi.model.activations."""
    e = exponential(f, -x)
    s = 1.0 / (1.0 + e)
    value, rest = x * s, e * s  # 1 - s would cancel
    first = s + value * rest
    second = s * rest * (1.0 - value) + first * rest
    return [found * scale for found in (value, first, second)[: order + 1]]
