"""Kernels: have atoms moved too far for the list? And what a strained cell leaves of its skin.

Programs are parts of systems, (system, part of ATOMS atoms). `definitions.py` says the same in
torch.
"""

# Triton's language is not quite Python's.
# ruff: noqa: F821
# pyright: reportUndefinedVariable=false, reportArgumentType=false

import triton
import triton.language as tl

from fastequi.kernels.triton.step.flags import MOVED_TOO_FAR, NOT_FINITE, SKIN_USED

_SKIN_USED = tl.constexpr(SKIN_USED)
_MOVED_TOO_FAR = tl.constexpr(MOVED_TOO_FAR)
_NOT_FINITE = tl.constexpr(NOT_FINITE)


@triton.jit
def load3(base, row, mask):
    """A row of three numbers."""
    if mask is None:
        x, y = tl.load(base + row * 3), tl.load(base + row * 3 + 1)
        z = tl.load(base + row * 3 + 2)
    else:
        x = tl.load(base + row * 3, mask=mask, other=0.0)
        y = tl.load(base + row * 3 + 1, mask=mask, other=0.0)
        z = tl.load(base + row * 3 + 2, mask=mask, other=0.0)
    return x, y, z


@triton.jit
def store3(base, row, x, y, z, mask):
    dtype = base.dtype.element_ty
    tl.store(base + row * 3, x.to(dtype), mask=mask)
    tl.store(base + row * 3 + 1, y.to(dtype), mask=mask)
    tl.store(base + row * 3 + 2, z.to(dtype), mask=mask)


@triton.jit
def times_matrix(x, y, z, matrix):
    """(x, y, z) @ matrix [3, 3]."""
    u = x * tl.load(matrix) + y * tl.load(matrix + 3) + z * tl.load(matrix + 6)
    v = x * tl.load(matrix + 1) + y * tl.load(matrix + 4) + z * tl.load(matrix + 7)
    return u, v, x * tl.load(matrix + 2) + y * tl.load(matrix + 5) + z * tl.load(matrix + 8)


@triton.jit
def moved(positions, built_positions, deformation, atom, mask):
    """How far atoms are from where the deformation has put them since the build."""
    x, y, z = load3(positions, atom, mask)
    bx, by, bz = load3(built_positions, atom, mask)
    ax, ay, az = times_matrix(bx, by, bz, deformation)
    return x - ax, y - ay, z - az


@triton.jit
def sum_moves(
    positions, built_positions, deformation, first_atom, moves, ATOMS: tl.constexpr,
    BLOCK: tl.constexpr,
):  # fmt: skip
    """moves [systems, parts, 3]: sum of the moves of a part's atoms."""
    system, part = tl.program_id(0).to(tl.int64), tl.program_id(1)
    begin = tl.load(first_atom + system) + part * ATOMS
    end = tl.minimum(tl.load(first_atom + system + 1), begin + ATOMS)
    sx = tl.zeros([BLOCK], tl.float64)
    sy = tl.zeros([BLOCK], tl.float64)
    sz = tl.zeros([BLOCK], tl.float64)

    for first in range(begin, end, BLOCK):
        atom = first + tl.arange(0, BLOCK)  # [BLOCK]
        mask = atom < end
        ux, uy, uz = moved(positions, built_positions, deformation + system * 9, atom, mask)
        sx += ux
        sy += uy
        sz += uz

    row = system * tl.num_programs(1) + part
    store3(moves, row, tl.sum(sx), tl.sum(sy), tl.sum(sz), None)


@triton.jit
def mean_move(moves, system, n_parts, n_atoms, BLOCK: tl.constexpr):
    """Of all atoms of a system, summed over its parts in order."""
    sx = tl.zeros([BLOCK], tl.float64)
    sy = tl.zeros([BLOCK], tl.float64)
    sz = tl.zeros([BLOCK], tl.float64)
    for first in range(0, n_parts, BLOCK):
        part = first + tl.arange(0, BLOCK)
        x, y, z = load3(moves, system * n_parts + part, part < n_parts)
        sx += x
        sy += y
        sz += z
    return tl.sum(sx) / n_atoms, tl.sum(sy) / n_atoms, tl.sum(sz) / n_atoms


@triton.jit
def check_moves(
    positions, built_positions, deformation, first_atom, moves, allowance, last_positions, flags,
    furthest: "fp64", ATOMS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Raises flags, and keeps the positions as those of the last call.

    allowance [systems]  what 2 max |move - mean move| must not exceed
    furthest             what an atom may move between two calls
    """
    system, part = tl.program_id(0).to(tl.int64), tl.program_id(1)
    first_of_system, end_of_system = tl.load(first_atom + system), tl.load(first_atom + system + 1)
    n_atoms = (end_of_system - first_of_system).to(tl.float64)
    mx, my, mz = mean_move(moves, system, tl.num_programs(1), n_atoms, BLOCK)
    allowed = tl.load(allowance + system)
    begin = first_of_system + part * ATOMS
    end = tl.minimum(end_of_system, begin + ATOMS)
    bits = tl.zeros([BLOCK], tl.int32)

    for first in range(begin, end, BLOCK):
        atom = first + tl.arange(0, BLOCK)  # [BLOCK]
        mask = atom < end
        ux, uy, uz = moved(positions, built_positions, deformation + system * 9, atom, mask)
        ux, uy, uz = ux - mx, uy - my, uz - mz
        used = 2.0 * tl.sqrt(ux * ux + uy * uy + uz * uz)
        x, y, z = load3(positions, atom, mask)
        lx, ly, lz = load3(last_positions, atom, mask)
        dx, dy, dz = x - lx, y - ly, z - lz
        distance = tl.sqrt(dx * dx + dy * dy + dz * dz)
        total = x + y + z
        # in this form what is not a number raises a flag too
        bits |= tl.where(mask & ((used <= allowed) == 0), _SKIN_USED, 0)
        bits |= tl.where(mask & ((distance <= furthest) == 0), _MOVED_TOO_FAR, 0)
        bits |= tl.where(mask & ((total - total == 0.0) == 0), _NOT_FINITE, 0)
        store3(last_positions, atom, x, y, z, mask)

    tl.atomic_or(flags + tl.zeros([BLOCK], tl.int32), bits, mask=bits != 0, sem="relaxed")


@triton.jit
def column(inverse, frame, cell, pbc, k: tl.constexpr):
    """Column k of inverse @ lattice; directions that are not periodic stay as at the build."""
    a = tl.where(tl.load(pbc) != 0, tl.load(cell + k), tl.load(frame + k))
    b = tl.where(tl.load(pbc + 1) != 0, tl.load(cell + 3 + k), tl.load(frame + 3 + k))
    c = tl.where(tl.load(pbc + 2) != 0, tl.load(cell + 6 + k), tl.load(frame + 6 + k))
    x = tl.load(inverse) * a + tl.load(inverse + 1) * b + tl.load(inverse + 2) * c
    y = tl.load(inverse + 3) * a + tl.load(inverse + 4) * b + tl.load(inverse + 5) * c
    return x, y, tl.load(inverse + 6) * a + tl.load(inverse + 7) * b + tl.load(inverse + 8) * c


@triton.jit
def deform(frame, inverse, cell, pbc, deformation, allowance, radius: "fp64", skin: "fp64"):
    """F, the map of the lattice at the build onto that of now, and what it leaves of the skin.

    A pair that was `radius` apart is at least sigma_min(F) radius apart. sigma_min^2 is the
    smallest eigenvalue of M = F F^T; by Gershgorin it is at least min_i (M_ii - sum_j |M_ij|), and
    it is that where the strain is along the axes.
    """
    system = tl.program_id(0).to(tl.int64)
    inverse, frame, cell = inverse + system * 9, frame + system * 9, cell + system * 9
    pbc = pbc + system * 3
    ax, bx, cx = column(inverse, frame, cell, pbc, 0)
    ay, by, cy = column(inverse, frame, cell, pbc, 1)
    az, bz, cz = column(inverse, frame, cell, pbc, 2)

    ab = tl.abs(ax * bx + ay * by + az * bz)
    bc = tl.abs(bx * cx + by * cy + bz * cz)
    ca = tl.abs(cx * ax + cy * ay + cz * az)
    lowest = ax * ax + ay * ay + az * az - ab - ca
    lowest = tl.minimum(lowest, bx * bx + by * by + bz * bz - ab - bc)
    lowest = tl.minimum(lowest, cx * cx + cy * cy + cz * cz - bc - ca)
    strain = radius * (1.0 - tl.sqrt(tl.maximum(lowest, 0.0)))

    store3(deformation + system * 9, 0, ax, ay, az, None)
    store3(deformation + system * 9, 1, bx, by, bz, None)
    store3(deformation + system * 9, 2, cx, cy, cz, None)
    tl.store(allowance + system, skin - tl.maximum(strain, 0.0))
