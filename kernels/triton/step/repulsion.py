"""Kernel: nuclear repulsion by receiver; the same: `fastequi/engine/repulsion.py`."""

# Triton's language is not quite Python's.
# ruff: noqa: F821
# pyright: reportUndefinedVariable=false, reportArgumentType=false
# pyright: reportGeneralTypeIssues=false, reportOperatorIssue=false

import triton
import triton.language as tl

from fastequi.kernels.triton.step.motion import load3, store3


@triton.jit(do_not_specialize=["n_species", "power"])
def repel(
    species, sender_species, pairs, row_start, vectors, energies, gradients, n_species, power,
    amplitude0: "fp64", amplitude1: "fp64", amplitude2: "fp64", amplitude3: "fp64",
    decay0: "fp64", decay1: "fp64", decay2: "fp64", decay3: "fp64", BLOCK: tl.constexpr,
):  # fmt: skip
    """Adds to energies [rows] and gradients [edges, 3]; see `PairRepulsion`.

    species [rows], sender_species [edges]; pairs [3, species, species].
    """
    row = tl.program_id(0)
    start, end = tl.load(row_start + row), tl.load(row_start + row + 1)
    n_pairs, p = n_species * n_species, power.to(tl.float64)
    pairs += tl.load(species + row) * n_species
    total = tl.zeros([BLOCK], tl.float64)

    for first in range(start, end, BLOCK):
        edge = first + tl.arange(0, BLOCK)  # [BLOCK]
        mask = edge < end
        rx, ry, rz = load3(vectors, edge, mask)
        rx, ry, rz = rx.to(tl.float64), ry.to(tl.float64), rz.to(tl.float64)
        pair = pairs + tl.load(sender_species + edge, mask=mask, other=0)
        k = tl.load(pair, mask=mask, other=0.0)
        a = tl.load(pair + n_pairs, mask=mask, other=0.0)
        cutoff = tl.load(pair + 2 * n_pairs, mask=mask, other=1.0)

        square = tl.where(mask, rx * rx + ry * ry + rz * rz, 1.0)
        r = tl.sqrt(square)
        x = r / cutoff
        inside = mask & ((x >= 1.0) == 0)  # in this form what is not a number stays
        power_of_x = tl.full([BLOCK], 1.0, tl.float64)
        for _ in range(1, power):
            power_of_x *= x  # x^(p-1)
        xp = power_of_x * x
        u = 1.0 - xp * (
            0.5 * (p + 1.0) * (p + 2.0) - p * (p + 2.0) * x + 0.5 * p * (p + 1.0) * x * x
        )
        du = -0.5 * p * (p + 1.0) * (p + 2.0) * power_of_x * (1.0 - x) * (1.0 - x) / cutoff
        e0, e1 = amplitude0 * tl.exp(-decay0 * a * r), amplitude1 * tl.exp(-decay1 * a * r)
        e2, e3 = amplitude2 * tl.exp(-decay2 * a * r), amplitude3 * tl.exp(-decay3 * a * r)
        s = e0 + e1 + e2 + e3
        ds = -a * (decay0 * e0 + decay1 * e1 + decay2 * e2 + decay3 * e3)
        k = k / r
        total += tl.where(inside, k * s * u, 0.0)
        slope = tl.where(inside, k * ((ds - s / r) * u + s * du) / r, 0.0)
        gx, gy, gz = load3(gradients, edge, mask)
        store3(gradients, edge, gx + slope * rx, gy + slope * ry, gz + slope * rz, mask)

    tl.store(energies + row, tl.load(energies + row) + tl.sum(total))
