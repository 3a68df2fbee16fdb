"""Published data sets, as they are: read, checked, and known by their numbers."""

from pathlib import Path

import numpy as np
import pytest

from fastequi.data import Dataset, read_frames, read_sets, statistics
from fastequi.errors import InputError

KCAL = {"energy": "kcal/mol", "length": "angstrom"}


def test_rmd17(reference_data: Path):
    names = [
        reference_data / "rmd17" / f"rmd17_ethanol_{part}_01.npz" for part in ("train", "test")
    ]
    sets = read_sets(names[0], 50, names[1], seed=1, units=KCAL)
    assert (len(sets.train), len(sets.validation), len(sets.test)) == (950, 50, 1000)
    assert sets.warnings == []
    frame = sets.test[0]
    raw = np.load(names[1])
    assert frame.energy == pytest.approx(raw["energies"][0] * 0.0433641, rel=1e-6)
    found = statistics(Dataset(sets.train, 5.0))
    assert found.species == (1, 6, 8)
    assert found.n_neighbors == 8.0  # all nine atoms see each other
    assert found.force_rms == pytest.approx(1.19, abs=0.02)
    assert found.energy_of == pytest.approx([-467.74] * 3, abs=0.01)
    with pytest.raises(InputError, match="units are not declared"):
        read_frames(names[0])


def test_mlearn_silicon(reference_data: Path):
    folder = reference_data / "mlearn"
    sets = read_sets(
        folder / "Si_training.extxyz",
        0.1,
        folder / "Si_test.extxyz",
        keys={"config_type": "group"},
    )
    frames = [*sets.train, *sets.validation]
    assert (len(frames), len(sets.test)) == (214, 25)
    assert sum(frame.stress is not None for frame in frames) == 202
    assert {frame.config_type for frame in frames} == {"Vacancy", "AIMD-NVT", "Elastic", "Surface"}
    (first,) = [frame for frame in frames if frame.index == 0]
    assert first.energy == -295.49753016
    assert first.stress is not None
    assert first.stress[0] == pytest.approx([0.004107504, -0.005671551, 0.001002504], abs=1e-8)
    batch = Dataset(frames[:8], 5.0).collate(range(8))
    assert batch.has_stress.tolist() == [frame.stress is not None for frame in frames[:8]]


def test_acac_with_isolated_atoms(reference_data: Path):
    folder = reference_data / "acac"
    tests = [folder / f"test_{name}.xyz" for name in ("MD_300K", "dihedral", "H_transfer")]
    sets = read_sets([folder / "train_300K.xyz", folder / "isolated_atoms.xyz"], 50, tests)
    assert sets.warnings == []
    assert {frame.config_type for frame in sets.train} >= {"300K_MD", "isolated_atom"}
    dataset = Dataset(sets.train, 5.0)
    alone = [k for k, frame in enumerate(sets.train) if frame.n_atoms == 1]
    assert dataset.n_edges[alone].tolist() == [0] * len(alone)
    batch = dataset.collate([*alone, 0])
    assert batch.graph.n_systems == len(alone) + 1


def test_leakage_in_a_published_set(reference_data: Path):
    """3BPA's mixed temperatures hold frames of its 300 K set."""
    folder = reference_data / "3bpa"
    with pytest.raises(InputError) as caught:
        read_sets(folder / "train_300K.xyz", 50, folder / "train_mixedT.xyz")
    assert (
        "in the test set although in the train set: "
        "train_mixedT.xyz, frame 6 (as train_300K.xyz, frame 93)"
    ) in str(caught.value)
