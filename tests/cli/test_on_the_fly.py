"""[[analysis]]: as the trajectory would have it, and the same after a restart."""

from pathlib import Path

import numpy as np
import pytest

from fastequi.md.analysis import ANALYSES
from fastequi.md.analysis.table import read_csv
from fastequi.md.trajectory.reader import read_trajectory
from fastequi.storage.checkpoint import latest_checkpoint

SECTIONS = """
[[analysis]]
kind = "rdf"
every = 5
r_max_A = 8.0
[[analysis]]
kind = "adf"
every = 5
cutoff_A = 4.5
[[analysis]]
kind = "msd"
every = 5
lags = 6
[[analysis]]
kind = "vacf"
every = 5
[[analysis]]
kind = "viscosity"
every = 5
[[analysis]]
kind = "msd"
every = 2
"""
ONE = '[[analysis]]\nkind = "rdf"\n'
OFFLINE = {
    "rdf": {"r_max_A": 8.0},
    "adf": {"cutoff_A": 4.5},
    "msd": {},
    "vacf": {},
    "viscosity": {},
}


def with_sections(path: Path, sections: str = SECTIONS) -> Path:
    path.write_text(path.read_text() + sections)
    return path


def files_of(run: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((run / "analysis").iterdir())}


@pytest.mark.parametrize("ensemble", ["nvt-langevin", "npt-scr"])
def test_equals_what_the_trajectory_says(toml, command, tmp_path, ensemble):
    path = with_sections(toml(steps=60, ensemble=ensemble))
    if ensemble == "npt-scr":
        path.write_text(path.read_text().replace("friction_per_ps = 5.0\n", ""))
    result = command("run", path)
    assert result.code == 0, result.err
    frames = read_trajectory(tmp_path / "run" / "trajectory.extxyz")
    folder = tmp_path / "run" / "analysis"
    for kind, settings in OFFLINE.items():
        found = read_csv(folder / f"{kind}-on-the-fly.csv")
        expected = ANALYSES[kind](frames, **settings)
        assert list(found) == list(expected)
        for name, values in expected.items():
            rows = min(len(values), len(found[name]))
            np.testing.assert_allclose(found[name][:rows], values[:rows], rtol=1e-10, atol=1e-10)
    assert len(read_csv(folder / "msd-on-the-fly.csv")["time_ps"]) == 6
    assert len(read_csv(folder / "msd-2-on-the-fly.csv")["time_ps"]) == 31
    assert "analysis/rdf-on-the-fly.csv" in result.out
    page = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert "mean squared displacement and diffusion, on the fly (msd-2-on-the-fly.csv)" in page


def test_a_restart_is_no_restart(toml, command, tmp_path):
    """Half-way by the total, and from an older checkpoint than the last."""
    whole = with_sections(toml(tmp_path / "whole", steps=60))
    assert command("run", whole).code == 0
    parts = with_sections(toml(tmp_path / "parts", steps=33))
    assert command("run", parts).code == 0
    with_sections(toml(tmp_path / "parts", steps=60))
    assert command("run", parts, "--resume").code == 0
    assert files_of(tmp_path / "parts" / "run") == files_of(tmp_path / "whole" / "run")
    checkpoints = tmp_path / "parts" / "run" / "checkpoints"
    (checkpoints / "step-000000060.safetensors").unlink()
    assert command("run", parts, "--resume").code == 0
    assert files_of(tmp_path / "parts" / "run") == files_of(tmp_path / "whole" / "run")
    found, expected = (
        latest_checkpoint(tmp_path / name / "run" / "checkpoints") for name in ("parts", "whole")
    )
    assert found is not None
    assert expected is not None
    assert sum(name.startswith("analysis.") for name in found.tensors) > 30
    for name, tensor in expected.tensors.items():
        np.testing.assert_array_equal(found.tensors[name].numpy(), tensor.numpy())


def test_other_sections_are_another_run(toml, command, tmp_path):
    assert command("run", with_sections(toml(steps=20))).code == 0
    result = command("run", with_sections(toml(steps=40), ONE), "--resume")
    assert result.code == 2
    assert "analysis" in result.err


def test_a_new_run_leaves_nothing_of_the_old_one(toml, command, tmp_path):
    assert command("run", with_sections(toml(steps=20))).code == 0
    (tmp_path / "run" / "analysis" / "mine.csv").write_text("1")
    assert command("run", toml(steps=20), "--overwrite").code == 0
    assert list(files_of(tmp_path / "run")) == ["mine.csv"]


def test_a_viscosity_needs_a_cell(toml, command, tmp_path):
    path = with_sections(toml(steps=20), '[[analysis]]\nkind = "viscosity"\n')
    structure = tmp_path / "ar.extxyz"
    structure.write_text(structure.read_text().replace('pbc="T T T"', 'pbc="F F F"'))
    result = command("run", path)
    assert result.code == 2
    assert "a viscosity needs three periodic directions" in result.err


@pytest.mark.parametrize(
    ("section", "said"),
    [
        (
            'kind = "rdf"\nlags = 3',
            "analysis.0.lags: is for msd and vacf and viscosity, not for rdf",
        ),
        ('kind = "rfd"', 'did you mean "rdf"?'),
        ("every = 5", "analysis.0.kind: this key is required"),
        ('kind = "msd"\nevery = 0', "analysis.0.every: got 0"),
        ('kind = "msd"\nlag = 5', "analysis.0.lag: not a known key (did you mean lags?)"),
    ],
)
def test_mistakes(toml, command, section, said):
    result = command("run", with_sections(toml(steps=20), f"\n[[analysis]]\n{section}\n"))
    assert result.code == 2
    assert said in result.err
