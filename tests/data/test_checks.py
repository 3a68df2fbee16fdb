"""Checks: good frames pass; every kind of bad frame is refused by file and number."""

from dataclasses import replace

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule

from fastequi.data import Dataset, Frame, check_frames, frame_from_atoms
from fastequi.data.ignore import check_ignore, entries, leave_out
from fastequi.errors import InputError


def copies(n: int, seed: int = 0, file: str = "train.extxyz") -> list[Frame]:
    """Rattled water with energies near -5 eV per atom and small forces."""
    rng = np.random.default_rng(seed)
    found = []
    for k in range(n):
        water = molecule("H2O")
        water.rattle(0.05, rng=rng)
        forces = rng.normal(size=(3, 3))
        frame = frame_from_atoms(water, file=file, index=k)
        energy = -15.0 + 0.1 * rng.normal()
        found.append(replace(frame, energy=energy, forces=forces - forces.mean(axis=0)))
    return found


def message(train: list[Frame], **kwargs) -> str:
    with pytest.raises(InputError) as caught:
        check_frames(train, **kwargs)
    return str(caught.value)


def with_nan(values: np.ndarray, atom: int) -> np.ndarray:
    values = values.copy()
    values[atom, 1] = np.nan
    return values


def test_good_frames_pass(frames: list[Frame]):
    assert check_frames(copies(20), {"test": copies(5, seed=1)}) == []
    assert check_frames(frames) == []


FLAT = np.array([[4.0, 0, 0], [0, 4, 0], [4, 4, 0]])
BAD = {
    "positions not finite: train.extxyz, frame 7 (atoms 1)": lambda f: replace(
        f, positions=with_nan(f.positions, 1)
    ),
    "forces not finite: train.extxyz, frame 7 (atoms 2)": lambda f: replace(
        f, forces=with_nan(f.forces, 2)
    ),
    "energy not finite: train.extxyz, frame 7": lambda f: replace(f, energy=float("inf")),
    "forces of a wrong shape: train.extxyz, frame 7 ([2, 3]; allowed: [3, 3])": lambda f: replace(
        f, forces=f.forces[:2]
    ),
    "unknown elements: train.extxyz, frame 7 (atomic number 0 of atom 1)": lambda f: replace(
        f, atomic_numbers=np.array([8, 0, 1])
    ),
    "neither energy nor forces nor stress: train.extxyz, frame 7 "
    "(the file has REF_energy: see keys)": lambda f: replace(
        f, energy=None, forces=None, unread=("REF_energy",)
    ),
    "marked as not converged: train.extxyz, frame 7": lambda f: replace(f, converged=False),
    "a negative weight: train.extxyz, frame 7 (-1)": lambda f: replace(f, weight=-1.0),
    "periodic, and the lattice vectors span no volume: train.extxyz, frame 7": lambda f: replace(
        f, cell=FLAT, pbc=np.ones(3, dtype=bool)
    ),
    "stress not finite: train.extxyz, frame 7": lambda f: replace(
        f, stress=with_nan(np.eye(3), 0), cell=9 * np.eye(3)
    ),
    "a stress that is not symmetric: train.extxyz, frame 7": lambda f: replace(
        f, stress=np.eye(3) + FLAT, cell=9 * np.eye(3), pbc=np.ones(3, dtype=bool)
    ),
    "atoms closer than 0.3 Å, periodic images included: train.extxyz, frame 7 (atoms 0 and 1, 0.2 Å"
    ")": lambda f: replace(f, positions=np.array([[0, 0, 0], [0, 0, 0.2], [1.0, 0, 0]])),
    "forces above 300 eV/Å (max_force_eV_per_A): train.extxyz, frame 7 (400 eV/Å on atom 1"
    ")": lambda f: replace(f, forces=np.array([[0, 0, -400.0 / 2], [0, 0, 400], [0, 0, -200]])),
    "energies absurdly far from what the training set suggests: train.extxyz, frame 7 (-110 eV/"
    "atom)": lambda f: replace(f, energy=-15.0 - 330.0),
}


@pytest.mark.parametrize("said", BAD, ids=lambda said: said.split(":")[0])
def test_bad_frames_are_named(said: str):
    frames = copies(20)
    frames[7] = BAD[said](frames[7])
    told = message(frames)
    assert said.removesuffix("(-110 eV/atom)").removesuffix(")") in told
    assert told.startswith("1 of 20 frames cannot be used:\n")
    assert told.endswith('or leave these frames out: ignore = ["train.extxyz:7"]')


def test_the_whole_message():
    frames = copies(30)
    for k in (3, 10, 11, 12, 13, 14):
        frames[k] = replace(frames[k], converged=False)
    frames[20] = replace(frames[20], positions=frames[2].positions)
    frames[21] = replace(frames[2], index=21)
    assert message(frames) == (
        "8 of 30 frames cannot be used:\n"
        "  marked as not converged: train.extxyz, frame 3; train.extxyz, frame 10; "
        "train.extxyz, frame 11; train.extxyz, frame 12; and 2 more\n"
        "  the same structure again: "
        "train.extxyz, frame 20 (as train.extxyz, frame 2, with another energy); "
        "train.extxyz, frame 21 (as train.extxyz, frame 2)\n"
        "mend the data, or leave these frames out: ignore = "
        '["train.extxyz:3", "train.extxyz:10-14", "train.extxyz:20-21"]'
    )


def test_a_structure_in_two_sets_is_refused():
    train, test = copies(10), copies(10, seed=1, file="test.xyz")
    test[4] = replace(train[6], file="test.xyz", index=4, energy=-15.0)
    told = message(train, held_out={"validation": [], "test": test})
    assert (
        "in the test set although in the train set: "
        "test.xyz, frame 4 (as train.extxyz, frame 6, with another energy)"
    ) in told


def test_the_same_structure_in_other_words():
    """Rounding of a file, and a box that is not periodic, make no other structure."""
    frame = copies(1)[0]
    rounded = replace(frame, positions=np.round(frame.positions, 8), cell=20.0 * np.eye(3), index=1)
    assert "the same structure again" in message([frame, rounded])
    in_a_cell = replace(rounded, pbc=np.ones(3, dtype=bool))
    assert check_frames([frame, in_a_cell]) == []


def test_overlaps_with_images():
    iron = frame_from_atoms(bulk("Fe", "sc", a=0.25), file="a.xyz")
    assert "atoms 0 and 0, 0.25 Å" in message([replace(iron, energy=-8.0)])


def test_a_test_set_in_other_units_is_refused():
    train = copies(20)
    test = [replace(f, energy=(f.energy or 0.0) / 0.0433641) for f in copies(5, seed=1, file="t")]
    assert "energies absurdly far" in message(train, held_out={"test": test})


def test_many_absurd_energies_do_not_hide_each_other():
    frames = copies(20)
    for k in range(8):
        frames[k] = replace(frames[k], energy=0.1 * k + 200.0)
    assert 'ignore = ["train.extxyz:0-7"]' in message(frames)


def test_unbound_atoms_and_new_compositions_are_no_error():
    train = copies(20)
    for k, symbol in enumerate("HO"):
        atom = frame_from_atoms(Atoms(symbol), file="atoms.xyz", index=k)
        train.append(replace(atom, energy=-0.1))
    hydrogen = replace(frame_from_atoms(Atoms("H2", [[0, 0, 0], [0, 0, 0.7]])), energy=-31.0)
    assert check_frames(train, {"test": [hydrogen]}) == []


def test_a_larger_limit_of_forces():
    frames = copies(5)
    frames[2] = replace(frames[2], forces=np.array([[400.0, 0, 0], [-400, 0, 0], [0, 0, 0]]))
    assert check_frames(frames, max_force_eV_per_A=500.0) == []
    assert "forces above 300" in message(frames)


def test_warnings():
    frames = copies(5)
    frames = [replace(f, forces=None, unread=("REF_forces",)) for f in frames]
    pushed = copies(3, seed=1, file="b.xyz")
    pushed[0] = replace(pushed[0], stress=np.eye(3))
    pushed[1] = replace(pushed[1], forces=(pushed[1].forces + np.array([0.3, 0, 0.4])))
    assert check_frames(frames, {"test": pushed}) == [
        "train.extxyz: no label forces was read, though the file has REF_forces; if that is it: "
        'keys = { forces = "REF_forces" }',
        "the stress of 1 frame(s) is not used: a cell without volume has none "
        "(first: b.xyz, frame 0)",
        "the forces of 1 frame(s) do not sum to zero (worst: b.xyz, frame 1, 0.5 eV/Å per atom), "
        "which no potential of this kind can reproduce",
    ]
    assert not Dataset(pushed, 3.0).collate([0]).has_stress.any()


def test_ignore():
    frames = [*copies(6), *copies(3, file="set/b.xyz"), *copies(3, file="c/b.xyz")]
    left = leave_out(frames, ["train.extxyz:1-3", "c/b.xyz:0", "train.extxyz:5"])
    assert [(f.file, f.index) for f in left] == [
        ("train.extxyz", 0),
        ("train.extxyz", 4),
        *(("set/b.xyz", k) for k in range(3)),
        *(("c/b.xyz", k) for k in (1, 2)),
    ]
    assert entries(frames[k] for k in (1, 5, 2, 7)) == [
        "train.extxyz:1-2", "train.extxyz:5", "b.xyz:1"
    ]  # fmt: skip
    check_ignore(frames, ["set/b.xyz:1"])
    for entry, said in (
        ("train.xyz:1", 'ignore: "train.xyz:1" names no frame; the files are b.xyz, train.extxyz'),
        ("train.extxyz:6", "names no frame"),
        ("b.xyz:1", 'ignore: "b.xyz:1" may be c/b.xyz, set/b.xyz; write more of the path'),
        ("train.extxyz", 'got "train.extxyz"; allowed: "FILE:FRAME" or "FILE:FIRST-LAST"'),
    ):
        with pytest.raises(InputError) as caught:
            check_ignore(frames, [entry])
        assert said in str(caught.value)
