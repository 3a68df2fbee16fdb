"""N steps, an end of any kind, --resume, M steps: bit for bit the same as N + M."""

import itertools
import json
import random
import signal
import time

import pytest
import torch
from run_files import records, wait_for

from fastequi.cli.main import run_command

COMBINATIONS = list(
    itertools.product(("nve", "nvt-langevin"), ("float32", "float64"), ("extxyz", "h5md"))
)
#: Four of them have each pair of settings once.
PAIRWISE = [("nve", "float32", "extxyz"), ("nve", "float64", "h5md"),
            ("nvt-langevin", "float32", "h5md"), ("nvt-langevin", "float64", "extxyz")]  # fmt: skip


@pytest.mark.parametrize(("ensemble", "dtype", "form"), COMBINATIONS)
def test_more_steps_after_the_end(toml, command, tmp_path, ensemble, dtype, form):
    settings = {"ensemble": ensemble, "dtype": dtype, "format": form}
    assert command("run", toml(tmp_path / "whole", steps=47, **settings)).code == 0
    assert command("run", toml(tmp_path / "parts", steps=23, **settings)).code == 0
    result = command("run", toml(tmp_path / "parts", steps=47, **settings), "--resume")
    assert result.code == 0
    assert "23 to 47" in result.out
    assert records(tmp_path / "parts" / "run") == records(tmp_path / "whole" / "run")


@pytest.mark.parametrize(("ensemble", "dtype", "form"), PAIRWISE)
def test_kill_minus_9(toml, command, spawn, tmp_path, ensemble, dtype, form):
    settings = {"ensemble": ensemble, "dtype": dtype, "format": form, "steps": 150}
    assert command("run", toml(tmp_path / "whole", **settings)).code == 0
    path = toml(tmp_path / "parts", **settings)
    directory = tmp_path / "parts" / "run"
    process = spawn("run", path, TOY_DELAY_S="0.03")
    wait_for(lambda: (directory / "checkpoints" / "step-000000020.safetensors").exists(), process)
    time.sleep(random.uniform(0.0, 0.5))  # 130 steps of 0.03 s and more are left
    process.kill()
    assert process.wait() == -signal.SIGKILL
    assert not (directory / "summary.json").exists()
    result = command("run", path, "--resume")
    assert result.code == 0, result.err
    assert "going on from a checkpoint" in result.out
    assert records(directory) == records(tmp_path / "whole" / "run")
    assert json.loads((directory / "summary.json").read_text())["steps"] == 150


def test_with_a_real_model_and_two_threads(tmp_path, capsys):
    """What a toy cannot show: sums that threads may add up in any order."""
    torch.set_num_threads(2)
    for name, steps in (("whole", (4,)), ("parts", (2, 4))):
        path = tmp_path / name / "md.toml"
        assert run_command(["init", "silicon", str(path.parent)]) == 0
        text = path.read_text().replace("[3, 3, 3]", "[1, 1, 2]")
        text = text.replace("_every = 50\n", "_every = 1\n").replace(
            "_every = 100\n", "_every = 1\n"
        )
        for total in steps:
            path.write_text(text.replace("steps = 2000", f"steps = {total}"))
            assert run_command(["run", str(path), "--resume", "--device", "cpu"]) == 0
    assert records(tmp_path / "parts" / "silicon-run") == records(
        tmp_path / "whole" / "silicon-run"
    )


@pytest.mark.parametrize("name", [signal.SIGTERM, signal.SIGINT])
def test_signal_writes_a_checkpoint_and_exits_75(toml, command, spawn, tmp_path, name):
    assert command("run", toml(tmp_path / "whole", steps=100)).code == 0
    path = toml(tmp_path / "parts", steps=100)
    directory = tmp_path / "parts" / "run"
    process = spawn("run", path, TOY_DELAY_S="0.03")
    wait_for(lambda: (directory / "log.csv").exists(), process)
    time.sleep(random.uniform(0.0, 0.5))
    process.send_signal(name)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 75
    assert "after writing a checkpoint" in err
    assert f"fastequi run {path} --resume" in err
    assert "Traceback" not in err
    assert command("run", path, "--resume").code == 0
    assert records(directory) == records(tmp_path / "whole" / "run")


def test_truncated_checkpoint_the_one_before_is_used(toml, command, tmp_path):
    assert command("run", toml(tmp_path / "whole", steps=70)).code == 0
    assert command("run", toml(tmp_path / "parts", steps=50)).code == 0
    newest = tmp_path / "parts" / "run" / "checkpoints" / "step-000000050.safetensors"
    newest.write_bytes(newest.read_bytes()[:-1000])
    result = command("run", toml(tmp_path / "parts", steps=70), "--resume")
    assert result.code == 0
    assert "warning: skipped a checkpoint" in result.err
    assert "step-000000050" in result.err
    assert "40 to 70" in result.out
    assert records(tmp_path / "parts" / "run") == records(tmp_path / "whole" / "run")


def test_nothing_to_do(toml, command, tmp_path):
    path = toml(steps=20)
    assert command("run", path).code == 0
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "run").rglob("*")}
    result = command("run", path, "--resume")
    assert result.code == 0
    assert "nothing to do" in result.out
    assert before == {p: p.stat().st_mtime_ns for p in (tmp_path / "run").rglob("*")}


def test_killed_before_the_summary(toml, command, tmp_path):
    path = toml(steps=20)
    assert command("run", path).code == 0
    before = records(tmp_path / "run")
    (tmp_path / "run" / "summary.json").unlink()
    assert command("run", path, "--resume").code == 0
    assert records(tmp_path / "run") == before
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["steps"] == 20


def test_no_checkpoint_starts_from_the_beginning(toml, command, tmp_path):
    path = toml(steps=20)
    result = command("run", path, "--resume")
    assert result.code == 0
    assert "no checkpoint to go on from: from the beginning" in result.out
    assert (tmp_path / "run" / "summary.json").exists()


def test_resume_leaves_a_folder_alone_that_is_no_run(toml, command, tmp_path):
    path = toml()
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "log.csv").write_text("mine")
    result = command("run", path, "--resume")
    assert result.code == 2
    assert "does not look like a run" in result.err
    assert (tmp_path / "run" / "log.csv").read_text() == "mine"


CHANGES = {
    "dynamics.timestep_fs: 4.0 -> 2.0": ("timestep_fs = 4.0", "timestep_fs = 2.0"),
    "dynamics.seed: 3 -> 4": ("seed = 3", "seed = 4"),
    "dynamics.ensemble: nvt-langevin -> nve": ('"nvt-langevin"', '"nve"'),
    "model.dtype: float64 -> float32": ('"float64"', '"float32"'),
    "output.trajectory_format: extxyz -> h5md": ('"extxyz"', '"h5md"'),
    "system.atoms: ": ('"ar.extxyz"', '"ar.extxyz"\nsupercell = [1, 1, 2]'),
}


@pytest.mark.parametrize("row", CHANGES)
def test_another_run_is_refused(toml, command, tmp_path, row):
    path = toml(steps=20)
    assert command("run", path).code == 0
    before = records(tmp_path / "run")
    path.write_text(path.read_text().replace(*CHANGES[row]).replace("steps = 20", "steps = 30"))
    result = command("run", path, "--resume")
    assert result.code == 2
    assert "cannot resume" in result.err
    assert row in result.err
    assert records(tmp_path / "run") == before


def test_another_model_is_refused(toml, command, tmp_path, monkeypatch):
    assert command("run", toml(steps=20)).code == 0
    monkeypatch.setenv("TOY_SHA256", "cd" * 32)
    result = command("run", toml(steps=30), "--resume")
    assert result.code == 2
    assert "model.sha256: abababababab... -> cdcdcdcdcdcd..." in result.err


def test_log_that_was_cut_is_refused(toml, command, tmp_path):
    assert command("run", toml(steps=20)).code == 0
    (tmp_path / "run" / "log.csv").write_text("step\n")
    result = command("run", toml(steps=30), "--resume")
    assert result.code == 2
    assert "log.csv: has 5 bytes" in result.err
