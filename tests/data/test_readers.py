"""Readers: what is in the file is in the frames, in eV and Å; what is wrong is named."""

from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase import Atoms

from fastequi.data import read_frames
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
