"""An ensemble that exists only here: one class, one row; then the command line as it always is.

python toy_ensemble.py run md.toml
"""

import runpy
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from fastequi.md.integrators import INTEGRATORS, Integrator
from fastequi.md.integrators.steps import drift_, kick_
from fastequi.md.state import State, kinetic_energy
from fastequi.md.velocities import internal_degrees_of_freedom, internal_kinetic_energy
from fastequi.settings import Positive
from fastequi.units import BOLTZMANN_eV_PER_K


@dataclass(frozen=True)
class ToyThermostat(Integrator):
    """Nosé-Hoover's friction without its niceties: it grows while the atoms are too warm.

    Extra state: `friction` [systems] in 1/fs and `work` [systems] in eV, and `kicks` [atoms], a
    count, to show another shape and type.
    """

    ensemble = "nvt-toy"
    method = "a toy"

    timestep_fs: float
    temperature_K: float
    toy_time_fs: Annotated[Positive, Field(description="fs, in which it answers")] = 40.0

    def extra_state(self, state: State) -> dict[str, Tensor]:
        """At rest."""
        zeros = torch.zeros(state.n_systems, dtype=torch.float64, device=state.device)
        kicks = torch.zeros(state.n_atoms, dtype=torch.int64, device=state.device)
        return {"friction": zeros, "work": zeros.clone(), "kicks": kicks}

    def step_(self, state: State, forces_: Callable[[State], None]) -> None:
        """Thermostat, velocity Verlet, thermostat."""
        self._thermostat_(state)
        kick_(state, self.timestep_fs / 2)
        drift_(state, self.timestep_fs)
        forces_(state)
        kick_(state, self.timestep_fs / 2)
        self._thermostat_(state)

    def _thermostat_(self, state: State) -> None:
        half, extra = self.timestep_fs / 2, state.extra
        target = 0.5 * BOLTZMANN_eV_PER_K * self.temperature_K * self.degrees_of_freedom(state)
        excess = self.thermal_energy(state) / target - 1.0
        extra["friction"] += half * excess / self.toy_time_fs**2
        before = kinetic_energy(state)
        state.velocities *= torch.exp(-half * extra["friction"])[state.system_idx].unsqueeze(1)
        extra["work"] += kinetic_energy(state) - before
        extra["kicks"] += 1

    def degrees_of_freedom(self, state: State) -> Tensor:
        """3N - 3."""
        return internal_degrees_of_freedom(state)

    def thermal_energy(self, state: State) -> Tensor:
        """About the centre of mass, in eV."""
        return internal_kinetic_energy(state)

    def conserved_energy(self, state: State) -> Tensor:
        """Total energy minus work [systems] in eV."""
        return state.energy + kinetic_energy(state) - state.extra["work"]


if __name__ == "__main__":
    INTEGRATORS[ToyThermostat.ensemble] = ToyThermostat
    toy_command_line = Path(__file__).parent / "cli" / "toy_fastequi.py"
    runpy.run_path(str(toy_command_line), run_name="__main__")
