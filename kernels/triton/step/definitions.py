"""What the kernels of a step compute, in plain torch; each is held to what stands here.

Noise is defined in `fastequi.md.noise`, the neighbour list in `fastequi.md.neighbors.reference`.
"""

import torch
from torch import Tensor

from fastequi.graph import sum_by_system, volumes
from fastequi.kernels.triton.step.flags import BITS, MOVED_TOO_FAR, NOT_FINITE, OFFSET, SKIN_USED


def unpack(packed: Tensor) -> Tensor:
    """The three whole numbers [n, 3] of packed ones [n]."""
    mask = (1 << BITS) - 1
    return torch.stack([packed >> (2 * BITS), (packed >> BITS) & mask, packed & mask], 1) - OFFSET


def pack(shift: Tensor) -> Tensor:
    """Three whole numbers [n, 3], as one each, in lexical order."""
    a, b, c = (shift.to(torch.int64) + OFFSET).unbind(1)
    return (a << (2 * BITS)) + (b << BITS) + c


def edge_vectors(
    positions: Tensor, image_vectors: Tensor, sender: Tensor, receiver: Tensor, dtype: torch.dtype
) -> Tensor:
    """From receiver to sender [edges, 3]: x_j - x_i + image, rounded to dtype once."""
    return (positions[sender.long()] - positions[receiver] + image_vectors).to(dtype)


def deform(
    frame: Tensor, inverse: Tensor, cell: Tensor, pbc: Tensor, radius: float, skin: float
) -> tuple[Tensor, Tensor]:
    """F [systems, 3, 3] with lattice_built @ F = lattice_now, and the skin less the strain.

    frame    lattice vectors at the build; unit vectors normal to them where it is not periodic
    inverse  of the frame
    """
    deformation = inverse @ torch.where(pbc.unsqueeze(2), cell, frame)
    m = deformation @ deformation.mT
    off = m.abs().sum(dim=2) - m.diagonal(dim1=1, dim2=2).abs()
    lowest = (m.diagonal(dim1=1, dim2=2) - off).amin(dim=1).clamp(min=0.0)
    return deformation, skin - (radius * (1.0 - lowest.sqrt())).clamp(min=0.0)


def move_flags(
    positions: Tensor, built_positions: Tensor, last_positions: Tensor, deformation: Tensor,
    system_idx: Tensor, allowance: Tensor, furthest: float,
) -> int:  # fmt: skip
    """Bits of flags, with u the move beyond the deformation.

    2 max |u - mean u| must not exceed the allowance of a system (`skin_used` in
    md/neighbors/list.py), and no atom may have moved beyond `furthest` since the last call.
    """
    affine = torch.einsum("ia,iab->ib", built_positions, deformation[system_idx])
    moved = positions - affine
    n_systems = len(allowance)
    counts = torch.bincount(system_idx, minlength=n_systems).unsqueeze(1)
    mean = sum_by_system(moved, system_idx, n_systems) / counts
    used = 2.0 * (moved - mean[system_idx]).norm(dim=1)
    distance = (positions - last_positions).norm(dim=1)
    raised = {
        SKIN_USED: ~(used <= allowance[system_idx]),
        MOVED_TOO_FAR: ~(distance <= furthest),
        NOT_FINITE: ~torch.isfinite(positions).all(dim=1),
    }
    return sum(bit for bit, atoms in raised.items() if atoms.any())


def forces_and_stress(
    gradients: Tensor, vectors: Tensor, reverse: Tensor, receiver: Tensor, energies: Tensor,
    cell: Tensor, system_idx: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """(forces [atoms, 3], energy [systems], stress [systems, 3, 3]) from g = dE/dr [edges, 3].

    F_i = sum over own row (g_e - g_reverse(e)): what an edge sends is received by its reverse.
    Virial: sum_e r_e g_e^T, made symmetric; stress is NaN where the cell has no volume.
    """
    g, r = gradients.to(torch.float64), vectors.to(torch.float64)
    n_atoms, n_systems = len(energies), len(cell)
    forces = g.new_zeros(n_atoms, 3).index_add(0, receiver, g - g[reverse.long()])
    products = r.unsqueeze(2) * g.unsqueeze(1)
    virial = g.new_zeros(n_systems, 3, 3).index_add(0, system_idx[receiver], products)
    volume = volumes(cell).view(-1, 1, 1)
    stress = 0.5 * (virial + virial.mT) / torch.where(volume > 0, volume, torch.nan)
    energy = g.new_zeros(n_systems).index_add(0, system_idx, energies.to(torch.float64))
    return forces, energy, stress
