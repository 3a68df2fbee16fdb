"""The commands with vectors as wide as other processors': a run, a restart, a step of training."""

import csv
import itertools
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
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


#: Commands one after another, for one start of torch.
SEVERAL = (
    "import json, sys; from fastequi.cli.main import run_command; "
    "sys.exit(max([run_command(command) for command in json.loads(sys.argv[1])]))"
)


def fastequi(width: int, *commands: list[str | Path]) -> str:
    """Runs commands at a width, in one process; what they printed."""
    done = subprocess.run(
        [sys.executable, "-c", SEVERAL, json.dumps(commands, default=str)],
        env=os.environ | {VARIABLE: str(width), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def contents(directory: Path) -> dict[str, bytes]:
    return {name: (directory / name).read_bytes() for name in WRITTEN}


def column(path: Path, name: str) -> np.ndarray:
    with path.open(newline="") as file:
        return np.array([float(row[name]) for row in csv.DictReader(file)])


def assert_close(found: dict[int, np.ndarray], relative: float) -> None:
    for a, b in itertools.combinations(WIDTHS, 2):
        apart = np.abs(found[a] - found[b]).max() / np.abs(found[b]).max()
        assert apart <= relative, f"{a} and {b} bytes: {apart:.1e}"


def test_dynamics_and_a_restart(tmp_path: Path):
    """The second half of each run is taken again, from the checkpoint between."""
    bulk("Si", cubic=True).write(tmp_path / "silicon.extxyz")
    energies = {dtype: {} for dtype in TOLERANCE}
    for width in WIDTHS:
        paths = {dtype: tmp_path / f"{dtype}-{width}.toml" for dtype in TOLERANCE}
        directories = {dtype: path.with_suffix("") for dtype, path in paths.items()}
        for dtype, path in paths.items():
            path.write_text(MD_TOML.format(directory=directories[dtype].name, dtype=dtype))
        fastequi(width, *(["run", path] for path in paths.values()))
        whole = {dtype: contents(directory) for dtype, directory in directories.items()}
        for directory in directories.values():
            (directory / "checkpoints" / "step-000000020.safetensors").unlink()
        printed = fastequi(width, *(["run", path, "--resume"] for path in paths.values()))
        assert printed.count("10 to 20") == len(paths)
        for dtype, directory in directories.items():
            assert contents(directory) == whole[dtype]
            energies[dtype][width] = column(directory / "log.csv", "potential_energy_eV")
            assert len(energies[dtype][width]) == 5
    for dtype, tolerance in TOLERANCE.items():
        assert_close(energies[dtype], tolerance)


def test_a_step_of_training(train_toml, tmp_path: Path):
    losses = {}
    for width in WIDTHS:
        path = train_toml(epochs=1, directory=f"out-{width}", model='dtype = "float64"')
        fastequi(width, ["train", path])
        losses[width] = column(tmp_path / f"out-{width}" / "metrics.csv", "train_loss")
    assert_close(losses, 1e-12)
