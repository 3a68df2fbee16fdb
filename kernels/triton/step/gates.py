"""Kernels: the gate of a layer, all its blocks in one launch, and activations.

With a = c f(y0), v a gated block and g the gradient at what leaves the gate, per atom and channel

    x0 = a,  xl = v a        gy0 = (g0 or sum_m g v) c f'(y0),  gv = g a.
"""

# Triton's language is not quite Python's.
# ruff: noqa: F821
# pyright: reportUndefinedVariable=false, reportArgumentType=false
# pyright: reportGeneralTypeIssues=false, reportOperatorIssue=false

import triton
import triton.language as tl


@triton.jit
def activated(y, is_tanh):
    """f and f' of silu or tanh; tanh y = 2 s - 1 with the sigmoid s of 2 y."""
    twice = tl.where(is_tanh, y + y, y)
    e = tl.exp(-tl.abs(twice))
    near, far = 1.0 / (1.0 + e), e / (1.0 + e)
    s = tl.where(twice >= 0.0, near, far)
    rest = tl.where(twice >= 0.0, far, near)  # 1 - s would cancel
    value = tl.where(is_tanh, s - rest, y * s)
    return value, tl.where(is_tanh, 4.0 * s * rest, s + y * s * rest)


@triton.jit
def place(blocks, scales, n_atoms, ATOMS: tl.constexpr, BLOCK: tl.constexpr):
    """What a row of `blocks` [rows, 10] int64 says of this program's atoms and channels.

    A row: 2l+1 or 0 for scalars, channels, those of the scalars in common, whether tanh, the first
    channel here; then where scalars, block, what leaves and their gradients begin.
    """
    number = tl.program_id(1)
    row = blocks + number * 10
    atom = tl.program_id(0).to(tl.int64) * ATOMS + tl.arange(0, ATOMS)  # [ATOMS]
    u = tl.load(row + 4) + tl.arange(0, BLOCK)  # [BLOCK]
    channels = tl.load(row + 1)
    mask = (atom < n_atoms)[:, None] & (u < channels)[None, :]
    scalar = atom[:, None] * tl.load(row + 2) + u[None, :]
    components = tl.load(row)
    first = atom[:, None] * tl.maximum(components, 1) * channels + u[None, :]
    return row, mask, scalar, first, components, channels, tl.load(scales + number)


@triton.jit(do_not_specialize=["n_atoms"])
def gate(
    y0, v, blocks, scales, x, n_atoms, ATOMS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """x from the scalars y0 and the blocks v."""
    row, mask, scalar, at, components, channels, scale = place(
        blocks, scales, n_atoms, ATOMS, BLOCK
    )
    before = tl.load(y0 + tl.load(row + 5) + scalar, mask=mask, other=0.0)
    value, _ = activated(before, tl.load(row + 3) != 0)
    value *= scale.to(value.dtype)
    v += tl.load(row + 6)
    x += tl.load(row + 7)
    if components == 0:
        tl.store(x + at, value, mask=mask)
    for m in range(components):
        block = tl.load(v + at + m * channels, mask=mask, other=0.0)
        tl.store(x + at + m * channels, block * value, mask=mask)


@triton.jit(do_not_specialize=["n_atoms"])
def gate_vjp(
    y0, v, g, blocks, scales, gy0, gv, n_atoms, ATOMS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """gy0 and gv from g, the gradient at x."""
    row, mask, scalar, at, components, channels, scale = place(
        blocks, scales, n_atoms, ATOMS, BLOCK
    )
    before = tl.load(y0 + tl.load(row + 5) + scalar, mask=mask, other=0.0)
    value, slope = activated(before, tl.load(row + 3) != 0)
    value *= scale.to(value.dtype)
    v += tl.load(row + 6)
    g += tl.load(row + 7)
    gv += tl.load(row + 9)
    total = tl.load(g + at, mask=mask & (components == 0), other=0.0)
    for m in range(components):
        gradient = tl.load(g + at + m * channels, mask=mask, other=0.0)
        total += gradient * tl.load(v + at + m * channels, mask=mask, other=0.0)
        tl.store(gv + at + m * channels, gradient * value, mask=mask)
    total *= slope * scale.to(value.dtype)
    tl.store(gy0 + tl.load(row + 8) + scalar, total, mask=mask)


@triton.jit(do_not_specialize=["n", "is_tanh"])
def activate(a, y, slope, n, is_tanh, scale: "fp64", BLOCK: tl.constexpr):
    """y = scale f(a), slope = scale f'(a); [n] each."""
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)  # [BLOCK]
    value, first = activated(tl.load(a + i, mask=i < n, other=0.0), is_tanh != 0)
    tl.store(y + i, value * scale, mask=i < n)
    tl.store(slope + i, first * scale, mask=i < n)
