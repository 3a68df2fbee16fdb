"""PLUMED as a bias: what it is told, and that what it answers is what the dynamics feel."""

import importlib.util
import sys
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk

from fastequi.errors import InputError
from fastequi.graph import Graph
from fastequi.integrations.plumed import Plumed
from fastequi.md.integrators import LangevinBAOAB, VelocityVerlet
from fastequi.md.observers import EverySo, thermodynamics
from fastequi.md.simulation import Simulation
from fastequi.md.testing import CPU, LennardJones, NoForces
from fastequi.md.velocities import maxwell_boltzmann_
from fastequi.potential import Prediction
from fastequi.units import BOLTZMANN_eV_PER_K

EV = "UNITS LENGTH=A ENERGY=eV TIME=fs"


def argon() -> Atoms:
    atoms = bulk("Ar", a=5.3, cubic=True).repeat(2)
    atoms.rattle(0.05, seed=1)
    return atoms


def simulation_of(atoms: Atoms, bias: Plumed | None, potential=None, dt_fs=4.0) -> Simulation:
    integrator = VelocityVerlet(timestep_fs=dt_fs)
    simulation = Simulation(atoms, potential or LennardJones(), integrator, bias=bias)
    maxwell_boltzmann_(simulation.state, 60.0, seed=3)
    return simulation


def test_looking_changes_no_bit(kernel, tmp_path):
    look = Plumed(["d: DISTANCE ATOMS=1,5", "PRINT ARG=d FILE=COLVAR"], directory=tmp_path)
    free, watched = simulation_of(argon(), None), simulation_of(argon(), look)
    for simulation in (free, watched):
        simulation.run(20)
    for name in ("positions", "velocities", "forces", "stress", "energy"):
        assert torch.equal(getattr(free.state, name), getattr(watched.state, name)), name
    rows = np.loadtxt(tmp_path / "COLVAR")
    assert rows[:, 0] == pytest.approx(np.arange(21) * 4e-3)  # ps
    x = watched.state.positions
    assert rows[-1, 1] == pytest.approx(0.1 * float((x[4] - x[0]).norm()), abs=1e-6)  # nm


CELL = np.array([[9.0, 0.0, 0.0], [2.0, 8.0, 0.0], [-1.0, 1.5, 7.0]])


@pytest.mark.parametrize(
    ("lines", "k", "r0"),
    [
        ([EV, "d: DISTANCE ATOMS=1,2", "RESTRAINT ARG=d AT=2.0 KAPPA=3.0"], 3.0, 2.0),
        (["d: DISTANCE ATOMS=1,2", "RESTRAINT ARG=d AT=0.2 KAPPA=30000"],
         30000 / 96.48530749925792 / 100, 2.0),
    ],
    ids=["eV and A", "kJ/mol and nm"],
)  # fmt: skip
def test_a_restraint_is_its_formula(kernel, tmp_path, lines, k, r0):
    """Energy, forces and stress of a bond across the border of a triclinic cell."""
    atoms = Atoms("Ar2", positions=[[0.5, 0.5, 0.5], [8.0, 0.2, 0.7]], cell=CELL, pbc=True)
    bias = Plumed([lines[0], *lines[1:-1], lines[-1]], directory=tmp_path)
    simulation = simulation_of(atoms, bias, NoForces())
    simulation.compute_forces_()
    bond = atoms.get_distance(0, 1, mic=True, vector=True)
    r = np.linalg.norm(bond)
    force = k * (r - r0) * bond / r
    state = simulation.state
    np.testing.assert_allclose(state.forces, [force, -force], rtol=0, atol=1e-10)
    np.testing.assert_allclose(float(state.energy), 0.5 * k * (r - r0) ** 2, rtol=0, atol=1e-10)
    stress = np.outer(bond, force) / atoms.get_volume()  # tension pulls inwards
    np.testing.assert_allclose(state.stress[0], stress, rtol=0, atol=1e-12)
    row = thermodynamics(simulation)
    assert row["potential_energy_eV"] == bias.energy_eV


def test_energy_with_the_bias_is_conserved(kernel, tmp_path):
    lines = [EV, "d: DISTANCE ATOMS=1,5", "r: RESTRAINT ARG=d AT=4.5 KAPPA=0.5"]
    simulation = simulation_of(argon(), Plumed(lines, directory=tmp_path), dt_fs=2.0)
    energies = []
    row = EverySo(5, lambda s: energies.append(thermodynamics(s)["conserved_eV"]))
    simulation.observers.append(row)
    simulation.run(200)
    assert np.ptp(energies) < 2e-4
    biased = float(simulation.state.energy)
    assert simulation.bias is not None
    assert simulation.bias.energy_eV > 1e-4
    free = simulation_of(argon(), None)
    free.state.positions.copy_(simulation.state.positions)
    free.compute_forces_()
    assert biased == pytest.approx(float(free.state.energy) + simulation.bias.energy_eV, abs=1e-12)


def test_a_step_is_remembered_once(kernel, tmp_path):
    lines = [EV, "p: POSITION ATOM=1",
             "m: METAD ARG=p.x SIGMA=0.1 HEIGHT=0.01 PACE=2 FILE=HILLS"]  # fmt: skip
    simulation = simulation_of(argon(), Plumed(lines, directory=tmp_path))
    simulation.run(2)
    simulation.compute_forces_()
    simulation.compute_forces_()
    simulation.run(2)
    assert len(np.loadtxt(tmp_path / "HILLS")) == 2


def test_an_input_that_plumed_refuses(kernel, tmp_path):
    bias = Plumed(["d: DISTANC ATOMS=1,2"], directory=tmp_path)
    with pytest.raises(InputError, match="DISTANC"):
        simulation_of(argon(), bias).compute_forces_()


def test_what_has_no_third_vector_is_refused(kernel, tmp_path):
    atoms = Atoms("Ar2", positions=[[0, 0, 0], [3, 0, 0]], cell=[9, 9, 0], pbc=[True, True, False])
    bias = Plumed(["d: DISTANCE ATOMS=1,2"], directory=tmp_path)
    with pytest.raises(InputError, match="no volume"):
        simulation_of(atoms, bias, NoForces()).compute_forces_()


def test_one_system_only(kernel):
    with pytest.raises(InputError, match="one system"):
        Simulation([argon(), argon()], LennardJones(), VelocityVerlet(1.0), bias=Plumed([]))


def test_nothing_is_installed(monkeypatch):
    monkeypatch.setitem(sys.modules, "plumed", None)
    with pytest.raises(InputError, match="pip install plumed"):
        Plumed([])


@pytest.mark.skipif(not importlib.util.find_spec("plumed"), reason="NO PLUMED: pip install plumed")
def test_the_wrapper_without_a_kernel(monkeypatch):
    monkeypatch.setenv("PLUMED_KERNEL", "/nowhere/libplumedKernel.so")
    with pytest.raises(InputError, match="PLUMED_KERNEL is '/nowhere"):
        Plumed([])


@dataclass(frozen=True)
class DoubleWell:
    """barrier (x² / at² - 1)² + ½ k (y² + z²) of every atom, in eV and Å."""

    barrier_eV: float = 0.25
    at_A: float = 1.0
    stiffness: float = 1.0
    cutoff: float = 1.0
    atomic_numbers: tuple[int, ...] | None = None
    device: torch.device = CPU

    def energy(self, x):
        return self.barrier_eV * ((x / self.at_A) ** 2 - 1.0) ** 2

    def compute(self, graph: Graph) -> Prediction:
        x = graph.positions
        energies = self.energy(x[:, 0]) + 0.5 * self.stiffness * x[:, 1:].square().sum(dim=1)
        forces = -self.stiffness * x
        t = x[:, 0] / self.at_A
        forces[:, 0] = -4.0 * self.barrier_eV / self.at_A * t * (t**2 - 1.0)
        return Prediction(energies.sum().view(1), energies, forces, graph.cell * torch.nan)


@pytest.mark.slow
def test_metadynamics_finds_a_known_free_energy(kernel, tmp_path):
    """Of a barrier of 10 kT, within kT / 2 wherever it is below 12 kT."""
    temperature_K, potential = 300.0, DoubleWell()
    kT = BOLTZMANN_eV_PER_K * temperature_K
    atoms = Atoms("Ar", positions=[[1.0, 0.0, 0.0]])
    lines = [EV, "p: POSITION ATOM=1",
             "m: METAD ARG=p.x SIGMA=0.1 HEIGHT=0.01 PACE=25 BIASFACTOR=10 FILE=HILLS"]  # fmt: skip
    bias = Plumed(lines, directory=tmp_path, temperature_K=temperature_K)
    integrator = LangevinBAOAB(10.0, temperature_K=temperature_K, friction_per_ps=5.0, seed=2)
    simulation = Simulation(atoms, potential, integrator, bias=bias)
    maxwell_boltzmann_(simulation.state, temperature_K, seed=2)
    simulation.run(40_000)
    _, centre, sigma, height, _ = np.loadtxt(tmp_path / "HILLS").T
    x = np.linspace(-1.3, 1.3, 131)
    found = -(height * np.exp(-0.5 * ((x[:, None] - centre) / sigma) ** 2)).sum(axis=1)
    error = (found - potential.energy(x))[potential.energy(x) < 12 * kT] / kT
    error -= error.mean()
    print(f"free energy: rms error {error.std():.3f} kT, largest {np.abs(error).max():.3f} kT")
    assert np.abs(error).max() < 0.5
