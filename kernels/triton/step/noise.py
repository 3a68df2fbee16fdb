"""Kernel: standard normal noise of atoms, as `fastequi.md.noise` defines it, word for word.

The logarithm is the device's, so that normals differ between devices in the last bits.
"""

# Triton's language is not quite Python's.
# pyright: reportGeneralTypeIssues=false

import triton
import triton.language as tl

from fastequi.kernels.triton.step.motion import store3

_MASK = tl.constexpr(0xFFFFFFFF)


@triton.jit
def philox4x32(c0, c1, c2, c3, k0, k1):
    """Philox4x32-10 (Salmon, Moraes, Dror & Shaw, SC11); words of 32 bits in int64.

    A product of two words wraps around without losing a bit; the shift's sign is masked away.
    """
    for _ in tl.static_range(10):
        a = c0 * 0xD2511F53
        b = c2 * 0xCD9E8D57
        c0 = ((b >> 32) & _MASK) ^ c1 ^ k0
        c2 = ((a >> 32) & _MASK) ^ c3 ^ k1
        c1, c3 = b & _MASK, a & _MASK
        k0, k1 = (k0 + 0x9E3779B9) & _MASK, (k1 + 0xBB67AE85) & _MASK
    return c0, c1, c2, c3


@triton.jit
def uniform(word):
    """The middle of one of 2^32 intervals between 0 and 1."""
    return (word.to(tl.float64) + 0.5) * 2.3283064365386963e-10


@triton.jit
def sine_cosine(turns):
    """Of 2 pi turns, between 0 and 1: polynomials within pi / 4 of a multiple of pi / 2.

    Coefficients of fdlibm's __kernel_sin and __kernel_cos (Sun Microsystems, 1993). The device's
    own functions keep memory for huge angles.
    """
    quarter = tl.floor(4.0 * turns + 0.5)
    x = (4.0 * turns - quarter) * 1.5707963267948966
    z = x * x
    s = 2.75573137070700676789e-06 + z * (
        -2.50507602534068634195e-08 + z * 1.58969099521155010221e-10
    )
    s = 8.33333333332248946124e-03 + z * (-1.98412698298579493134e-04 + z * s)
    s = x + x * z * (-1.66666666666666324348e-01 + z * s)
    c = -2.75573143513906633035e-07 + z * (
        2.08757232129817482790e-09 - z * 1.13596475577881948265e-11
    )
    c = -1.38888888888741095749e-03 + z * (2.48015872894767294178e-05 + z * c)
    c = 1.0 - (0.5 * z - z * z * (4.16666666666666019037e-02 + z * c))
    odd = (quarter == 1.0) | (quarter == 3.0)
    sine, cosine = tl.where(odd, c, s), tl.where(odd, s, c)
    sine = tl.where((quarter == 2.0) | (quarter == 3.0), -sine, sine)
    return sine, tl.where((quarter == 1.0) | (quarter == 2.0), -cosine, cosine)


@triton.jit(do_not_specialize=["n_atoms", "stream"])
def draw_noise(step, key, atom, replica, noise, n_atoms, stream, BLOCK: tl.constexpr):
    """noise [atoms, 3] of the step whose number, int64 [1], is on the device; Box & Muller.

    key [2, atoms] words of the seed, atom [atoms] within its system, replica [atoms]: `AtomNoise`.
    """
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)  # [BLOCK]
    mask = i < n_atoms
    zero = tl.zeros([BLOCK], tl.int64)
    now = tl.load(step) + zero
    k0 = tl.load(key + i, mask=mask, other=0)
    k1 = tl.load(key + n_atoms + i, mask=mask, other=0)
    c2 = tl.load(atom + i, mask=mask, other=0)
    c3 = tl.load(replica + i, mask=mask, other=0) * 256 + stream

    w0, w1, w2, w3 = philox4x32(now & _MASK, (now >> 32) & _MASK, c2, c3, k0, k1)
    first, second = tl.sqrt(-2.0 * tl.log(uniform(w0))), tl.sqrt(-2.0 * tl.log(uniform(w2)))
    sine, cosine = sine_cosine(uniform(w1))
    _, other = sine_cosine(uniform(w3))
    store3(noise, i, first * cosine, first * sine, second * other, mask)
