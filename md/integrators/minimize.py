"""No dynamics: the nearest minimum of the energy, or of the enthalpy of a cell under pressure.

What moves is `fastequi.md.minimizers.coordinates`, how far is one of `fastequi.md.minimizers`. A
step is one move and one force call. A system that has reached its limits stays where it is, to the
last bit, while others of its batch go on.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from fastequi.errors import InputError
from fastequi.graph import volumes
from fastequi.md.barostats.checks import check_cells, check_coupling
from fastequi.md.barostats.strain import Coupling
from fastequi.md.integrators.integrator import Integrator, PerBatch, check_positive
from fastequi.md.integrators.keys import BarostatAxes, CouplingKind, Pressure
from fastequi.md.minimizers import MINIMIZERS
from fastequi.md.minimizers.coordinates import Coordinates
from fastequi.md.ramps import Schedule
from fastequi.md.state import State
from fastequi.settings import Positive, one_of
from fastequi.units import GPA_PER_eV_PER_A3

#: No atom goes further in a step (ASE's `maxstep`), and no cell is strained by more.
LONGEST_MOVE_A, LARGEST_STRAIN = 0.2, 0.03

#: The columns that its log has on top, of all systems: what the limits are about.
FORCE_COLUMN, STRESS_COLUMN = "largest_force_eV_per_A", "largest_stress_GPa"


@dataclass(frozen=True)
class Minimize(Integrator):
    """A minimum: every force below force_limit_eV_per_A; with a cell every component of its stress,
    the pressure added, below stress_limit_GPa.

    coupling, barostat_axes: see `fastequi.md.barostats.strain.Coupling`; "none" leaves cells alone.
    pressure_GPa: from outside; see `fastequi.md.ramps`, without ramps. Fixed atoms are left out of
    the limits; with a cell they go with it. "Conserved" is what is minimised: energy plus P V.
    Atoms are at rest: what velocities they had is gone.

    Extra state: the minimiser's memory; with a cell `first_cell` and `strain` [systems, 3, 3];
    `converged` [systems], bool, and `steps_taken` [systems], int64.
    """

    ensemble = "minimize"
    method = "to the nearest minimum"
    is_dynamics = False
    timestep_fs = 0.0

    optimizer: Annotated[
        str,
        one_of(*MINIMIZERS),
        Field(description="lbfgs (fewest force calls) or fire (hardest to lead astray)"),
    ] = "lbfgs"
    coupling: CouplingKind = "none"
    barostat_axes: BarostatAxes = "xyz"
    pressure_GPa: Pressure = 0.0
    force_limit_eV_per_A: Annotated[
        Positive, Field(description="eV/Å that no force may exceed in the end")
    ] = 0.01
    stress_limit_GPa: Annotated[
        Positive, Field(description="GPa that no stress may differ by from the pressure in the end")
    ] = 0.01
    _fixed: PerBatch[Coordinates] = field(
        init=False, repr=False, compare=False, default_factory=PerBatch
    )

    def __post_init__(self) -> None:
        for name in ("force_limit_eV_per_A", "stress_limit_GPa"):
            check_positive(name, getattr(self, name))
        if self.optimizer not in MINIMIZERS:
            allowed = ", ".join(MINIMIZERS)
            raise InputError(f"optimizer is {self.optimizer!r}; allowed: {allowed}")
        if self._coupling is not None:
            check_coupling(self._coupling)

    @property
    def _coupling(self) -> Coupling | None:
        return None if self.coupling == "none" else Coupling(self.coupling, self.barostat_axes)

    def start_(self, state: State) -> None:
        """As for every ensemble; InputError for cells that cannot change, or pressures that do."""
        super().start_(state)
        state.velocities.zero_()
        if self._coupling is not None:
            check_cells(state, self._coupling, self.ensemble, moves_fixed_atoms=True)

    def extra_state(self, state: State) -> dict[str, Tensor]:
        """Nothing learned, nothing moved."""
        coordinates = self._of(state)
        taken = torch.zeros(state.n_systems, dtype=torch.int64, device=state.device)
        memory = MINIMIZERS[self.optimizer].memory(coordinates.rows)
        more = {"converged": torch.zeros_like(taken, dtype=torch.bool), "steps_taken": taken}
        return memory | coordinates.extra_state(state) | more

    def step_(self, state: State, forces_: Callable[[State], None]) -> None:
        """A move, and the forces there."""
        coordinates, minimizer = self._of(state), MINIMIZERS[self.optimizer]
        state.extra["converged"].copy_(self.finished(state))
        active = ~state.extra["converged"]
        move = minimizer.displacement_(state.extra, coordinates.forces(state), coordinates.rows)
        factor = coordinates.limit(state, move, LONGEST_MOVE_A, LARGEST_STRAIN)
        minimizer.shortened_(state.extra, factor, coordinates.rows)
        coordinates.move_(state, coordinates.rows.of_rows(factor) * move, active)
        state.extra["steps_taken"] += active
        forces_(state)

    def finished(self, state: State) -> Tensor:
        """Which systems have reached their limits, now or before: [systems], bool."""
        within = self.largest_force(state) <= self.force_limit_eV_per_A
        if self._coupling is not None:
            within &= self.largest_stress_GPa(state) <= self.stress_limit_GPa
        return state.extra["converged"] | within

    def largest_force(self, state: State) -> Tensor:
        """Of the atoms that are not fixed: [systems] in eV/Å."""
        return state.batch.largest(state.batch.hold_(state.forces.clone()).norm(dim=1))

    def largest_stress_GPa(self, state: State) -> Tensor:
        """Component [systems] that is left for the coupling to relax; 0 where cells stay."""
        if self._coupling is None:
            return torch.zeros_like(state.energy)
        return self._of(state).excess_stress(state).abs().amax(dim=(1, 2)) * GPA_PER_eV_PER_A3

    def more_columns(self, state: State) -> dict[str, Tensor]:
        """The largest force and, with a cell, the largest stress."""
        values = self.largest_force(state), self.largest_stress_GPa(state)
        return dict(zip(self.column_names, values, strict=False))

    @property
    def column_names(self) -> tuple[str, ...]:
        """Those of `more_columns`."""
        return (FORCE_COLUMN,) if self._coupling is None else (FORCE_COLUMN, STRESS_COLUMN)

    def _of(self, state: State) -> Coordinates:
        return self._fixed.get(state, self._make_fixed)

    def _make_fixed(self, state: State) -> Coordinates:
        pressure = Schedule(self.pressure_GPa, state, "pressures")
        if pressure.changes:
            raise InputError(f"a minimisation has one pressure, not {self.pressure_GPa} GPa")
        return Coordinates.of(state, self._coupling, pressure.at(0) / GPA_PER_eV_PER_A3)

    def degrees_of_freedom(self, state: State) -> Tensor:
        """None: nothing is warm."""
        return torch.zeros_like(state.energy)

    def thermal_energy(self, state: State) -> Tensor:
        """None."""
        return torch.zeros_like(state.energy)

    def conserved_energy(self, state: State) -> Tensor:
        """What is minimised: energy, with a cell enthalpy [systems] in eV."""
        if self._coupling is None:
            return state.energy
        return state.energy + self._of(state).pressure * volumes(state.cell)
