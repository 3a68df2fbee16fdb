"""Elastic constants and phonons of a crystal of springs, which are known exactly.

Nearest neighbours of a face-centred cubic crystal with a Lennard-Jones potential at its minimum are
springs k = 72 e / (2^(1/3) s^2). With Born and Huang's sums over the twelve of them, a cubic
lattice constant a and masses m: C11 = 2 k / a, C12 = C44 = k / a; at X, (1, 0, 0) 2 pi / a,
m w^2 = 8 k along it and 4 k across.
"""

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk
from ase.calculators.lj import LennardJones
from scipy.integrate import trapezoid

from fastequi.errors import InputError, PhysicsError
from fastequi.properties import phonons as phonons_module
from fastequi.properties.elasticity import elasticity
from fastequi.properties.equation_of_state import birch_murnaghan, equation_of_state, fitted
from fastequi.properties.phonons import phonons, repeats_for
from fastequi.properties.relaxation import relaxed
from fastequi.properties.symmetry import standard_cell

EPSILON, SIGMA = 0.2, 2.5
NEIGHBOUR = 2 ** (1 / 6) * SIGMA
A = np.sqrt(2) * NEIGHBOUR
K = 72 * EPSILON / (2 ** (1 / 3) * SIGMA**2)


def springs(cubic: bool = True) -> Atoms:
    atoms = bulk("Ar", "fcc", A, cubic=cubic)
    atoms.calc = LennardJones(epsilon=EPSILON, sigma=SIGMA, rc=1.2 * NEIGHBOUR, smooth=False)
    return atoms


def test_elastic_constants():
    """All 36, and moduli that Hill's formulas give for a cubic crystal."""
    found = elasticity(springs())
    c11, c12 = 2 * K / A / units.GPa, K / A / units.GPa
    expected = np.diag([c11 - c12] * 3 + [c12] * 3)
    expected[:3, :3] += c12
    np.testing.assert_allclose(found.tensor_GPa, expected, atol=2e-4 * c11)
    np.testing.assert_allclose(found.clamped_GPa, expected, atol=2e-4 * c11)
    assert found.is_stable
    moduli = found.moduli_GPa
    assert moduli["bulk"] == pytest.approx((c11 + 2 * c12) / 3, rel=1e-3)
    voigt = (c11 - c12 + 3 * c12) / 5
    reuss = 5 * (c11 - c12) * c12 / (4 * c12 + 3 * (c11 - c12))
    assert moduli["shear"] == pytest.approx((voigt + reuss) / 2, rel=1e-3)
    assert 9 / moduli["young"] == pytest.approx(1 / moduli["bulk"] + 3 / moduli["shear"])
    assert 2 * moduli["shear"] * (1 + found.poisson_ratio) == pytest.approx(moduli["young"])


def test_atoms_inside_a_strained_cell_come_to_rest():
    """A crystal with two atoms and no inversion between them is softer than with atoms clamped."""
    atoms = bulk("Si", "diamond", 5.4)
    atoms.calc = LennardJones(epsilon=1.0, sigma=2.0, rc=4.0, smooth=True)
    found = elasticity(relaxed(atoms))
    softened = np.linalg.eigvalsh(found.clamped_GPa - found.tensor_GPa)
    assert softened[0] > -1e-3 * softened[-1]
    assert softened[-1] > 1.0


@pytest.mark.parametrize("cubic", [True, False], ids=["conventional", "primitive"])
def test_phonons(cubic):
    pytest.importorskip("phonopy", reason="NO PHONOPY: pip install 'fastequi[properties]'")
    found = phonons(springs(cubic), length_A=2.5 * A, path="GXGL")
    mass = springs().get_masses()[0]
    across, along = (np.sqrt(n * K / mass) * units.second * 1e-12 / (2 * np.pi) for n in (4, 8))
    gamma, x = found.frequencies_THz(np.array([[0.0, 0.0, 0.0], [0.5, 0.0, 0.5]]))
    np.testing.assert_allclose(gamma, 0.0, atol=1e-3)
    np.testing.assert_allclose(x, [across, across, along], rtol=2e-3)
    at_x = found.bands_THz[np.argmin(np.abs(found.path - found.ticks[1]))]
    np.testing.assert_allclose(at_x, [across, across, along], rtol=2e-3)
    assert found.ticks[1] == pytest.approx(2 * np.pi / A)
    assert found.n_atoms == 1
    assert found.is_stable
    quantum = units._hplanck / units._k * across * 1e12 / found.thermal["temperature_K"][-1]
    # To second order in h/T; the mean of w^2 over all modes is that of the transverse one at X.
    heat = 3.0 * (1.0 - quantum**2 / 12.0)
    assert found.thermal["heat_capacity_kB"][-1] == pytest.approx(heat, rel=2e-4)
    dos = found.dos
    states = trapezoid(dos["states_per_THz"], dos["frequency_THz"])
    assert states == pytest.approx(3.0, rel=0.02)


def test_an_unstable_crystal_is_said():
    """Simple cubic with springs between nearest neighbours has no resistance to shear."""
    pytest.importorskip("phonopy", reason="NO PHONOPY: pip install 'fastequi[properties]'")
    atoms = bulk("Ar", "sc", NEIGHBOUR * 0.99)
    atoms.calc = springs().calc
    found = phonons(atoms, length_A=10.0)
    assert not found.is_stable
    assert "imaginary" in " ".join(map(str, phonons_module.findings(found)))
    assert not elasticity(atoms).is_stable


def test_energy_of_volume():
    """The modulus of the fit is that of the elastic constants, the minimum that of the springs."""
    found = equation_of_state(springs())
    assert found.volume_A3 == pytest.approx(A**3 / 4, rel=1e-3)
    assert found.energy_eV == pytest.approx(springs().get_potential_energy() / 4, abs=1e-4)
    assert found.bulk_modulus_GPa == pytest.approx(4 * K / A / 3 / units.GPa, rel=0.02)
    volumes = np.linspace(15.0, 25.0, 11)
    known = fitted(volumes, birch_murnaghan(volumes, -3.0, 20.0, 0.6, 4.5))
    found = (known.energy_eV, known.volume_A3, known.pressure_derivative)
    np.testing.assert_allclose(found, (-3.0, 20.0, 4.5), rtol=1e-6)
    with pytest.raises(PhysicsError, match="no minimum from 15 to 25"):
        fitted(volumes, volumes)


def test_relaxation_finds_the_springs_at_rest():
    atoms = springs()
    atoms.set_cell(1.03 * atoms.cell.array, scale_atoms=True)
    np.testing.assert_allclose(relaxed(atoms).cell.lengths(), A, rtol=1e-4)
    assert np.all(relaxed(atoms, pressure_GPa=1.0).cell.lengths() < 0.9999 * A)


def test_the_standard_cell_is_the_same_crystal():
    """Turned and primitive, it becomes cubic along the axes; isotopes keep their places apart."""
    pytest.importorskip("spglib", reason="NO SPGLIB: pip install 'fastequi[properties]'")
    atoms = springs(cubic=False)
    atoms.rotate(33.0, (1, 2, 3), rotate_cell=True)
    cubic, group = standard_cell(atoms)
    assert group == "Fm-3m (225)"
    np.testing.assert_allclose(cubic.cell.array, A * np.eye(3), atol=1e-6)
    assert cubic.get_potential_energy() / 4 == pytest.approx(atoms.get_potential_energy())
    mixed = springs()
    mixed.arrays["masses"] = np.array([40.0, 36.0, 36.0, 36.0])
    cell, group = standard_cell(mixed)
    assert group == "Pm-3m (221)"
    assert sorted(cell.get_masses()) == [36.0, 36.0, 36.0, 40.0]


def test_supercells_are_long_enough():
    atoms = bulk("Ar", "fcc", A)
    repeats = repeats_for(atoms, 10.0)
    heights = 1 / np.linalg.norm(atoms.repeat(repeats).cell.reciprocal().array, axis=1)
    assert heights.min() >= 10.0
    assert repeats_for(springs(), 2 * A) == (2, 2, 2)


def test_without_phonopy(monkeypatch):
    monkeypatch.setattr(phonons_module, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"pip install 'fastequi\[properties\]'"):
        phonons(springs())
