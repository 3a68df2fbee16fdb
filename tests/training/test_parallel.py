"""Several processes against one: the same gradients, the same training; one of them speaks."""

import csv
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from team_worker import measure

from fastequi.errors import InputError
from fastequi.process import reproducible
from fastequi.training.parallel import Team, join_team

WORKER = Path(__file__).with_name("team_worker.py")


def torchrun(processes: int, *arguments: str | Path) -> subprocess.Popen[str]:
    """Starts processes as a user does."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    return subprocess.Popen(
        [sys.executable, "-m", "torch.distributed.run", f"--nproc-per-node={processes}",
         f"--master-port={port}", *map(str, arguments)],
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONFAULTHANDLER": "1"}, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


@pytest.fixture(scope="module")
def alone() -> dict[str, list]:
    with reproducible(torch.device("cpu")):
        return json.loads(json.dumps(measure(Team())))


def test_gradients_and_training(tmp_path, alone):
    """Also of a batch with fewer frames than processes. float64: to rounding."""
    processes = 3  # two train in `test_the_command`
    process = torchrun(processes, WORKER, tmp_path)
    _, err = process.communicate(timeout=200)
    assert process.returncode == 0, err
    found = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(processes)]
    for other in found[1:]:
        assert other == found[0]  # to the last bit: their weights never drift apart
    for mine, its in zip(alone["gradients"], found[0]["gradients"], strict=True):
        for a, b in zip(mine, its, strict=True):
            np.testing.assert_allclose(b or np.zeros_like(a), a, rtol=1e-10, atol=1e-12)
    for mine, its in zip(alone["rows"], found[0]["rows"], strict=True):
        assert its == pytest.approx(mine, rel=1e-8)


def test_the_command(train_toml, tmp_path):
    """The whole training, from the command line; only the leader prints."""
    outputs = []
    for processes in (1, 2):
        path = train_toml(tmp_path / str(processes), epochs=2, model='dtype = "float64"')
        process = torchrun(processes, "-m", "fastequi.cli.main", "train", path)
        out, err = process.communicate(timeout=200)
        assert process.returncode == 0, err
        outputs.append(out)
    assert "device    cpu, 2 processes" in outputs[1]
    for line in ("fastequi 0", "all 2 epochs are done", "written to", "train E"):
        assert outputs[1].count(line) == outputs[0].count(line) == 1
    one, two = (read_metrics(tmp_path / name / "out") for name in ("1", "2"))
    for a, b in zip(one, two, strict=True):
        assert b == pytest.approx(a, rel=1e-6)


def read_metrics(folder: Path) -> list[dict[str, float]]:
    with (folder / "metrics.csv").open(newline="") as file:
        return [
            {k: float(v) for k, v in row.items() if k != "wall_s"} for row in csv.DictReader(file)
        ]


def test_mistakes_are_told_once(train_toml, tmp_path):
    path = train_toml(model='elements = ["H"]')
    process = torchrun(2, "-m", "fastequi.cli.main", "train", path)
    _, err = process.communicate(timeout=200)
    assert process.returncode != 0
    assert err.count("the data hold Cu, but the model knows only H") == 1


def test_sigterm_to_one_stops_all(train_toml, tmp_path):
    path = train_toml(epochs=100000)
    process = torchrun(2, "-m", "fastequi.cli.main", "train", path)
    metrics, end = tmp_path / "out" / "metrics.csv", time.monotonic() + 100
    while not metrics.exists() or metrics.read_text().count("\n") < 3:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.05)
    os.kill(worker_of(process.pid, rank=1), signal.SIGTERM)
    _, err = process.communicate(timeout=100)
    assert err.count("after writing a checkpoint") == 1
    assert "exitcode  : 75" in err, err
    assert list((tmp_path / "out" / "checkpoints").iterdir())


def worker_of(parent: int, rank: int) -> int:
    """The child of torchrun with this rank."""
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and f"\nPPid:\t{parent}\n" in (entry / "status").read_text():
                if f"\0RANK={rank}\0" in (entry / "environ").read_text():
                    return int(entry.name)
        except OSError:
            continue  # it has just ended
    raise AssertionError(f"no worker {rank}")


def test_half_an_environment_is_refused(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.delenv("RANK", raising=False)
    with pytest.raises(
        InputError, match=r"RANK, LOCAL_RANK, .* is not set; start them with torchrun"
    ):
        with join_team("cpu"):
            pass
