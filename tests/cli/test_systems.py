"""Many systems in one run: each as it is alone, in its own folder; one that fails harms none."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.io import read, write
from run_files import records, stop_when

from fastequi.md.trajectory.reader import read_trajectory
from fastequi.running import memory

TOML = """
[system]
structure = {structure}
index = ":"
replicas = {replicas}
[model]
name = "sevennet-0"
dtype = "float64"
[dynamics]
ensemble = "{ensemble}"
timestep_fs = 4.0
steps = {steps}
temperature_K = {temperature_K}
seed = 3
device = "cpu"
[output]
directory = "run"
log_every = 3
trajectory_every = 5
trajectory_format = "{format}"
checkpoint_every = 10
report = false
"""
DEFAULTS = {"structure": '["many.extxyz"]', "replicas": 1, "ensemble": "nvt-langevin",
            "steps": 20, "temperature_K": 60.0, "format": "extxyz"}  # fmt: skip


def crystals(n: int) -> list[Atoms]:
    """So many different systems of 4 to 32 atoms, some of them without a cell."""
    cells = [(1, 1, 1), (2, 1, 1), (1, 3, 1), (2, 2, 1), (2, 2, 2)]
    found = []
    for k in range(n):
        atoms = bulk("Ar", a=5.2 + 0.03 * k, cubic=True).repeat(cells[k % len(cells)])
        atoms.rattle(0.05, seed=k)
        found.append(atoms)
    return found


@pytest.fixture
def many(tmp_path):
    """Writes md.toml and its systems; keywords fill in TOML's braces."""

    def make(systems: list[Atoms], folder: Path = tmp_path, **settings) -> Path:
        folder.mkdir(exist_ok=True)
        write(folder / "many.extxyz", systems)
        path = folder / "md.toml"
        path.write_text(TOML.format(**{**DEFAULTS, **settings}))
        return path

    return make


def log_of(folder: Path) -> np.ndarray:
    """All numbers of a log."""
    rows = list(csv.reader((folder / "log.csv").read_text().splitlines()))
    return np.array(rows[1:], dtype=float)


def assert_same(folder: Path, other: Path, tolerance: float = 1e-10) -> None:
    """Logs and last frames of two systems agree."""
    np.testing.assert_allclose(log_of(folder), log_of(other), rtol=tolerance, atol=tolerance)
    one, two = (read(path / "final.extxyz") for path in (folder, other))
    assert isinstance(one, Atoms)
    assert isinstance(two, Atoms)
    np.testing.assert_allclose(one.positions, two.positions, atol=tolerance)
    np.testing.assert_allclose(one.get_momenta(), two.get_momenta(), atol=tolerance)


def assert_equal_to_single_runs(directory: Path, command) -> None:
    """What a system's own md.resolved.toml computes alone is what the batch has computed."""
    folders = sorted(path for path in directory.iterdir() if path.name.isdecimal())
    for folder in folders:
        result = command("run", folder / "md.resolved.toml")
        assert result.code == 0, result.err
        assert_same(folder, directory / f"{folder.name}-alone")


def test_16_systems_are_16_single_runs(many, command, tmp_path):
    """Different sizes, cells and temperatures; one of them is warmed up."""
    each = [20.0 + 5.0 * k for k in range(15)] + ["[40.0, 90.0]"]
    text = f"{{ each = [{', '.join(map(str, each))}] }}"
    result = command("run", many(crystals(16), temperature_K=text))
    assert result.code == 0, result.err
    assert "16 of 4 to 32 atoms" in result.out
    assert_equal_to_single_runs(tmp_path / "run", command)


@pytest.mark.parametrize("ensemble", ["nve", "nvt-nose-hoover", "nvt-csvr", "npt-scr", "npt-mtk"])
def test_every_ensemble(many, command, tmp_path, ensemble):
    systems = crystals(10)[4::5]
    result = command("run", many(systems, ensemble=ensemble, replicas=2))
    assert result.code == 0, result.err
    assert_equal_to_single_runs(tmp_path / "run", command)


def test_folders_and_summary(many, command, tmp_path):
    assert command("run", many(crystals(2), replicas=2, format="h5md")).code == 0
    run = tmp_path / "run"
    assert sorted(p.name for p in run.iterdir()) == [
        "0000", "0001", "0002", "0003", "checkpoints", "md.resolved.toml", "summary.json",
    ]  # fmt: skip
    for k in range(4):
        files = {p.name for p in (run / f"{k:04d}").iterdir()}
        assert files == {
            "md.resolved.toml", "log.csv", "trajectory.h5", "final.extxyz", "summary.json",
        }  # fmt: skip
        frames = read_trajectory(run / f"{k:04d}" / "trajectory.h5")
        assert [frame.info["step"] for frame in frames] == [0, 5, 10, 15, 20]
    summary = json.loads((run / "summary.json").read_text())
    assert (summary["n_systems"], summary["n_failed"], summary["atoms"]) == (4, 0, 24)
    rows = summary["systems"]
    assert [row["system"] for row in rows] == ["0000", "0001", "0002", "0003"]
    assert [row["frame"] for row in rows] == [0, 0, 1, 1]
    assert [row["replica"] for row in rows] == [0, 1, 0, 1]
    assert [row["seed"] for row in rows] == [3, 4, 5, 6]
    own = json.loads((run / "0002" / "summary.json").read_text())
    assert own["last"]["temperature_K"] == rows[2]["temperature_K"]
    momenta = [read_trajectory(run / f"000{k}" / "trajectory.h5")[0].get_momenta() for k in (0, 1)]
    assert np.abs(momenta[0] - momenta[1]).max() > 0.01  # replicas have velocities of their own


def clash() -> Atoms:
    """Four atoms of which two are deep in each other's repulsion."""
    atoms = bulk("Ar", a=5.3, cubic=True)
    atoms.positions[1] = atoms.positions[0] + [0.0, 0.0, 1.1]
    return atoms


def slow_clash() -> Atoms:
    """Two atoms that fly at each other and meet some steps later."""
    atoms = Atoms("Ar2", positions=[[0, 0, 0], [0, 0, 5.0]])
    atoms.set_velocities([[0, 0, 1.5], [0, 0, -1.5]])
    return atoms


def test_one_that_fails_does_not_stop_the_others(many, command, tmp_path):
    good = crystals(4)
    systems = [good[0], clash(), good[1], slow_clash(), clash(), good[2]]
    result = command("run", many(systems))
    assert result.code == 3
    assert "3 of 6 systems failed: 0001 after step 0, 0003 after step" in result.err
    run = tmp_path / "run"
    rows = json.loads((run / "summary.json").read_text())["systems"]
    failed = [k for k, row in enumerate(rows) if row["status"] == "failed"]
    assert failed == [1, 3, 4]
    for k, row in enumerate(rows):
        folder = run / f"{k:04d}"
        if row["status"] == "done":
            assert row["steps"] == 20
            continue
        error = (folder / "error.txt").read_text()
        assert row["error"] == error.strip()
        assert "of system" not in error  # whose it is, says the folder
        assert "move" in error  # at step 0 it would, later it has
        frame = read(folder / "last_good.extxyz")
        assert isinstance(frame, Atoms)
        assert np.isfinite(frame.positions).all()
        assert frame.info["step"] == row["steps"]
        assert not (folder / "final.extxyz").exists()
    assert 0 < rows[3]["steps"] < 20
    # The good ones, as if the others had never been there: seeds go by the number of a system.
    for k in (0, 2, 5):
        assert command("run", run / f"000{k}" / "md.resolved.toml").code == 0
        assert_same(run / f"000{k}", run / f"000{k}-alone")
    again = command("run", tmp_path / "md.toml", "--resume")
    assert again.code == 3
    assert "nothing to do" in again.out
    more = many(systems, steps=30)
    result = command("run", more, "--resume")
    assert result.code == 3
    rows = json.loads((run / "summary.json").read_text())["systems"]
    assert [row["steps"] for row in rows if row["status"] == "done"] == [30, 30, 30]


def test_when_all_fail(many, command, tmp_path):
    result = command("run", many([clash(), clash()]))
    assert result.code == 3
    assert "2 of 2 systems failed" in result.err
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["n_failed"] == 2


@pytest.fixture
def small_memory(monkeypatch):
    """24 atoms fit: of `crystals(6)` three, one, one that is larger than that, and one."""
    room = memory.Room(atoms=24, free_bytes=10**6, fastest=None, systems=100)
    monkeypatch.setattr("fastequi.run.room_for", lambda *arguments: room)


def test_what_does_not_fit_runs_in_batches(many, command, tmp_path, small_memory):
    path = many(crystals(6), tmp_path / "split")
    result = command("run", path)
    assert result.code == 0, result.err
    assert "4, one after the other, of 1 to 3" in result.out
    assert "about 24 atoms fit into 0.001 GB" in result.out
    run = tmp_path / "split" / "run"
    folders = sorted(p.name for p in (run / "checkpoints").iterdir())
    assert folders == ["0000-0002", "0003-0003", "0004-0004", "0005-0005"]
    assert len(records(run)) == 18
    assert_equal_to_single_runs(run, command)


def test_resume_in_the_midst_of_batches(many, command, tmp_path, small_memory, monkeypatch):
    """Stopped in the second batch of four: the first is not touched, all end as uninterrupted."""
    systems = crystals(6)
    whole = many(systems, tmp_path / "whole")
    assert command("run", whole).code == 0
    path = many(systems, tmp_path / "parts")
    run = tmp_path / "parts" / "run"
    with monkeypatch.context() as patch:
        stop_when(patch, lambda setup: setup.present == 1 and setup.simulation.state.step == 13)
        result = command("run", path)
    assert result.code == 75, result.err
    assert not (run / "summary.json").exists()
    first = {p: p.stat().st_mtime_ns for p in (run / "0000").glob("*.*z")}
    room = memory.Room(None, 0, None, 100)  # now all would fit, but a last bit might differ
    monkeypatch.setattr("fastequi.run.room_for", lambda *arguments: room)
    assert command("run", path, "--resume").code == 0
    assert first == {p: p.stat().st_mtime_ns for p in first}
    assert records(run) == records(tmp_path / "whole" / "run")
    assert json.loads((run / "summary.json").read_text())["n_systems"] == 6


def test_overwrite_clears_the_folders_of_systems(many, command, tmp_path):
    assert command("run", many(crystals(4))).code == 0
    mine = tmp_path / "run" / "0003" / "notes.txt"
    mine.write_text("mine")
    assert command("run", many(crystals(2)), "--overwrite").code == 0
    assert [p.name for p in sorted((tmp_path / "run").iterdir())] == [
        "0000", "0001", "0003", "checkpoints", "md.resolved.toml", "summary.json",
    ]  # fmt: skip
    assert [p.name for p in (tmp_path / "run" / "0003").iterdir()] == ["notes.txt"]


def test_a_list_of_files_and_a_range_of_frames(many, command, tmp_path):
    write(tmp_path / "one.extxyz", crystals(5))
    shutil.copy(tmp_path / "one.extxyz", tmp_path / "two.extxyz")
    path = many(crystals(1), structure='["one.extxyz", "two.extxyz"]', steps=0)
    path.write_text(path.read_text().replace('index = ":"', 'index = "1::2"'))
    assert command("run", path).code == 0
    rows = json.loads((tmp_path / "run" / "summary.json").read_text())["systems"]
    assert [(Path(row["structure"]).name, row["frame"]) for row in rows] == [
        ("one.extxyz", 1), ("one.extxyz", 3), ("two.extxyz", 1), ("two.extxyz", 3),
    ]  # fmt: skip


MISTAKES = {
    "each": ({"temperature_K": "{ each = [1.0, 2.0] }"}, "each has 2 values for 3 systems"),
    "replicas": ({"replicas": 0}, "system.replicas: got 0"),
    "no file": ({"structure": '["many.extxyz", "mny.extxyz"]'}, "did you mean many.extxyz?"),
    "no files": ({"structure": "[]"}, "system.structure: got []"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes(many, command, tmp_path, mistake):
    settings, expected = MISTAKES[mistake]
    result = command("run", many(crystals(3), **settings))
    assert result.code == 2
    assert expected in result.err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("index", ["::x", "1:2:3:4", "", "all"])
def test_an_index_that_ase_does_not_know(many, command, index):
    path = many(crystals(3))
    path.write_text(path.read_text().replace('":"', f'"{index}"'))
    result = command("run", path)
    assert result.code == 2
    assert "system.index" in result.err


def test_analysis_of_all(many, command, tmp_path):
    assert command("run", many(crystals(2), steps=40)).code == 0
    result = command("analyze", tmp_path / "run")
    assert result.code == 0, result.err
    for part in ("0000", "0001", "averages.csv"):
        assert part in result.out


def test_check_of_many(many, command, tmp_path):
    result = command("run", many(crystals(3)), "--check")
    assert result.code == 0, result.err
    assert "of the first batch: largest force" in result.out
    assert not (tmp_path / "run").exists()
