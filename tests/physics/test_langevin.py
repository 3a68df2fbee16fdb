"""Langevin dynamics as physics: exact averages, canonical distributions, diffusion.

Seeds are fixed and gates are three standard errors of the number of independent samples.
"""

from dataclasses import dataclass, field

import ase.build
import numpy as np
import physical_validation as pv
import pytest
import torch
from ase import Atoms

from fastequi.md.integrators import LangevinBAOAB
from fastequi.md.simulation import Simulation
from fastequi.md.state import kinetic_energy, state_from_atoms
from fastequi.md.testing import HarmonicWells, LennardJones, NoForces
from fastequi.md.velocities import maxwell_boltzmann_
from fastequi.units import ACCELERATION_A_PER_FS2, BOLTZMANN_eV_PER_K, KINETIC_eV


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


@dataclass
class Samples:
    """Kinetic and potential energy of every system, and kinetic energy by species and axis."""

    every: int
    after: int
    kinetic: list[torch.Tensor] = field(default_factory=list)
    potential: list[torch.Tensor] = field(default_factory=list)
    per_atom_axis: list[torch.Tensor] = field(default_factory=list)

    def __call__(self, simulation: Simulation) -> None:
        state = simulation.state
        if state.step < self.after:
            return
        self.kinetic.append(kinetic_energy(state))
        self.potential.append(state.energy)
        squared = state.masses.unsqueeze(1) * state.velocities.square()
        self.per_atom_axis.append(0.5 * KINETIC_eV * squared)


COLD_K, HOT_K, REPLICAS, ATOMS = 60.0, 72.0, 16, 32


@pytest.fixture(scope="module")
def crystal_samples() -> Samples:
    """32 atoms of two masses, Lennard-Jones, 16 replicas at each of two temperatures, one batch."""
    atoms = ase.build.bulk("Ar", "fcc", a=5.45, cubic=True).repeat(2)
    atoms.set_masses(np.where(np.arange(ATOMS) % 2, 39.948, 10.0))
    state = state_from_atoms([atoms] * (2 * REPLICAS))
    temperatures = [COLD_K] * REPLICAS + [HOT_K] * REPLICAS
    maxwell_boltzmann_(state, temperatures, 6)
    samples = Samples(every=30, after=240)
    integrator = LangevinBAOAB(6.0, temperatures, friction_per_ps=8.0, seed=21)
    potential = LennardJones(switch_A=4.5, cutoff=5.4)
    Simulation(state, potential, integrator, observers=[samples]).run(1140)
    return samples


def validation_data(samples: Samples, hot: bool) -> pv.data.SimulationData:
    """The replicas of one temperature as one sequence of samples for physical_validation."""
    chosen = slice(REPLICAS, None) if hot else slice(0, REPLICAS)
    kinetic = torch.stack(samples.kinetic)[:, chosen].T.flatten().numpy()
    potential = torch.stack(samples.potential)[:, chosen].T.flatten().numpy()
    volume = (2 * 5.45) ** 3
    return pv.data.SimulationData(
        units=pv.data.UnitData(
            kb=BOLTZMANN_eV_PER_K, energy_str="eV", energy_conversion=96.4853,
            length_str="Ang", length_conversion=0.1, volume_str="Ang^3", volume_conversion=1e-3,
            temperature_str="K", temperature_conversion=1.0, pressure_str="GPa",
            pressure_conversion=1e4, time_str="fs", time_conversion=1e-3,
        ),
        dt=6.0,
        system=pv.data.SystemData(
            natoms=ATOMS, nconstraints=0, ndof_reduction_tra=0, ndof_reduction_rot=0,
            mass=np.where(np.arange(ATOMS) % 2, 39.948, 10.0),
        ),
        ensemble=pv.data.EnsembleData(
            "NVT", natoms=ATOMS, volume=volume, temperature=HOT_K if hot else COLD_K
        ),
        observables=pv.data.ObservableData(
            kinetic_energy=kinetic, potential_energy=potential, total_energy=kinetic + potential
        ),
    )  # fmt: skip


@pytest.mark.parametrize("hot", [False, True], ids=["60K", "72K"])
def test_kinetic_energies_are_maxwell_boltzmann_with_3n_degrees_of_freedom(
    crystal_samples: Samples, hot: bool
) -> None:
    data = validation_data(crystal_samples, hot)
    p_value = pv.kinetic_energy.distribution(data, strict=True, verbosity=0)
    assert np.all(np.asarray(p_value) > 1e-3)
    assert np.abs(mean_and_width_sigma(data)).max() < 3.0


def mean_and_width_sigma(data: pv.data.SimulationData) -> np.ndarray:
    """How far mean and width of the kinetic energies are from those of the temperature [2]."""
    return np.asarray(pv.kinetic_energy.distribution(data, strict=False, verbosity=0))


def test_the_check_of_kinetic_energies_sees_the_wrong_degrees_of_freedom(
    crystal_samples: Samples,
) -> None:
    """The same samples taken for 3N - 3 are rejected: the test above can fail."""
    data = validation_data(crystal_samples, hot=False)
    data.system.ndof_reduction_tra = 3
    assert abs(mean_and_width_sigma(data)[0]) > 3.0


def test_potential_energies_at_two_temperatures_are_canonical(crystal_samples: Samples) -> None:
    """The ratio of the two distributions is exp(-(beta₂ - beta₁) U), within three sigma."""
    (sigma,) = pv.ensemble.check(
        validation_data(crystal_samples, hot=False),
        validation_data(crystal_samples, hot=True),
        total_energy=False,
        verbosity=0,
    )
    assert abs(sigma) < 3.0


def test_energy_is_shared_equally_between_species_and_axes(crystal_samples: Samples) -> None:
    kinetic = torch.stack(crystal_samples.per_atom_axis)[:, : REPLICAS * ATOMS]
    half_kT = 0.5 * BOLTZMANN_eV_PER_K * COLD_K
    heavy = torch.arange(REPLICAS * ATOMS) % 2 == 1
    for species in (heavy, ~heavy):
        for axis in range(3):
            values = kinetic[:, species, axis]
            standard_error = half_kT * np.sqrt(2.0 / values.numel())
            assert abs(float(values.mean()) - half_kT) < 3.0 * standard_error
