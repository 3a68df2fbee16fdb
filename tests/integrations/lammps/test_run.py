"""`fastequi run --engine lammps`: the files, the physics and the errors of a run."""

import csv
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.io import read, write

from fastequi.cli.main import run_command
from fastequi.integrations.lammps import packages
from fastequi.md.trajectory.log import LOG_COLUMNS, read_log

TOML = """
[system]
structure = "atoms.extxyz"
{system}
[model]
name = {model}
dtype = "float64"
{more_of_model}
[dynamics]
ensemble = "{ensemble}"
timestep_fs = {timestep_fs}
steps = {steps}
temperature_K = {temperature_K}
seed = 3
device = "cpu"
{dynamics}
[output]
directory = "{directory}"
log_every = 5
trajectory_every = 10
checkpoint_every = 20
report = false
{more}
"""
DEFAULTS = {
    "ensemble": "nve", "timestep_fs": 1.0, "steps": 40, "temperature_K": 300.0, "dynamics": "",
    "directory": "run", "more": "", "system": "", "model": '"silicon"', "more_of_model": "",
}  # fmt: skip
LAMMPS = ("--engine", "lammps")


@pytest.fixture
def toml(tmp_path) -> Callable[..., Path]:
    """Writes md.toml and its atoms; keywords fill in the braces."""

    def make(atoms: Atoms | None = None, **settings) -> Path:
        write(tmp_path / "atoms.extxyz", crystal() if atoms is None else atoms)
        path = tmp_path / f"{settings.get('directory', 'run')}.toml"
        path.write_text(TOML.format(**{**DEFAULTS, **settings}))
        return path

    return make


@pytest.fixture
def command(capfd) -> Callable[..., tuple[int, str]]:
    """Runs a command in this process, as one rank: its code, and what it says on stderr."""

    def run(*arguments) -> tuple[int, str]:
        capfd.readouterr()
        code = run_command(["run", *map(str, arguments)])
        return code, capfd.readouterr().err

    return run


def crystal() -> Atoms:
    atoms = bulk("Si", cubic=True)
    atoms.rattle(0.02, seed=1)
    return atoms


def left_handed() -> Atoms:
    """A primitive cell, which LAMMPS turns and makes right-handed."""
    atoms = bulk("Si")
    atoms.set_cell(atoms.cell.array[[1, 0, 2]])
    assert np.linalg.det(atoms.cell) < 0
    atoms = atoms.repeat((2, 1, 1))
    atoms.rattle(0.02, seed=1)
    return atoms


def slab() -> Atoms:
    """Open along b, with atoms that are held."""
    atoms = bulk("Si", cubic=True)
    a, b, c = atoms.cell.array
    atoms.set_cell([a, b, [0.7, 0.0, c[2]]])
    atoms.center(vacuum=4.0, axis=1)
    atoms.pbc = (True, False, True)
    atoms.rattle(0.02, seed=1)
    return atoms


def frames(directory: Path) -> list[Atoms]:
    return read(directory / "trajectory.extxyz", ":")  # pyright: ignore[reportReturnType]


def apart(one: Path, other: Path) -> float:
    """The most by which positions (Å) and velocities of all frames, and logs, differ."""
    pairs = list(zip(frames(one), frames(other), strict=True))
    worst = max(np.abs(a.positions - b.positions).max() for a, b in pairs)
    worst = max(worst, *(np.abs(a.get_velocities() - b.get_velocities()).max() for a, b in pairs))
    worst = max(worst, *(np.abs(a.cell.array - b.cell.array).max() for a, b in pairs))
    logs = read_log(one / "log.csv"), read_log(other / "log.csv")
    return max(worst, *(np.nanmax(np.abs(logs[0][k] - logs[1][k])) for k in LOG_COLUMNS
                        if k != "pressure_GPa" or pairs[0][0].cell.rank == 3))  # fmt: skip


@pytest.mark.parametrize(
    ("atoms", "system"), [(crystal, ""), (left_handed, ""), (slab, "fixed_atoms = [0, 3]")]
)
def test_nve_is_that_of_the_builtin_engine(toml, command, tmp_path, atoms, system):
    """To rounding, files, degrees of freedom and all."""
    config = toml(atoms(), system=system, steps=60 if atoms is crystal else 20)
    assert command(config, *LAMMPS)[0] == 0
    native = toml(atoms(), system=system, steps=60 if atoms is crystal else 20, directory="native")
    assert command(native)[0] == 0
    assert apart(tmp_path / "run", tmp_path / "native") < 1e-9
    files = [{path.name for path in (tmp_path / name).iterdir()} for name in ("run", "native")]
    assert files[0] == files[1]
    with (tmp_path / "run/log.csv").open() as file:
        assert next(csv.reader(file)) == list(LOG_COLUMNS)
    summary = json.loads((tmp_path / "run/summary.json").read_bytes())
    assert summary["engine"] == "lammps"
    assert summary["ranks"] == 1
    assert {"model", "neighbors", "integrate", "output", "communication"} == set(
        summary["phases_s"]
    )
    assert sum(summary["phases_s"].values()) <= summary["wall_s"]


@pytest.mark.parametrize(
    ("ensemble", "dynamics"),
    [
        ("nvt-langevin", "friction_per_ps = 10.0"),
        ("nvt-csvr", "thermostat_time_fs = 50.0"),
        ("nvt-nose-hoover", "temperature_K = [300.0, 500.0]\nthermostat_time_fs = 50.0"),
        ("npt-mtk", 'coupling = "flexible"\nbarostat_time_fs = 300.0\npressure_GPa = 1.0'),
    ],
)
def test_a_run_that_goes_on(toml, command, tmp_path, ensemble, dynamics):
    """From the last checkpoint but one, whose log and trajectory are longer: to the last bit of
    the positions, and what is conserved is one curve."""
    settings = {"ensemble": ensemble, "dynamics": dynamics}
    if "temperature_K" in dynamics:
        settings["temperature_K"] = "[300.0, 500.0]"
        settings["dynamics"] = dynamics.split("\n")[1]
    config = toml(**settings)
    assert command(config, *LAMMPS)[0] == 0
    whole = [frame.positions for frame in frames(tmp_path / "run")]
    log = read_log(tmp_path / "run/log.csv")
    (tmp_path / "run/checkpoints/step-000000040.safetensors").unlink()
    (tmp_path / "run/summary.json").unlink()
    assert command(config, *LAMMPS, "--resume")[0] == 0
    again = [frame.positions for frame in frames(tmp_path / "run")]
    assert np.abs(np.array(whole) - np.array(again)).max() < 1e-12
    found = read_log(tmp_path / "run/log.csv")
    np.testing.assert_array_equal(found["step"], log["step"])
    np.testing.assert_allclose(found["conserved_eV"], log["conserved_eV"], rtol=0, atol=1e-8)
    assert np.ptp(log["conserved_eV"]) < (0.02 if "temperature_K" not in settings else 0.2)
    if ensemble == "npt-mtk":
        assert np.ptp(log["volume_A3"]) > 0.1
    code, said = command(config, "--resume")
    assert code == 2
    assert "engine: lammps -> None" in said


def test_what_lammps_cannot_do_is_named(toml, command):
    two = [crystal(), crystal()]
    config = toml(
        two, ensemble="npt-scr", system='index = ":"\nfixed_centre_of_mass = true',
        more_of_model='dispersion = "d3bj"', model='["silicon", "silicon"]',
        more='[[analysis]]\nkind = "msd"',
    )  # fmt: skip
    code, said = command(config, *LAMMPS)
    assert code == 2
    for words in (
        'dynamics.ensemble: got "npt-scr"; allowed: nve, nvt-langevin',
        "system: got 2 systems", "system.fixed_centre_of_mass", "model.name: got a committee of 2",
        'model.dispersion: got "d3bj"', "analysis: got msd",
    ):  # fmt: skip
        assert words in said
    config = toml(more='[[stage]]\nname = "a"\n[[stage]]\nname = "b"')
    code, said = command(config, *LAMMPS)
    assert code == 2
    assert "stage: got 2 stages" in said
    config = toml(
        left_handed(), ensemble="npt-mtk", dynamics='coupling = "axes"\nbarostat_time_fs = 9000.0'
    )
    code, said = command(config, *LAMMPS)
    assert code == 2
    assert "LAMMPS turns this cell" in said
    code, said = command(config, config, *LAMMPS)
    assert code == 2
    assert "takes one md.toml" in said


def test_failures_have_the_last_good_frame(toml, command, tmp_path):
    config = toml(timestep_fs=30.0, temperature_K=30000.0)
    code, said = command(config, *LAMMPS)
    assert code == 3
    assert "the simulation failed at step" in said
    assert "(Si)" in said
    assert read(tmp_path / "run/last_good.extxyz").get_positions().shape == (8, 3)  # pyright: ignore
    config = toml(directory="limit", more="[safety]\nmax_temperature_K = 10.0\ncheck_every = 5")
    code, said = command(config, *LAMMPS)
    assert code == 3
    assert "safety.max_temperature_K = 10" in said
    assert (tmp_path / "limit/last_good.extxyz").exists()


def test_an_mpi_of_another_launcher_is_named(toml, command, monkeypatch):
    if packages.all_ranks().size > 1:
        pytest.skip("these tests are one rank")
    monkeypatch.setenv("OMPI_COMM_WORLD_SIZE", "4")
    code, said = command(toml(), *LAMMPS)
    assert code == 2
    assert "4 processes were started, but each sees itself alone" in said
    assert "mpiexec -n 4" in said
    monkeypatch.setenv("OMPI_COMM_WORLD_RANK", "1")
    with pytest.raises(SystemExit, match="2"):
        command(toml(), *LAMMPS)


def hot() -> Atoms:
    """Some 3000 K, at which atoms go from rank to rank."""
    atoms = bulk("Si", cubic=True) * (2, 1, 1)
    atoms.rattle(0.02, seed=1)
    atoms.set_velocities(np.random.default_rng(3).normal(size=(16, 3)) * 0.12)
    return atoms


def test_two_ranks_that_are_stopped_go_on_as_one_that_is_not(toml, command, mpiexec, tmp_path):
    """SIGTERM to mpiexec: a checkpoint and 75 from all; then on to 200 steps, as on one rank."""
    steps = 200
    config = toml(hot(), steps=steps, directory="two")
    arguments = ("-m", "fastequi.cli.main", "run", config, *LAMMPS)
    process = mpiexec(2, *arguments)
    log = tmp_path / "two/log.csv"
    while process.poll() is None and not (log.exists() and log.read_text().count("\n") > 3):
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    out, errors = process.communicate(timeout=120)
    assert process.returncode == 75, errors
    assert errors.count("after writing a checkpoint; to go on: fastequi run") == 1
    assert "--resume --engine lammps" in errors
    assert out.count("LAMMPS") == 1
    assert "on 2 ranks" in out
    process = mpiexec(2, *arguments, "--resume")
    out, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    assert command(toml(hot(), steps=steps, directory="one"), *LAMMPS)[0] == 0
    assert apart(tmp_path / "one", tmp_path / "two") < 1e-9
    moved = frames(tmp_path / "one")[-1].positions - hot().positions
    assert np.abs(moved).max() > 0.5
    assert "communication" in out


def test_two_ranks_fail_together(toml, mpiexec, tmp_path):
    """One message, code 3 from mpiexec, and the last good frame."""
    config = toml(timestep_fs=30.0, temperature_K=30000.0)
    process = mpiexec(2, "-m", "fastequi.cli.main", "run", config, *LAMMPS)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 3, errors
    assert errors.count("the simulation failed at step") == 1
    assert (tmp_path / "run/last_good.extxyz").exists()


def test_a_rank_that_dies_ends_all(toml, mpiexec, tmp_path):
    """Killed by the system, as where memory ends: the other rank and mpiexec end, too."""
    process = mpiexec(2, "-m", "fastequi.cli.main", "run", toml(hot(), steps=100000), *LAMMPS)
    log = tmp_path / "run/log.csv"
    while process.poll() is None and not (log.exists() and log.read_text().count("\n") > 2):
        time.sleep(0.02)
    children = subprocess.run(
        ["ps", "-ww", "-eo", "pid=,args="], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    config = str(tmp_path / "run.toml")
    ranks = [line.split() for line in children if config in line and "mpiexec" not in line]
    try:
        os.kill(int(ranks[-1][0]), signal.SIGKILL)
        process.communicate(timeout=30)
    finally:
        process.kill()
    assert process.returncode != 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("ensemble", "dynamics"),
    [
        ("nvt-langevin", "friction_per_ps = 10.0"),
        ("nvt-csvr", "thermostat_time_fs = 50.0"),
        ("nvt-nose-hoover", "thermostat_time_fs = 50.0"),
    ],
)
def test_mean_temperatures(toml, command, tmp_path, ensemble, dynamics):
    """Of 16 atoms in 8 ps: within 3.5 standard errors, from blocks of 0.5 ps."""
    config = toml(hot(), steps=9000, ensemble=ensemble, dynamics=dynamics)
    assert command(config, *LAMMPS)[0] == 0
    found = read_log(tmp_path / "run/log.csv")["temperature_K"][200:]
    blocks = found[: len(found) // 16 * 16].reshape(16, -1).mean(axis=1)
    error = blocks.std(ddof=1) / np.sqrt(len(blocks))
    print(f"{ensemble}: {found.mean():.1f} +- {error:.1f} K")
    assert abs(found.mean() - 300.0) < 3.5 * error
    assert error < 15.0


@pytest.mark.slow
def test_mean_volumes_are_those_of_the_builtin_engine(toml, command, tmp_path):
    """npt-mtk of 64 atoms, 12 ps each: within 3.5 standard errors, from blocks of 1 ps."""
    means, errors = [], []
    for name, flags in (("lammps", LAMMPS), ("native", ())):
        config = toml(
            bulk("Si", cubic=True) * 2, steps=7000, timestep_fs=2.0, ensemble="npt-mtk",
            directory=name, dynamics="barostat_time_fs = 1000.0",
        )  # fmt: skip
        assert command(config, *flags)[0] == 0
        volumes = read_log(tmp_path / name / "log.csv")["volume_A3"][200:1400]
        blocks = volumes.reshape(12, -1).mean(axis=1)
        means.append(blocks.mean())
        errors.append(blocks.std(ddof=1) / np.sqrt(len(blocks)))
    print(f"volumes {means} +- {errors} Å³")
    assert abs(means[0] - means[1]) < 3.5 * np.hypot(*errors)
    assert max(errors) < 0.005 * means[0]
