"""The coordinates of a minimisation: atoms, and the logarithm of what their cell has become.

With F = exp(A), A symmetric, cell = cell(0) F and positions = y F. A minimiser sees rows of three
numbers: y of each atom, and three more rows for each cell, u = L A, with the forces on them. As in
ASE's FrechetCellFilter, the force on A follows from the stress exactly, by the derivative of the
matrix exponential. A symmetric A cannot turn a cell. L = sqrt(N) (V/N)^(1/3) makes cells about as
stiff as the bonds of their atoms, whatever their size, so that one minimiser suits both.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from fastequi.graph import volumes
from fastequi.md.barostats.strain import Coupling, identity_like
from fastequi.md.minimizers.exponential import exp, exp_derivative
from fastequi.md.minimizers.minimizer import Rows
from fastequi.md.state import State


@dataclass(frozen=True, slots=True)
class Coordinates:
    """Of a batch of systems.

    rows      atoms, and with a coupling three rows for each cell
    coupling  which strains a cell may make; None for cells that stay
    pressure  [systems] in eV/Å³, from outside
    """

    rows: Rows
    coupling: Coupling | None
    pressure: Tensor

    @staticmethod
    def of(state: State, coupling: Coupling | None, pressure: Tensor) -> "Coordinates":
        """Of the systems of a state."""
        owner = state.system_idx
        if coupling is not None:
            systems = torch.arange(state.n_systems, device=state.device)
            owner = torch.cat([owner, systems.repeat_interleave(3)])
        return Coordinates(Rows(state.batch, owner), coupling, pressure)

    def extra_state(self, state: State) -> dict[str, Tensor]:
        """What cells are measured by: the first cell, and A [systems, 3, 3]."""
        if self.coupling is None:
            return {}
        return {"first_cell": state.cell.clone(), "strain": torch.zeros_like(state.cell)}

    def forces(self, state: State) -> Tensor:
        """On all rows [rows, 3] in eV/Å; 0 on what is held."""
        on_atoms = state.batch.hold_(state.forces.clone())
        if self.coupling is None:
            return on_atoms
        strain = state.extra["strain"]
        deformation = exp(strain)
        on_atoms = _times(on_atoms, deformation, state)  # dE/dy = dE/dx F, F symmetric
        virial = volumes(state.cell).view(-1, 1, 1) * self.excess_stress(state)
        gradient = exp_derivative(strain, exp(-strain) @ virial)
        on_cell = self.coupling.project(-0.5 * (gradient + gradient.mT)) / self._length(state)
        return torch.cat([on_atoms, on_cell.reshape(-1, 3)])

    def excess_stress(self, state: State) -> Tensor:
        """What is left for the coupling to relax: stress and pressure [systems, 3, 3], eV/Å³."""
        assert self.coupling is not None
        pressure = self.pressure.view(-1, 1, 1) * identity_like(state.cell)
        return self.coupling.project(state.stress + pressure)

    def move_(self, state: State, move: Tensor, active: Tensor) -> None:
        """Positions and cells by a move [rows, 3], in the active systems [systems]."""
        n = state.n_atoms
        on_atoms = state.batch.hold_(move[:n].clone())
        moving = self.rows.of_rows(active)[:n]
        if self.coupling is None:
            state.positions.add_(torch.where(moving, on_atoms, 0.0))
            return
        strain, chosen = state.extra["strain"], active.view(-1, 1, 1)
        change = move[n:].view(-1, 3, 3) / self._length(state)
        after = exp(strain + change)
        centre = self._centres(state)
        y = _times(state.positions - centre, exp(-strain), state)
        positions = centre + _times(y + on_atoms, after, state)
        state.positions.copy_(torch.where(moving, positions, state.positions))
        state.cell.copy_(torch.where(chosen, state.extra["first_cell"] @ after, state.cell))
        strain.copy_(torch.where(chosen, strain + change, strain))

    def limit(self, state: State, move: Tensor, longest_A: float, largest_strain: float) -> Tensor:
        """By which factor [systems] to shorten a move, at most 1: no atom goes further than
        `longest_A` by itself or, at the edge of its system, by the strain."""
        n = state.n_atoms
        batch = self.rows.batch
        factor = longest_A / batch.largest(move[:n].norm(dim=1))
        if self.coupling is not None:
            change = move[n:].view(-1, 3, 3) / self._length(state)
            size = change.abs().amax(dim=(1, 2))
            centre = self._centres(state)
            reach = batch.largest((state.positions - centre).norm(dim=1))
            allowed = (longest_A / reach).clamp(max=largest_strain)
            factor = torch.minimum(factor, allowed / size)
        return torch.where(factor < 1.0, factor, 1.0)

    def _centres(self, state: State) -> Tensor:
        """Mean position of each atom's system [atoms, 3] in Å."""
        batch = self.rows.batch
        return batch.of_atoms(batch.sum(state.positions) / batch.n_atoms.unsqueeze(1))

    def _length(self, state: State) -> Tensor:
        """L [systems, 1, 1] in Å."""
        atoms, volume = self.rows.batch.n_atoms, volumes(state.extra["first_cell"])
        return (atoms.sqrt() * (volume / atoms) ** (1.0 / 3.0)).view(-1, 1, 1)


def _times(vectors: Tensor, matrices: Tensor, state: State) -> Tensor:
    """Each row vector [atoms, 3] times the matrix of its system [systems, 3, 3]."""
    return (vectors.unsqueeze(1) @ matrices.index_select(0, state.system_idx)).squeeze(1)
