"""Constant temperature: Langevin dynamics by the splitting BAOAB.

Leimkuhler & Matthews, Appl. Math. Res. Express 2013, 34: B kick, A drift, O Ornstein-Uhlenbeck.
Of the splittings with these pieces it samples positions best: exactly for a harmonic potential at
every stable timestep, to fourth order at high friction otherwise.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from fastequi.md.integrators.integrator import positive
from fastequi.md.integrators.steps import drift_, kick_, ornstein_uhlenbeck_
from fastequi.md.noise import THERMOSTAT_STREAM, AtomNoise
from fastequi.md.state import State, atoms_per_system, kinetic_energy
from fastequi.md.velocities import temperature_per_system


class LangevinBAOAB:
    """NVT dynamics in a heat bath; invariant: total energy minus the heat put in.

    temperature_K: one for all systems or one per system. seed: see `fastequi.md.noise.AtomNoise`.
    """

    def __init__(
        self,
        timestep_fs: float,
        temperature_K: float | Sequence[float],
        friction_per_ps: float = 1.0,
        seed: int | Sequence[int] = 0,
    ) -> None:
        self.timestep_fs = positive("timestep_fs", timestep_fs)
        self.friction_per_ps = positive("friction_per_ps", friction_per_ps)
        self.temperature_K = temperature_K
        self.seed = seed
        self._noise: AtomNoise | None = None

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
        if self._noise is None or self._noise.system_idx is not state.system_idx:
            self._noise = AtomNoise(self.seed, state.system_idx)
            self._temperature = temperature_per_system(self.temperature_K, state)
        noise = self._noise.normal(state.step, THERMOSTAT_STREAM)
        before = kinetic_energy(state)
        friction_per_fs = self.friction_per_ps * 1e-3
        ornstein_uhlenbeck_(state, friction_per_fs, self._temperature, self.timestep_fs, noise)
        state.heat += kinetic_energy(state) - before

    def degrees_of_freedom(self, state: State) -> Tensor:
        """3N: the bath exchanges momentum too."""
        return 3.0 * atoms_per_system(state).to(torch.float64)

    def thermal_energy(self, state: State) -> Tensor:
        """All kinetic energy [systems] in eV."""
        return kinetic_energy(state)

    def conserved_energy(self, state: State) -> Tensor:
        """Potential plus kinetic energy minus heat [systems] in eV."""
        return state.energy + kinetic_energy(state) - state.heat

    def description(self) -> dict[str, object]:
        """Ensemble and parameters."""
        return {
            "ensemble": "nvt-langevin",
            "timestep_fs": self.timestep_fs,
            "temperature_K": self.temperature_K,
            "friction_per_ps": self.friction_per_ps,
            "seed": self.seed,
        }
