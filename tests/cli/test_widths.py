"""The commands with vectors as wide as other processors': a run, a restart, a step of training."""

import csv
import itertools
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk

from fastequi.kernels.llvm.target import VARIABLE, WIDTHS

MD_TOML = """
[system]
structure = "silicon.extxyz"
[model]
name = "silicon"
dtype = "{dtype}"
kernels = "cpu"
[dynamics]
ensemble = "nvt-langevin"
timestep_fs = 1.0
steps = 20
temperature_K = 600.0
friction_per_ps = 5.0
device = "cpu"
[output]
directory = "{directory}"
log_every = 5
trajectory_every = 5
checkpoint_every = 10
"""
WRITTEN = ("log.csv", "trajectory.extxyz", "final.extxyz")
#: Largest relative difference of energies and losses.
TOLERANCE = {"float32": 2e-6, "float64": 1e-13}


def fastequi(width: int, *arguments: str | Path) -> str:
    """Runs a command at a width; what it printed."""
    done = subprocess.run(
        [sys.executable, "-m", "fastequi.cli.main", *map(str, arguments)],
        env=os.environ | {VARIABLE: str(width), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def column(path: Path, name: str) -> np.ndarray:
    with path.open(newline="") as file:
        return np.array([float(row[name]) for row in csv.DictReader(file)])


def assert_close(found: dict[int, np.ndarray], relative: float) -> None:
    for a, b in itertools.combinations(WIDTHS, 2):
        apart = np.abs(found[a] - found[b]).max() / np.abs(found[b]).max()
        assert apart <= relative, f"{a} and {b} bytes: {apart:.1e}"


@pytest.mark.parametrize("dtype", TOLERANCE)
def test_dynamics_and_a_restart(tmp_path: Path, dtype: str):
    """The second half of each run is taken again, from the checkpoint between."""
    bulk("Si", cubic=True).write(tmp_path / "silicon.extxyz")
    energies = {}
    for width in WIDTHS:
        directory, path = tmp_path / f"run-{width}", tmp_path / f"{width}.toml"
        path.write_text(MD_TOML.format(directory=directory.name, dtype=dtype))
        fastequi(width, "run", path)
        whole = {name: (directory / name).read_bytes() for name in WRITTEN}
        (directory / "checkpoints" / "step-000000020.safetensors").unlink()
        assert "10 to 20" in fastequi(width, "run", path, "--resume")
        assert {name: (directory / name).read_bytes() for name in WRITTEN} == whole
        energies[width] = column(directory / "log.csv", "potential_energy_eV")
        assert len(energies[width]) == 5
    assert_close(energies, TOLERANCE[dtype])


def test_a_step_of_training(train_toml, tmp_path: Path):
    losses = {}
    for width in WIDTHS:
        path = train_toml(epochs=1, directory=f"out-{width}", model='dtype = "float64"')
        fastequi(width, "train", path)
        losses[width] = column(tmp_path / f"out-{width}" / "metrics.csv", "train_loss")
    assert_close(losses, 1e-12)
