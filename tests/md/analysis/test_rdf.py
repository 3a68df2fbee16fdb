"""Radial distribution functions of gases and crystals."""

import ase.build
import numpy as np
import pytest
from ase import Atoms

from fastequi.errors import InputError
from fastequi.md.analysis import radial_distribution
from fastequi.md.analysis.rdf import first_shell_A


def neighbours(atoms: Atoms, r: np.ndarray, g: np.ndarray, middle: float) -> float:
    """Atoms in the shell at `middle` around one, from g(r) of one element."""
    spacing = r[1] - r[0]
    inner, outer = r - spacing / 2, r + spacing / 2
    shells = 4 / 3 * np.pi * (outer**3 - inner**3)
    near = np.abs(r - middle) < 0.2
    return float((g * shells)[near].sum() * (len(atoms) - 1) / atoms.get_volume())


def test_an_ideal_gas_has_no_structure() -> None:
    """1 within the statistical error of each bin, for equal and for different elements."""
    generator = np.random.default_rng(2)
    cell = [[12.0, 0.0, 0.0], [3.0, 11.0, 0.0], [-2.0, 4.0, 13.0]]
    frames = [
        Atoms("Ar30Ne20", cell=cell, pbc=True, scaled_positions=generator.uniform(-1, 2, (50, 3)))
        for _ in range(400)
    ]
    r, g = radial_distribution(frames, 5.0, bins=20)
    assert set(g) == {("Ne", "Ne"), ("Ne", "Ar"), ("Ar", "Ar")}
    shells = 4 * np.pi * r**2 * 0.25
    for pairs, values in zip((190, 600, 435), g.values(), strict=True):
        error = 1 / np.sqrt(pairs * len(frames) * shells / frames[0].get_volume())
        assert np.abs((values - 1) / error)[1:].max() < 4.5


@pytest.mark.parametrize("cubic", [True, False])
def test_the_shells_of_fcc(cubic: bool) -> None:
    a = 4.05
    atoms = ase.build.bulk("Al", "fcc", a=a, cubic=cubic).repeat(4 if cubic else 7)
    atoms.positions += 100.0  # nothing depends on the origin, or on wrapping
    r, g = radial_distribution([atoms], 7.0, bins=700)
    values = g["Al", "Al"]
    for distance, count in ((a / 2**0.5, 12), (a, 6), (a * 1.5**0.5, 24), (a * 2**0.5, 12)):
        assert neighbours(atoms, r, values, distance) == pytest.approx(count, rel=1e-9)
    peaks = np.flatnonzero(values)
    assert r[peaks[0]] == pytest.approx(a / 2**0.5, abs=0.006)
    between = (r > a / 2**0.5 + 0.01) & (r < a - 0.01)
    assert not values[between].any()


def test_the_elements_of_rock_salt() -> None:
    atoms = ase.build.bulk("NaCl", "rocksalt", a=5.64, cubic=True).repeat(3)
    r, g = radial_distribution([atoms, atoms], 6.0, bins=600)
    first = {pair: r[np.flatnonzero(values)[0]] for pair, values in g.items()}
    assert first["Na", "Cl"] == pytest.approx(2.82, abs=0.006)
    assert first["Na", "Na"] == pytest.approx(2.82 * 2**0.5, abs=0.006)
    assert first["Cl", "Cl"] == first["Na", "Na"]


def test_a_lone_atom_of_an_element_has_no_pairs() -> None:
    atoms = Atoms("NaCl", [[0, 0, 0], [2, 0, 0]], cell=[8, 8, 8], pbc=True)
    _, g = radial_distribution([atoms], 4.0)
    assert list(g) == [("Na", "Cl")]


def test_a_crystal_is_the_same_in_a_cell_of_any_size() -> None:
    """Images count; beyond the height of a cell they are those of the atom itself, too."""
    cell = ase.build.bulk("NaCl", "rocksalt", a=5.64)
    r, small = radial_distribution([cell], 9.0, bins=299)
    _, large = radial_distribution([cell.repeat(2)], 9.0, bins=299)
    assert set(small) == set(large) == {("Na", "Na"), ("Na", "Cl"), ("Cl", "Cl")}
    for pair, values in large.items():
        np.testing.assert_allclose(small[pair], values, rtol=1e-9)
    shells = 4 * np.pi * np.diff(np.linspace(0, 9.0, 300) ** 3) / 3
    inside = r < 2.9
    around = (small["Na", "Cl"] * shells)[inside].sum() / cell.get_volume()
    assert around == pytest.approx(6.0)


def test_a_cell_that_changes_has_its_own_volume_in_each_frame() -> None:
    crystal = ase.build.bulk("Al", "fcc", a=4.0, cubic=True).repeat(3)
    wide = crystal.copy()
    wide.set_cell(1.1 * crystal.cell.array, scale_atoms=True)
    _, both = radial_distribution([crystal, wide], 5.0, bins=100)
    _, first = radial_distribution([crystal], 5.0, bins=100)
    _, second = radial_distribution([wide], 5.0, bins=100)
    mean = 0.5 * (first["Al", "Al"] + second["Al", "Al"])
    np.testing.assert_allclose(both["Al", "Al"], mean, rtol=1e-12)


def test_without_a_volume_the_mean_density_is_that_of_what_is_seen() -> None:
    water = ase.build.molecule("H2O")
    r, g = radial_distribution([water], 2.0, bins=400)
    shells = np.diff(np.linspace(0.0, 2.0, 401) ** 3) / 2.0**3
    for values in g.values():
        assert (values * shells).sum() == pytest.approx(1.0)
    assert r[g["H", "O"].argmax()] == pytest.approx(water.get_distance(0, 1), abs=0.005)


def test_what_cannot_be_answered_is_refused() -> None:
    atoms = ase.build.bulk("Al", "fcc", a=4.05).repeat(3)
    for r_max_A in (0.0, -1.0, np.inf):
        with pytest.raises(InputError, match="above 0"):
            radial_distribution([atoms], r_max_A)
    with pytest.raises(InputError, match="frame 1 has other atoms"):
        radial_distribution([atoms, ase.build.bulk("Al")], 3.0)
    with pytest.raises(InputError, match="no frames"):
        radial_distribution([], 3.0)


# -- the first shell -----------------------------------------------------------------------------


def test_the_first_shell_ends_in_the_first_minimum() -> None:
    """Of a curve like liquid argon's, of a gap (its middle), and not where there is none."""
    r = np.linspace(0.02, 8.0, 400)
    liquid = np.where(r > 2.0, 1.0 + 2.0 * np.exp(-((r - 3.0) ** 2) / 0.1), 0.0)
    liquid -= 0.5 * np.exp(-((r - 4.2) ** 2) / 0.1) * (r > 2.0)
    assert first_shell_A(r, liquid) == pytest.approx(4.2, abs=0.05)
    gap = np.exp(-((r - 1.0) ** 2) / 0.01) + np.exp(-((r - 3.0) ** 2) / 0.01)
    assert first_shell_A(r, gap) == pytest.approx(2.0, abs=0.05)
    assert first_shell_A(r, np.ones_like(r) * (r < 9.0)) is None
    assert first_shell_A(r, np.zeros_like(r)) is None


def test_noise_is_no_minimum() -> None:
    r = np.linspace(0.02, 8.0, 400)
    g = 1.0 + 2.0 * np.exp(-((r - 3.0) ** 2) / 0.1) - 0.6 * np.exp(-((r - 4.2) ** 2) / 0.1)
    g = np.where(r > 2.2, g, 0.0) * (1 + 0.1 * np.random.default_rng(3).normal(size=400))
    assert first_shell_A(r, g) == pytest.approx(4.2, abs=0.2)
