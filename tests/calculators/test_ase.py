"""The ASE calculator under ASE's own optimisers, dynamics, phonons and cell filters.

Each with argon (Lennard-Jones, always) and with silicon (sevennet-0, where its weights are).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk
from ase.calculators.calculator import PropertyNotImplementedError
from ase.calculators.fd import calculate_numerical_forces, calculate_numerical_stress
from ase.constraints import FixAtoms
from ase.filters import FrechetCellFilter
from ase.md.velocitydistribution import thermalize_momenta
from ase.md.verlet import VelocityVerlet
from ase.optimize import BFGS, FIRE, LBFGS
from ase.phonons import Phonons

from fastequi import FastEquiCalculator
from fastequi.errors import InputError
from fastequi.importers.sevennet import find_pretrained
from fastequi.md.testing import LennardJones


@dataclass(frozen=True)
class Case:
    """A crystal, its potential and what is known of it (Å, meV)."""

    primitive: Atoms
    cubic: Atoms
    calculator: Callable[[], FastEquiCalculator]
    a_range_A: tuple[float, float]
    optical_meV: tuple[float, float]


def argon() -> Case:
    return Case(
        bulk("Ar", "fcc", 5.3), bulk("Ar", "fcc", 5.3, cubic=True),
        lambda: FastEquiCalculator(LennardJones()), (5.1, 5.35), (5.0, 12.0),
    )  # fmt: skip


def silicon() -> Case:
    try:
        find_pretrained("sevennet-0")
    except InputError as error:
        pytest.skip(f"NO SEVENNET WEIGHTS: {error}")
    return Case(
        bulk("Si", "diamond", 5.4), bulk("Si", "diamond", 5.4, cubic=True),
        lambda: FastEquiCalculator("sevennet-0", dtype="float64", device="cpu"),
        (5.40, 5.52), (50.0, 68.0),
    )  # fmt: skip


@pytest.fixture(params=[argon, silicon])
def case(request: pytest.FixtureRequest) -> Case:
    return request.param()


@pytest.mark.parametrize("optimizer", [BFGS, LBFGS, FIRE])
def test_optimisers_find_the_crystal(case: Case, optimizer):
    atoms, perfect = case.cubic.copy(), case.cubic.copy()
    atoms.rattle(0.05, seed=0)
    atoms.calc, perfect.calc = case.calculator(), case.calculator()
    assert optimizer(atoms, logfile=None).run(fmax=1e-3, steps=200)
    assert atoms.get_potential_energy() == pytest.approx(perfect.get_potential_energy(), abs=1e-4)


def test_cell_filter_finds_the_lattice_constant(case: Case):
    lattice_constants = []
    for strain in (-0.02, 0.03):
        atoms = case.primitive.copy()
        atoms.set_cell(atoms.cell.array * (1 + strain), scale_atoms=True)
        atoms.calc = case.calculator()
        relaxed: Any = FrechetCellFilter(atoms)
        assert BFGS(relaxed, logfile=None).run(fmax=1e-4, steps=100)
        assert np.abs(atoms.get_stress()).max() < 1e-5
        lattice_constants.append(float((4 * atoms.get_volume() / len(atoms)) ** (1 / 3)))
    if len(case.primitive) == 2:  # diamond: eight atoms per cube
        lattice_constants = [a * 2 ** (1 / 3) for a in lattice_constants]
    assert lattice_constants[0] == pytest.approx(lattice_constants[1], abs=1e-3)
    assert case.a_range_A[0] < lattice_constants[0] < case.a_range_A[1]


def test_dynamics_conserves_energy(case: Case):
    atoms = case.cubic.repeat((2, 1, 1))
    thermalize_momenta(atoms, temperature_K=100, rng=np.random.default_rng(1))
    atoms.calc = case.calculator()
    before = atoms.get_total_energy()
    VelocityVerlet(atoms, 1.0 * units.fs).run(30)
    assert atoms.get_total_energy() == pytest.approx(before, abs=2e-4 * len(atoms))
    assert atoms.get_kinetic_energy() != pytest.approx(100 * 1.5 * units.kB * len(atoms), rel=0.05)


def test_phonons(case: Case, tmp_path):
    """Acoustic branches vanish at gamma, nothing is imaginary, the top is where it should be."""
    phonons = Phonons(case.primitive, case.calculator(), supercell=(3, 3, 3), delta=0.01,
                      name=str(tmp_path / "phonons"))  # fmt: skip
    phonons.run()
    phonons.read(acoustic=True)
    points = np.array([[0, 0, 0], [0.5, 0, 0.5], [0.5, 0.5, 0.5], [0.25, 0.1, 0.3]])
    energies = 1e3 * np.asarray(phonons.band_structure(points, verbose=False))  # meV
    assert np.abs(energies[0, :3]).max() < 0.3
    assert energies[1:].min() > 1.0
    assert case.optical_meV[0] < energies.max() < case.optical_meV[1]


def test_forces_and_stress_are_numerical_derivatives(case: Case):
    atoms = case.primitive.repeat((2, 1, 1))
    atoms.rattle(0.05, seed=3)
    atoms.calc = case.calculator()
    numeric = calculate_numerical_forces(atoms, eps=1e-4, iatoms=[0, 1])
    assert np.abs(numeric - atoms.get_forces()[:2]).max() < 1e-6
    numeric = calculate_numerical_stress(atoms, eps=1e-5)
    assert np.abs(numeric - atoms.get_stress()).max() < 1e-7


def test_energies_add_up_and_constraints_hold(case: Case):
    atoms = case.cubic.copy()
    atoms.rattle(0.05, seed=0)
    atoms.set_constraint(FixAtoms([0]))
    atoms.calc = case.calculator()
    assert atoms.get_potential_energies().sum() == pytest.approx(atoms.get_potential_energy())
    assert np.abs(atoms.get_forces()[0]).max() == 0.0
    assert np.abs(atoms.get_forces(apply_constraint=False)[0]).max() > 1e-3


def test_molecule_has_no_stress():
    atoms = Atoms("Ar2", [[0, 0, 0], [0, 0, 3.8]], calculator=FastEquiCalculator(LennardJones()))
    assert atoms.get_potential_energy() < 0
    with pytest.raises(PropertyNotImplementedError):
        atoms.get_stress()


def test_skin_never_shows(case: Case):
    """Atoms that jump, wrap or change their number between calls."""
    atoms = case.cubic.repeat((2, 2, 1))
    atoms.calc = case.calculator()
    generator = np.random.default_rng(0)
    for k in range(4):
        atoms.positions += generator.normal(0, 0.1, atoms.positions.shape)
        if k == 2:
            atoms.wrap()
        fresh = atoms.copy()
        fresh.calc = case.calculator()
        assert np.abs(atoms.get_forces() - fresh.get_forces()).max() < 1e-12
    del atoms[3]
    fresh = atoms.copy()
    fresh.calc = case.calculator()
    assert atoms.get_potential_energy() == pytest.approx(fresh.get_potential_energy(), abs=1e-12)


def test_bad_structures_are_refused_with_reasons():
    atoms = bulk("Ar", "fcc", 5.3, cubic=True)
    atoms.calc = FastEquiCalculator(LennardJones())
    atoms.positions[1] = atoms.positions[0]
    with pytest.raises(InputError, match="on top of each other"):
        atoms.get_potential_energy()
    with pytest.raises(TypeError, match="already loaded"):
        FastEquiCalculator(LennardJones(), dtype="float64")
