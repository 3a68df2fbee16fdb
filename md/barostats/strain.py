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

from fastequi.graph import sum_by_system, volumes
from fastequi.md.state import State
from fastequi.md.velocities import drift_velocity
from fastequi.units import KINETIC_eV

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
        free = torch.zeros(3, dtype=tensor.dtype, device=tensor.device)
        for index in self.indices:
            free[index] = 1.0
        if self.kind == "flexible":
            return tensor * (free.unsqueeze(1) * free)
        diagonal = tensor.diagonal(dim1=1, dim2=2) * free
        if self.kind == "isotropic":
            diagonal = free * (diagonal.sum(dim=1, keepdim=True) / len(self.axes))
        return torch.diag_embed(diagonal)


def identity_like(tensor: Tensor) -> Tensor:
    """1 [3, 3] of the type and on the device of a tensor."""
    return torch.eye(3, dtype=tensor.dtype, device=tensor.device)


def exp_minus_one(m: Tensor) -> Tensor:
    """exp(m) - 1 of matrices [systems, 3, 3] by its series: to rounding for norms below 0.1."""
    identity = identity_like(m)
    total = m / 10.0
    for k in range(9, 1, -1):
        total = (m / k) @ (identity + total)
    return m @ (identity + total)


def strain_cell_(state: State, strain: Tensor) -> None:
    """Cell and positions about the centre of mass by exp(strain) [systems, 3, 3]."""
    change = exp_minus_one(strain)
    state.cell.add_(state.cell @ change)
    relative = state.positions - centre_of_mass(state)[state.system_idx]
    state.positions.add_(by_system(relative, change, state))


def strain_velocities_(state: State, strain: Tensor) -> None:
    """Velocities about the centre of mass, which moves as before, by exp(strain)."""
    relative = state.velocities - drift_velocity(state)[state.system_idx]
    state.velocities.add_(by_system(relative, exp_minus_one(strain), state))


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
    w = torch.linalg.solve_ex(trace * identity - symmetric, -2.0 * a.unsqueeze(2))[0].squeeze(2)
    cross = _cross_matrix(w)
    scale = 1.0 + 0.25 * w.square().sum(dim=1).view(-1, 1, 1)
    turn = (cross + 0.5 * cross @ cross) / scale  # Cayley's rotation, minus 1
    deformation.add_(deformation @ turn)
    state.cell.add_(state.cell @ turn)
    relative = state.positions - centre_of_mass(state)[state.system_idx]
    state.positions.add_(by_system(relative, turn, state))
    moving = state.velocities - drift_velocity(state)[state.system_idx]
    state.velocities.add_(by_system(moving, turn, state))
    return identity + turn


def pressure_energy(state: State) -> Tensor:
    """Volume times the pressure tensor [systems, 3, 3] in eV, of motion about the centre of mass.

    sum m v ⊗ v - V stress; a third of its trace over the volume is the pressure in the log.
    """
    volume = volumes(state.cell).view(-1, 1, 1)
    return kinetic_tensor(state) - volume * state.stress


def kinetic_tensor(state: State) -> Tensor:
    """sum m v ⊗ v [systems, 3, 3] in eV, of motion about the centre of mass."""
    v = state.velocities - drift_velocity(state)[state.system_idx]
    carried = KINETIC_eV * state.masses.unsqueeze(1) * v
    outer = carried.unsqueeze(2) * v.unsqueeze(1)
    return sum_by_system(outer, state.system_idx, state.n_systems)


def centre_of_mass(state: State) -> Tensor:
    """Of each system [systems, 3] in Å; positions are never wrapped, so it moves smoothly."""
    weighted = state.masses.unsqueeze(1) * state.positions
    mass = sum_by_system(state.masses, state.system_idx, state.n_systems)
    return sum_by_system(weighted, state.system_idx, state.n_systems) / mass.unsqueeze(1)


def by_system(vectors: Tensor, matrices: Tensor, state: State) -> Tensor:
    """Each row vector [atoms, 3] times the matrix of its system [systems, 3, 3].

    Term by term: rounding is the same however many atoms there are.
    """
    m = matrices.reshape(-1, 9).index_select(0, state.system_idx).view(-1, 3, 3)
    x, y, z = vectors[:, 0:1], vectors[:, 1:2], vectors[:, 2:3]
    return x * m[:, 0] + y * m[:, 1] + z * m[:, 2]


def _cross_matrix(w: Tensor) -> Tensor:
    """[w] with [w] x = w × x: [systems, 3, 3]."""
    zero = torch.zeros_like(w[:, 0])
    x, y, z = w.unbind(1)
    return torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], dim=1).view(-1, 3, 3)


def _axial(antisymmetric: Tensor) -> Tensor:
    """w of [w]: [systems, 3]."""
    a = antisymmetric
    return torch.stack([a[:, 2, 1], a[:, 0, 2], a[:, 1, 0]], dim=1)
