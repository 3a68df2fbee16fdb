"""What follows from masses, systems and constraints of a batch: made once, read at every step.

Fixed atoms have velocity 0 and no force accelerates them, so they stay to the last bit. With them,
momentum goes into what holds them: nothing moves as a whole, and 3 degrees of freedom are counted
for each atom that moves. A fixed centre of mass takes its own velocity from all atoms alike, which
is the projection that leaves thermal velocities thermal.
"""

from collections.abc import Iterator
from contextlib import contextmanager
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
    internal_freedom   [systems]      degrees of freedom about the centre of mass: 3N - 3, or 3; of
                                      N mobile atoms beside fixed ones, 3N
    freedom            [systems]      of all motion: 3N, or 3N - 3 where the centre is fixed
    carried            [atoms, 1]     mass in eV (fs/Å)²; half_carried: half of it
    acceleration       [atoms, 1]     Å/fs² of a force of 1 eV/Å; 0 for fixed atoms
    mass_share         [atoms, 1]     of the mass of its system
    drift_share        [atoms, 1]     the same; 0 for an atom alone and beside fixed atoms, where
                                      all motion is heat
    held_share         [atoms, 1]     mass_share where the centre is fixed, else 0; None without one
    fixed              [atoms, 1]     bool; None without fixed atoms
    """

    system_idx: Tensor
    n_systems: int
    first_atom: Tensor
    n_atoms: Tensor
    internal_freedom: Tensor
    freedom: Tensor
    carried: Tensor
    half_carried: Tensor
    acceleration: Tensor
    mass_share: Tensor
    drift_share: Tensor
    held_share: Tensor | None
    fixed: Tensor | None

    @classmethod
    def of(
        cls,
        masses: Tensor,
        system_idx: Tensor,
        n_systems: int,
        fixed_atoms: Tensor | None = None,
        fixed_centre: Tensor | None = None,
    ) -> "Batch":
        """masses [atoms] in amu; system_idx [atoms], sorted; the others as in `State`."""
        systems = torch.arange(n_systems + 1, device=system_idx.device)
        first_atom = torch.searchsorted(system_idx, systems)
        n_atoms = first_atom.diff().to(torch.float64)
        share = masses / sum_by_system(masses, system_idx, n_systems)[system_idx]
        acceleration, n_fixed = ACCELERATION_A_PER_FS2 / masses, torch.zeros_like(n_atoms)
        if fixed_atoms is not None:
            acceleration = torch.where(fixed_atoms, 0.0, acceleration)
            n_fixed = sum_by_system(fixed_atoms.to(torch.float64), system_idx, n_systems)
        moves_as_a_whole = (n_atoms > 1) & (n_fixed == 0)
        mobile, held = n_atoms - n_fixed, None
        freedom = 3.0 * mobile
        if fixed_centre is not None:
            held = (share * fixed_centre[system_idx]).unsqueeze(1)
            freedom = freedom - 3.0 * fixed_centre
        return cls(
            system_idx=system_idx,
            n_systems=n_systems,
            first_atom=first_atom,
            n_atoms=n_atoms,
            internal_freedom=3.0 * torch.where(moves_as_a_whole, mobile - 1.0, mobile),
            freedom=freedom,
            carried=KINETIC_eV * masses.unsqueeze(1),
            half_carried=0.5 * KINETIC_eV * masses.unsqueeze(1),
            acceleration=acceleration.unsqueeze(1),
            mass_share=share.unsqueeze(1),
            drift_share=(share * moves_as_a_whole[system_idx]).unsqueeze(1),
            held_share=held,
            fixed=None if fixed_atoms is None else fixed_atoms.unsqueeze(1),
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
        return self.sum(velocities.square().mul_(self.half_carried)).sum(dim=1)

    def kinetic_tensor(self, velocities: Tensor) -> Tensor:
        """sum m v ⊗ v [systems, 3, 3] in eV."""
        return self.sum((self.carried * velocities).unsqueeze(2) * velocities.unsqueeze(1))

    def hold_centre_(self, velocities: Tensor) -> None:
        """Take the motion of fixed centres of mass out of velocities [atoms, 3]."""
        if self.held_share is not None:
            velocities.sub_(self.of_atoms(self.sum(self.held_share * velocities)))

    def hold_(self, vectors: Tensor) -> Tensor:
        """Velocities or displacements [atoms, 3] as far as constraints allow; in place."""
        if self.fixed is not None:
            vectors.masked_fill_(self.fixed, 0.0)
        self.hold_centre_(vectors)
        return vectors

    def drift(self, velocities: Tensor) -> Tensor:
        """Velocity of the centre of mass [systems, 3] in Å/fs; 0 where all motion is heat."""
        return self.sum(self.drift_share * velocities)

    @contextmanager
    def about_centre(self, velocities: Tensor) -> Iterator[None]:
        """Inside, velocities [atoms, 3] are those about the centre of mass, which moves as before;
        what is done to them there leaves it alone."""
        drift = self.of_atoms(self.drift(velocities))
        velocities.sub_(drift)
        yield
        velocities.add_(drift)

    def internal(self, velocities: Tensor) -> Tensor:
        """Velocities [atoms, 3] about the centre of mass; all of it where that is heat."""
        return velocities - self.of_atoms(self.drift(velocities))
