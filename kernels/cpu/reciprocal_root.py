"""1/sqrt(x) of a vector of doubles, printed as LLVM IR.

A root and a division of wide vectors keep the divider busy longer than all else takes in the loop
that this is for (AVX-512: 1.2 times the time). A guess from the bits of x, right to 3 %, is made
better twice, each of which cubes its error: right to 2e-12. For normal positive x.
"""

from fastequi.kernels.llvm.ir import Function, Value

#: What minus half of the bits of x are those of a guess (Lomont, Fast Inverse Square Root, 2003).
_MAGIC = 0x5FE6EB50C7B537A9


def reciprocal_root(f: Function, x: Value) -> Value:
    """y (1 + d/2 + 3 d²/8) with d = 1 - x y², from a guess y."""
    y = f.real_of_bits(_MAGIC - f.shifted_right(f.bits(x), 1))
    for _ in range(2):
        d = 1.0 - (x * y) * y
        y = y + (y * d) * (0.5 + d * 0.375)
    return y
