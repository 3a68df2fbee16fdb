"""Kernels: the edges of every atom from its bins, in the order (sender, shift), their reverses, and
their vectors.

Programs are receivers. The pair of i and the image of j that is `shift` lattice vectors away is an
edge where |x_j - x_i + shift @ cell| < radius; atoms are where they are and never wrapped.
"""

# Triton's language is not quite Python's.
# ruff: noqa: F821
# pyright: reportUndefinedVariable=false, reportArgumentType=false, reportOperatorIssue=false

import triton
import triton.language as tl

from fastequi.kernels.triton.step.cells import negated, pack, place_of, unpack
from fastequi.kernels.triton.step.flags import OVERFLOW
from fastequi.kernels.triton.step.motion import load3, store3

_OVERFLOW = tl.constexpr(OVERFLOW)


@triton.jit
def image_vector(cell, system, a, b, c):
    """shift @ cell, summed in the order of md/neighbors/list.py, for the same bits."""
    a, b, c = a.to(tl.float64), b.to(tl.float64), c.to(tl.float64)
    cell = cell + system * 9
    x = tl.load(cell) * a + tl.load(cell + 3) * b + tl.load(cell + 6) * c
    y = tl.load(cell + 1) * a + tl.load(cell + 4) * b + tl.load(cell + 7) * c
    return x, y, tl.load(cell + 2) * a + tl.load(cell + 5) * b + tl.load(cell + 8) * c


@triton.jit
def neighbor_bin(own, step, bins):
    """The bin that is `step` away along a direction, and in which image of the cell."""
    count, reach = tl.load(bins), tl.load(bins + 1)
    moved, size = own + step, tl.maximum(count, 1)
    image = (moved + (reach + 1) * size) // size - (reach + 1)  # rounded down, whatever the sign
    image = tl.where(count > 0, image, 0)
    return moved - image * size, image


@triton.jit
def find_neighbors(
    positions, cell, bins, system_idx, bin, image, first_occupant, atoms, found, found_sender,
    found_shift, n_places, capacity, radius, FILL: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """found and how many neighbours a receiver has; with FILL they are stored from `found` on.

    Lanes are bins within reach; each looks at its atoms one by one.
    """
    receiver = tl.program_id(0).to(tl.int64)
    system = tl.load(system_idx + receiver)
    bins = bins + system * 6
    x, y, z = load3(positions, receiver, None)
    p, q, r = unpack(tl.load(bin + receiver))
    i, j, k = unpack(tl.load(image + receiver))
    ra, rb, rc = tl.load(bins + 1), tl.load(bins + 3), tl.load(bins + 5)
    nb, nc = 2 * rb + 1, 2 * rc + 1
    n_near = (2 * ra + 1) * nb * nc

    for first in range(0, n_near, BLOCK):
        near = first + tl.arange(0, BLOCK)  # [BLOCK]
        ta, ia = neighbor_bin(p, near // (nb * nc) - ra, bins)
        tb, ib = neighbor_bin(q, near // nc % nb - rb, bins + 2)
        tc, ic = neighbor_bin(r, near % nc - rc, bins + 4)
        theirs = pack(ta, tb, tc)
        place = place_of(theirs, system, n_places)
        begin = tl.load(first_occupant + place, mask=near < n_near, other=0)
        end = tl.load(first_occupant + place + 1, mask=near < n_near, other=0)
        for n in range(0, tl.max(end - begin)):
            inside = begin + n < end
            sender = tl.load(atoms + begin + n, mask=inside, other=0)
            inside &= tl.load(bin + sender, mask=inside, other=0) == theirs
            inside &= tl.load(system_idx + sender, mask=inside, other=0) == system
            si, sj, sk = unpack(tl.load(image + sender, mask=inside, other=0))
            a, b, c = ia - si + i, ib - sj + j, ic - sk + k
            vx, vy, vz = image_vector(cell, system, a, b, c)
            sx, sy, sz = load3(positions, sender, inside)
            dx, dy, dz = sx - x + vx, sy - y + vy, sz - z + vz
            inside &= dx * dx + dy * dy + dz * dz < radius * radius
            inside &= (sender != receiver) | (a != 0) | (b != 0) | (c != 0)
            if FILL:
                at = found + tl.cumsum(inside.to(tl.int64), 0) - 1
                stored = inside & (at < capacity)
                tl.store(found_sender + at, sender, mask=stored)
                tl.store(found_shift + at, pack(a, b, c), mask=stored)
            found += tl.sum(inside.to(tl.int64))
    return found


@triton.jit(do_not_specialize=["n_places"])
def count_neighbors(
    positions, cell, bins, system_idx, bin, image, first_occupant, atoms, counts, n_places,
    radius: "fp64", BLOCK: tl.constexpr,
):  # fmt: skip
    """counts [atoms]."""
    found = find_neighbors(
        positions, cell, bins, system_idx, bin, image, first_occupant, atoms,
        tl.full((), 0, tl.int64), counts, counts, n_places, 0, radius, False, BLOCK,
    )  # fmt: skip
    tl.store(counts + tl.program_id(0), found)


@triton.jit(do_not_specialize=["n_places", "capacity"])
def fill_neighbors(
    positions, cell, bins, system_idx, bin, image, first_occupant, atoms, row_start, found_sender,
    found_shift, n_places, capacity, radius: "fp64", BLOCK: tl.constexpr,
):  # fmt: skip
    """found_sender and found_shift [capacity], the rows of row_start, each in no order."""
    find_neighbors(
        positions, cell, bins, system_idx, bin, image, first_occupant, atoms,
        tl.load(row_start + tl.program_id(0)), found_sender, found_shift, n_places, capacity,
        radius, True, BLOCK,
    )  # fmt: skip


@triton.jit
def sort_rows(
    row_start, found_sender, found_shift, sender, shift, BLOCK: tl.constexpr,
):  # fmt: skip
    """Edges of a row by (sender, shift): as many are before an edge as are less than it."""
    receiver = tl.program_id(0).to(tl.int64)
    start, end = tl.load(row_start + receiver), tl.load(row_start + receiver + 1)

    for first in range(start, end, BLOCK):
        edge = first + tl.arange(0, BLOCK)  # [BLOCK]
        mask = edge < end
        own = tl.load(found_sender + edge, mask=mask, other=0)
        own_shift = tl.load(found_shift + edge, mask=mask, other=0)
        rank = tl.zeros([BLOCK], tl.int64) + start
        for e in range(start, end):
            other, other_shift = tl.load(found_sender + e), tl.load(found_shift + e)
            less = (other < own) | ((other == own) & (other_shift < own_shift))
            rank += less.to(tl.int64)
        tl.store(sender + rank, own.to(sender.dtype.element_ty), mask=mask)
        tl.store(shift + rank, own_shift, mask=mask)


@triton.jit
def find_reverses(sender, shift, row_start, reverse, flags, BLOCK: tl.constexpr):
    """reverse [edges]: the edge from the receiver back to the sender, by bisection in its row."""
    receiver = tl.program_id(0).to(tl.int64)
    start, end = tl.load(row_start + receiver), tl.load(row_start + receiver + 1)

    for first in range(start, end, BLOCK):
        edge = first + tl.arange(0, BLOCK)  # [BLOCK]
        mask = edge < end
        row = tl.load(sender + edge, mask=mask, other=0).to(tl.int64)
        wanted = negated(tl.load(shift + edge, mask=mask, other=0))
        low = tl.load(row_start + row, mask=mask, other=0)
        last = tl.load(row_start + row + 1, mask=mask, other=0)
        high = last
        while tl.max(high - low) > 0:
            middle = (low + high) // 2
            open = low < high
            other = tl.load(sender + middle, mask=open, other=0).to(tl.int64)
            other_shift = tl.load(shift + middle, mask=open, other=0)
            less = (other < receiver) | ((other == receiver) & (other_shift < wanted))
            low = tl.where(open & less, middle + 1, low)
            high = tl.where(open & (less == 0), middle, high)
        inside = mask & (low < last)
        other = tl.load(sender + low, mask=inside, other=-1).to(tl.int64)
        other_shift = tl.load(shift + low, mask=inside, other=0)
        found = inside & (other == receiver) & (other_shift == wanted)
        back = tl.where(found, low, edge)  # within bounds where the list is not complete
        tl.store(reverse + edge, back.to(reverse.dtype.element_ty), mask=mask)
        bits = tl.full([BLOCK], _OVERFLOW, tl.int32)
        missing = mask & (found == 0)
        tl.atomic_or(flags + tl.zeros([BLOCK], tl.int32), bits, mask=missing, sem="relaxed")


@triton.jit
def edge_vectors(
    positions, cell, system_idx, atoms, sender_atom, shift, row_start, vectors,
    BLOCK: tl.constexpr,
):  # fmt: skip
    """vectors [edges, 3] from receiver to sender, in the arithmetic of the model.

    atoms [rows]         which atom of positions and systems receives the edges of a row
    sender_atom [edges]  which one sends
    """
    row = tl.program_id(0)
    receiver = tl.load(atoms + row)
    system = tl.load(system_idx + receiver)
    start, end = tl.load(row_start + row), tl.load(row_start + row + 1)
    x, y, z = load3(positions, receiver, None)

    for first in range(start, end, BLOCK):
        edge = first + tl.arange(0, BLOCK)  # [BLOCK]
        mask = edge < end
        sender = tl.load(sender_atom + edge, mask=mask, other=0).to(tl.int64)
        sx, sy, sz = load3(positions, sender, mask)
        a, b, c = unpack(tl.load(shift + edge, mask=mask, other=0))
        ix, iy, iz = image_vector(cell, system, a, b, c)
        store3(vectors, edge, sx - x + ix, sy - y + iy, sz - z + iz, mask)
