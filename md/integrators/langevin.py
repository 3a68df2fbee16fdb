"""Constant temperature: Langevin dynamics by the splitting BAOAB.

Leimkuhler & Matthews, Appl. Math. Res. Express 2013, 34: B kick, A drift, O Ornstein-Uhlenbeck.
Of the splittings with these pieces it samples positions best: exactly for a harmonic potential at
every stable timestep, to fourth order at high friction otherwise.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from fastequi.md.integrators.integrator import Integrator, PerBatch, check_positive
from fastequi.md.integrators.steps import drift_, kick_, ornstein_uhlenbeck_
from fastequi.md.noise import THERMOSTAT_STREAM, AtomNoise
from fastequi.md.ramps import Schedule, Target, temperature_schedule
from fastequi.md.state import State, atoms_per_system, kinetic_energy
from fastequi.settings import Positive


@dataclass(frozen=True)
class LangevinBAOAB(Integrator):
    """NVT dynamics in a heat bath; invariant: total energy minus the heat put in.

    temperature_K: one for all systems or one per system. seed: see `fastequi.md.noise.AtomNoise`.
    Its extra state is `heat` [systems]: eV that the bath has put in since step 0.
    """

    ensemble = "nvt-langevin"
    method = "BAOAB"

    timestep_fs: float
    temperature_K: Target
    friction_per_ps: Annotated[Positive, Field(description="1/ps")] = 1.0
    seed: int | Sequence[int] = 0
    _bath: PerBatch[tuple[AtomNoise, Schedule]] = field(
        init=False, repr=False, compare=False, default_factory=PerBatch
    )

    def __post_init__(self) -> None:
        check_positive("timestep_fs", self.timestep_fs)
        check_positive("friction_per_ps", self.friction_per_ps)

    def extra_state(self, state: State) -> dict[str, Tensor]:
        """No heat yet."""
        self._bath.get(state, self._make_bath)  # says what is wrong with the temperatures
        return {"heat": torch.zeros(state.n_systems, dtype=torch.float64, device=state.device)}

    def step_(self, state: State, forces_: Callable[[State], None]) -> None:
        """B t/2, A t/2, O t, A t/2, forces, B t/2."""
        dt = self.timestep_fs
        kick_(state, dt / 2)
        drift_(state, dt / 2)
        self._thermostat_(state)
        drift_(state, dt / 2)
        forces_(state)
        kick_(state, dt / 2)

    def _thermostat_(self, state: State) -> None:
        """O, with its heat on the books."""
        noise, temperature = self._bath.get(state, self._make_bath)
        before = kinetic_energy(state)
        friction_per_fs = self.friction_per_ps * 1e-3
        drawn = noise.normal(state.step, THERMOSTAT_STREAM)
        now = temperature.at(state.step)
        ornstein_uhlenbeck_(state, friction_per_fs, now, self.timestep_fs, drawn)
        state.extra["heat"] += kinetic_energy(state) - before

    def _make_bath(self, state: State) -> tuple[AtomNoise, Schedule]:
        noise = AtomNoise(self.seed, state.system_idx)
        return noise, temperature_schedule(self.temperature_K, state)

    def degrees_of_freedom(self, state: State) -> Tensor:
        """3N: the bath exchanges momentum too."""
        return 3.0 * atoms_per_system(state).to(torch.float64)

    def thermal_energy(self, state: State) -> Tensor:
        """All kinetic energy [systems] in eV."""
        return kinetic_energy(state)

    def conserved_energy(self, state: State) -> Tensor:
        """Potential plus kinetic energy minus heat [systems] in eV."""
        return state.energy + kinetic_energy(state) - state.extra["heat"]
