"""What follows from the masses and systems of a batch alone: made once, read at every step."""

from dataclasses import dataclass

import torch
from torch import Tensor

from fastequi.graph import sum_by_system
from fastequi.units import ACCELERATION_A_PER_FS2, KINETIC_eV


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """Sums over systems, and the masses of their atoms in the units that a step needs.

    first_atom         [systems + 1]  int64
    n_atoms            [systems]      float64
    internal_freedom   [systems]      degrees of freedom about the centre of mass: 3N - 3, or 3
    carried            [atoms, 1]     mass in eV (fs/Å)²
    acceleration       [atoms, 1]     Å/fs² of a force of 1 eV/Å
    mass_share         [atoms, 1]     of the mass of its system
    drift_share        [atoms, 1]     the same; 0 for an atom alone, whose motion is heat
    """

    system_idx: Tensor
    n_systems: int
    first_atom: Tensor
    n_atoms: Tensor
    internal_freedom: Tensor
    carried: Tensor
    acceleration: Tensor
    mass_share: Tensor
    drift_share: Tensor

    @classmethod
    def of(cls, masses: Tensor, system_idx: Tensor, n_systems: int) -> "Batch":
        """masses [atoms] in amu; system_idx [atoms], sorted."""
        systems = torch.arange(n_systems + 1, device=system_idx.device)
        first_atom = torch.searchsorted(system_idx, systems)
        n_atoms = first_atom.diff().to(torch.float64)
        share = masses / sum_by_system(masses, system_idx, n_systems)[system_idx]
        return cls(
            system_idx=system_idx,
            n_systems=n_systems,
            first_atom=first_atom,
            n_atoms=n_atoms,
            internal_freedom=3.0 * torch.where(n_atoms > 1, n_atoms - 1.0, n_atoms),
            carried=KINETIC_eV * masses.unsqueeze(1),
            acceleration=ACCELERATION_A_PER_FS2 / masses.unsqueeze(1),
            mass_share=share.unsqueeze(1),
            drift_share=(share * (n_atoms > 1)[system_idx]).unsqueeze(1),
        )

    def sum(self, values: Tensor) -> Tensor:
        """[atoms, ...] over the atoms of each system: [systems, ...].

        In an order that does not change: on a CPU from the first atom to the last, whatever the
        threads; elsewhere without atomics, which would all want one row.
        """
        if values.device.type == "cpu":
            return sum_by_system(values, self.system_idx, self.n_systems)
        if self.n_systems == 1:
            return values.sum(dim=0, keepdim=True)
        return torch.segment_reduce(values, "sum", offsets=self.first_atom, unsafe=True)

    def largest(self, values: Tensor) -> Tensor:
        """[atoms], none negative, the largest of each system: [systems]."""
        if self.n_systems == 1:
            return values.amax(dim=0, keepdim=True)
        largest = values.new_zeros(self.n_systems)
        return largest.scatter_reduce_(0, self.system_idx, values, "amax")

    def of_atoms(self, values: Tensor) -> Tensor:
        """[systems, ...] as the atoms have it: [atoms, ...], or [1, ...] where one is all."""
        return values if self.n_systems == 1 else values.index_select(0, self.system_idx)

    def kinetic(self, velocities: Tensor) -> Tensor:
        """Kinetic energy [systems] in eV of velocities [atoms, 3] in Å/fs."""
        return 0.5 * self.sum(velocities.square().mul_(self.carried)).sum(dim=1)

    def drift(self, velocities: Tensor) -> Tensor:
        """Velocity of the centre of mass [systems, 3] in Å/fs; 0 for an atom alone."""
        return self.sum(self.drift_share * velocities)

    def internal(self, velocities: Tensor) -> Tensor:
        """Velocities [atoms, 3] about the centre of mass; all of it for an atom alone."""
        return velocities - self.of_atoms(self.drift(velocities))
