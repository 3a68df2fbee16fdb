"""Langevin dynamics as physics: exact averages, canonical distributions, diffusion.

Seeds are fixed and gates are three standard errors of the number of independent samples.
"""

import numpy as np
import pytest
from ase import Atoms
from canonical import (
    Samples,
    assert_energy_is_shared_equally,
    assert_maxwell_boltzmann,
    assert_potential_energies_are_canonical,
    mean_and_width_sigma,
    sample_crystals,
    validation_data,
)

from fastequi.md.integrators import LangevinBAOAB
from fastequi.md.simulation import Simulation
from fastequi.md.state import state_from_atoms
from fastequi.md.testing import HarmonicWells, NoForces
from fastequi.md.velocities import maxwell_boltzmann_
from fastequi.units import ACCELERATION_A_PER_FS2, BOLTZMANN_eV_PER_K


def far_apart(n: int) -> Atoms:
    """Argon atoms too far apart to notice each other."""
    return Atoms(f"Ar{n}", [[20.0 * i, 0.0, 0.0] for i in range(n)])


@pytest.mark.parametrize("dt_omega", [0.1, 0.5, 1.0, 1.5])
def test_positions_in_a_harmonic_well_are_exact_at_every_timestep(dt_omega: float) -> None:
    """<x²> = kT/k: 6000 oscillators from equilibrium on, sampled every two relaxation times."""
    atoms, temperature_K, samples = far_apart(2000), 300.0, 6
    state = state_from_atoms(atoms)
    wells = HarmonicWells(state.positions.clone(), stiffness_eV_per_A2=2.0)
    timestep_fs = wells.timestep_fs(float(state.masses[0]), dt_omega)
    # Critically damped: friction 2 omega, correlations die as exp(-omega t).
    friction_per_ps = 2.0 * dt_omega / timestep_fs * 1e3
    integrator = LangevinBAOAB(timestep_fs, temperature_K, friction_per_ps, seed=11)
    simulation = Simulation(state, wells, integrator)
    apart = max(2, round(4.0 / dt_omega))
    simulation.run(3 * apart)
    squares = []
    for _ in range(samples):
        simulation.run(apart)
        squares.append(float((state.positions - wells.anchors).square().mean()))
    exact = BOLTZMANN_eV_PER_K * temperature_K / wells.stiffness_eV_per_A2
    standard_error = exact * np.sqrt(2.0 / (3 * 2000 * samples))
    assert abs(np.mean(squares) - exact) < 3.0 * standard_error


def test_free_particles_diffuse_as_einstein_says() -> None:
    """<|x(t) - x(0)|²> = 6 D (t - (1 - exp(-g t)) / g), D = kT / (m g), from thermal velocities."""
    state = state_from_atoms(far_apart(3000))
    # A single atom each would be thermal; here the shared momentum of 3000 is negligible.
    maxwell_boltzmann_(state, 300.0, 4)
    start = state.positions.clone()
    Simulation(state, NoForces(), LangevinBAOAB(5.0, 300.0, 20.0, seed=5)).run(100)
    friction, t = 20.0e-3, 500.0
    diffusion = BOLTZMANN_eV_PER_K * 300.0 * ACCELERATION_A_PER_FS2 / (39.948 * friction)
    expected = 2.0 * diffusion * (t - (1.0 - np.exp(-friction * t)) / friction)
    squares = (state.positions - start).square()
    standard_error = expected * np.sqrt(2.0 / squares.numel())
    assert abs(float(squares.mean()) - expected) < 3.0 * standard_error


@pytest.fixture(scope="module")
def crystals() -> Samples:
    return sample_crystals(
        lambda dt, temperatures: LangevinBAOAB(dt, temperatures, friction_per_ps=8.0, seed=22)
    )


@pytest.mark.parametrize("hot", [False, True], ids=["60K", "72K"])
def test_kinetic_energies_are_maxwell_boltzmann_with_3n_degrees_of_freedom(
    crystals: Samples, hot: bool
) -> None:
    assert_maxwell_boltzmann(crystals, hot, conserved=0)


def test_the_check_of_kinetic_energies_sees_the_wrong_degrees_of_freedom(
    crystals: Samples,
) -> None:
    """The same samples taken for 3N - 3 are rejected: the test above can fail."""
    data = validation_data(crystals, hot=False, conserved=3)
    assert abs(mean_and_width_sigma(data)[0]) > 3.0


def test_potential_energies_at_two_temperatures_are_canonical(crystals: Samples) -> None:
    assert_potential_energies_are_canonical(crystals, conserved=0)


def test_energy_is_shared_equally_between_species_and_axes(crystals: Samples) -> None:
    assert_energy_is_shared_equally(crystals, conserved=0)
