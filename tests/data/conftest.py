"""Small data sets that the tests write themselves."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.singlepoint import SinglePointCalculator

from fastequi.data import Frame, frame_from_atoms


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neighbour lists kept by one test are not seen by another."""
    monkeypatch.setenv("FASTEQUI_CACHE", str(tmp_path_factory.mktemp("cache")))


def labelled(atoms: Atoms, seed: int, stress: bool = False) -> Atoms:
    """Rattled atoms with random labels whose forces sum to zero."""
    rng = np.random.default_rng(seed)
    atoms = atoms.copy()
    atoms.rattle(0.05, seed=seed)
    forces = rng.normal(size=(len(atoms), 3))
    results = {"energy": -3.0 * len(atoms) + rng.normal(), "forces": forces - forces.mean(axis=0)}
    if stress:
        results["stress"] = 0.01 * rng.normal(size=6)
    atoms.calc = SinglePointCalculator(atoms, **results)
    return atoms


@pytest.fixture
def structures() -> list[Atoms]:
    """Molecules, crystals (one with self-images), a slab, and an atom without neighbours."""
    slab = bulk("Al", cubic=True).repeat((2, 1, 1))
    slab.pbc = (True, True, False)
    several = [
        molecule("CH3CH2OH"),
        bulk("Si"),
        molecule("H2O"),
        slab,
        Atoms("Ar"),
        bulk("Si", cubic=True),
    ]
    return [labelled(atoms, seed, stress=seed % 2 == 1) for seed, atoms in enumerate(several)]


@pytest.fixture
def frames(structures: list[Atoms]) -> list[Frame]:
    return [
        frame_from_atoms(atoms, file="train.extxyz", index=k) for k, atoms in enumerate(structures)
    ]
