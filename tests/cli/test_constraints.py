"""`fastequi run` with fixed atoms: from the TOML, through a resume, into the files."""

import ase.io
import numpy as np
import pytest
from ase import Atoms

from fastequi.md.constraints.from_ase import fixed_atoms
from fastequi.md.trajectory.reader import read_trajectory


def with_keys(path, keys):
    """The TOML at a path, with more keys of [system]."""
    path.write_text(path.read_text().replace("[model]", keys + "\n[model]"))
    return path


@pytest.mark.parametrize("form", ["extxyz", "h5md"])
def test_fixed_atoms_of_a_toml(toml, command, tmp_path, form):
    keys = "fixed_atoms = [0, 9]\nsupercell = [1, 2, 1]"
    whole = with_keys(toml(tmp_path / "whole", steps=25, format=form), keys)
    result = command("run", whole)
    assert result.code == 0, result.err
    assert "64 (Ar64), 4 of them fixed" in result.out
    assert (
        command("run", with_keys(toml(tmp_path / "parts", steps=12, format=form), keys)).code == 0
    )
    path = with_keys(toml(tmp_path / "parts", steps=25, format=form), keys)
    assert command("run", path, "--resume").code == 0
    final = [tmp_path / name / "run" / "final.extxyz" for name in ("whole", "parts")]
    assert final[0].read_bytes() == final[1].read_bytes()
    cell = ase.io.read(tmp_path / "parts" / "ar.extxyz")
    assert isinstance(cell, Atoms)
    start = cell.repeat((1, 2, 1))
    name = {"extxyz": "trajectory.extxyz", "h5md": "trajectory.h5"}[form]
    frames = [*read_trajectory(tmp_path / "parts" / "run" / name), ase.io.read(final[1])]
    assert len(frames) == 7
    for atoms in frames:
        assert isinstance(atoms, Atoms)
        assert np.flatnonzero(fixed_atoms(atoms)).tolist() == [0, 9, 32, 41]
        np.testing.assert_array_equal(atoms.positions[fixed_atoms(atoms)],
                                      start.positions[fixed_atoms(atoms)])  # fmt: skip
    path.write_text(path.read_text().replace("[0, 9]", "[0, 10]"))
    result = command("run", path, "--resume")
    assert result.code == 2
    assert "system.atoms" in result.err


def test_a_run_from_a_file_keeps_what_it_fixes(toml, command, tmp_path):
    path = with_keys(toml(steps=5), "fixed_atoms = [3]")
    assert command("run", path).code == 0
    (tmp_path / "run" / "final.extxyz").rename(tmp_path / "ar.extxyz")
    text = path.read_text().replace("fixed_atoms = [3]", "").replace('"run"', '"next"')
    path.write_text(text)
    result = command("run", path)
    assert "1 of them fixed" in result.out
    (atoms,) = read_trajectory(tmp_path / "next" / "final.extxyz")
    assert np.flatnonzero(fixed_atoms(atoms)).tolist() == [3]


def test_what_cannot_be_held(toml, command):
    for keys, words in (
        (
            "fixed_atoms = [3, 32, 40]",
            "ar.extxyz: got 32, 40; the structure has the atoms 0 to 31",
        ),
        ("fixed_atoms = [-1]", "fixed_atoms"),
        ("fixed_atoms = [1.5]", "fixed_atoms"),
        ("fixed_atoms = [0]\nfixed_centre_of_mass = true", "its centre of mass is fixed too"),
    ):
        result = command("run", with_keys(toml(), keys))
        assert result.code == 2
        assert words in result.err, result.err
    result = command("run", with_keys(toml(ensemble="npt-scr"), "fixed_atoms = [0]"))
    assert result.code == 2
    assert "atoms are fixed, which npt-scr cannot hold" in result.err
    result = command("run", with_keys(toml(steps=3), "fixed_centre_of_mass = true"))
    assert result.code == 0
    assert "centre of mass fixed" in result.out
