"""D3 equals simple-dftd3, in energies, forces and stress, for all elements and many functionals."""

import numpy as np
import pytest
from ase import Atoms
from ase.data import chemical_symbols
from ase.units import Bohr, Hartree

from fastequi.dispersion.d3 import D3
from fastequi.dispersion.tables import damping_of, functionals, largest_element
from tests.dispersion.conftest import graph_of, structures

interface = pytest.importorskip(
    "dftd3.interface", reason="simple-dftd3 is not installed: pip install dftd3"
)


def reference(atoms: Atoms, functional: str = "pbe") -> tuple[float, np.ndarray, np.ndarray]:
    """Energy, forces, and the virial dE/dstrain, without the three-body term; eV and Å."""
    lattice = (atoms.cell.array / Bohr, atoms.pbc) if atoms.pbc.any() else (None, None)
    model = interface.DispersionModel(atoms.numbers, atoms.positions / Bohr, *lattice)
    damping = interface.RationalDampingParam(method=functional, atm=False)
    found = model.get_dispersion(damping, grad=True)
    energy, virial = float(found["energy"]) * Hartree, found["virial"] * Hartree
    return energy, -found["gradient"] * Hartree / Bohr, virial


def assert_close(got: np.ndarray, expected: np.ndarray) -> None:
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-8 * np.abs(expected).max())


@pytest.mark.parametrize("compiled", [True, False], ids=["compiled", "definition"])
def test_energies_forces_stress(atoms: Atoms, compiled: bool):
    energy, forces, virial = reference(atoms)
    found = D3(damping_of("PBE"), compiled)(graph_of(atoms))
    assert float(found.energy[0]) == pytest.approx(energy, rel=1e-9)
    assert_close(found.forces.numpy(), forces)
    if atoms.cell.rank == 3:
        assert_close(found.stress[0].numpy() * atoms.get_volume(), virial)


def test_every_element():
    """Each beside carbon and a hydrogen, at a distance where it counts; all in one batch."""
    systems = [
        Atoms([z, 6, 1], [[0, 0, 0], [0, 0.4, 2.9 + 0.01 * z], [1.0, 0, 3.2]])
        for z in range(1, largest_element() + 1)
    ]
    assert chemical_symbols[len(systems)] == "Fm"
    found = D3(damping_of("PBE"))(graph_of(systems))
    expected = [reference(atoms)[0] for atoms in systems]
    np.testing.assert_allclose(found.energy.numpy(), expected, rtol=1e-9)


def test_every_functional():
    atoms, missing, wrong = structures()["ethanol"], [], []
    for name in functionals():
        try:
            expected = reference(atoms, name)[0]
        except RuntimeError:  # simple-dftd3 knows it by another name
            missing.append(name)
            continue
        found = float(D3(damping_of(name), compiled=False)(graph_of(atoms)).energy[0])
        if found != pytest.approx(expected, rel=1e-9):
            wrong.append((name, found, expected))
    assert not wrong
    assert len(missing) < 10, missing
