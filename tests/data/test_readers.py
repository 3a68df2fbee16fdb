"""Readers: what is in the file is in the frames, in eV and Å; what is wrong is named."""

from pathlib import Path

import ase.db
import ase.io
import h5py
import numpy as np
import pytest
from ase import Atoms

from fastequi.data import frame_from_atoms, read_frames
from fastequi.data.labels import label_names
from fastequi.errors import InputError

KCAL = {"energy": "kcal/mol", "length": "angstrom"}


def test_extxyz_gives_back_what_was_written(tmp_path: Path, structures: list[Atoms]):
    structures[0].info["config_type"] = "alcohol"
    ase.io.write(tmp_path / "a.extxyz", structures)
    frames = read_frames(tmp_path / "a.extxyz")
    for k, (frame, atoms) in enumerate(zip(frames, structures, strict=True)):
        assert frame.source == f"a.extxyz, frame {k}"
        assert frame.energy == pytest.approx(atoms.get_potential_energy(), abs=1e-9)
        np.testing.assert_array_equal(frame.atomic_numbers, atoms.numbers)
        np.testing.assert_array_equal(frame.pbc, atoms.pbc)
        np.testing.assert_allclose(frame.positions, atoms.positions, atol=1e-7)
        np.testing.assert_allclose(frame.cell, atoms.cell.array, atol=1e-7)
        np.testing.assert_allclose(np.asarray(frame.forces), atoms.get_forces(), atol=1e-7)
        if k % 2 == 1:
            np.testing.assert_allclose(
                np.asarray(frame.stress), atoms.get_stress(voigt=False), atol=1e-9
            )
        else:
            assert frame.stress is None
    assert [frame.config_type for frame in frames] == ["alcohol", *[""] * 5]


def test_labels_by_other_names(tmp_path: Path):
    water = Atoms("OH2", [[0, 0, 0], [0, 0.8, 0.6], [0, -0.8, 0.6]], cell=[4, 5, 6], pbc=True)
    virial = np.array([[1.0, 0.1, 0.2], [0.1, 2.0, 0.3], [0.2, 0.3, 3.0]])
    water.info.update(REF_energy=-12.5, REF_virial=virial, factor=2.0, group="liquid")
    water.arrays["REF_forces"] = np.arange(9.0).reshape(3, 3)
    ase.io.write(tmp_path / "w.xyz", water, format="extxyz")
    (unnamed,) = read_frames(tmp_path / "w.xyz")
    assert unnamed.energy is unnamed.forces is unnamed.stress is None
    assert set(unnamed.unread) == {"REF_energy", "REF_virial", "REF_forces"}
    keys = {kind: f"REF_{kind}" for kind in ("energy", "forces", "virial")}
    (frame,) = read_frames(
        tmp_path / "w.xyz", keys=keys | {"weight": "factor", "config_type": "group"}
    )
    assert (frame.energy, frame.weight, frame.config_type) == (-12.5, 2.0, "liquid")
    np.testing.assert_allclose(np.asarray(frame.forces), np.arange(9.0).reshape(3, 3))
    np.testing.assert_allclose(np.asarray(frame.stress), -virial / 120.0)  # tension > 0
    water.cell, water.pbc = np.zeros((3, 3)), False
    without_volume = frame_from_atoms(water, label_names(keys))
    assert np.isnan(np.asarray(without_volume.stress)).all()
    with pytest.raises(InputError, match=r'keys.energy is "E0", and no frame has it.*REF_energy'):
        read_frames(tmp_path / "w.xyz", keys={"energy": "E0"})
    with pytest.raises(InputError, match=r"keys.force: not a known key; allowed: energy, forces"):
        read_frames(tmp_path / "w.xyz", keys={"force": "REF_forces"})


def write_rmd17(path: Path, **changes) -> dict:
    rng = np.random.default_rng(0)
    arrays = {
        "nuclear_charges": np.array([6, 1, 1], dtype=np.uint8),
        "coords": rng.normal(size=(4, 3, 3)),
        "energies": rng.normal(size=4),
        "forces": rng.normal(size=(4, 3, 3)),
    } | changes
    np.savez(path, **{k: v for k, v in arrays.items() if v is not None})
    return arrays


def test_npz_of_rmd17_and_of_sgdml(tmp_path: Path):
    arrays = write_rmd17(tmp_path / "r.npz")
    frames = read_frames(tmp_path / "r.npz", units=KCAL)
    np.savez(
        tmp_path / "s.npz",
        z=arrays["nuclear_charges"],
        R=arrays["coords"],
        E=arrays["energies"][:, None],
        F=arrays["forces"],
    )
    for k, (one, other) in enumerate(
        zip(frames, read_frames(tmp_path / "s.npz", units=KCAL), strict=True)
    ):
        assert one.energy == other.energy
        assert one.energy == pytest.approx(0.0433641 * arrays["energies"][k], rel=1e-6)
        np.testing.assert_allclose(
            np.asarray(one.forces), 0.0433641 * arrays["forces"][k], rtol=1e-6
        )
        np.testing.assert_array_equal(one.positions, arrays["coords"][k])
        np.testing.assert_array_equal(other.positions, one.positions)
        assert one.atomic_numbers.tolist() == [6, 1, 1]
        assert not one.pbc.any()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"coords": None}, "the file has nuclear_charges, energies, forces; allowed: nuclear_char"),
        ({"forces": np.zeros((4, 9))}, r"forces has the shape \[4, 9\]; allowed: \[4, 3, 3\]"),
        ({"energies": np.array(["a"] * 4)}, "energies is not numbers"),
        ({"cell": np.eye(3)}, "has a cell, and npz files are read without cells"),
    ],
)
def test_npz_that_is_wrong(tmp_path: Path, changes: dict, said: str):
    write_rmd17(tmp_path / "r.npz", **changes)
    with pytest.raises(InputError, match=said):
        read_frames(tmp_path / "r.npz", units=KCAL)


def test_plain_numbers_need_units(tmp_path: Path):
    write_rmd17(tmp_path / "r.npz")
    with pytest.raises(InputError) as caught:
        read_frames(tmp_path / "r.npz")
    assert str(caught.value) == (
        f"{tmp_path / 'r.npz'}: an npz file keeps plain numbers, and their units are not declared; "
        'say them, for example units = { energy = "kcal/mol", length = "angstrom" }; '
        "allowed energies: eV, meV, kcal/mol, kJ/mol, hartree, rydberg; "
        "allowed lengths: angstrom, bohr, nm"
    )


def test_missing_empty_and_damaged_files(tmp_path: Path):
    (tmp_path / "train.xyz").write_text("3\nProperties=species:S:1:pos:R:3\nH 0 0 0\n")
    (tmp_path / "empty.xyz").write_text("")
    (tmp_path / "bad.npz").write_text("not a zip")
    with pytest.raises(InputError, match=r"no file .*trian.xyz \(did you mean train.xyz\?\)"):
        read_frames(tmp_path / "trian.xyz")
    with pytest.raises(InputError, match=r"ASE cannot read frame 0 of .*train.xyz"):
        read_frames(tmp_path / "train.xyz")
    with pytest.raises(InputError, match=r"empty.xyz"):
        read_frames(tmp_path / "empty.xyz")
    with pytest.raises(InputError, match=r"bad.npz: not a readable npz file"):
        read_frames(tmp_path / "bad.npz", units=KCAL)


def test_ase_databases(tmp_path: Path, structures: list[Atoms]):
    database = ase.db.connect(tmp_path / "a.db")
    for k, atoms in enumerate(structures):
        database.write(atoms, group=f"g{k}", scf_converged=k != 2, data={"note": 1})
    frames = read_frames(tmp_path / "a.db", keys={"config_type": "group"})
    assert [frame.config_type for frame in frames] == [f"g{k}" for k in range(6)]
    assert [frame.converged for frame in frames] == [k != 2 for k in range(6)]
    for frame, atoms in zip(frames, structures, strict=True):
        assert frame.energy == atoms.get_potential_energy()
        np.testing.assert_array_equal(np.asarray(frame.forces), atoms.get_forces())
        np.testing.assert_array_equal(frame.positions, atoms.positions)
        np.testing.assert_array_equal(frame.cell, atoms.cell.array)


def test_hdf5(tmp_path: Path):
    rng = np.random.default_rng(0)
    water, silicon = rng.normal(size=(3, 3, 3)), rng.normal(size=(2, 2, 3))
    cells = 5.0 * np.eye(3) + 0.1 * rng.normal(size=(2, 3, 3))
    with h5py.File(tmp_path / "a.h5", "w") as file:
        group = file.create_group("liquid/water")
        group["atomic_numbers"], group["positions"] = [8, 1, 1], water
        group["energies"], group["forces"] = np.arange(3.0), 2.0 * water
        group = file.create_group("crystal")
        group["atomic_numbers"], group["positions"] = [14, 14], silicon
        group["cell"], group["stress"], group["dft"] = cells, cells, np.arange(2.0)
        file.create_group("notes")["text"] = "hello"
    units = {"energy": "meV", "length": "nm", "stress": "GPa"}
    frames = read_frames(tmp_path / "a.h5", units=units)
    assert [frame.index for frame in frames] == [0, 1, 2, 3, 4]
    crystal, liquid = frames[:2], frames[2:]
    for k, frame in enumerate(crystal):
        assert frame.energy is None
        np.testing.assert_allclose(frame.positions, 10.0 * silicon[k])
        np.testing.assert_allclose(frame.cell, 10.0 * cells[k])
        np.testing.assert_allclose(np.asarray(frame.stress), cells[k] / 160.21766, rtol=1e-7)
        assert frame.pbc.all()
    for k, frame in enumerate(liquid):
        assert frame.energy == pytest.approx(1e-3 * k)
        np.testing.assert_allclose(np.asarray(frame.forces), 2e-4 * water[k])
        assert not frame.pbc.any()
    named = read_frames(tmp_path / "a.h5", units=units, keys={"energy": "dft"})
    assert [f.energy for f in named] == [0.0, 1e-3, None, None, None]
    for keys, said in (
        ({"energy": "E"}, 'keys.energy is "E"; the groups have atomic_numbers, cell, dft'),
        ({"weight": "w"}, "keys.weight is not for HDF5 files; allowed: energy, forces, stress"),
    ):
        with pytest.raises(InputError, match=said):
            read_frames(tmp_path / "a.h5", units=units, keys=keys)
    with pytest.raises(InputError, match="an HDF5 file keeps plain numbers"):
        read_frames(tmp_path / "a.h5")


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("forces", np.zeros((2, 3)), r"group /: forces has the shape \[2, 3\]; allowed: \[2, 3, 3"),
        ("cell", np.ones(3), r"cell has the shape \[3\]; allowed: \[3, 3\] or \[2, 3, 3\]"),
        ("positions", np.zeros((3, 3)), r"positions has the shape .*allowed: \[frames, atoms, 3\]"),
        ("atomic_numbers", None, "group / has no atomic_numbers; it has energies, positions"),
        ("positions", None, "no group has positions; allowed: atomic_numbers, positions, energies"),
    ],
)
def test_hdf5_that_is_wrong(tmp_path: Path, name: str, value: np.ndarray | None, said: str):
    arrays = {
        "atomic_numbers": [8, 1, 1],
        "positions": np.zeros((2, 3, 3)),
        "energies": np.zeros(2),
        name: value,
    }
    with h5py.File(tmp_path / "a.hdf5", "w") as file:
        file.update({k: v for k, v in arrays.items() if v is not None})
    with pytest.raises(InputError, match=said):
        read_frames(tmp_path / "a.hdf5", units=KCAL)
    (tmp_path / "b.h5").write_text("no")
    with pytest.raises(InputError, match=r"b.h5: not a readable HDF5 file"):
        read_frames(tmp_path / "b.h5", units=KCAL)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (np.zeros((2, 3)).tolist(), r"REF_forces has the shape \[2, 3\]; allowed: \[3, 3\]"),
        ("three", "REF_forces is not numbers: got 'three'"),
    ],
)
def test_labels_that_are_wrong(value: object, said: str):
    water = Atoms("OH2", [[0, 0, 0], [0, 0.8, 0.6], [0, -0.8, 0.6]], info={"REF_forces": value})
    with pytest.raises(InputError, match=f"a.xyz, frame 3: {said}"):
        frame_from_atoms(water, label_names({"forces": "REF_forces"}), file="a.xyz", index=3)


def test_of_several_names_the_first_that_a_frame_has(tmp_path: Path):
    """Files of one training that have the same label under different names."""
    for name, energies in (
        ("train.xyz", {"REF_energy": -2.0, "E": -9.0}),
        ("test.xyz", {"E": -3.0}),
    ):
        atoms = Atoms("H2", [[0, 0, 0], [0, 0, 0.74]])
        atoms.info.update(energies)
        ase.io.write(tmp_path / name, atoms, format="extxyz")
    np.savez(tmp_path / "e.npz", z=[1, 1], R=np.zeros((1, 2, 3)), E_dft=np.array([-4.0]))
    keys = {"energy": ["REF_energy", "E", "E_dft"]}
    files = [tmp_path / "train.xyz", tmp_path / "test.xyz", tmp_path / "e.npz"]
    eV = {"energy": "eV", "length": "angstrom"}
    assert [frame.energy for frame in read_frames(files, eV, keys)] == [-2.0, -3.0, -4.0]
    with pytest.raises(InputError, match=r'keys\.energy is "A" or "B"'):
        read_frames(tmp_path / "e.npz", eV, {"energy": ["A", "B"]})
    with pytest.raises(InputError, match=r'keys\.energy is "A" or "B"'):
        read_frames(tmp_path / "test.xyz", eV, {"energy": ["A", "B"]})
