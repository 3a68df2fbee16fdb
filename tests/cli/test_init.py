"""`fastequi init`: the examples, and that each of them runs."""

import json
import re
import runpy
import tomllib
from pathlib import Path

import pytest

from fastequi.cli.init import examples
from fastequi.cli.main import run_command
from fastequi.errors import InputError
from fastequi.importers.sevennet import PRETRAINED, find_pretrained


@pytest.mark.parametrize(
    "name", [name for name in examples() if name not in ("molecule", "ecosystem")]
)
def test_every_example_runs(tmp_path, name, monkeypatch):
    """A few steps with the model it names."""
    monkeypatch.chdir(tmp_path)
    assert run_command(["init", name]) == 0
    path = tmp_path / name / "md.toml"
    model = tomllib.loads(path.read_text())["model"]["name"]
    if model in PRETRAINED:
        try:
            find_pretrained(model)
        except InputError as error:
            pytest.skip(f"THE EXAMPLE {name} WAS NOT RUN: {error}")
    # What a run costs is not the question here; a minimisation needs its steps.
    text = re.sub(r"^supercell = .*", "supercell = [1, 1, 1]", path.read_text(), flags=re.M)
    sections = re.split(r"(?m)^(?=\[)", text)
    short = [s if "minimize" in s else re.sub(r"(?m)^steps = .*", "steps = 2", s) for s in sections]
    path.write_text("".join(short))
    assert run_command(["run", str(path), "--device", "cpu"]) == 0
    summary = json.loads((tmp_path / name / f"{name}-run" / "summary.json").read_text())
    stages = tomllib.loads(path.read_text()).get("stage", [{}])
    if "minimize" not in text:
        assert summary["steps"] == 2 * len(stages)
    assert summary.get("n_failed", 0) == 0
    assert summary["model"] == model


def test_bundled_potentials_are_what_their_examples_name():
    """They run without any other package."""
    for name, potential in {
        "silicon": "silicon",
        "silicon-melt": "silicon",
        "water": "water",
    }.items():
        toml = tomllib.loads((examples()[name] / "md.toml").read_text())
        assert toml["model"]["name"] == potential


def test_script_of_the_melt(tmp_path, monkeypatch, capsys):
    """It reads what the run has written; 40 frames make a table."""
    monkeypatch.chdir(tmp_path)
    assert run_command(["init", "silicon-melt"]) == 0
    folder = tmp_path / "silicon-melt"
    shorten(folder / "md.toml", steps=40, trajectory_every=1)
    assert run_command(["run", str(folder / "md.toml"), "--device", "cpu"]) == 0
    capsys.readouterr()
    runpy.run_path(str(folder / "melting.py"), run_name="__main__")
    first = capsys.readouterr().out.splitlines()[1].split()
    assert float(first[3]) == pytest.approx(4.0, abs=0.1)  # neighbours: still a crystal
    assert float(first[5]) == pytest.approx(3.87, abs=0.1)  # 12 of them in its second shell


def test_molecule_from_training_to_spectrum(tmp_path, monkeypatch, capsys):
    """The page's commands in their order, on a short leash."""
    monkeypatch.chdir(tmp_path)
    assert run_command(["init", "molecule"]) == 0
    assert "next: fastequi train molecule/train.toml" in capsys.readouterr().out
    folder = tmp_path / "molecule"
    shorten(folder / "train.toml", epochs=2, channels=[8, 4, 4])
    assert run_command(["train", str(folder / "train.toml")]) == 0
    model, test = folder / "methanol" / "model.safetensors", folder / "methanol-test.extxyz"
    assert run_command(["evaluate", str(model), str(test)]) == 0
    shorten(folder / "md.toml", steps=400, temperature_K=10.0)
    assert run_command(["run", str(folder / "md.toml")]) == 0
    pytest.importorskip("matplotlib", reason="spectrum.py draws")
    runpy.run_path(str(folder / "spectrum.py"))
    assert "peaks in 1/cm" in capsys.readouterr().out
    assert (folder / "spectrum.png").stat().st_size > 5000


def shorten(toml: Path, **values) -> None:
    """Other values for some keys of a TOML."""
    lines = toml.read_text().splitlines()
    for name, value in values.items():
        place = next(i for i, line in enumerate(lines) if line.startswith(f"{name} ="))
        lines[place] = f"{name} = {value}"
    toml.write_text("\n".join(lines))


def test_default_example_and_directory(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run_command(["init"]) == 0
    out = capsys.readouterr().out
    assert "next: fastequi run silicon/md.toml" in out
    for name in examples():
        assert name in out
    assert run_command(["init", "nacl", "elsewhere/deep"]) == 0
    assert Path("elsewhere/deep/nacl.extxyz").is_file()


def test_never_overwrites(tmp_path, capsys):
    mine = tmp_path / "md.toml"
    mine.write_text("mine")
    assert run_command(["init", "silicon", str(tmp_path)]) == 2
    assert "nothing was written" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["md.toml"]
    assert mine.read_text() == "mine"


def test_unknown_example(capsys):
    assert run_command(["init", "slicon"]) == 2
    err = capsys.readouterr().err
    assert "no example 'slicon' (did you mean silicon?)" in err
    assert "nacl" in err


def test_folder_that_cannot_be_made(capsys):
    assert run_command(["init", "silicon", "/proc/silicon"]) == 2
    assert "cannot be written" in capsys.readouterr().err
