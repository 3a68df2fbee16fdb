"""What the ensembles of a heat bath with random numbers have in common: where it acts, its books.

kick t/2, drift t/2, bath t, drift t/2, forces, kick t/2: BAOAB, the splitting of Leimkuhler &
Matthews (Appl. Math. Res. Express 2013, 34) that samples positions best.
"""

from abc import abstractmethod
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from fastequi.md.integrators.integrator import Integrator, PerBatch
from fastequi.md.integrators.steps import drift_, kick_
from fastequi.md.noise import THERMOSTAT_STREAM, AtomNoise
from fastequi.md.ramps import Schedule, Target, temperature_schedule
from fastequi.md.state import State, kinetic_energy

#: Noise and temperature of a batch.
Bath = tuple[AtomNoise, Schedule]


class HeatBath(Integrator):
    """NVT dynamics; invariant: total energy minus the heat that the bath has put in since step 0.

    temperature_K  see `fastequi.md.ramps`
    seed           see `fastequi.md.noise.AtomNoise`

    Its extra state is `heat` [systems] in eV.
    """

    temperature_K: Target
    seed: int | Sequence[int]
    _bath: PerBatch[Bath]

    @abstractmethod
    def bath_(self, state: State, temperature: Tensor, noise: Tensor) -> Tensor:
        """A step of the bath: changes velocities, returns the heat that it put in [systems], eV.

        temperature [systems] in K; noise [atoms, 3], standard normal.
        """

    def extra_state(self, state: State) -> dict[str, Tensor]:
        """No heat yet."""
        self._bath.get(state, self._make_bath)  # says what is wrong with the temperatures
        return {"heat": torch.zeros(state.n_systems, dtype=torch.float64, device=state.device)}

    def step_(self, state: State, forces_: Callable[[State], None]) -> None:
        """B t/2, A t/2, O t, A t/2, forces, B t/2."""
        noise, temperature = self._bath.get(state, self._make_bath)
        dt = self.timestep_fs
        kick_(state, dt / 2)
        drift_(state, dt / 2)
        drawn = noise.normal(state.step, THERMOSTAT_STREAM)
        state.extra["heat"] += self.bath_(state, temperature.at(state.step), drawn)
        drift_(state, dt / 2)
        forces_(state)
        kick_(state, dt / 2)

    def conserved_energy(self, state: State) -> Tensor:
        """Potential plus kinetic energy minus heat [systems] in eV."""
        return state.energy + kinetic_energy(state) - state.extra["heat"]

    def _make_bath(self, state: State) -> Bath:
        noise = AtomNoise(self.seed, state.system_idx)
        return noise, temperature_schedule(self.temperature_K, state)
