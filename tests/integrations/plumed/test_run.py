"""[plumed] in md.toml: its files, restarts, looks, and what is said of what it cannot do."""

import json
import shutil
from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase.build import bulk

from fastequi.cli.main import run_command

TOML = """
[system]
structure = "si.extxyz"
[model]
name = "silicon"
dtype = "float64"
[dynamics]
ensemble = "{ensemble}"
timestep_fs = 2.0
steps = {steps}
temperature_K = 300.0
seed = 3
device = "cpu"
[output]
directory = "run"
log_every = 2
trajectory_every = 5
checkpoint_every = 10
report = false
{more}
[plumed]
input = "plumed.dat"
"""
METADYNAMICS = """\
UNITS LENGTH=A ENERGY=eV TIME=fs
d: DISTANCE ATOMS=1,4
m: METAD ARG=d SIGMA=0.05 HEIGHT=0.02 PACE=3 BIASFACTOR=10 FILE=HILLS
PRINT ARG=d,m.bias FILE=COLVAR STRIDE=5
"""


def write_toml(folder: Path, steps: int, *, ensemble="nvt-csvr", more="", dat=METADYNAMICS) -> Path:
    folder.mkdir(exist_ok=True)
    bulk("Si", cubic=True).write(folder / "si.extxyz")
    (folder / "plumed.dat").write_text(dat)
    (folder / "md.toml").write_text(TOML.format(steps=steps, ensemble=ensemble, more=more))
    return folder / "md.toml"


def run(path: Path, *options: str) -> int:
    return run_command(["run", str(path), *options])


def files(folder: Path) -> dict[str, np.ndarray]:
    return {name: np.loadtxt(folder / "run" / "plumed" / name) for name in ("HILLS", "COLVAR")}


@pytest.mark.parametrize("ensemble", ["nvt-csvr", "npt-scr"])
def test_a_restart_goes_on(kernel, tmp_path, ensemble):
    """From the checkpoint, whatever PLUMED wrote after it. Hills come back from HILLS, which has 16
    decimals: positions differ in their last bits. The first step gets its hill, and no row of
    COLVAR is there twice."""
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert run(write_toml(whole, 40, ensemble=ensemble)) == 0
    assert run(write_toml(parts, 20, ensemble=ensemble)) == 0
    plumed = parts / "run" / "plumed"
    with (plumed / "HILLS").open("a") as hills, (plumed / "COLVAR").open("a") as colvar:
        hills.write((plumed / "HILLS").read_text())
        colvar.write(" 1.0 2.0")
    (plumed / "LATER").write_text("of a step that is forgotten")
    assert run(write_toml(parts, 40, ensemble=ensemble), "--resume") == 0
    assert not (plumed / "LATER").exists()
    for name, rows in files(whole).items():
        np.testing.assert_allclose(files(parts)[name], rows, rtol=0, atol=2e-9, err_msg=name)
    assert len(files(whole)["HILLS"]) == 13
    frames = [ase.io.read(folder / "run" / "trajectory.extxyz", ":") for folder in (whole, parts)]
    assert len(frames[0]) == len(frames[1]) == 9
    for a, b in zip(*frames, strict=True):
        np.testing.assert_allclose(b.positions, a.positions, rtol=0, atol=1e-10)
        np.testing.assert_allclose(b.cell, a.cell, rtol=0, atol=1e-10)


def test_the_log_has_the_bias(kernel, tmp_path, capsys):
    assert run(write_toml(tmp_path, 20)) == 0
    assert "bias       PLUMED" in capsys.readouterr().out
    log = np.genfromtxt(tmp_path / "run" / "log.csv", delimiter=",", names=True)
    colvar = files(tmp_path)["COLVAR"]
    assert log["step"].tolist() == list(range(0, 21, 2))
    assert log["bias_eV"][5] == pytest.approx(colvar[2, 2], abs=1e-6)  # step 10
    assert log["bias_eV"][-1] > 0.01
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["phases_s"]["bias"] > 0
    assert run(tmp_path / "md.toml", "--overwrite") == 0
    assert len(files(tmp_path)["HILLS"]) == 6  # not those of the run before


def test_check_writes_nothing(kernel, tmp_path, capsys):
    path = write_toml(tmp_path, 20)
    assert run(path, "--check") == 0
    assert "plumed/" in capsys.readouterr().out
    assert sorted(p.name for p in tmp_path.iterdir()) == ["md.toml", "plumed.dat", "si.extxyz"]
    assert not Path("HILLS").exists()
    assert run(write_toml(tmp_path, 20, dat="d: DISTANC ATOMS=1,2\n"), "--check") == 2
    assert "plumed.dat: " in (error := capsys.readouterr().err)
    assert "DISTANC" in error


def test_another_input_is_another_run(kernel, tmp_path, capsys):
    assert run(write_toml(tmp_path, 10)) == 0
    path = write_toml(tmp_path, 20, dat=METADYNAMICS.replace("0.02", "0.03"))
    assert run(path, "--resume") == 2
    assert "plumed.input" in capsys.readouterr().err


def test_files_that_are_gone_are_named(kernel, tmp_path, capsys):
    assert run(write_toml(tmp_path, 10)) == 0
    (tmp_path / "run" / "plumed" / "HILLS").unlink()
    assert run(write_toml(tmp_path, 20), "--resume") == 2
    assert "HILLS: missing" in capsys.readouterr().err


def test_plumed_may_end_a_run(kernel, tmp_path, capsys):
    """COMMITTOR: as a signal would, after a checkpoint."""
    dat = "d: DISTANCE ATOMS=1,2\nCOMMITTOR ARG=d BASIN_LL1=0.1 BASIN_UL1=9\n"
    assert run(write_toml(tmp_path, 20, dat=dat)) == 75
    assert "stopped at step 1 after" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ('[[stage]]\nname = "a"\nensemble = "minimize"', "minimises"),
        ('[[stage]]\nname = "a"\n[[stage]]\nname = "b"\ntimestep_fs = 1.0', "one clock"),
    ],
)
def test_runs_that_have_no_bias(kernel, tmp_path, capsys, more, said):
    assert run(write_toml(tmp_path, 20, more=more)) == 2
    assert said in capsys.readouterr().err


def test_several_systems_have_no_bias(kernel, tmp_path, capsys):
    path = write_toml(tmp_path, 20)
    path.write_text(path.read_text().replace('"si.extxyz"', '"si.extxyz"\nreplicas = 2'))
    assert run(path) == 2
    assert "one system" in capsys.readouterr().err


def test_a_missing_input_is_a_problem_of_the_file(tmp_path, capsys):
    path = write_toml(tmp_path, 20)
    (tmp_path / "plumed.dat").unlink()
    path.write_text(path.read_text() + "plumed_input = 3\n")
    assert run(path) == 2
    error = capsys.readouterr().err
    assert "plumed.input: no file" in error
    assert "did you mean input" in error
    shutil.rmtree(tmp_path)
