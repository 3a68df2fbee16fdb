"""Kernels: forces and virials by receiver, energies and stress by system; no atomics in sums.

`definitions.py` has the same in torch, and the formulas.
"""

# Triton's language is not quite Python's.
# pyright: reportArgumentType=false, reportGeneralTypeIssues=false, reportOperatorIssue=false

import triton
import triton.language as tl

from fastequi.kernels.triton.step.flags import NOT_FINITE
from fastequi.kernels.triton.step.motion import load3, store3

_NOT_FINITE = tl.constexpr(NOT_FINITE)


@triton.jit
def load3_of(base, row, mask):
    """A row of three numbers, in float64."""
    x, y, z = load3(base, row, mask)
    return x.to(tl.float64), y.to(tl.float64), z.to(tl.float64)


@triton.jit(do_not_specialize=["n_atoms"])
def sum_forces(
    gradients, vectors, reverse, row_start, atoms, forces, virials, flags, n_atoms,
    BLOCK: tl.constexpr, UNROLL: tl.constexpr,
):  # fmt: skip
    """forces [atoms, 3] and virials [atoms, 6] (xx, yy, zz, yz, xz, xy), lanes are receivers.

    A lane adds up its row from the first edge to the last; UNROLL edges are loaded at a time.
    atoms [rows]: whose sums those of a row are.
    """
    row = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)  # [BLOCK]
    mask = row < n_atoms
    start = tl.load(row_start + row, mask=mask, other=0)
    end = tl.load(row_start + row + 1, mask=mask, other=0)
    atom = tl.load(atoms + row, mask=mask, other=0)
    zero = tl.zeros([BLOCK], tl.float64)
    fx, fy, fz = zero, zero, zero
    xx, yy, zz, yz, xz, xy = zero, zero, zero, zero, zero, zero

    for first in range(0, tl.max(end - start), UNROLL):
        for k in tl.static_range(UNROLL):
            edge = start + first + k
            inside = edge < end
            back = tl.load(reverse + edge, mask=inside, other=0).to(tl.int64)
            gx, gy, gz = load3_of(gradients, edge, inside)
            bx, by, bz = load3_of(gradients, back, inside)
            rx, ry, rz = load3_of(vectors, edge, inside)
            fx, fy, fz = fx + (gx - bx), fy + (gy - by), fz + (gz - bz)
            xx, yy, zz = xx + rx * gx, yy + ry * gy, zz + rz * gz
            yz += 0.5 * (ry * gz + rz * gy)
            xz += 0.5 * (rx * gz + rz * gx)
            xy += 0.5 * (rx * gy + ry * gx)

    store3(forces, atom, fx, fy, fz, mask)
    store3(virials, 2 * atom, xx, yy, zz, mask)
    store3(virials, 2 * atom + 1, yz, xz, xy, mask)
    total = fx + fy + fz
    wrong = mask & ((total - total == 0.0) == 0)
    bits = tl.where(wrong, _NOT_FINITE, 0)
    tl.atomic_or(flags + tl.zeros([BLOCK], tl.int32), bits, mask=wrong, sem="relaxed")


@triton.jit
def sum_atoms(
    energies, virials, first_atom, totals, ATOMS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """totals [systems, parts, 7]: of a part's atoms, the energy and six of the virial."""
    system, part = tl.program_id(0).to(tl.int64), tl.program_id(1)
    begin = tl.load(first_atom + system) + part * ATOMS
    end = tl.minimum(tl.load(first_atom + system + 1), begin + ATOMS)
    row = (system * tl.num_programs(1) + part) * 7

    for k in tl.static_range(7):
        total = tl.zeros([BLOCK], tl.float64)
        for first in range(begin, end, BLOCK):
            atom = first + tl.arange(0, BLOCK)  # [BLOCK]
            if k == 0:
                total += tl.load(energies + atom, mask=atom < end, other=0.0).to(tl.float64)
            else:
                total += tl.load(virials + atom * 6 + (k - 1), mask=atom < end, other=0.0)
        tl.store(totals + row + k, tl.sum(total))


@triton.jit
def sum_of_parts(totals, system, n_parts, k, BLOCK: tl.constexpr):
    """Of number k, in order."""
    total = tl.zeros([BLOCK], tl.float64)
    for first in range(0, n_parts, BLOCK):
        part = first + tl.arange(0, BLOCK)
        row = (system * n_parts + part) * 7 + k
        total += tl.load(totals + row, mask=part < n_parts, other=0.0)
    return tl.sum(total)


@triton.jit(do_not_specialize=["n_parts"])
def sum_systems(totals, cell, energy, stress, flags, n_parts, BLOCK: tl.constexpr):
    """energy [systems] and stress [systems, 3, 3], NaN where the cell has no volume."""
    system = tl.program_id(0).to(tl.int64)
    total = sum_of_parts(totals, system, n_parts, 0, BLOCK)
    xx = sum_of_parts(totals, system, n_parts, 1, BLOCK)
    yy = sum_of_parts(totals, system, n_parts, 2, BLOCK)
    zz = sum_of_parts(totals, system, n_parts, 3, BLOCK)
    yz = sum_of_parts(totals, system, n_parts, 4, BLOCK)
    xz = sum_of_parts(totals, system, n_parts, 5, BLOCK)
    xy = sum_of_parts(totals, system, n_parts, 6, BLOCK)

    ax, ay, az = load3(cell, system * 3, None)
    bx, by, bz = load3(cell, system * 3 + 1, None)
    cx, cy, cz = load3(cell, system * 3 + 2, None)
    volume = (ay * bz - az * by) * cx + (az * bx - ax * bz) * cy + (ax * by - ay * bx) * cz
    volume = tl.abs(volume)
    volume = tl.where(volume > 0.0, volume, float("nan"))

    tl.store(energy + system, total)
    store3(stress, system * 3, xx / volume, xy / volume, xz / volume, None)
    store3(stress, system * 3 + 1, xy / volume, yy / volume, yz / volume, None)
    store3(stress, system * 3 + 2, xz / volume, yz / volume, zz / volume, None)
    wrong = (total - total == 0.0) == 0
    tl.atomic_or(flags, _NOT_FINITE, mask=wrong, sem="relaxed")
