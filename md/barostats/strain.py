"""Strains of cells: which are allowed, how atoms follow them, and the pressure that drives them.

A strain is a symmetric tensor e [systems, 3, 3]: the rows of the cell, and positions about the
centre of mass, are multiplied by exp(e). Isotropic scaling, scaling by axis, and the change of the
whole cell are one code: a projection of e decides which it is. All are measured so that the volume
is distributed as it is with an isotropic barostat (Martyna, Tobias & Klein, J. Chem. Phys. 101,
4177 (1994): det(h)^-2 dh for a cell h that is free).

Without care, a free cell would turn: a product of symmetric strains is not symmetric. What a cell
has become since step 0, D = h(0)^-1 h, is kept symmetric by turning cell, positions and velocities
together, which no potential notices.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from fastequi.graph import volumes
from fastequi.md.state import State

COUPLINGS = ("isotropic", "axes", "flexible")
AXES = ("xyz", "xy", "xz", "yz", "x", "y", "z")


@dataclass(frozen=True, slots=True)
class Coupling:
    """Which strains a barostat may make.

    kind  isotropic: the same along all axes; axes: each of them; flexible: their shears too
    axes  Cartesian directions that may change, for example "xy"; the others stay as they are
    """

    kind: str
    axes: str

    @property
    def indices(self) -> list[int]:
        """Of the axes, in 0, 1, 2."""
        return ["xyz".index(axis) for axis in self.axes]

    @property
    def n_strains(self) -> int:
        """How many numbers an allowed strain has."""
        n = len(self.axes)
        return {"isotropic": 1, "axes": n, "flexible": n * (n + 1) // 2}[self.kind]

    def project(self, tensor: Tensor) -> Tensor:
        """The allowed part of symmetric tensors [systems, 3, 3]: an orthogonal projection."""
        return projected(tensor, self.projection(tensor.device))

    def projection(self, device: torch.device) -> Tensor:
        """It as a matrix [9, 9], float64; what a step has made before it begins."""
        free = torch.zeros(3, dtype=torch.float64)
        free[self.indices] = 1.0
        allowed, diagonal = torch.outer(free, free), torch.diag(free)
        matrix = {
            "isotropic": torch.outer(diagonal.view(9), diagonal.view(9)) / len(self.axes),
            "axes": torch.diag(diagonal.view(9)),
            "flexible": torch.diag(allowed.view(9)),
        }[self.kind]
        return matrix.to(device)


def projected(tensor: Tensor, projection: Tensor) -> Tensor:
    """The part of tensors [systems, 3, 3] that a `Coupling.projection` allows."""
    return (tensor.reshape(-1, 9) @ projection).view(-1, 3, 3)


def identity_like(tensor: Tensor) -> Tensor:
    """1 [3, 3] of the type and on the device of a tensor."""
    return torch.eye(3, dtype=tensor.dtype, device=tensor.device)


def exp_minus_one(m: Tensor) -> Tensor:
    """exp(m) - 1 of matrices [systems, 3, 3] by its series: to rounding for norms below 0.1.

    Nine terms, in powers of m³ as Paterson & Stockmeyer sum them, SIAM J. Comput. 2, 60 (1973).
    """
    square = m @ m
    cube = square @ m

    def three_terms(n: int) -> Tensor:
        """n! (m / n! + m² / (n + 1)! + m³ / (n + 2)!)"""
        second = 1.0 / (n + 1)
        return m.add(square, alpha=second).add_(cube, alpha=second / (n + 2))

    later = torch.baddbmm(three_terms(4), cube, three_terms(7), alpha=1.0 / (5 * 6 * 7))
    return torch.baddbmm(three_terms(1), cube, later, alpha=1.0 / (2 * 3 * 4))


def exp_minus_one_of_diagonal(m: Tensor) -> Tensor:
    """The same of diagonal matrices."""
    return torch.diag_embed(torch.expm1(m.diagonal(dim1=1, dim2=2)))


def strain_cell_(state: State, strain: Tensor) -> None:
    """Cell and positions about the centre of mass by exp(strain) [systems, 3, 3]."""
    deform_cell_(state, exp_minus_one(strain))


def deform_cell_(state: State, change: Tensor) -> None:
    """Cell and positions about the centre of mass by 1 + change [systems, 3, 3]."""
    state.cell.add_(state.cell @ change)
    relative = state.positions - state.batch.of_atoms(centre_of_mass(state))
    add_by_system_(state.positions, relative, change, state)


def strain_velocities_(state: State, strain: Tensor) -> None:
    """Velocities about the centre of mass, which moves as before, by exp(strain)."""
    deform_velocities_(state, exp_minus_one(strain))


def deform_velocities_(state: State, change: Tensor) -> None:
    """Velocities about the centre of mass, which moves as before, by 1 + change."""
    add_by_system_(state.velocities, state.batch.internal(state.velocities), change, state)


def turn_back_(state: State, deformation: Tensor, strain: Tensor) -> Tensor:
    """Note a strain in D [systems, 3, 3], and turn a system until D is symmetric; the rotation.

    One step of Newton's method each time: what it leaves over, the square of an angle, is corrected
    by the next. With R = exp([w]), D R is symmetric to first order for (tr S - S) w = -2 a, where S
    and [a] are the symmetric and antisymmetric part of D.
    """
    deformation.add_(deformation @ exp_minus_one(strain))
    symmetric = 0.5 * (deformation + deformation.mT)
    a = 0.5 * _axial(deformation - deformation.mT)
    identity = identity_like(a)
    trace = symmetric.diagonal(dim1=1, dim2=2).sum(dim=1).view(-1, 1, 1)
    w = _solved(trace * identity - symmetric, -2.0 * a)
    cross = _cross_matrix(w)
    scale = 1.0 + 0.25 * w.square().sum(dim=1).view(-1, 1, 1)
    turn = (cross + 0.5 * cross @ cross) / scale  # Cayley's rotation, minus 1
    deformation.add_(deformation @ turn)
    deform_cell_(state, turn)
    deform_velocities_(state, turn)
    return identity + turn


def pressure_energy(state: State) -> Tensor:
    """Volume times the pressure tensor [systems, 3, 3] in eV, of motion about the centre of mass.

    sum m v ⊗ v - V stress; a third of its trace over the volume is the pressure in the log.
    """
    volume = volumes(state.cell).view(-1, 1, 1)
    return kinetic_tensor(state) - volume * state.stress


def kinetic_tensor(state: State) -> Tensor:
    """sum m v ⊗ v [systems, 3, 3] in eV, of motion about the centre of mass."""
    return state.batch.kinetic_tensor(state.batch.internal(state.velocities))


def centre_of_mass(state: State) -> Tensor:
    """Of each system [systems, 3] in Å; positions are never wrapped, so it moves smoothly."""
    return state.batch.sum(state.batch.mass_share * state.positions)


def add_by_system_(out: Tensor, vectors: Tensor, matrices: Tensor, state: State) -> None:
    """To [atoms, 3], each row vector [atoms, 3] times the matrix of its system [systems, 3, 3].

    Term by term: rounding is the same however many atoms there are. The two may be one.
    """
    m = state.batch.of_atoms(matrices)
    x, y, z = vectors[:, 0:1], vectors[:, 1:2], vectors[:, 2:3]
    out.add_((x * m[:, 0]).addcmul_(y, m[:, 1]).addcmul_(z, m[:, 2]))


def _solved(matrices: Tensor, right: Tensor) -> Tensor:
    """x of A x = b by Cramer's rule, A symmetric [systems, 3, 3], b [systems, 3].

    `torch.linalg.solve` may wait for the device, and is many kernels for three unknowns.
    """
    adjugate = torch.linalg.cross(matrices.roll(-1, 1), matrices.roll(-2, 1), dim=2)
    determinant = (matrices[:, 0] * adjugate[:, 0]).sum(dim=1, keepdim=True)
    return (adjugate @ right.unsqueeze(2)).squeeze(2) / determinant


def _cross_matrix(w: Tensor) -> Tensor:
    """[w] with [w] x = w × x: [systems, 3, 3]."""
    zero = torch.zeros_like(w[:, 0])
    x, y, z = w.unbind(1)
    return torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], dim=1).view(-1, 3, 3)


def _axial(antisymmetric: Tensor) -> Tensor:
    """w of [w]: [systems, 3]."""
    a = antisymmetric
    return torch.stack([a[:, 2, 1], a[:, 0, 2], a[:, 1, 0]], dim=1)
