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
from ase.md.verlet import VelocityVerlet
from ase.optimize import BFGS, FIRE, LBFGS
from ase.phonons import Phonons

from fastequi import FastEquiCalculator, load_model
from fastequi.errors import InputError
from fastequi.graph import Graph, edge_vectors
from fastequi.importers.sevennet import find_pretrained
from fastequi.md.testing import LennardJones
from fastequi.potential import Prediction


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
    noise = np.random.default_rng(1).standard_normal((len(atoms), 3))
    atoms.set_momenta(np.sqrt(atoms.get_masses()[:, None] * units.kB * 100) * noise)
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


@pytest.mark.parametrize("cell", [None, [[8, 6, 5], [2, 3, 0], [10, 9, 5]]])
def test_molecule_has_no_stress(cell: list | None):
    """Nor has one whose lattice vectors lie in a plane; there NumPy's determinant is not zero."""
    atoms = Atoms("Ar2", [[0, 0, 0], [0, 0, 3.8]], calculator=FastEquiCalculator(LennardJones()))
    atoms.set_cell(cell)
    assert atoms.get_potential_energy() < 0
    with pytest.raises(PropertyNotImplementedError, match="the cell has no volume"):
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


def crystal_of_argon() -> Atoms:
    return bulk("Ar", "fcc", 5.3, cubic=True)


def test_bad_structures_are_refused_with_reasons():
    atoms = crystal_of_argon()
    atoms.calc = FastEquiCalculator(LennardJones())
    atoms.positions[1] = atoms.positions[0]
    with pytest.raises(InputError, match="on top of each other"):
        atoms.get_potential_energy()
    with pytest.raises(TypeError, match="already loaded"):
        FastEquiCalculator(LennardJones(), dtype="float64")


MOVES = {
    "on top of each other": ([0.0, 0.0, 0.0], r"atom 0 \(Ar\) and atom 1 \(Ar\) \(0 Å\)"),
    "on top of an image": ([5.3, 0.0, 5.35], r"atom 0 \(Ar\) and atom 1 \(Ar\) \(0.05 Å\)"),
    "no number": ([np.nan, 0.0, 0.0], r"positions are not finite: atom 1 \(Ar\)"),
    "infinite": ([0.0, np.inf, 0.0], r"positions are not finite: atom 1 \(Ar\)"),
}


@pytest.mark.parametrize("move", MOVES)
@pytest.mark.parametrize("is_moved", [True, False], ids=["by a move", "from the start"])
def test_what_cannot_be_computed_is_refused_at_every_call(move: str, is_moved: bool):
    """Whichever property is asked for, however often; apart again, all is as if nothing was."""
    position, reason = MOVES[move]
    atoms = crystal_of_argon()
    atoms.calc = FastEquiCalculator(LennardJones())
    if is_moved:
        atoms.get_potential_energy()
    good = atoms.positions.copy()
    atoms.positions[1] = position
    for ask in (atoms.get_potential_energy, atoms.get_stress, atoms.get_forces, atoms.get_stress):
        with pytest.raises(InputError, match=reason):
            ask()
    atoms.positions[:] = good
    fresh = crystal_of_argon()
    fresh.calc = FastEquiCalculator(LennardJones())
    assert atoms.get_potential_energy() == fresh.get_potential_energy()
    np.testing.assert_array_equal(atoms.get_forces(), fresh.get_forces())
    np.testing.assert_array_equal(atoms.get_stress(), fresh.get_stress())


@dataclass(frozen=True)
class Broken(LennardJones):
    """Lennard-Jones that gives NaN or infinity in one place while two atoms are near each other."""

    where: str = "forces"
    value: float = np.nan

    def compute(self, graph: Graph) -> Prediction:
        prediction = LennardJones.compute(self, graph)
        if float(edge_vectors(graph).norm(dim=1).min()) < 2.0:
            getattr(prediction, self.where).view(-1)[-1] = self.value
        return prediction


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("where", ["energy", "energies", "forces", "stress"])
def test_results_that_are_not_finite_are_refused_and_forgotten(where: str, value: float):
    atoms = crystal_of_argon()
    atoms.calc = FastEquiCalculator(Broken(where=where, value=value))
    before = atoms.get_potential_energy()
    good = atoms.positions.copy()
    atoms.positions[1] = atoms.positions[0] + [0.0, 0.0, 1.5]
    for ask in (atoms.get_potential_energy, atoms.get_stress, atoms.get_potential_energy):
        with pytest.raises(InputError, match=r"not finite.*nearest atoms are 1\.5 Å apart"):
            ask()
    assert atoms.calc.results == {}
    atoms.positions[:] = good
    assert atoms.get_potential_energy() == before


def test_results_that_are_not_finite_name_their_atoms():
    atoms = crystal_of_argon()
    atoms.calc = FastEquiCalculator(Broken())
    atoms.positions[1] = atoms.positions[0] + [0.0, 0.0, 1.5]
    with pytest.raises(InputError, match=r"forces of atom 3 \(Ar\)"):
        atoms.get_forces()


@pytest.mark.parametrize("is_periodic", [True, False])
def test_bad_atoms_are_looked_for_only_where_they_can_be(monkeypatch, is_periodic: bool):
    """The thorough check runs for new elements and cells, and where a call ends badly."""
    calls = []
    monkeypatch.setattr("fastequi.calculators.ase.check_atoms", lambda *_: calls.append(None))
    atoms = crystal_of_argon()
    atoms.pbc = is_periodic
    atoms.calc = FastEquiCalculator(LennardJones())
    for _ in range(5):
        atoms.rattle(0.01)
        atoms.get_forces()
    assert len(calls) == 1


def test_calculators_that_share_a_model_do_not_share_a_list() -> None:
    """As the images of a nudged elastic band do, in turns."""
    model = load_model("silicon")
    first, second = bulk("Si", cubic=True), bulk("Si", cubic=True)
    first.rattle(0.1, seed=1)
    second.rattle(0.4, seed=2)
    expected = _forces(first, FastEquiCalculator(model))
    first.calc, second.calc = FastEquiCalculator(model), FastEquiCalculator(model)
    for _ in range(3):
        for atoms in (first, second):
            atoms.get_forces()
            atoms.positions += 1e-3  # all alike: the forces stay
    np.testing.assert_allclose(first.get_forces(), expected, atol=2e-5)


def _forces(atoms: Atoms, calculator: FastEquiCalculator) -> np.ndarray:
    alone = atoms.copy()
    alone.calc = calculator
    return alone.get_forces()
