"""Constraints by physics: who is fixed stays, all others share the heat, none is lost."""

from collections.abc import Callable
from dataclasses import dataclass, field

import ase.build
import numpy as np
import pytest
import torch
from ase.constraints import FixAtoms, FixCom

from fastequi.md.integrators import (
    Integrator,
    LangevinBAOAB,
    NoseHooverChain,
    VelocityRescaling,
    VelocityVerlet,
)
from fastequi.md.simulation import Simulation
from fastequi.md.state import State, kinetic_energy, momentum, state_from_atoms
from fastequi.md.testing import LennardJones
from fastequi.md.velocities import maxwell_boltzmann_
from fastequi.units import BOLTZMANN_eV_PER_K, KINETIC_eV

SHORT = LennardJones(switch_A=4.5, cutoff=5.4)
FIXED = list(range(0, 32, 4))
KELVIN, REPLICAS = 60.0, 18

THERMOSTATS: dict[str, Callable[[], Integrator]] = {
    "langevin": lambda: LangevinBAOAB(6.0, KELVIN, friction_per_ps=5.0, seed=2),
    "csvr": lambda: VelocityRescaling(6.0, KELVIN, seed=2),
    "nose-hoover": lambda: NoseHooverChain(6.0, KELVIN),
}


def crystals(constraint: object, replicas: int = REPLICAS) -> State:
    """32 atoms of two masses, at KELVIN."""
    atoms = ase.build.bulk("Ar", "fcc", a=5.45, cubic=True).repeat(2)
    atoms.set_masses(np.where(np.arange(32) % 2, 39.948, 10.0))
    atoms.set_constraint(constraint)
    state = state_from_atoms([atoms] * replicas)
    maxwell_boltzmann_(state, KELVIN, 3)
    return state


@dataclass
class Kinetic:
    """Kinetic energy of every atom along every axis, after a while."""

    every: int = 20
    seen: list[torch.Tensor] = field(default_factory=list)

    def __call__(self, simulation: Simulation) -> None:
        state = simulation.state
        if state.step >= 200:
            squared = state.masses.unsqueeze(1) * state.velocities.square()
            self.seen.append(0.5 * KINETIC_eV * squared)


@pytest.mark.parametrize("thermostat", THERMOSTATS)
def test_mobile_atoms_share_the_heat_equally_and_fixed_ones_do_not_move(thermostat: str) -> None:
    """kT/2 for every direction of every mobile atom: 3N - 3 would be 4 % off, 3N of all, 25 %."""
    state, kinetic = crystals(FixAtoms(FIXED)), Kinetic()
    before = state.positions.clone()
    Simulation(state, SHORT, THERMOSTATS[thermostat](), observers=[kinetic]).run(900)
    assert state.fixed_atoms is not None
    assert torch.equal(state.positions[state.fixed_atoms], before[state.fixed_atoms])
    assert float(state.velocities[state.fixed_atoms].abs().max()) == 0.0
    mean = torch.stack(kinetic.seen).mean(dim=0).view(REPLICAS, 32, 3)
    mobile = [k for k in range(32) if k not in FIXED]
    expected = 0.5 * BOLTZMANN_eV_PER_K * KELVIN
    whole = mean[:, mobile].mean(dim=(1, 2))
    if thermostat != "nose-hoover":  # a chain holds the mean of each system
        error = float(whole.std()) / REPLICAS**0.5
        assert abs(float(whole.mean()) - expected) < 3.0 * error
        assert error < 0.012 * expected
    assert float(whole.mean()) == pytest.approx(expected, rel=0.025)
    for species in (0, 1):
        chosen = [k for k in mobile if k % 2 == species]
        for axis in range(3):
            of_replica = mean[:, chosen, axis].mean(dim=1)
            error = float(of_replica.std()) / REPLICAS**0.5
            assert abs(float(of_replica.mean()) - expected) < 3.5 * error


def test_energy_is_conserved_beside_fixed_atoms() -> None:
    spread = []
    for timestep_fs in (4.0, 2.0):
        state, energies = crystals(FixAtoms(FIXED), replicas=2), []
        simulation = Simulation(state, SHORT, VelocityVerlet(timestep_fs))
        for _ in range(40):
            simulation.run(round(40 / timestep_fs))
            energies.append(state.energy + kinetic_energy(state))
        spread.append(float(torch.stack(energies).std(dim=0).max()))
    assert spread[0] / spread[1] == pytest.approx(4.0, rel=0.1)


def test_a_fixed_centre_of_mass_stays_and_the_rest_is_canonical() -> None:
    """Langevin dynamics with 3N - 3 degrees of freedom: mean and width of the kinetic energy."""
    state, seen = crystals(FixCom()), []
    weights = state.masses.view(REPLICAS, 32, 1)
    centre = (weights * state.positions.view(REPLICAS, 32, 3)).sum(dim=1)
    simulation = Simulation(state, SHORT, THERMOSTATS["langevin"]())
    simulation.run(200)
    for _ in range(40):
        simulation.run(20)
        seen.append(kinetic_energy(state))
    moved = (weights * state.positions.view(REPLICAS, 32, 3)).sum(dim=1) - centre
    assert float(moved.abs().max() / state.masses.sum()) < 1e-12
    assert float(momentum(state).abs().max()) < 1e-13
    kT, n = BOLTZMANN_eV_PER_K * KELVIN, 3 * 32 - 3
    of_replica = torch.stack(seen).mean(dim=0)
    error = float(of_replica.std()) / REPLICAS**0.5
    assert error < 0.012 * n * kT / 2
    assert abs(float(of_replica.mean()) - n * kT / 2) < 3.0 * error
    width = torch.stack(seen).std() / (kT * (n / 2) ** 0.5)
    assert float(width) == pytest.approx(1.0, abs=0.12)
    assert simulation.integrator.degrees_of_freedom(state).tolist() == [float(n)] * REPLICAS
