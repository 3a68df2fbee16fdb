"""kill -9 at random moments while files are written: in the end all is as if never killed.

The runs are forked from this process, which has everything imported: none has to start.
"""

import os
import random
import signal
import time
from pathlib import Path

import pytest
from ase.build import bulk
from ase.io import write
from run_files import records

from fastequi.cli.main import run_command

TOML = """
[system]
structure = "ar.extxyz"
index = ":"
[model]
name = "sevennet-0"
dtype = "float32"
[dynamics]
timestep_fs = 4.0
temperature_K = 60.0
seed = 3
device = "cpu"
[output]
directory = "run"
log_every = 1
trajectory_every = 1
trajectory_format = "{format}"
checkpoint_every = 4
report = false
[[stage]]
name = "squeeze"
ensemble = "npt-scr"
steps = 60
[[stage]]
name = "produce"
ensemble = "nvt-nose-hoover"
steps = 60
"""


def prepare(folder: Path, n_systems: int, form: str) -> Path:
    folder.mkdir()
    atoms = bulk("Ar", a=5.3, cubic=True)
    write(folder / "ar.extxyz", [atoms.repeat((1, 1, k + 1)) for k in range(n_systems)])
    (folder / "md.toml").write_text(TOML.format(format=form))
    return folder / "md.toml"


def killed(path: Path, delay_s: float) -> bool:
    """Go on with a run in a process that is killed after so long; False if it ended first."""
    process = os.fork()
    if process == 0:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 1)
        os.dup2(null, 2)
        os._exit(run_command(["run", str(path), "--resume"]))
    time.sleep(delay_s)
    os.kill(process, signal.SIGKILL)
    _, status = os.waitpid(process, 0)
    if os.WIFSIGNALED(status):
        return True
    assert os.WEXITSTATUS(status) == 0
    return False


def kill_often(kills: int, path: Path, seed: int) -> None:
    """Kill so many times; every run that reaches its end is followed by a new one."""
    chance, done = random.Random(seed), 0
    while done < kills:
        done += killed(path, chance.uniform(0.05, 0.6))
        if (path.parent / "run" / "summary.json").exists() and done < kills:
            assert run_command(["run", str(path), "--overwrite", "--max-walltime", "0:01"]) in (
                0,
                75,
            )


@pytest.mark.parametrize(("n_systems", "form"), [(1, "extxyz"), (3, "h5md")])
def test_5_kills(command, tmp_path, n_systems, form):
    hold(command, tmp_path, n_systems, form, kills=5)


@pytest.mark.slow
@pytest.mark.parametrize(("n_systems", "form"), [(1, "extxyz"), (3, "extxyz"), (1, "h5md")])
def test_50_kills(command, tmp_path, n_systems, form):
    hold(command, tmp_path, n_systems, form, kills=50)


def hold(command, tmp_path: Path, n_systems: int, form: str, kills: int) -> None:
    """Files are byte for byte those of a run that nobody killed."""
    whole = prepare(tmp_path / "whole", n_systems, form)
    assert command("run", whole).code == 0
    path = prepare(tmp_path / "parts", n_systems, form)
    kill_often(kills, path, seed=kills)
    result = command("run", path, "--resume")
    assert result.code == 0, result.err
    assert records(path.parent / "run") == records(whole.parent / "run")
