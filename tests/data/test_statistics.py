"""Statistics against sums over atoms; energies per species that are known."""

from dataclasses import replace

import numpy as np
import pytest
from ase import Atoms

from fastequi.data import Dataset, Frame, frame_from_atoms, statistics
from fastequi.data.baseline import fit_baseline


def test_sums_over_atoms(frames: list[Frame]):
    frames[2] = replace(frames[2], forces=None)
    dataset = Dataset(frames, 4.0)
    found = statistics(dataset)
    neighbors, squares = {}, {}
    for k, frame in enumerate(frames):
        receivers = dataset.collate([k]).graph.edge_dst.tolist()
        for atom, z in enumerate(frame.atomic_numbers.tolist()):
            neighbors.setdefault(z, []).append(receivers.count(atom))
            if frame.forces is not None:
                squares.setdefault(z, []).extend(frame.forces[atom] ** 2)
    species = sorted(neighbors)
    assert found.species == tuple(species)
    assert (found.n_frames, found.n_atoms) == (6, sum(map(len, neighbors.values())))
    assert found.n_neighbors == pytest.approx(np.mean(sum(neighbors.values(), [])))  # noqa: RUF017
    assert found.n_neighbors_of == pytest.approx([np.mean(neighbors[z]) for z in species])
    assert found.force_rms == pytest.approx(np.sqrt(np.mean(sum(squares.values(), []))))  # noqa: RUF017
    assert found.force_rms_of == pytest.approx([np.sqrt(np.mean(squares[z])) for z in species])


def compounds(formulas: list[str], energies: dict[str, float], noise: float = 0.0) -> list[Frame]:
    """Atoms in a row whose energies are those of their elements."""
    rng = np.random.default_rng(0)
    found = []
    for formula in formulas:
        atoms = Atoms(formula)
        atoms.positions[:, 0] = 2.0 * np.arange(len(atoms))
        energy = sum(energies[s] for s in atoms.symbols) + len(atoms) * noise * rng.normal()
        found.append(replace(frame_from_atoms(atoms), energy=energy))
    return found


def test_energies_of_species_are_found():
    frames = compounds(["H2O", "H2", "CO2", "CH4", "O2"], {"H": -3.0, "C": -7.0, "O": -5.0})
    found = statistics(Dataset(frames, 3.0))
    assert found.energy_of == pytest.approx((-3.0, -7.0, -5.0), abs=1e-9)
    assert found.energy_is_unique
    assert found.energy_std == pytest.approx(0.0, abs=1e-9)
    assert np.isnan([found.force_rms, *found.force_rms_of]).all()


def test_one_composition_gives_all_species_the_mean():
    frames = compounds(["CH3OH"] * 20, {"H": -3.0, "C": -7.0, "O": -5.0}, noise=0.1)
    found = statistics(Dataset(frames, 3.0))
    per_atom = [(frame.energy or 0.0) / 6 for frame in frames]
    assert found.energy_of == pytest.approx([np.mean(per_atom)] * 3)
    assert not found.energy_is_unique
    assert found.energy_std == pytest.approx(np.std(per_atom))


def test_elements_without_energies():
    (labelled,) = compounds(["H2O"], {"H": -3.0, "O": -6.0})
    argon = replace(frame_from_atoms(Atoms("Ar")), forces=np.zeros((1, 3)))
    found = statistics(Dataset([labelled, argon], 3.0))
    assert found.energy_of[:2] == pytest.approx((-4.0, -4.0))
    assert np.isnan(found.energy_of[2])
    assert not found.energy_is_unique
    none = statistics(Dataset([argon], 3.0))
    assert np.isnan([none.energy_std, *none.energy_of]).all()


def test_the_robust_fit_does_not_see_outliers():
    energies = {"Al": -3.0, "Ni": -5.0}
    frames = compounds([f"Al{a}Ni{b}" for a in range(1, 6) for b in range(1, 6)], energies, 0.01)
    for k in range(0, 25, 4):
        frames[k] = replace(frames[k], energy=500.0)
    robust, plain = fit_baseline(frames, robust=True), fit_baseline(frames)
    assert robust is not None
    assert plain is not None
    assert robust.energies == pytest.approx([-3.0, -5.0], abs=0.05)
    assert np.abs(plain.energies - [-3.0, -5.0]).max() > 10.0
