"""`fastequi evaluate`: a small model from its file, on labelled structures from theirs."""

import json
from pathlib import Path

import ase.io
import numpy as np
import pytest
import torch
from ase import Atoms, units
from ase.build import molecule
from ase.calculators.singlepoint import SinglePointCalculator

import fastequi
from fastequi.cli.counter import Counter
from fastequi.cli.main import run_command
from fastequi.model.file import model_data, save_model
from fastequi.model.nequip import NequIP
from fastequi.model.spec import new_spec

REFERENCE = ("--kernels", "reference", "--dtype", "float64", "--device", "cpu")


@pytest.fixture
def model(tmp_path) -> str:
    torch.manual_seed(0)
    spec = new_spec([1, 8], layers=2, l_max=1, channels=(4, 4), cutoff_A=3.0, radial_hidden=(8,))
    save_model(tmp_path / "small.safetensors", model_data(NequIP(spec)))
    return str(tmp_path / "small.safetensors")


@pytest.fixture
def waters(tmp_path) -> list[Atoms]:
    """Distorted water with made-up labels, also in water.extxyz."""
    rng = np.random.default_rng(1)
    found = []
    for k in range(6):
        atoms = molecule("H2O")
        atoms.rattle(0.1, seed=k)
        forces = rng.normal(size=(3, 3))
        atoms.calc = SinglePointCalculator(atoms, energy=rng.normal(), forces=forces)
        atoms.info["config_type"] = "hot" if k % 2 else "cold"
        found.append(atoms)
    ase.io.write(tmp_path / "water.extxyz", found)
    return found


def evaluate(*arguments: str | Path) -> int:
    return run_command(["evaluate", *map(str, arguments)])


def test_errors_are_those_that_ase_finds(model, waters, tmp_path, capsys):
    data, out = tmp_path / "water.extxyz", tmp_path / "errors.json"
    assert evaluate(model, data, "--json", out, *REFERENCE) == 0
    calculator = fastequi.FastEquiCalculator(
        model, device="cpu", dtype="float64", kernels="reference"
    )
    energy, force = [], []
    for atoms in waters:
        free = Atoms(atoms.numbers, atoms.positions, calculator=calculator)
        energy.append((free.get_potential_energy() - atoms.get_potential_energy()) / 3)
        force.append(free.get_forces() - atoms.get_forces())
    found = json.loads(out.read_text())
    assert found["energy_mae_meV_per_atom"] == pytest.approx(1000 * np.abs(energy).mean(), rel=1e-6)
    rmse = np.sqrt(np.square(force).mean())
    assert found["force_rmse_meV_per_A"] == pytest.approx(1000 * rmse, rel=1e-6)
    assert found["stress_mae_meV_per_A3"] is None
    assert found["frames"] == 6
    oxygen = 1000 * np.abs(np.array(force)[:, 0]).mean()
    assert found["per_species"]["O"]["force_mae_meV_per_A"] == pytest.approx(oxygen, rel=1e-6)
    assert set(found["per_config_type"]) == {"hot", "cold"}
    assert found["model_sha256"] == fastequi.load_model(model).sha256


def test_the_mean_of_several_models(model, waters, tmp_path, capsys):
    """Errors of the mean lie below the mean of the errors; the second is the first, mirrored."""
    network = fastequi.load_model(model, "cpu").network
    network.scale.neg_()
    other, out = tmp_path / "mirrored.safetensors", tmp_path / "mean.json"
    save_model(other, model_data(network))
    data = tmp_path / "water.extxyz"
    assert evaluate(model, data, "--member", other, "--json", out, *REFERENCE) == 0
    assert f"the mean of {model}, {other}, float64" in " ".join(capsys.readouterr().out.split())
    free = np.mean([np.abs(atoms.get_forces()).mean() for atoms in waters])
    assert json.loads(out.read_text())["force_mae_meV_per_A"] == pytest.approx(1000 * free)


def test_what_is_printed_and_written(model, waters, tmp_path, capsys):
    pytest.importorskip("matplotlib")
    arguments = ("--csv", tmp_path / "frames.csv", "--plots", tmp_path / "new" / "plots")
    assert evaluate(model, tmp_path / "water.extxyz", *arguments, *REFERENCE) == 0
    out = capsys.readouterr().out
    for part in ("6 structures, 18 atoms from water.extxyz", "reference kernels on cpu", "meV/Å",
                 "hot", "cold", "all", "ms/atom", "parity-forces.png"):  # fmt: skip
        assert part in out
    assert "stress" not in out
    assert len((tmp_path / "frames.csv").read_text().splitlines()) == 7
    assert (tmp_path / "new" / "plots" / "parity-energy.png").is_file()


def test_a_page(model, waters, tmp_path, capsys):
    assert evaluate(model, tmp_path / "water.extxyz", "--report", tmp_path / "e.html") == 0
    assert f"open in a browser: {tmp_path / 'e.html'}" in capsys.readouterr().out
    page = (tmp_path / "e.html").read_text(encoding="utf-8")
    for word in ("Errors by element (data frames)", "Errors by configuration", "Largest errors"):
        assert word in page


def test_several_files_and_units(model, waters, tmp_path, capsys):
    """The same labels in other units, by other names, are the same errors."""
    factor = units.mol / units.kcal
    for atoms in waters:
        results = atoms.calc.results  # type: ignore[union-attr]
        atoms.info["E"] = results["energy"] * factor
        atoms.arrays["F"] = results["forces"] * factor
        atoms.calc = None
    ase.io.write(tmp_path / "a.extxyz", waters[:2])
    ase.io.write(tmp_path / "b.extxyz", waters[2:])
    first, second = tmp_path / "1.json", tmp_path / "2.json"
    assert evaluate(model, tmp_path / "water.extxyz", "--json", first, *REFERENCE) == 0
    given = ("--units-energy", "kcal/mol", "--units-length", "angstrom", "--keys-energy", "E",
             "--keys-forces", "F", "--batch-size", "2")  # fmt: skip
    files = (tmp_path / "a.extxyz", tmp_path / "b.extxyz")
    assert evaluate(model, *files, *given, "--json", second, *REFERENCE) == 0
    found = [json.loads(path.read_text()) for path in (first, second)]
    for name, value in found[0].items():
        if "_mae_" in name and value is not None:
            assert found[1][name] == pytest.approx(value, rel=1e-6), name


def test_without_matplotlib(model, waters, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("fastequi.plotting.find_spec", lambda name: None)
    arguments = (tmp_path / "water.extxyz", "--plots", tmp_path / "plots", *REFERENCE)
    assert evaluate(model, *arguments) == 0
    assert "plots were skipped: they need matplotlib (pip install" in capsys.readouterr().err
    assert not (tmp_path / "plots").exists()


MISTAKES = {
    "no data": ((), "no data: name at least one file"),
    "no such data": (("DIR/watr.extxyz",), "no file", "did you mean water.extxyz?"),
    "no such folder": (("DIR/water.extxyz", "--json", "DIR/none/e.json"), "there is no folder"),
    "folder as file": (("DIR/water.extxyz", "--csv", "DIR"), "is a folder; name a file in it"),
    "plots is a file": (("DIR/water.extxyz", "--plots", "DIR/water.extxyz"), "is not a folder"),
    "unit": (
        ("DIR/water.extxyz", "--units-energy", "kcal", "--units-length", "angstrom"),
        'units.energy: got "kcal" (did you mean "kcal/mol"?)', "--units-energy and",
    ),
    "half the units": (("DIR/water.extxyz", "--units-energy", "eV"), "units.length is missing"),
    "key": (("DIR/water.extxyz", "--keys-energy", "REF"), 'keys.energy is "REF", and no frame'),
    "batch": (("DIR/water.extxyz", "--batch-size", "0"), "--batch-size: got 0"),
    "kernels": (("DIR/water.extxyz", "--kernels", "cuda9"), "cuda9", "allowed: auto"),
    "elements": (("DIR/salt.extxyz",), "does not know Na, Cl", "salt.extxyz, frame 0"),
    "labels": (("DIR/bare.extxyz",), "no frame has energy, forces or stress to compare with"),
}  # fmt: skip


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes(model, waters, tmp_path, capsys, mistake):
    salt = Atoms("NaCl", [[0, 0, 0], [0, 0, 2.4]])
    salt.calc = SinglePointCalculator(salt, energy=1.0)
    salt.write(tmp_path / "salt.extxyz")
    molecule("H2O").write(tmp_path / "bare.extxyz")
    arguments, *expected = MISTAKES[mistake]
    arguments = [text.replace("DIR", str(tmp_path)) for text in arguments]
    if "--kernels" not in arguments:
        arguments += REFERENCE
    assert evaluate(model, *arguments) == 2
    err = capsys.readouterr().err
    for part in expected:
        assert part in err
    assert "Traceback" not in err


def test_no_such_model(waters, tmp_path, capsys):
    assert evaluate(tmp_path / "none.safetensors", tmp_path / "water.extxyz") == 2
    assert "no such file" in capsys.readouterr().err


class Screen:
    """A terminal, or not; keeps what is written."""

    def __init__(self, is_terminal: bool) -> None:
        self.text, self._is_terminal = "", is_terminal

    def isatty(self) -> bool:
        return self._is_terminal

    def write(self, text: str) -> int:
        self.text += text
        return len(text)

    def flush(self) -> None: ...


def test_lines_where_there_is_no_terminal(monkeypatch):
    clock = iter([0.0, 5.0, 11.0, 12.0, 22.0])
    monkeypatch.setattr("fastequi.cli.counter.perf_counter", lambda: next(clock))
    screen = Screen(is_terminal=False)
    with Counter("structures", screen) as counter:  # type: ignore[arg-type]
        for done in (1, 2, 3, 4):
            counter(done, 4)
    assert screen.text == "structures: 2 of 4, 11 s left\n"


def test_a_bar_in_a_terminal():
    screen = Screen(is_terminal=True)
    with Counter("structures", screen) as counter:  # type: ignore[arg-type]
        counter(2, 4)
    assert "structures" in screen.text
    assert "2/4" in screen.text
