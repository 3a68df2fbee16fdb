"""Constant temperature without noise: Nosé-Hoover chains.

Martyna, Klein & Tuckerman, J. Chem. Phys. 97, 2635 (1992). Deterministic and reversible. One chain
for all atoms of a system does not bring harmonic oscillators to equilibrium among themselves: for
solids near 0 K, and for the first picoseconds of any run, Langevin dynamics are the safer choice.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from fastequi.md.integrators.chains import Chain
from fastequi.md.integrators.integrator import Integrator, PerBatch, check_positive
from fastequi.md.integrators.keys import ChainLength, ThermostatTime
from fastequi.md.integrators.steps import drift_, kick_
from fastequi.md.ramps import Schedule, Target, temperature_schedule
from fastequi.md.state import State, kinetic_energy
from fastequi.md.velocities import internal_degrees_of_freedom, internal_kinetic_energy
from fastequi.units import BOLTZMANN_eV_PER_K


@dataclass(frozen=True)
class NoseHooverChain(Integrator):
    """NVT dynamics; invariant: total energy plus that of the chain, minus the work of a ramp.

    temperature_K: see `fastequi.md.ramps`; positive. thermostat_time_fs: the inverse of the angular
    frequency of the chain, as in LAMMPS and ASE. The motion of the centre of mass is left alone.

    Extra state: `chain_position`, `chain_velocity` [systems, chain_length]; `work` [systems], eV
    that changes of the temperature have done.
    """

    ensemble = "nvt-nose-hoover"
    method = "Nosé-Hoover chains"

    timestep_fs: float
    temperature_K: Target
    thermostat_time_fs: ThermostatTime = 100.0
    chain_length: ChainLength = 3
    _fixed: PerBatch[tuple[Schedule, Tensor]] = field(
        init=False, repr=False, compare=False, default_factory=PerBatch
    )

    def __post_init__(self) -> None:
        check_positive("timestep_fs", self.timestep_fs)
        check_positive("thermostat_time_fs", self.thermostat_time_fs)
        check_positive("chain_length", self.chain_length)

    def extra_state(self, state: State) -> dict[str, Tensor]:
        """A chain at rest."""
        self._of(state)  # says what is wrong with the temperatures
        zeros = torch.zeros(state.n_systems, dtype=torch.float64, device=state.device)
        chain = zeros.unsqueeze(1).repeat(1, self.chain_length)
        return {"chain_position": chain, "chain_velocity": chain.clone(), "work": zeros}

    def step_(self, state: State, forces_: Callable[[State], None]) -> None:
        """Chain t/2, kick t/2, drift t, forces, kick t/2, chain t/2."""
        dt, chain = self.timestep_fs, self._chain(state, state.step)
        self._thermostat_(state, chain)
        kick_(state, dt / 2)
        drift_(state, dt)
        forces_(state)
        kick_(state, dt / 2)
        self._thermostat_(state, chain)
        if self._of(state)[0].changes:
            after = self._chain(state, state.step + 1)
            state.extra["work"] += after.energy() - chain.energy()

    def _thermostat_(self, state: State, chain: Chain) -> None:
        batch, v = state.batch, state.velocities
        with batch.about_centre(v):
            factor = chain.advance_(batch.kinetic(v), self.timestep_fs / 2)
            v.mul_(batch.of_atoms(factor.unsqueeze(1)))

    def _chain(self, state: State, step: int) -> Chain:
        """The chain of `state.extra` at the temperature of a step."""
        temperature, n = self._of(state)
        return Chain(
            position=state.extra["chain_position"],
            velocity=state.extra["chain_velocity"],
            n=n,
            kT=BOLTZMANN_eV_PER_K * temperature.at(step),
            time_fs=self.thermostat_time_fs,
        )

    def _of(self, state: State) -> tuple[Schedule, Tensor]:
        return self._fixed.get(state, self._make_fixed)

    def _make_fixed(self, state: State) -> tuple[Schedule, Tensor]:
        schedule = temperature_schedule(self.temperature_K, state, positive=True)
        return schedule, internal_degrees_of_freedom(state)

    def degrees_of_freedom(self, state: State) -> Tensor:
        """3N - 3: the motion of the centre of mass is conserved; see `fastequi.md.velocities`."""
        return internal_degrees_of_freedom(state)

    def thermal_energy(self, state: State) -> Tensor:
        """Kinetic energy about the centre of mass [systems] in eV."""
        return internal_kinetic_energy(state)

    def conserved_energy(self, state: State) -> Tensor:
        """Potential, kinetic and chain's energy minus work [systems] in eV."""
        chain = self._chain(state, state.step).energy()
        return state.energy + kinetic_energy(state) + chain - state.extra["work"]
