"""Gases and crystals under a barostat, and what must be true of their volumes.

Gates are three standard errors of the number of independent samples; seeds are fixed.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import ase.build
import numpy as np
import physical_validation as pv
import torch
from ase import Atoms

from fastequi.graph import volumes
from fastequi.md.barostats.strain import pressure_energy
from fastequi.md.integrators import Integrator
from fastequi.md.simulation import Simulation
from fastequi.md.state import State, state_from_atoms
from fastequi.md.testing import LennardJones, NoForces
from fastequi.md.velocities import maxwell_boltzmann_
from fastequi.units import BOLTZMANN_eV_PER_K, GPA_PER_eV_PER_A3

#: A gas of so many atoms, systems; its volume without fluctuations is N kT / P.
GAS_ATOMS, GASES, GAS_K, GAS_GPA = 32, 60, 300.0, 0.1
GAS_UNIT_A3 = BOLTZMANN_eV_PER_K * GAS_K / (GAS_GPA / GPA_PER_eV_PER_A3)


def ideal_gases(start: float) -> State:
    """Cubes of `start` times N kT / P, with thermal velocities."""
    edge = (start * GAS_ATOMS * GAS_UNIT_A3) ** (1.0 / 3.0)
    rng = np.random.default_rng(3)
    gases = [
        Atoms(f"Ar{GAS_ATOMS}", scaled_positions=rng.random((GAS_ATOMS, 3)), cell=[edge] * 3,
              pbc=True)
        for _ in range(GASES)
    ]  # fmt: skip
    state = state_from_atoms(gases)
    maxwell_boltzmann_(state, GAS_K, 11)
    return state


def assert_gas_volumes_are_exact(
    integrator: Integrator, start: float = 0.9, wait: int = 900, apart: int = 300, samples: int = 5
) -> State:
    """V is Gamma(N, kT / P): V^(N - 1) of the relative motion of N, times exp(-P V / kT)."""
    state = ideal_gases(start)
    simulation = Simulation(state, NoForces(cutoff=0.5), integrator, skin_A=3.0)
    simulation.run(wait)
    seen = []
    for _ in range(samples):
        simulation.run(apart)
        seen.append(volumes(state.cell))
    volume = torch.stack(seen).flatten().numpy()
    n, mean, variance = len(volume), GAS_ATOMS * GAS_UNIT_A3, GAS_ATOMS * GAS_UNIT_A3**2
    assert abs(volume.mean() - mean) < 3.0 * np.sqrt(variance / n)
    kurtosis = 3.0 + 6.0 / GAS_ATOMS
    assert abs(volume.var() - variance) < 3.0 * variance * np.sqrt((kurtosis - 1.0) / n)
    assert bool((torch.linalg.det(state.cell) > 0.0).all())
    return state


CRYSTAL_ATOMS, CRYSTALS, CRYSTAL_K, LOW_GPA, HIGH_GPA = 4, 32, 40.0, 0.0, 0.12
CRYSTAL_FS = 6.0


@dataclass
class Samples:
    """Volume, potential energy and V (P - P0) as a tensor, of every system."""

    pressure: torch.Tensor
    every: int = 7  # in no ratio to the period of a cell
    after: int = 300
    volume: list[torch.Tensor] = field(default_factory=list)
    potential: list[torch.Tensor] = field(default_factory=list)
    drive: list[torch.Tensor] = field(default_factory=list)

    def __call__(self, simulation: Simulation) -> None:
        state = simulation.state
        if state.step < self.after:
            return
        volume = volumes(state.cell)
        held = (self.pressure * volume).view(-1, 1, 1) * torch.eye(3, dtype=torch.float64)
        self.volume.append(volume)
        self.potential.append(state.energy.clone())
        self.drive.append(pressure_energy(state) - held)


def sample_crystals(
    make: Callable[[float, float, list[float]], Integrator], steps: int = 1500
) -> Samples:
    """Four atoms, Lennard-Jones, 32 replicas at each of two pressures, one batch.

    `make` takes timestep, temperature, and a pressure per system.
    """
    atoms = ase.build.bulk("Ar", "fcc", a=5.35, cubic=True)
    state = state_from_atoms([atoms] * (2 * CRYSTALS))
    maxwell_boltzmann_(state, CRYSTAL_K, 5)
    pressures = [LOW_GPA] * CRYSTALS + [HIGH_GPA] * CRYSTALS
    samples = Samples(torch.tensor(pressures, dtype=torch.float64) / GPA_PER_eV_PER_A3)
    potential = LennardJones(switch_A=4.5, cutoff=5.4)
    integrator = make(CRYSTAL_FS, CRYSTAL_K, pressures)
    Simulation(state, potential, integrator, observers=[samples]).run(steps)
    return samples


def assert_volumes_at_two_pressures_are_boltzmann(samples: Samples) -> None:
    """The ratio of the two distributions is exp(-beta (P2 - P1) V), within three sigma."""

    def data(high: bool) -> pv.data.SimulationData:
        chosen = slice(CRYSTALS, None) if high else slice(0, CRYSTALS)
        volume = torch.stack(samples.volume)[:, chosen].T.flatten().numpy()
        potential = torch.stack(samples.potential)[:, chosen].T.flatten().numpy()
        return pv.data.SimulationData(
            units=pv.data.UnitData(
                kb=BOLTZMANN_eV_PER_K, energy_str="eV", energy_conversion=96.4853,
                length_str="Ang", length_conversion=0.1, volume_str="Ang^3",
                volume_conversion=1e-3, temperature_str="K", temperature_conversion=1.0,
                pressure_str="GPa", pressure_conversion=1e4, time_str="fs", time_conversion=1e-3,
            ),
            ensemble=pv.data.EnsembleData(
                "NPT", natoms=CRYSTAL_ATOMS, temperature=CRYSTAL_K,
                pressure=HIGH_GPA if high else LOW_GPA,
            ),
            observables=pv.data.ObservableData(potential_energy=potential, volume=volume),
        )  # fmt: skip

    sigmas = pv.ensemble.check(data(False), data(True), total_energy=False, verbosity=0)
    assert np.abs(np.asarray(sigmas)).max() < 3.0


def assert_pressure_is_in_equilibrium(
    samples: Samples, axes: str, shears: bool, fluctuations: bool = True
) -> None:
    """<V (P - P0)> = -kT and <(V - <V>) (V (P - P0) + kT)> = -kT <V> over the free axes.

    What follows when a total derivative with respect to a strain is averaged with the weight
    V exp(-beta (E + P0 V)): the first is the mean pressure, the second its correlation with V.
    """
    kT = BOLTZMANN_eV_PER_K * CRYSTAL_K
    cold = slice(0, CRYSTALS)  # at one pressure
    drive, volume = torch.stack(samples.drive)[:, cold], torch.stack(samples.volume)[:, cold]

    def check(values: torch.Tensor, expected: float, resolution: float) -> None:
        of_replica = values.mean(dim=0).numpy()
        error = of_replica.std(ddof=1) / np.sqrt(len(of_replica))
        assert error < resolution  # sharp enough to see what is asserted
        assert abs(of_replica.mean() - expected) < 3.0 * error

    free = ["xyz".index(axis) for axis in axes]
    for k in free:
        check(drive[:, :, k, k], -kT, 2.0 * kT)
    mean_drive = drive.diagonal(dim1=2, dim2=3)[:, :, free].mean(dim=2)
    if fluctuations:
        deviation = (volume - volume.mean(dim=(0, 1))) / volume.mean(dim=(0, 1))
        check(deviation * (mean_drive + kT), -kT, 0.15 * kT)
    if shears:
        check(drive[:, :, 0, 1], 0.0, 2.0 * kT)


def isotropic_part(samples: Samples) -> Samples:
    """With the mean over axes in the place of each."""
    mean = [d.diagonal(dim1=1, dim2=2).mean(dim=1) for d in samples.drive]
    drive = [torch.diag_embed(m.unsqueeze(1).expand(-1, 3)) for m in mean]
    return Samples(samples.pressure, volume=samples.volume, drive=drive)
