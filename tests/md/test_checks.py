"""What is refused before a simulation starts, and how it is said."""

from dataclasses import replace

import ase.build
import numpy as np
import pytest
from ase import Atoms
from ase.constraints import FixAtoms, FixCom, FixedPlane

from fastequi.errors import InputError
from fastequi.md.checks import check_atoms
from fastequi.md.integrators import VelocityVerlet
from fastequi.md.simulation import Simulation
from fastequi.md.testing import LennardJones

ARGON = LennardJones(atomic_numbers=(10, 18))


def argon() -> Atoms:
    return ase.build.bulk("Ar", "fcc", a=5.4, cubic=True)


def complaint(atoms: Atoms | list[Atoms]) -> str:
    with pytest.raises(InputError) as caught:
        check_atoms(atoms, ARGON)
    return str(caught.value)


def test_good_structures_pass() -> None:
    left_handed = argon()
    left_handed.set_cell(left_handed.cell.array[[1, 0, 2]])
    tiny = ase.build.bulk("Ar", "fcc", a=5.4)  # 3.8 Å lattice vectors, 7.5 Å cutoff
    for atoms in (
        argon(),
        left_handed,
        tiny,
        Atoms("Ar"),
        [argon(), Atoms("NeAr", [[0] * 3, [3] * 3])],
    ):
        check_atoms(atoms, ARGON)


def test_no_atoms() -> None:
    assert "system 0 has no atoms" in complaint(Atoms())
    assert "system 1 has no atoms" in complaint([argon(), Atoms()])
    assert "list of structures is empty" in complaint([])


def test_positions_and_velocities_that_are_not_finite_are_named() -> None:
    atoms = argon()
    atoms.positions[2, 1] = np.nan
    velocities = np.zeros((4, 3))
    velocities[3] = np.inf
    atoms.set_velocities(velocities)
    message = complaint(atoms)
    assert "positions are not finite: atom 2 (Ar)" in message
    assert "velocities are not finite: atom 3 (Ar)" in message


def test_atoms_on_top_of_each_other_are_named_with_their_distance() -> None:
    atoms = argon()
    atoms.positions[3] = (
        atoms.positions[1] + atoms.cell.array[0] + [0.0, 0.05, 0.0]
    )  # through the wall
    message = complaint([argon(), atoms])
    assert "atom 1 (Ar) of system 1 and atom 3 (Ar) of system 1 (0.05 Å)" in message
    assert message.count(" Å)") == 1


def test_an_atom_on_its_own_image() -> None:
    flat = Atoms("Ar", cell=[0.05, 9, 9], pbc=True)
    assert "atom 0 (Ar) and its own image (0.05 Å)" in complaint(flat)


def test_many_pairs_are_counted() -> None:
    message = complaint(Atoms("Ar5", np.zeros((5, 3))))
    assert message.count("(0 Å)") == 5
    assert "and 5 more" in message


def test_unknown_elements() -> None:
    assert "does not know Si, Xe; it knows Ne, Ar" in complaint(
        Atoms("XeArSi", [[0, 0, 0], [3, 0, 0], [6, 0, 0]])
    )
    check_atoms(Atoms("Xe"), replace(ARGON, atomic_numbers=None))


def test_cells() -> None:
    missing = Atoms("Ar", cell=[5, 5, 0], pbc=[True, False, True])
    assert "system 0 is periodic along c but has no lattice vector" in complaint(missing)
    flat = Atoms("Ar", cell=[[5, 0, 0], [0, 5, 0], [5, 5, 0]], pbc=True)
    assert "span no volume" in complaint(flat)
    check_atoms(Atoms("Ar", cell=flat.cell, pbc=[True, True, False]), ARGON)
    nan = Atoms("Ar", cell=[5, np.nan, 5], pbc=True)
    assert "the cell of system 0 is not finite" in complaint(nan)


def test_masses_and_constraints() -> None:
    atoms = argon()
    atoms.set_array("masses", np.array([40.0, 0.0, -1.0, 40.0]))
    assert "masses must be positive: atom 1 (Ar), atom 2 (Ar)" in complaint(atoms)
    atoms = argon()
    atoms.set_constraint(FixAtoms([0]))
    check_atoms(atoms, ARGON)
    atoms.set_constraint([FixAtoms([0]), FixCom()])
    assert "system 0 has fixed atoms, and its centre of mass is fixed too" in complaint(atoms)
    atoms.set_constraint(FixAtoms([0, 1, 2, 3]))
    assert "all atoms of system 1 are fixed" in complaint([argon(), atoms])
    lonely = Atoms("Ar", constraint=FixCom())
    assert "one atom, whose centre of mass is fixed" in complaint(lonely)
    atoms.set_constraint(FixedPlane(0, (0, 0, 1)))
    assert "system 0 has constraints (FixedPlane)" in complaint(atoms)


def test_all_problems_are_listed_at_once_and_a_simulation_does_not_start() -> None:
    atoms = Atoms("XeAr2", [[0, 0, 0], [5, 0, 0], [5, 0, 0.01]])
    with pytest.raises(InputError) as caught:
        Simulation(atoms, ARGON, VelocityVerlet(1.0))
    assert str(caught.value).count("\n- ") == 2
