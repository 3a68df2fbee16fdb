"""Kernels: atoms into bins, and bins into a table by hashing.

A bin is at least `radius` high, or it is the cell where that is lower; it has three numbers,
packed. Bins share places of the table, so that no system is too wide for it: whoever looks into a
bin compares its number.
"""

# Triton's language is not quite Python's.
# ruff: noqa: F821
# pyright: reportUndefinedVariable=false, reportArgumentType=false, reportOperatorIssue=false

import triton
import triton.language as tl

from fastequi.kernels.triton.step.flags import BITS, NOT_FINITE, OFFSET, OUT_OF_RANGE
from fastequi.kernels.triton.step.motion import load3, store3

_NOT_FINITE = tl.constexpr(NOT_FINITE)
_OUT_OF_RANGE = tl.constexpr(OUT_OF_RANGE)
_LOW, _HIGH = tl.constexpr(BITS), tl.constexpr(2 * BITS)
_OFFSET, _FIELD = tl.constexpr(OFFSET), tl.constexpr((1 << BITS) - 1)
_OFFSETS = tl.constexpr((OFFSET << (2 * BITS)) + (OFFSET << BITS) + OFFSET)
_FURTHEST = tl.constexpr(OFFSET / 4)  # so that differences, and bins within reach, fit too


@triton.jit
def wider(radius):
    """Bins are wider than the radius by so much that rounding never loses a neighbour."""
    return 1.000001 * radius


@triton.jit
def pack(a, b, c):
    """Three int64 between -OFFSET and OFFSET as one, in lexical order."""
    return ((a + _OFFSET) << _HIGH) | ((b + _OFFSET) << _LOW) | (c + _OFFSET)


@triton.jit
def unpack(packed):
    a, b, c = packed >> _HIGH, (packed >> _LOW) & _FIELD, packed & _FIELD
    return a - _OFFSET, b - _OFFSET, c - _OFFSET


@triton.jit
def negated(packed):
    """Packed -a, -b, -c."""
    return _OFFSETS - packed + _OFFSETS


@triton.jit
def place_of(bin, system, n_places):
    """Where a bin is in the table, whose size is a power of two (multiplicative hashing)."""
    return (((bin ^ (system << 40)) * -7046029254386353131) >> 31) & (n_places - 1)


@triton.jit
def cross(ax, ay, az, bx, by, bz):
    return ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx


@triton.jit
def normal(ax, ay, az, bx, by, bz):
    """A unit vector normal to both, of which either or both may be zero."""
    x, y, z = cross(ax, ay, az, bx, by, bz)
    # one of them is zero: normal to the other and to the axis that is furthest from it
    wx, wy, wz = ax + bx, ay + by, az + bz
    sx, sy, sz = wx * wx, wy * wy, wz * wz
    on_x = (sx <= sy) & (sx <= sz)
    on_y = (on_x == 0) & (sy <= sz)
    ex, ey = tl.where(on_x, 1.0, 0.0), tl.where(on_y, 1.0, 0.0)
    ux, uy, uz = cross(wx, wy, wz, ex, ey, 1.0 - ex - ey)
    both = x * x + y * y + z * z > 0.0
    x, y, z = tl.where(both, x, ux), tl.where(both, y, uy), tl.where(both, z, uz)
    square = x * x + y * y + z * z
    x = tl.where(square > 0.0, x, 1.0)  # both are zero
    length = tl.sqrt(tl.where(square > 0.0, square, 1.0))
    return x / length, y / length, z / length


@triton.jit
def row_or_normal(periodic, ax, ay, az, bx, by, bz, cx, cy, cz):
    """Lattice vector a, or what is normal to b and c where it is not periodic."""
    nx, ny, nz = normal(bx, by, bz, cx, cy, cz)
    return tl.where(periodic, ax, nx), tl.where(periodic, ay, ny), tl.where(periodic, az, nz)


@triton.jit
def periodic_row(cell, pbc, row):
    """A lattice vector, zero where it is not periodic."""
    periodic = tl.load(pbc + row) != 0
    x, y, z = load3(cell, row, None)
    return tl.where(periodic, x, 0.0), tl.where(periodic, y, 0.0), tl.where(periodic, z, 0.0)


@triton.jit
def store_bins(bins, at, periodic, x, y, z, radius):
    """Number of bins along a direction, 0 where it has no end, and how many a radius reaches.

    x, y, z: reciprocal vector, whose length is one over the height of the cell.
    """
    height = 1.0 / tl.sqrt(x * x + y * y + z * z)
    count = tl.floor(tl.minimum(height / wider(radius), 1000.0))
    count = tl.maximum(count, 1.0)
    reach = tl.floor(wider(radius) * count / height) + 1.0
    tl.store(bins + 2 * at, tl.where(periodic, count, 0.0).to(tl.int64))
    tl.store(bins + 2 * at + 1, tl.where(periodic, tl.minimum(reach, 1000.0), 1.0).to(tl.int64))


@triton.jit
def make_frame(cell, pbc, frame, inverse, bins, radius: "fp64"):
    """frame and inverse [systems, 3, 3], bins [systems, 3, 2] (number, reach).

    The frame is the lattice, with unit vectors normal to all others where it is not periodic.
    """
    system = tl.program_id(0).to(tl.int64)
    pbc, cell = pbc + system * 3, cell + system * 9
    on_a, on_b, on_c = tl.load(pbc) != 0, tl.load(pbc + 1) != 0, tl.load(pbc + 2) != 0
    ax, ay, az = periodic_row(cell, pbc, 0)
    bx, by, bz = periodic_row(cell, pbc, 1)
    cx, cy, cz = periodic_row(cell, pbc, 2)
    ax, ay, az = row_or_normal(on_a, ax, ay, az, bx, by, bz, cx, cy, cz)
    bx, by, bz = row_or_normal(on_b, bx, by, bz, cx, cy, cz, ax, ay, az)
    cx, cy, cz = row_or_normal(on_c, cx, cy, cz, ax, ay, az, bx, by, bz)
    store3(frame, system * 3, ax, ay, az, None)
    store3(frame, system * 3 + 1, bx, by, bz, None)
    store3(frame, system * 3 + 2, cx, cy, cz, None)

    px, py, pz = cross(bx, by, bz, cx, cy, cz)
    qx, qy, qz = cross(cx, cy, cz, ax, ay, az)
    rx, ry, rz = cross(ax, ay, az, bx, by, bz)
    determinant = ax * px + ay * py + az * pz
    px, py, pz = px / determinant, py / determinant, pz / determinant
    qx, qy, qz = qx / determinant, qy / determinant, qz / determinant
    rx, ry, rz = rx / determinant, ry / determinant, rz / determinant
    store3(inverse, system * 3, px, qx, rx, None)
    store3(inverse, system * 3 + 1, py, qy, ry, None)
    store3(inverse, system * 3 + 2, pz, qz, rz, None)
    store_bins(bins, system * 3, on_a, px, py, pz, radius)
    store_bins(bins, system * 3 + 1, on_b, qx, qy, qz, radius)
    store_bins(bins, system * 3 + 2, on_c, rx, ry, rz, radius)


@triton.jit
def bin_along(fraction, bins, at, radius, mask):
    """Which bin of its direction, and in which image of the cell, float64."""
    count = tl.load(bins + 2 * at, mask=mask, other=1).to(tl.float64)
    image = tl.where(count > 0.0, tl.floor(fraction), 0.0)
    inside = tl.minimum(tl.floor((fraction - image) * count), count - 1.0)
    endless = tl.floor(fraction / wider(radius))
    return tl.where(count > 0.0, inside, endless), image


@triton.jit(do_not_specialize=["n_atoms", "n_places"])
def put_into_bins(
    positions, inverse, bins, system_idx, bin, image, occupants, place_in_bin, flags, n_atoms,
    n_places, radius: "fp64", BLOCK: tl.constexpr,
):  # fmt: skip
    """bin and image [atoms], both packed; place_in_bin [atoms] among occupants [places]."""
    atom = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)  # [BLOCK]
    mask = atom < n_atoms
    system = tl.load(system_idx + atom, mask=mask, other=0)
    x, y, z = load3(positions, atom, mask)
    ax, ay, az = load3(inverse, system * 3, mask)
    bx, by, bz = load3(inverse, system * 3 + 1, mask)
    cx, cy, cz = load3(inverse, system * 3 + 2, mask)

    p, i = bin_along(x * ax + y * bx + z * cx, bins, system * 3, radius, mask)
    q, j = bin_along(x * ay + y * by + z * cy, bins, system * 3 + 1, radius, mask)
    r, k = bin_along(x * az + y * bz + z * cz, bins, system * 3 + 2, radius, mask)
    most = tl.maximum(tl.maximum(tl.abs(p), tl.abs(q)), tl.abs(r))
    most = tl.maximum(most, tl.maximum(tl.maximum(tl.abs(i), tl.abs(j)), tl.abs(k)))
    total = p + q + r + i + j + k
    finite = total - total == 0.0
    fits = finite & (most < _FURTHEST)
    p, q, r = tl.where(fits, p, 0.0), tl.where(fits, q, 0.0), tl.where(fits, r, 0.0)
    i, j, k = tl.where(fits, i, 0.0), tl.where(fits, j, 0.0), tl.where(fits, k, 0.0)

    own = pack(p.to(tl.int64), q.to(tl.int64), r.to(tl.int64))
    tl.store(bin + atom, own, mask=mask)
    tl.store(image + atom, pack(i.to(tl.int64), j.to(tl.int64), k.to(tl.int64)), mask=mask)
    place = place_of(own, system, n_places)
    one = tl.full([BLOCK], 1, tl.int64)
    before = tl.atomic_add(occupants + place, one, mask=mask, sem="relaxed")
    tl.store(place_in_bin + atom, before, mask=mask)
    bits = tl.where(finite, tl.where(fits, 0, _OUT_OF_RANGE), _NOT_FINITE)
    tl.atomic_or(flags + tl.zeros([BLOCK], tl.int32), bits, mask=mask & (bits != 0), sem="relaxed")


@triton.jit(do_not_specialize=["n_atoms", "n_places"])
def list_by_bin(
    bin, system_idx, place_in_bin, first_occupant, atoms, n_atoms, n_places, BLOCK: tl.constexpr,
):  # fmt: skip
    """atoms [atoms] by place of the table; within a place in no order."""
    atom = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)  # [BLOCK]
    mask = atom < n_atoms
    own, system = (
        tl.load(bin + atom, mask=mask, other=0), tl.load(system_idx + atom, mask=mask, other=0)
    )  # fmt: skip
    first = tl.load(first_occupant + place_of(own, system, n_places), mask=mask, other=0)
    before = tl.load(place_in_bin + atom, mask=mask, other=0)
    tl.store(atoms + first + before, atom, mask=mask)


# -- running sums --------------------------------------------------------------------------------


@triton.jit(do_not_specialize=["n"])
def sum_blocks(values, sums, n, BLOCK: tl.constexpr):
    """sums [blocks] of values [n]."""
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)  # [BLOCK]
    tl.store(sums + tl.program_id(0), tl.sum(tl.load(values + i, mask=i < n, other=0)))


@triton.jit(do_not_specialize=["n", "most", "bit"])
def running_sum(values, sums, starts, needed, flags, n, most, bit, BLOCK: tl.constexpr):
    """starts [n + 1]: the sum of all values before, at most `most`; else the bit is raised.

    needed [1] is the sum of all.
    """
    block = tl.program_id(0)
    before = tl.zeros([BLOCK], tl.int64)
    for first in range(0, block, BLOCK):
        j = first + tl.arange(0, BLOCK)
        before += tl.load(sums + j, mask=j < block, other=0)

    i = block.to(tl.int64) * BLOCK + tl.arange(0, BLOCK)  # [BLOCK]
    ends = tl.sum(before) + tl.cumsum(tl.load(values + i, mask=i < n, other=0), 0)
    tl.store(starts + i + 1, tl.minimum(ends, most), mask=i < n)
    tl.store(starts + i, 0, mask=i == 0)
    tl.store(needed + i * 0, ends, mask=i == n - 1)
    tl.atomic_or(flags + i * 0, bit + (i * 0).to(tl.int32), mask=(i == n - 1) & (ends > most))
