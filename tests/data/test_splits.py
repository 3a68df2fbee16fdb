"""Splits: by the seed and the structures alone; whole sets from files."""

from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from ase.calculators.singlepoint import SinglePointCalculator

from fastequi.data import Frame, frame_from_atoms, read_sets, split_frames
from fastequi.errors import InputError


def write(path: Path, n: int, seed: int) -> Path:
    rng = np.random.default_rng(seed)
    structures = []
    for _ in range(n):
        atoms = molecule("CH4")
        atoms.rattle(0.05, rng=rng)
        atoms.calc = SinglePointCalculator(atoms, energy=rng.normal(), forces=np.zeros((5, 3)))
        structures.append(atoms)
    ase.io.write(path, structures)
    return path


def rattled(n: int) -> list[Frame]:
    rng = np.random.default_rng(0)
    found = []
    for k in range(n):
        atoms = molecule("CH4")
        atoms.rattle(0.05, rng=rng)
        found.append(frame_from_atoms(atoms, index=k))
    return found


def indices(frames: list[Frame]) -> list[int]:
    return [frame.index for frame in frames]


def test_a_split_does_not_depend_on_order():
    frames = rattled(100)
    train, held = split_frames(frames, 20, seed=3)
    assert len(held) == 20
    assert sorted(indices(train) + indices(held)) == list(range(100))
    assert indices(train) == sorted(indices(train))
    _, again = split_frames(frames[::-1], 20, seed=3)
    assert indices(again) == indices(held)[::-1]
    _, other = split_frames(frames, 20, seed=4)
    assert set(indices(other)) != set(indices(held))


def test_a_split_is_for_good():
    """The same in every version: results of a paper can be repeated."""
    atoms = [Atoms("H2", [[0.0, 0.0, 0.0], [0.0, 0.0, 0.7 + 0.01 * k]]) for k in range(20)]
    frames = [frame_from_atoms(h2, index=k) for k, h2 in enumerate(atoms)]
    assert indices(split_frames(frames, 5, seed=1)[1]) == [6, 8, 12, 13, 18]


def test_more_frames_keep_what_was_held_out():
    frames = rattled(110)
    before = set(indices(split_frames(frames[:100], 20, seed=3)[1]))
    after = set(indices(split_frames(frames, 22, seed=3)[1]))
    assert len(before - after) <= 3


def test_fractions_and_wrong_sizes():
    frames = rattled(30)
    assert len(split_frames(frames, 0.1, seed=0)[1]) == 3
    for size in (0, 30, -1, 0.001):
        with pytest.raises(InputError, match=f"validation: got {size}, which is .* of 30 frames"):
            split_frames(frames, size, seed=0)
    with pytest.raises(InputError, match=r"validation: got 1.5; allowed: a whole number of frames"):
        split_frames(frames, 1.5, seed=0)


def test_sets_from_files(tmp_path: Path):
    paths = {k: write(tmp_path / f"{k}.xyz", 10, seed) for seed, k in enumerate("abct")}
    sets = read_sets(
        [paths["a"], paths["b"]], 0.25, paths["t"], seed=1, ignore=["a.xyz:0-3", "t.xyz:9"]
    )
    assert (len(sets.train), len(sets.validation), len(sets.test)) == (12, 4, 9)
    assert {f.file for f in sets.train} == {str(paths["a"]), str(paths["b"])}
    sets = read_sets(paths["a"], validation=[paths["b"], paths["c"]])
    assert (len(sets.train), len(sets.validation), len(sets.test)) == (10, 20, 0)
    assert sets.warnings == []
    with pytest.raises(InputError, match="in the validation set although in the train set"):
        read_sets(paths["a"], validation=paths["a"])
    with pytest.raises(InputError, match="no training frames are left"):
        read_sets(paths["a"], validation=paths["b"], ignore=["a.xyz:0-9"])
