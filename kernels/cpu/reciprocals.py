"""1/x and 1/sqrt(x) of a vector of doubles without a division, printed as LLVM IR.

Divisions and roots of wide vectors take as long as twenty other operations. A guess from the bits
of x (right to 12 %, 3 %) is made better two or three times, each of which cubes its error: right
to the last bit or two; a root, after two times, to 2e-12. For normal positive x.
"""

from fastequi.kernels.llvm.ir import Function, Value

#: From which the bits of x, or half of them, are taken to make a guess's (Lomont 2003, for roots).
_RECIPROCAL = 0x7FDE623822FC16E6
_ROOT = 0x5FE6EB50C7B537A9


def reciprocal(f: Function, x: Value) -> Value:
    """1/x: y (1 + d + d²) with d = 1 - x y, from a guess y."""
    y = f.real_of_bits(_RECIPROCAL - f.bits(x))
    for _ in range(3):
        d = 1.0 - x * y
        y = y + y * (d + d * d)
    return y


def reciprocal_root(f: Function, x: Value, times: int = 3) -> Value:
    """1/sqrt(x): y (1 + d/2 + 3 d²/8) with d = 1 - x y², from a guess y."""
    y = f.real_of_bits(_ROOT - f.shifted_right(f.bits(x), 1))
    for _ in range(times):
        d = 1.0 - (x * y) * y
        y = y + (y * d) * (0.5 + d * 0.375)
    return y
