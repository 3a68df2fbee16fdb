"""`fastequi init --slurm`: a job array whose jobs go on where they stopped; `fastequi collect`."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

TOY = Path(__file__).with_name("toy_fastequi.py")
#: In fastequi's place: the toy that tests run. In scontrol's: the words that it was told.
COMMANDS = {
    "fastequi": f'exec {sys.executable} {TOY} "$@"\n',
    "scontrol": 'echo "$@" >> "$TOLD"\n',
}


@pytest.fixture
def job(tmp_path):
    """Starts one job of an array, as SLURM does."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name, text in COMMANDS.items():
        (folder / name).write_text(f"#!/bin/bash\n{text}")
        (folder / name).chmod(0o755)

    def start(script: Path, task: int, **more: str) -> subprocess.Popen:
        path = f"{folder}{os.pathsep}{os.environ['PATH']}"
        own = {"SLURM_ARRAY_TASK_ID": str(task), "SLURM_ARRAY_JOB_ID": "42"}
        environment = {**os.environ, "PATH": path, "TOLD": str(tmp_path / "told"), **own, **more}
        return subprocess.Popen(["bash", str(script)], env=environment, cwd=tmp_path)

    return start


def test_jobs_of_an_array(toml, command, job, tmp_path, monkeypatch):
    """One is stopped and goes on, one has a mistake, one is done; and a table."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "400")  # of the table, whose cells are folded where it is narrow
    slow, wrong, good = (toml(tmp_path / f"a {n}", steps=200 if n == "slow" else 20)
                         for n in ("slow", "wrong", "good"))  # fmt: skip
    wrong.write_text(wrong.read_text().replace("steps =", "stepps ="))
    result = command("init", "--slurm", slow, wrong, good)
    assert result.code == 0, result.err
    script = tmp_path / "array.sh"
    assert subprocess.run(["bash", "-n", str(script)]).returncode == 0
    assert "#SBATCH --array=0-2\n" in script.read_text()
    assert command("collect", slow, good).code == 2  # none has started

    stopped = job(script, 0, TOY_DELAY_S="0.03")
    log = tmp_path / "a slow" / "run" / "log.csv"
    end = time.monotonic() + 300
    while not (log.exists() and len(log.read_text().splitlines()) > 3):
        assert stopped.poll() is None
        assert time.monotonic() < end
        time.sleep(0.02)
    stopped.send_signal(signal.SIGTERM)
    assert job(script, 1).wait(300) == 2
    assert job(script, 2).wait(300) == 0
    assert stopped.wait(300) == 75
    assert (tmp_path / "told").read_text() == "requeue 42_0\n"
    result = command("collect", slow, good)
    assert result.code == 75
    assert re.search(r"stopped at step \d+ of 200", " ".join(result.out.split()))

    assert job(script, 0).wait(300) == 0
    steps = [int(row.split(",")[0]) for row in log.read_text().splitlines()[1:]]
    assert steps == list(range(0, 201, 3))
    assert command("collect", slow, good).code == 0
    assert command("collect", slow, wrong, good).code == 2


def test_what_is_not_there(command, tmp_path, monkeypatch, toml):
    monkeypatch.chdir(tmp_path)
    assert "nowhere.toml" in command("init", "--slurm", "nowhere.toml").err
    assert command("init", "--slurm", toml(tmp_path / "a")).code == 0
    assert "array.sh exists" in command("init", "--slurm", tmp_path / "a" / "md.toml").err
    assert command("collect").code == 2
