"""Constant temperature: canonical sampling through velocity rescaling (CSVR).

Bussi, Donadio & Parrinello, J. Chem. Phys. 126, 014101 (2007). All velocities of a system are
scaled by one random factor, so that its kinetic energy is canonical while diffusion and spectra
stay nearly those of free motion. The factor is applied in the middle of the step, where BAOAB has
its bath.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from fastequi.md.integrators.integrator import Integrator, PerBatch, check_positive
from fastequi.md.integrators.keys import ThermostatTime
from fastequi.md.integrators.steps import drift_, kick_, stochastic_rescaling_
from fastequi.md.noise import THERMOSTAT_STREAM, AtomNoise
from fastequi.md.ramps import Schedule, Target, temperature_schedule
from fastequi.md.state import State, kinetic_energy
from fastequi.md.velocities import internal_degrees_of_freedom, internal_kinetic_energy


@dataclass(frozen=True)
class VelocityRescaling(Integrator):
    """NVT dynamics; invariant: total energy minus the heat put in.

    temperature_K: see `fastequi.md.ramps`. seed: see `fastequi.md.noise.AtomNoise`. The motion of
    the centre of mass is left alone. Extra state: `heat` [systems], eV that the bath has put in.
    """

    ensemble = "nvt-csvr"
    method = "stochastic velocity rescaling"

    timestep_fs: float
    temperature_K: Target
    thermostat_time_fs: ThermostatTime = 100.0
    seed: int | Sequence[int] = 0
    _bath: PerBatch[tuple[AtomNoise, Schedule]] = field(
        init=False, repr=False, compare=False, default_factory=PerBatch
    )

    def __post_init__(self) -> None:
        check_positive("timestep_fs", self.timestep_fs)
        check_positive("thermostat_time_fs", self.thermostat_time_fs)

    def extra_state(self, state: State) -> dict[str, Tensor]:
        """No heat yet."""
        self._bath.get(state, self._make_bath)  # says what is wrong with the temperatures
        return {"heat": torch.zeros(state.n_systems, dtype=torch.float64, device=state.device)}

    def step_(self, state: State, forces_: Callable[[State], None]) -> None:
        """Kick t/2, drift t/2, rescale, drift t/2, forces, kick t/2."""
        dt = self.timestep_fs
        kick_(state, dt / 2)
        drift_(state, dt / 2)
        self._thermostat_(state)
        drift_(state, dt / 2)
        forces_(state)
        kick_(state, dt / 2)

    def _thermostat_(self, state: State) -> None:
        noise, temperature = self._bath.get(state, self._make_bath)
        state.extra["heat"] += stochastic_rescaling_(
            state,
            self.thermostat_time_fs,
            temperature.at(state.step),
            self.timestep_fs,
            noise.normal(state.step, THERMOSTAT_STREAM),
        )

    def _make_bath(self, state: State) -> tuple[AtomNoise, Schedule]:
        noise = AtomNoise(self.seed, state.system_idx)
        return noise, temperature_schedule(self.temperature_K, state)

    def degrees_of_freedom(self, state: State) -> Tensor:
        """3N - 3: the motion of the centre of mass is conserved; 3 for a single atom."""
        return internal_degrees_of_freedom(state)

    def thermal_energy(self, state: State) -> Tensor:
        """Kinetic energy about the centre of mass [systems] in eV."""
        return internal_kinetic_energy(state)

    def conserved_energy(self, state: State) -> Tensor:
        """Potential plus kinetic energy minus heat [systems] in eV."""
        return state.energy + kinetic_energy(state) - state.extra["heat"]
