"""Argon crystals at two temperatures, sampled with a thermostat, and what must be true of them.

Gates are three standard errors of the number of independent samples; seeds are fixed.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import ase.build
import numpy as np
import physical_validation as pv
import torch

from fastequi.md.integrators import Integrator
from fastequi.md.simulation import Simulation
from fastequi.md.state import kinetic_energy, state_from_atoms
from fastequi.md.testing import LennardJones
from fastequi.md.velocities import maxwell_boltzmann_
from fastequi.units import BOLTZMANN_eV_PER_K, KINETIC_eV

COLD_K, HOT_K, REPLICAS, ATOMS, TIMESTEP_FS = 60.0, 72.0, 16, 32, 6.0


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
        self.potential.append(state.energy.clone())  # a state writes into its tensors
        squared = state.masses.unsqueeze(1) * state.velocities.square()
        self.per_atom_axis.append(0.5 * KINETIC_eV * squared)


def sample_crystals(
    make: Callable[[float, list[float]], Integrator], steps: int = 1140, every: int = 30
) -> Samples:
    """32 atoms of two masses, Lennard-Jones, 16 replicas at each of two temperatures, one batch.

    `make` takes the timestep and one temperature per system.
    """
    atoms = ase.build.bulk("Ar", "fcc", a=5.45, cubic=True).repeat(2)
    atoms.set_masses(np.where(np.arange(ATOMS) % 2, 39.948, 10.0))
    state = state_from_atoms([atoms] * (2 * REPLICAS))
    temperatures = [COLD_K] * REPLICAS + [HOT_K] * REPLICAS
    maxwell_boltzmann_(state, temperatures, 6)
    samples = Samples(every=every, after=240)
    potential = LennardJones(switch_A=4.5, cutoff=5.4)
    integrator = make(TIMESTEP_FS, temperatures)
    Simulation(state, potential, integrator, observers=[samples]).run(steps)
    return samples


def validation_data(samples: Samples, hot: bool, conserved: int) -> pv.data.SimulationData:
    """The replicas of one temperature as one sequence of samples for physical_validation.

    conserved: degrees of freedom that the dynamics leave alone.
    """
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
        dt=TIMESTEP_FS,
        system=pv.data.SystemData(
            natoms=ATOMS, nconstraints=0, ndof_reduction_tra=conserved, ndof_reduction_rot=0,
            mass=np.where(np.arange(ATOMS) % 2, 39.948, 10.0),
        ),
        ensemble=pv.data.EnsembleData(
            "NVT", natoms=ATOMS, volume=volume, temperature=HOT_K if hot else COLD_K
        ),
        observables=pv.data.ObservableData(
            kinetic_energy=kinetic, potential_energy=potential, total_energy=kinetic + potential
        ),
    )  # fmt: skip


def mean_and_width_sigma(data: pv.data.SimulationData) -> np.ndarray:
    """How far mean and width of the kinetic energies are from those of the temperature [2]."""
    return np.asarray(pv.kinetic_energy.distribution(data, strict=False, verbosity=0))


def assert_maxwell_boltzmann(samples: Samples, hot: bool, conserved: int) -> None:
    """Kinetic energies have the distribution of their temperature."""
    data = validation_data(samples, hot, conserved)
    p_value = pv.kinetic_energy.distribution(data, strict=True, verbosity=0)
    assert np.all(np.asarray(p_value) > 1e-3)
    assert np.abs(mean_and_width_sigma(data)).max() < 3.0


def assert_potential_energies_are_canonical(samples: Samples, conserved: int) -> None:
    """The ratio of the two distributions is exp(-(beta₂ - beta₁) U), within three sigma."""
    (sigma,) = pv.ensemble.check(
        validation_data(samples, hot=False, conserved=conserved),
        validation_data(samples, hot=True, conserved=conserved),
        total_energy=False,
        verbosity=0,
    )
    assert abs(sigma) < 3.0


def assert_energy_is_shared_equally(samples: Samples, conserved: int) -> None:
    """Between species and axes, in the cold replicas; `conserved` degrees of freedom are cold.

    Without the motion of the centre of mass, an atom of mass m of M misses its share m / M. Phonons
    keep their energy for long, so errors are those of the means of the replicas.
    """
    kinetic = torch.stack(samples.per_atom_axis)[:, : REPLICAS * ATOMS]
    kinetic = kinetic.unflatten(1, (REPLICAS, ATOMS))
    masses = np.where(np.arange(ATOMS) % 2, 39.948, 10.0)
    heavy = torch.arange(ATOMS) % 2 == 1
    for species, mass in ((heavy, 39.948), (~heavy, 10.0)):
        share = 1.0 - (conserved / 3) * mass / masses.sum()
        expected = 0.5 * BOLTZMANN_eV_PER_K * COLD_K * share
        for axis in range(3):
            of_replica = kinetic[:, :, species, axis].mean(dim=(0, 2))
            error = float(of_replica.std()) / np.sqrt(REPLICAS)
            assert error < 0.05 * expected
            assert abs(float(of_replica.mean()) - expected) < 3.0 * error
