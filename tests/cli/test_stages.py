"""Stages: one dynamics after the other in one run, and --resume in the midst of any of them."""

import csv
from pathlib import Path

import pytest
from ase.build import bulk
from run_files import records, stop_when

from fastequi.md.config import load_config
from fastequi.md.trajectory.log import read_log, stages_of_log
from fastequi.md.trajectory.reader import read_trajectory

TOML = """
[system]
structure = "ar.extxyz"
replicas = {replicas}
[model]
name = "sevennet-0"
dtype = "{dtype}"
[dynamics]
timestep_fs = 4.0
temperature_K = 60.0
seed = 3
device = "cpu"
[output]
directory = "run"
log_every = 3
trajectory_every = 5
trajectory_format = "{format}"
checkpoint_every = 7
report = false
"""
STAGES = (
    ('name = "heat"', "steps = 20", "temperature_K = [10.0, 60.0]"),
    ('name = "squeeze"', "steps = 16", 'ensemble = "npt-scr"', "seed = 4"),
    ('name = "produce"', "steps = 12", 'ensemble = "nve"', "timestep_fs = 2.0"),
)


@pytest.fixture
def staged(tmp_path):
    """Writes md.toml and argon; `stages` are tuples of lines, keywords fill in TOML's braces."""

    def make(folder: Path = tmp_path, stages=STAGES, **settings) -> Path:
        folder.mkdir(exist_ok=True)
        bulk("Ar", a=5.3, cubic=True).repeat(2).write(folder / "ar.extxyz")
        text = TOML.format(**{"replicas": 1, "dtype": "float64", "format": "extxyz", **settings})
        for lines in stages:
            text += "\n".join(["[[stage]]", *lines, ""])
        (folder / "md.toml").write_text(text)
        return folder / "md.toml"

    return make


def test_log_and_trajectory_name_the_stage(staged, command, tmp_path):
    result = command("run", staged())
    assert result.code == 0, result.err
    rows = list(csv.DictReader((tmp_path / "run" / "log.csv").read_text().splitlines()))
    assert [int(row["step"]) for row in rows] == list(range(0, 49, 3))
    for row in rows:
        step = int(row["step"])
        name = "heat" if step <= 20 else "squeeze" if step <= 36 else "produce"
        assert row["stage"] == name
        time_fs = step * 4.0 if step <= 36 else 36 * 4.0 + (step - 36) * 2.0
        assert float(row["time_ps"]) == pytest.approx(time_fs * 1e-3, abs=1e-12)
    frames = read_trajectory(tmp_path / "run" / "trajectory.extxyz")
    named = {frame.info["step"]: frame.info["stage"] for frame in frames}
    assert (named[20], named[25], named[40]) == ("heat", "squeeze", "produce")
    assert len({frame.cell.volume for frame in frames[:5]}) == 1  # only one stage has a barostat
    assert len({frame.cell.volume for frame in frames[5:8]}) == 3
    assert stages_of_log(tmp_path / "run" / "log.csv") == ["heat", "squeeze", "produce"]
    assert read_log(tmp_path / "run" / "log.csv", "produce")["step"].tolist() == [39, 42, 45, 48]


def test_each_stage_is_told_and_judged(staged, command):
    out = command("run", staged()).out
    for part in ("stage 0    heat: 20 steps, nvt-langevin", "temperature 10 to 60 K",
                 "stage 2    produce: 12 steps, nve, timestep 2 fs", "0 to 48 (0.168 ps)",
                 "heat: temperature", "produce: energy drift"):  # fmt: skip
        assert part in out, part


def test_a_stage_is_what_a_run_from_its_start_is(staged, command, tmp_path, toml):
    """The last one has no noise: alone, from the frame before it, it does the same."""
    path = staged(stages=(*STAGES[:2], (*STAGES[2][:1], "steps = 0", *STAGES[2][2:])))
    assert command("run", path).code == 0
    assert command("run", staged(tmp_path / "whole")).code == 0
    alone = toml(tmp_path / "alone", ensemble="nve", steps=12)
    text = alone.read_text().replace("ar.extxyz", "../run/final.extxyz").replace("= 4.0", "= 2.0")
    alone.write_text(text.replace("log_every = 3", "log_every = 12"))
    assert command("run", alone).code == 0
    end = read_log(tmp_path / "alone" / "run" / "log.csv")["potential_energy_eV"][-1]
    assert read_log(tmp_path / "whole" / "run" / "log.csv")["potential_energy_eV"][-1] == end


@pytest.mark.parametrize(
    ("dtype", "form", "replicas"), [("float32", "extxyz", 1), ("float64", "h5md", 1),
                                    ("float64", "extxyz", 3)],
)  # fmt: skip
def test_resume_in_every_stage(staged, command, tmp_path, monkeypatch, dtype, form, replicas):
    """In the midst of each, at each end, and just after: bit for bit as if never stopped."""
    settings = {"dtype": dtype, "format": form, "replicas": replicas}
    assert command("run", staged(tmp_path / "whole", **settings)).code == 0
    path, whole = staged(tmp_path / "parts", **settings), tmp_path / "whole" / "run"
    for stop in (5, 20, 21, 30, 36, 37, 47):
        with monkeypatch.context() as patch:
            stop_when(patch, lambda setup, stop=stop: setup.simulation.state.step == stop)
            result = command("run", path, "--resume")
        assert result.code == 75, result.err
        assert f"stopped at step {stop}" in result.err
    result = command("run", path, "--resume")
    assert result.code == 0
    assert "stage 2    produce" in result.out
    assert "<- goes on here" in result.out
    parts = tmp_path / "parts" / "run"
    assert records(parts) == records(whole)


def changed(stage: int, old: str, new: str):
    """STAGES with a line of one of them replaced."""
    stages = [list(lines) for lines in STAGES]
    place = stages[stage].index(old)
    stages[stage][place] = new
    return tuple(map(tuple, stages))


def test_more_steps_of_the_last_stage_and_one_more(staged, command, tmp_path):
    assert command("run", staged(tmp_path / "parts")).code == 0
    longer = changed(2, "steps = 12", "steps = 18")
    assert command("run", staged(tmp_path / "parts", stages=longer), "--resume").code == 0
    longer = (*longer, ('name = "again"', "steps = 6"))
    result = command("run", staged(tmp_path / "parts", stages=longer), "--resume")
    assert result.code == 0, result.err
    assert "54 to 60" in result.out
    assert command("run", staged(tmp_path / "whole", stages=longer)).code == 0
    assert records(tmp_path / "parts" / "run") == records(tmp_path / "whole" / "run")


def test_analysis_is_of_one_stage(staged, command, tmp_path):
    assert command("run", staged()).code == 0
    result = command("analyze", tmp_path / "run")
    assert result.code == 0, result.err
    assert "Ar32, stage produce, nve, sevennet-0" in result.out
    assert "0.15 to 0.168 ps" in result.out
    result = command("analyze", tmp_path / "run", "--stage", "heat")
    assert "Ar32, stage heat, nvt-langevin" in result.out
    assert "0 to 0.08 ps" in result.out
    result = command("analyze", tmp_path / "run", "--stage", "cool")
    assert result.code == 2
    assert "there is no stage cool; the run has heat, squeeze, produce" in result.err


CHANGES = {
    "stage.0.steps: 20 -> 24": (0, "steps = 20", "steps = 24"),
    "stage.0.temperature_K: [10.0, 60.0] -> [10.0, 61.0]": (
        0, "temperature_K = [10.0, 60.0]", "temperature_K = [10.0, 61.0]",
    ),
    "stage.1.seed: 4 -> 5": (1, "seed = 4", "seed = 5"),
    "stage.2.name: produce -> harvest": (2, 'name = "produce"', 'name = "harvest"'),
    "stage.2.ensemble: nve -> nvt-csvr": (2, 'ensemble = "nve"', 'ensemble = "nvt-csvr"'),
    "stage.2.steps: 12 -> 3": (2, "steps = 12", "steps = 3"),
}  # fmt: skip


@pytest.mark.parametrize("row", CHANGES)
def test_any_other_change_is_named(staged, command, tmp_path, row):
    assert command("run", staged()).code == 0
    before = records(tmp_path / "run")
    result = command("run", staged(stages=changed(*CHANGES[row])), "--resume")
    assert result.code == 2
    assert "cannot resume" in result.err
    assert row in result.err
    assert records(tmp_path / "run") == before


def test_a_stage_less_is_named(staged, command):
    assert command("run", staged()).code == 0
    result = command("run", staged(stages=STAGES[:2]), "--resume")
    assert result.code == 2
    assert "stage.2.name: produce -> None" in result.err


def test_what_a_later_stage_cannot_take_is_said_at_once(staged, command, tmp_path):
    path = staged()
    bulk("Ar", a=5.3, cubic=True).repeat(2).write(tmp_path / "ar.extxyz")
    atoms = bulk("Ar", a=5.3, cubic=True)
    atoms.pbc = False
    atoms.set_cell([0.0, 0.0, 0.0])
    atoms.write(tmp_path / "ar.extxyz")
    result = command("run", path)
    assert result.code == 2
    assert "stage squeeze" in result.err
    assert not (tmp_path / "run").exists()


MISTAKES = {
    "no name": (("steps = 3",), "stage.0.name: this key is required"),
    "no steps": (('name = "a"',), "stage.0.steps: this key is required"),
    "a name that is none": (('name = "a b"', "steps = 3"), 'stage.0.name: got "a b"'),
    "a number as a name": (('name = "T"', "steps = 3"), "which ASE reads as no text"),
    "an unknown key": (('name = "a"', "steps = 3", "timestep = 1.0"), "mean timestep_fs, in fs?"),
    "an unknown ensemble": (
        ('name = "a"', "steps = 3", 'ensemble = "nvt-berendsen"'), "is not offered by this version",
    ),
    "a device": (('name = "a"', "steps = 3", 'device = "cpu"'), "it stands in [dynamics]"),
}  # fmt: skip


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_are_said_once(staged, command, mistake):
    lines, expected = MISTAKES[mistake]
    result = command("run", staged(stages=(lines,)))
    assert result.code == 2
    assert "1 problem\n" in result.err
    assert expected in result.err


def test_a_mistake_of_dynamics_is_not_repeated_by_every_stage(staged, command):
    path = staged()
    path.write_text(path.read_text().replace("temperature_K = 60.0", "temprature_K = 60.0"))
    result = command("run", path)
    assert result.code == 2
    assert "1 problem\n" in result.err
    assert "dynamics.temprature_K" in result.err


def test_two_stages_of_one_name(staged, command):
    result = command("run", staged(stages=(STAGES[0], STAGES[0])))
    assert result.code == 2
    assert "the name of another stage" in result.err


def test_the_resolved_toml_says_the_same(staged, tmp_path, command):
    path = staged()
    assert command("run", path).code == 0
    resolved = load_config(tmp_path / "run" / "md.resolved.toml", existing="allow")
    assert resolved == load_config(path, existing="allow")
    assert [stage.dynamics.steps for stage in resolved.stages] == [20, 16, 12]


RELAX_FIRST = (
    ('name = "relax"', 'ensemble = "minimize"', "steps = 200", "force_limit_eV_per_A = 1e-4"),
    ('name = "heat"', 'ensemble = "nvt-csvr"', "steps = 12"),
)


def test_a_minimisation_ends_when_it_is_done(staged, command, tmp_path, monkeypatch):
    """Its time stands still; what moves after it has velocities of the temperature it has."""
    path = staged(tmp_path / "whole", stages=RELAX_FIRST, replicas=2)
    for folder in ("whole", "parts"):
        staged(tmp_path / folder, stages=RELAX_FIRST, replicas=2)
        rattled(tmp_path / folder / "ar.extxyz")
    result = command("run", path)
    assert result.code == 0, result.err
    run = tmp_path / "whole" / "run"
    for system in ("0000", "0001"):
        log = run / system / "log.csv"
        assert stages_of_log(log) == ["relax", "heat"]
        rows = read_log(log, "relax")
        assert rows["step"][-1] < 200
        assert not rows["time_ps"].any()
        heat = read_log(log, "heat")
        assert heat["temperature_K"][0] > 5.0
        assert 0.0 < heat["time_ps"][0] <= 3 * 4e-3
    with monkeypatch.context() as patch:
        stop_when(patch, lambda setup: setup.simulation.state.step == 5)
        assert command("run", tmp_path / "parts" / "md.toml").code == 75
    assert command("run", tmp_path / "parts" / "md.toml", "--resume").code == 0
    assert records(tmp_path / "parts" / "run") == records(run)
    again = command("run", path, "--resume")
    assert "nothing to do" in again.out


def test_a_minimisation_that_is_not_done(staged, command, tmp_path):
    """Exit code 3 and how far it is; more steps go on."""
    short = tuple(line.replace("200", "2") for line in RELAX_FIRST[0])
    path = staged(stages=(short,))
    rattled(tmp_path / "ar.extxyz")
    result = command("run", path)
    assert result.code == 3
    assert "not at a minimum after 2 steps (largest_force_eV_per_A" in result.err
    assert "last good frame" in result.err
    staged(stages=RELAX_FIRST[:1])
    rattled(tmp_path / "ar.extxyz")
    result = command("run", path, "--resume")
    assert result.code == 0, result.err
    assert "going on from a checkpoint" in result.out


def rattled(path: Path) -> None:
    """A crystal that is out of shape, for a minimiser to do something."""
    atoms = bulk("Ar", a=5.3, cubic=True).repeat(2)
    atoms.rattle(0.1, seed=1)
    atoms.write(path)
