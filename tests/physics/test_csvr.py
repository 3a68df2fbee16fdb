"""Stochastic velocity rescaling as physics: exact steps, the canonical distribution, the books."""

import numpy as np
import pytest
import torch
from ase import Atoms
from ase_argon import ARGON
from conserved import slope_meV_per_atom_per_ps
from scipy import stats

from fastequi.md.integrators import VelocityRescaling
from fastequi.md.integrators.steps import stochastic_rescaling_
from fastequi.md.noise import THERMOSTAT_STREAM, normal_noise
from fastequi.md.ramps import Ramp
from fastequi.md.simulation import Simulation
from fastequi.md.state import State, kinetic_energy, momentum, state_from_atoms
from fastequi.md.testing import NoForces
from fastequi.md.velocities import internal_kinetic_energy, maxwell_boltzmann_
from fastequi.units import BOLTZMANN_eV_PER_K

kT = BOLTZMANN_eV_PER_K * 300.0


def gases(systems: int, symbols: str) -> State:
    n = len(Atoms(symbols))
    return state_from_atoms([Atoms(symbols, np.arange(3.0 * n).reshape(n, 3))] * systems)


@pytest.mark.parametrize("symbols", ["Ar", "ArHe", "ArHe2Xe"])
def test_one_step_draws_from_the_exact_distribution(symbols: str) -> None:
    """2 K / kT (1 - c) is noncentral chi-squared with 2 K0 c / kT (1 - c): eq. A7 in words."""
    state = gases(4000, symbols)
    maxwell_boltzmann_(state, 500.0, [9] * 4000)
    start = float(internal_kinetic_energy(state)[0])
    temperature = torch.full((4000,), 300.0, dtype=torch.float64)
    noise = normal_noise(1, 0, THERMOSTAT_STREAM, state.system_idx)
    gain = stochastic_rescaling_(state, 100.0, temperature, 70.0, noise)
    after, c = internal_kinetic_energy(state), np.exp(-70.0 / 100.0)
    torch.testing.assert_close(after - start, gain, rtol=1e-9, atol=1e-12)
    atoms = len(Atoms(symbols))
    freedom, unit = 3 * max(1, atoms - 1), 0.5 * kT * (1.0 - c)
    exact = stats.ncx2(df=freedom, nc=start * c / unit, scale=unit)
    assert stats.kstest(after.numpy(), exact.cdf).pvalue > 0.01


def test_the_first_of_many_steps_is_forgotten_at_the_rate_that_was_asked_for() -> None:
    """<K(t)> = K_eq + (K(0) - K_eq) exp(-t / time), eq. 6."""
    state = gases(3000, "ArHe2")
    maxwell_boltzmann_(state, 900.0, [9] * 3000)
    start = float(internal_kinetic_energy(state)[0])
    bath = VelocityRescaling(5.0, 300.0, 100.0, seed=2)
    Simulation(state, NoForces(), bath, skin_A=1e3).run(24)
    final = internal_kinetic_energy(state)
    expected = 3.0 * kT + (start - 3.0 * kT) * np.exp(-120.0 / 100.0)
    assert abs(float(final.mean()) - expected) < 3.0 * float(final.std()) / np.sqrt(3000)


def test_systems_at_rest_are_warmed() -> None:
    state = gases(3000, "ArHe2")
    bath = VelocityRescaling(5.0, 300.0, 20.0, seed=2)
    Simulation(state, NoForces(), bath, skin_A=1e3).run(60)
    kinetic = kinetic_energy(state).numpy()
    assert stats.kstest(kinetic, stats.gamma(a=3.0, scale=kT).cdf).pvalue > 0.01


def test_momentum_is_left_alone(warm_argon: Atoms) -> None:
    state = state_from_atoms(warm_argon)
    state.velocities += 1e-3
    before = momentum(state)
    Simulation(state, ARGON, VelocityRescaling(4.0, 80.0)).run(300)
    torch.testing.assert_close(momentum(state), before, rtol=1e-12, atol=0.0)


@pytest.mark.parametrize("temperature", [60.0, Ramp(40.0, 80.0, 1000)], ids=str)
def test_the_invariant_does_not_drift(warm_argon: Atoms, temperature: float | Ramp) -> None:
    """Heat makes it a walk of the timestep's error: 1e-3 meV/atom/ps at 4 fs."""
    integrator = VelocityRescaling(4.0, temperature, seed=1)
    assert abs(slope_meV_per_atom_per_ps(warm_argon, ARGON, integrator, 1000)) < 2e-3
