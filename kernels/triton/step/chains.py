"""Kernel: Nosé-Hoover chains, lanes are thermostats; the same: `md/integrators/chains.py`."""

# Triton's language is not quite Python's.
# ruff: noqa: F821
# pyright: reportUndefinedVariable=false, reportArgumentType=false, reportGeneralTypeIssues=false, reportOperatorIssue=false

import triton
import triton.language as tl

#: Fractions of a step (`SUZUKI_YOSHIDA`): the first and the last of three, and the middle one.
_OUTER = tl.constexpr(1.0 / (2.0 - 2.0 ** (1.0 / 3.0)))
_MIDDLE = tl.constexpr(1.0 - 2.0 / (2.0 - 2.0 ** (1.0 / 3.0)))


@triton.jit
def at(values, column, j):
    """Column j of [BLOCK, LONGEST]; 0 where there is none."""
    return tl.sum(tl.where(column == j, values, 0.0), 1)


@triton.jit
def kick(v, column, j, n, driven, unit, t):
    """v_j = s (s v_j + t/2 G_j / Q_j), s = exp(-t/4 v_{j+1}); driven is 2K / (n kT)."""
    before = at(v, column, j - 1)
    heavier = tl.where(j == 1, n, 1.0)
    change = tl.where(j == 0, driven * unit, heavier * before * before) - unit
    slowed = tl.exp(-0.25 * t * at(v, column, j + 1))
    kicked = (at(v, column, j) * slowed + 0.5 * t * change) * slowed
    return tl.where(column == j, kicked[:, None], v)


@triton.jit(do_not_specialize=["n_systems", "length"])
def advance_chain(
    freedom, kT, kinetic, position, velocity, factor, n_systems, length, time_fs: "fp64",
    step_fs: "fp64", BLOCK: tl.constexpr, LONGEST: tl.constexpr,
):  # fmt: skip
    """position, velocity [systems, length] after step_fs; factor [systems], of the velocities held.

    freedom, kT, kinetic [systems]: n, kT and K of `Chain`. Chains have LONGEST columns at most.
    """
    system = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)  # [BLOCK]
    column = tl.arange(0, LONGEST)[None, :]
    mask = system < n_systems
    here = system[:, None] * length + column  # [BLOCK, LONGEST]
    inside = mask[:, None] & (column < length)

    n = tl.load(freedom + system, mask=mask, other=1.0)
    heat = n * tl.load(kT + system, mask=mask, other=1.0)
    driven = 2.0 * tl.load(kinetic + system, mask=mask, other=0.0) / heat
    x = tl.load(position + here, mask=inside, other=0.0)
    v = tl.load(velocity + here, mask=inside, other=0.0)
    total = tl.full([BLOCK], 1.0, tl.float64)
    time, step = total * time_fs, total * step_fs
    unit = 1.0 / (time * time)

    for k in tl.static_range(3):
        t = step * (_MIDDLE if k == 1 else _OUTER)
        for i in range(length):
            v = kick(v, column, length - 1 - i, n, driven, unit, t)
        scale = tl.exp(-t * at(v, column, 0))
        driven = driven * scale * scale
        total = total * scale
        x += t[:, None] * v
        for j in range(length):
            v = kick(v, column, j, n, driven, unit, t)

    tl.store(position + here, x, mask=inside)
    tl.store(velocity + here, v, mask=inside)
    tl.store(factor + system, total, mask=mask)
