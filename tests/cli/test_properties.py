"""`fastequi properties`: its files, its words, and what it says of what is no crystal."""

import csv
import json

import pytest
from ase.build import bulk, molecule
from ase.io import read, write

pytest.importorskip("phonopy", reason="NO PHONOPY: pip install 'fastequi[properties]'")


def test_argon(command, tmp_path):
    """From a primitive cell: numbers are those of the cubic axes, and every file is there."""
    write(tmp_path / "ar.cif", bulk("Ar", a=5.3))
    folder = tmp_path / "out"
    result = command("properties", "toy", tmp_path / "ar.cif", "--output", folder)
    assert result.code == 0, result.err
    for words in ("Fm-3m (225)", "C44: ", "bulk modulus", "heat capacity at 300 K", "float64"):
        assert words in result.out
    summary = json.loads((folder / "properties.json").read_text())
    elastic = summary["elasticity"]
    assert set(elastic) >= {"C11_GPa", "C12_GPa", "C44_GPa"}
    assert "C14_GPa" not in elastic
    bulk_modulus = (elastic["C11_GPa"] + 2 * elastic["C12_GPa"]) / 3
    assert elastic["bulk_modulus_GPa"] == pytest.approx(bulk_modulus, rel=1e-3)
    assert summary["energy-volume"]["bulk_modulus_GPa"] == pytest.approx(bulk_modulus, rel=0.05)
    assert summary["lattice"]["largest_stress_GPa"] < 1e-3
    assert len(read(folder / "relaxed.extxyz")) == 4
    names = {path.name for path in folder.iterdir()}
    assert names >= {"energy_volume.csv", "elasticity.csv", "phonon_bands.csv", "phonon_dos.csv",
                     "thermal.csv", "phonons.png", "energy-volume.png"}  # fmt: skip
    with (folder / "elasticity.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert float(rows[0]["xx_GPa"]) == pytest.approx(elastic["C11_GPa"])
    assert float(rows[3]["clamped_yz_GPa"]) == pytest.approx(elastic["C44_GPa"], rel=1e-3)


def test_one_of_them(command, tmp_path):
    write(tmp_path / "ar.cif", bulk("Ar", a=5.25, cubic=True))
    result = command("properties", "toy", tmp_path / "ar.cif", "--no-relax",
                     "--only", "energy-volume", "--output", tmp_path / "out")  # fmt: skip
    assert result.code == 0, result.err
    assert "as given" in result.out
    assert "elastic" not in result.out
    assert "5.25000 x 5.25000" in result.out


def test_what_is_wrong_is_said(command, tmp_path):
    write(tmp_path / "water.xyz", molecule("H2O"))
    result = command("properties", "toy", tmp_path / "water.xyz")
    assert result.code == 2
    assert "is no crystal" in result.err
    write(tmp_path / "ar.cif", bulk("Ar", a=5.3))
    result = command("properties", "toy", tmp_path / "ar.cif", "--only", "phonon")
    assert result.code == 2
    assert "allowed: energy-volume, elasticity, phonons" in result.err
