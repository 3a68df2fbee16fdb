"""`fastequi run` with ensemble = "minimize": what it says, writes, exits with, and goes on from."""

import csv
import json

import numpy as np
import pytest
from ase.build import bulk

from fastequi.md.trajectory.log import read_log
from fastequi.md.trajectory.reader import read_trajectory

KEYS = """
optimizer = "{optimizer}"
coupling = "{coupling}"
force_limit_eV_per_A = 1e-5
stress_limit_GPa = 1e-5
"""


@pytest.fixture
def minimize(toml):
    """Writes a TOML that relaxes argon off its lattice in a strained cell."""

    def write(folder, optimizer="lbfgs", coupling="flexible", **settings):
        path = toml(folder, ensemble="minimize", **{"steps": 300, **settings})
        keys = KEYS.format(optimizer=optimizer, coupling=coupling)
        path.write_text(path.read_text().replace("seed = 3\n", "seed = 3" + keys))
        atoms = bulk("Ar", a=5.3, cubic=True).repeat(2)
        atoms.set_cell(atoms.cell.array * [1.02, 1.0, 0.98], scale_atoms=True)
        atoms.rattle(0.1, seed=2)
        atoms.write(folder / "ar.extxyz")
        return path

    return write


@pytest.mark.parametrize("optimizer", ["lbfgs", "fire"])
def test_a_minimum_is_exit_code_0(minimize, command, tmp_path, optimizer):
    result = command("run", minimize(tmp_path, optimizer))
    assert result.code == 0, result.err
    assert "velocities none" in result.out
    assert "force limit 1e-05 eV/Å" in result.out
    assert "ns/day" not in result.out
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    steps = summary["steps"]
    assert f"at a minimum after {steps} steps: energy " in result.out
    assert 3 < steps < 300
    with (tmp_path / "run" / "log.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0])[-2:] == ["largest_force_eV_per_A", "largest_stress_GPa"]
    assert (rows[0]["step"], rows[-1]["step"]) == ("0", str(steps))  # the end has its row
    assert {row["temperature_K"] for row in rows} == {""}
    assert float(rows[-1]["largest_force_eV_per_A"]) <= 1e-5
    assert float(rows[-1]["largest_stress_GPa"]) <= 1e-5
    assert np.isnan(read_log(tmp_path / "run" / "log.csv")["temperature_K"]).all()
    (final,) = read_trajectory(tmp_path / "run" / "final.extxyz")
    assert not final.has("momenta")  # dynamics from here draw velocities
    result = command("analyze", tmp_path / "run")
    assert result.code == 0
    for words in (
        "no means",
        "largest force at the end:",
        "largest stress at the end:",
        "note: the cell: ",
    ):
        assert words in result.out
    for words in ("±", "drift of", "settled", "diffusion"):
        assert words not in result.out
    result = command("run", minimize(tmp_path, optimizer), "--resume")
    assert (result.code, "nothing to do" in result.out) == (0, True)


@pytest.mark.parametrize("form", ["extxyz", "h5md"])
def test_too_few_steps_are_exit_code_3_and_more_steps_go_on(minimize, command, tmp_path, form):
    assert command("run", minimize(tmp_path / "whole", format=form)).code == 0
    result = command("run", minimize(tmp_path / "parts", steps=6, format=form))
    assert result.code == 3
    assert "not at a minimum after 6 steps (largest_force_eV_per_A" in result.err
    assert "more steps with --resume" in result.err
    result = command("run", minimize(tmp_path / "parts", format=form), "--resume")
    assert result.code == 0, result.err
    for name in ("final.extxyz", "log.csv"):
        whole, parts = (tmp_path / which / "run" / name for which in ("whole", "parts"))
        assert whole.read_bytes() == parts.read_bytes(), name


def test_check_says_what_has_a_meaning(minimize, command, tmp_path):
    result = command("run", minimize(tmp_path, coupling="none"), "--check")
    assert result.code == 0, result.err
    assert "nan" not in result.out
    assert "ns/day" not in result.out
    assert "largest force" in result.out


def test_dynamics_after_a_minimisation_draw_velocities(minimize, command, tmp_path):
    path = minimize(tmp_path, coupling="none", steps=200)
    stages = '[[stage]]\nname = "relax"\n[[stage]]\nname = "warm"\nensemble = "nve"\nsteps = 30\n'
    path.write_text(path.read_text() + stages)
    result = command("run", path)
    assert result.code == 0, result.err
    assert "relax: at a minimum after" in result.out
    with (tmp_path / "run" / "log.csv").open() as file:
        rows = list(csv.DictReader(file))
    warm = [row for row in rows if row["stage"] == "warm"]
    assert {row["largest_force_eV_per_A"] for row in warm} == {""}
    assert all(float(row["temperature_K"]) > 10.0 for row in warm)
    times = [float(row["time_ps"]) for row in rows]
    assert times == sorted(times)
    assert max(times) <= 30 * 4e-3  # a minimisation takes no time


def test_one_that_does_not_get_there_does_not_stop_the_others(minimize, command, tmp_path):
    """Two structures, one at its minimum: it ends well, the other one with its reason."""
    path = minimize(tmp_path, coupling="none", steps=4)
    bulk("Ar", a=5.3, cubic=True).write(tmp_path / "there.extxyz")
    text = path.read_text()
    path.write_text(text.replace('"ar.extxyz"', '["ar.extxyz", "there.extxyz"]'))
    result = command("run", path)
    assert result.code == 3
    folders = [tmp_path / "run" / name for name in ("0000", "0001")]
    summaries = [json.loads((folder / "summary.json").read_text()) for folder in folders]
    assert [one["status"] for one in summaries] == ["failed", "done"]
    assert "not at a minimum after 4 steps" in summaries[0]["error"]
    assert (folders[1] / "final.extxyz").exists()


def test_limits_of_safety_end_a_run(toml, command, tmp_path):
    path = toml(steps=40, ensemble="nve")
    path.write_text(path.read_text() + "[safety]\nmax_temperature_K = 20.0\ncheck_every = 5\n")
    result = command("run", path)
    assert result.code == 3
    assert "safety.max_temperature_K = 20: at step " in result.err
    assert "last good frame" in result.err
    assert (tmp_path / "run" / "last_good.extxyz").exists()
    path.write_text(path.read_text().replace("= 20.0", "= 900.0"))
    assert command("run", path, "--overwrite").code == 0
    path.write_text(path.read_text().replace("= 900.0", "= -1"))
    result = command("run", path, "--overwrite")
    assert result.code == 2
    assert "safety.max_temperature_K" in result.err
