"""Maxwell-Boltzmann velocities: zero momentum, the right distribution, one seed per system."""

import numpy as np
import pytest
import torch
from ase import Atoms
from scipy import stats

from fastequi.errors import InputError
from fastequi.md.noise import VELOCITIES_STREAM, normal_noise
from fastequi.md.state import State, kinetic_energy, momentum, state_from_atoms
from fastequi.md.velocities import maxwell_boltzmann_, thermal_speed
from fastequi.units import BOLTZMANN_eV_PER_K


def gas(systems: int, symbols: str) -> State:
    n = len(Atoms(symbols))
    grid = np.arange(3.0 * n).reshape(n, 3)
    return state_from_atoms([Atoms(symbols, grid) for _ in range(systems)])


def test_total_momentum_is_zero_to_rounding() -> None:
    state = gas(5, "ArHeXe4H20")
    maxwell_boltzmann_(state, 300.0, 1)
    scale = float((state.masses.unsqueeze(1) * state.velocities).abs().sum())
    assert float(momentum(state).abs().max()) < 1e-15 * scale


def test_kinetic_energies_follow_the_gamma_distribution_of_3n_minus_3() -> None:
    state = gas(4000, "ArHe2Xe")
    maxwell_boltzmann_(state, 300.0, 2)
    kT = BOLTZMANN_eV_PER_K * 300.0
    expected = stats.gamma(a=(3 * 4 - 3) / 2, scale=kT)
    assert stats.kstest(kinetic_energy(state).numpy(), expected.cdf).pvalue > 0.01


def test_a_single_atom_stays_thermal() -> None:
    state = gas(1, "Ar")
    maxwell_boltzmann_(state, 300.0, 3)
    noise = normal_noise(3, 0, VELOCITIES_STREAM, state.system_idx)
    speed = thermal_speed(state, torch.tensor([300.0], dtype=torch.float64))
    assert torch.equal(state.velocities, noise * speed.unsqueeze(1))


def test_each_system_has_its_temperature_and_its_seed() -> None:
    batch = gas(3, "Ar200")
    maxwell_boltzmann_(batch, [100.0, 300.0, 0.0], [5, 6, 7])
    alone = gas(1, "Ar200")
    maxwell_boltzmann_(alone, 300.0, 6)
    assert torch.equal(batch.velocities[200:400], alone.velocities)
    assert float(batch.velocities[400:].abs().max()) == 0.0
    cold = gas(1, "Ar200")
    maxwell_boltzmann_(cold, 100.0, 6)
    torch.testing.assert_close(cold.velocities, alone.velocities / 3**0.5, rtol=1e-12, atol=1e-18)


def test_small_systems_of_different_size_are_not_all_cold_under_one_seed() -> None:
    """2 to 40 atoms with seed 0, one after the other: as warm as independent draws."""
    sizes = range(2, 41)
    kT, ranks = BOLTZMANN_eV_PER_K * 300.0, []
    for n in sizes:
        state = gas(1, f"Ar{n}")
        maxwell_boltzmann_(state, 300.0, 0)
        law = stats.gamma(a=(3 * n - 3) / 2, scale=kT)
        ranks.append(float(law.cdf(float(kinetic_energy(state)[0]))))
    assert stats.kstest(ranks, "uniform").pvalue > 0.01
    assert abs(np.corrcoef(ranks[:-1], ranks[1:])[0, 1]) < 0.4


def test_temperatures_are_checked() -> None:
    with pytest.raises(InputError, match="2 temperatures for 3 systems"):
        maxwell_boltzmann_(gas(3, "Ar2"), [100.0, 300.0], 1)
    with pytest.raises(InputError, match="zero or positive"):
        maxwell_boltzmann_(gas(1, "Ar2"), -1.0, 1)
