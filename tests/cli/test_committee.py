"""Dynamics with several models: what the log says, and what happens where they disagree."""

import csv
from pathlib import Path

import pytest
import torch
from ase.build import bulk
from ase.io import iread

from fastequi.cli.main import run_command
from fastequi.md.disagreement import COLUMN
from fastequi.md.trajectory.log import LOG_COLUMNS
from fastequi.model.file import model_data, save_model
from fastequi.model.nequip import NequIP
from fastequi.model.spec import new_spec

TOML = """
[system]
structure = "si.extxyz"
[model]
name = {name}
dtype = "float64"
kernels = "reference"
{model}
[dynamics]
ensemble = "nvt-langevin"
steps = {steps}
temperature_K = 50.0
seed = 3
device = "cpu"
[output]
directory = "run"
log_every = 2
trajectory_every = 3
checkpoint_every = 100
"""
BOTH = '["a.safetensors", "b.safetensors"]'
LIMIT = 'disagreement_limit_eV_per_A = {}\non_disagreement = "{}"'


@pytest.fixture
def md_toml(tmp_path):
    """Writes md.toml, a structure and two models with random weights."""
    torch.manual_seed(0)
    spec = new_spec([14], layers=2, l_max=1, channels=(4, 4), radial_hidden=(8,), cutoff_A=3.0)
    for name in ("a", "b"):
        network = NequIP(spec)
        network.scale.fill_(0.02)
        save_model(tmp_path / f"{name}.safetensors", model_data(network))
    bulk("Si", cubic=True).write(tmp_path / "si.extxyz")

    def write(steps: int = 7, name: str = BOTH, model: str = "") -> Path:
        path = tmp_path / "md.toml"
        path.write_text(TOML.format(steps=steps, name=name, model=model))
        return path

    return write


@pytest.fixture
def run(capfd):
    """Runs the command in this process: exit code, stdout, stderr."""

    def call(path: Path, *options: str) -> tuple[int, str, str]:
        capfd.readouterr()
        code = run_command(["run", str(path), *options])
        out, err = capfd.readouterr()
        assert "Traceback" not in out + err
        return code, out, err

    return call


def log_of(path: Path) -> list[dict[str, str]]:
    with (path.parent / "run" / "log.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_one_more_column(run, md_toml):
    path = md_toml()
    code, out, err = run(path)
    assert (code, err) == (0, "")
    assert "the mean of " in out
    rows = log_of(path)
    assert list(rows[0]) == [*LOG_COLUMNS, COLUMN]
    assert [row["step"] for row in rows] == ["0", "2", "4", "6"]
    assert all(float(row[COLUMN]) > 0 for row in rows[1:])


def test_one_model_has_the_columns_it_always_had(run, md_toml):
    path = md_toml(name='"a.safetensors"')
    assert run(path)[0] == 0
    assert list(log_of(path)[0]) == list(LOG_COLUMNS)


def test_warning_is_told_once(run, md_toml, tmp_path):
    code, _, err = run(md_toml(model=LIMIT.format(1e-9, "warn")))
    assert code == 0
    assert err.count("warning: the models disagree on forces at step") == 1
    assert not (tmp_path / "run" / "uncertain.extxyz").exists()


def test_frames_are_saved_and_a_restart_changes_nothing(run, md_toml, tmp_path):
    settings = {"model": LIMIT.format(1e-9, "save")}
    assert run(md_toml(13, **settings))[0] == 0
    uncertain, log = tmp_path / "run" / "uncertain.extxyz", tmp_path / "run" / "log.csv"
    expected = uncertain.read_bytes(), log.read_bytes()
    assert [atoms.info["step"] for atoms in iread(uncertain)] == [2, 4, 6, 8, 10, 12]
    assert run(md_toml(5, **settings), "--overwrite")[0] == 0
    assert len(list(iread(uncertain))) == 2
    assert run(md_toml(13, **settings), "--resume")[0] == 0
    assert (uncertain.read_bytes(), log.read_bytes()) == expected


def test_stop_leaves_a_checkpoint_and_names_atoms(run, md_toml, tmp_path):
    code, _, err = run(md_toml(model=LIMIT.format(1e-9, "stop")))
    assert code == 3
    assert "the models disagree on forces at step 2 by more than 1e-09 eV/Å (" in err
    assert "Si" in err
    assert "and 3 more" in err
    assert [atoms.info["step"] for atoms in iread(tmp_path / "run" / "uncertain.extxyz")] == [2]
    assert (tmp_path / "run" / "checkpoints" / "step-000000002.safetensors").exists()
    assert not (tmp_path / "run" / "last_good.extxyz").exists()
    code, out, _ = run(md_toml(model=LIMIT.format(1e9, "stop")), "--resume")
    assert code == 0
    assert "2 to 7" in out
    assert len(log_of(tmp_path / "md.toml")) == 4


MISTAKES = {
    "model.on_disagreement: one model cannot disagree; give several":
        {"name": '"a.safetensors"', "model": 'on_disagreement = "stop"'},
    "model.on_disagreement: goes with disagreement_limit_eV_per_A":
        {"model": 'on_disagreement = "stop"'},
    'model.on_disagreement: got "quit"; allowed: warn, save, stop':
        {"model": LIMIT.format(1.0, "quit")},
    "allowed: a name or a path in quotes, or a list of two or more of them":
        {"name": '["a.safetensors"]'},
    "c.safetensors (did you mean": {"name": '["a.safetensors", "c.safetensors"]'},
}  # fmt: skip


@pytest.mark.parametrize("message", MISTAKES)
def test_mistakes(run, md_toml, message):
    code, _, err = run(md_toml(**MISTAKES[message]))
    assert code == 2
    assert message in err.replace(f"{md_toml().parent}/", "")
    assert "1 problem" in err
