"""A minimisation of many systems: who is done makes room, and each is as it is alone."""

import json
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.io import iread, write
from run_files import records, stop_when

from fastequi.md.trajectory.log import read_log
from fastequi.running import memory

TOML = """
[system]
structure = "many.extxyz"
index = ":"
[model]
name = "sevennet-0"
dtype = "float64"
[dynamics]
ensemble = "minimize"
coupling = "flexible"
optimizer = "{optimizer}"
force_limit_eV_per_A = 1e-4
stress_limit_GPa = 1e-4
steps = {steps}
device = "cpu"
[output]
directory = "run"
log_every = 3
trajectory_every = 5
checkpoint_every = 4
report = false
"""


def crystals(n: int) -> list[Atoms]:
    """So many crystals of 4 or 8 atoms, some further from rest than others."""
    found = []
    for k in range(n):
        atoms = bulk("Ar", a=5.15 + 0.05 * k, cubic=True).repeat((1 + k % 2, 1, 1))
        atoms.rattle(0.03 * (1 + k), seed=k)
        found.append(atoms)
    return found


@pytest.fixture
def relax(monkeypatch, command):
    """Runs many crystals in a folder with room for so many atoms at once."""

    def run(folder: Path, atoms: int, systems: list[Atoms], *flags, **settings):
        room = memory.Room(atoms=atoms, free_bytes=10**6, fastest=None, systems=100)
        monkeypatch.setattr("fastequi.run.room_for", lambda *arguments: room)
        folder.mkdir(exist_ok=True)
        write(folder / "many.extxyz", systems)
        settings = {"optimizer": "lbfgs", "steps": 200} | settings
        (folder / "md.toml").write_text(TOML.format(**settings))
        return command("run", folder / "md.toml", *flags)

    return run


@pytest.mark.parametrize("optimizer", ["lbfgs", "fire"])
def test_each_is_as_it_is_alone(relax, tmp_path, optimizer):
    """Own steps in log, trajectory, summary; the next begins when there is room, not at an end."""
    systems = crystals(4)
    result = relax(tmp_path / "all", 12, systems, optimizer=optimizer)
    assert result.code == 0, result.err
    assert "2 at once, the next as others are done" in result.out
    rows = json.loads((tmp_path / "all" / "run" / "summary.json").read_text())["systems"]
    steps = []
    for k, atoms in enumerate(systems):
        assert relax(tmp_path / str(k), 16, [atoms], optimizer=optimizer).code == 0
        alone, mine = tmp_path / str(k) / "run", tmp_path / "all" / "run" / f"000{k}"
        a, b = (read_log(folder / "log.csv") for folder in (alone, mine))
        assert a["step"].tolist() == b["step"].tolist()
        np.testing.assert_allclose(a["potential_energy_eV"], b["potential_energy_eV"], rtol=1e-10)
        for name in ("trajectory.extxyz", "final.extxyz"):
            one, two = (list(iread(folder / name)) for folder in (alone, mine))
            assert [f.info["step"] for f in one] == [f.info["step"] for f in two]
            np.testing.assert_allclose(one[-1].positions, two[-1].positions, atol=1e-8)
        steps.append(int(b["step"][-1]))
        assert rows[k]["steps"] == steps[-1]
    assert len(set(steps)) > 1


@pytest.mark.parametrize("step", [3, 22])
def test_goes_on_where_it_was(relax, tmp_path, monkeypatch, step):
    """Stopped while some are done, some under way, some have not begun: same to the last bit."""
    systems = crystals(5)
    assert relax(tmp_path / "whole", 12, systems).code == 0
    with monkeypatch.context() as patch:
        stop_when(patch, lambda setup: setup.simulation.state.step == step)
        assert relax(tmp_path / "parts", 12, systems).code == 75
    result = relax(tmp_path / "parts", 100, systems, "--resume")
    assert result.code == 0, result.err
    whole, parts = (tmp_path / name / "run" for name in ("whole", "parts"))
    assert records(whole) == records(parts)
    result = relax(tmp_path / "parts", 100, systems, "--resume")
    assert (result.code, "nothing to do" in result.out) == (0, True)


def test_who_does_not_get_there_harms_nobody(relax, tmp_path):
    systems = crystals(6)
    result = relax(tmp_path, 12, systems, steps=12)
    assert result.code == 3
    rows = json.loads((tmp_path / "run" / "summary.json").read_text())["systems"]
    failed = [row["system"] for row in rows if row["status"] == "failed"]
    assert 0 < len(failed) < 6
    assert "last_good.extxyz" in (tmp_path / "run" / failed[0] / "error.txt").read_text()
    for row in rows:
        folder = tmp_path / "run" / row["system"]
        assert (folder / "error.txt").exists() == (row["system"] in failed)
        assert (folder / "final.extxyz").exists() == (row["system"] not in failed)
        assert row["steps"] <= 12


def test_more_steps_for_those_at_the_end(relax, tmp_path):
    """All began together, as in a run that fits: with more steps they go on."""
    systems = crystals(4)
    assert relax(tmp_path / "whole", 100, systems).code == 0
    assert relax(tmp_path / "parts", 100, systems, steps=10).code == 3
    assert relax(tmp_path / "parts", 100, systems, "--resume").code == 0
    whole, parts = (tmp_path / name / "run" for name in ("whole", "parts"))
    assert records(whole) == records(parts)
