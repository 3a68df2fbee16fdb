"""`fastequi train` as a user meets it: what is printed, how it ends, and that it goes on."""

import csv
import json
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from fastequi.cli.main import run_command
from fastequi.cli.train_progress import Clock, number

COMMAND = [sys.executable, "-m", "fastequi.cli.main", "train"]


@pytest.fixture
def train(capfd):
    """Runs the command in this process: exit code, stdout, stderr."""

    def run(path: Path, *options: str) -> tuple[int, str, str]:
        capfd.readouterr()
        code = run_command(["train", str(path), *options])
        out, err = capfd.readouterr()
        assert "Traceback" not in out + err
        return code, out, err

    return run


def start(*arguments: str | Path) -> subprocess.Popen[str]:
    """Runs the command in another process, on one thread."""
    return subprocess.Popen(
        [*COMMAND, *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """One thread here and in other processes."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def results(folder: Path) -> tuple[list[dict[str, str]], bytes]:
    """metrics.csv without the time, and the bytes of the model."""
    with (folder / "metrics.csv").open(newline="") as file:
        rows = [{k: v for k, v in row.items() if k != "wall_s"} for row in csv.DictReader(file)]
    return rows, (folder / "model.safetensors").read_bytes()


def wait_for_epoch(folder: Path, epoch: int, process: subprocess.Popen[str]) -> None:
    end = time.monotonic() + 120
    metrics = folder / "metrics.csv"
    while not metrics.exists() or metrics.read_text().count("\n") <= epoch:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.01)


def test_what_is_printed(train, train_toml, tmp_path):
    code, out, err = train(train_toml(epochs=3, training="max_wall_minutes = 9.5"))
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert max(map(len, lines[:-2])) <= 100
    table = [line for line in lines if re.match(r" +[123] 1\.0e-02", line)]
    assert len(table) == 3
    assert max(map(len, table)) <= 80
    assert "10 train, 3 validation; 12.0 neighbours per atom in 3.5 Å" in out
    assert "3 per epoch, 3 epochs or 9.5 min; learning rate 0.01, plateau" in out
    assert "all 3 epochs are done: 3 epochs, 9 steps" in out
    assert f"written to {tmp_path / 'out'}:" in out
    for name in ("model.safetensors", "metrics.csv", "learning-curve.png", "parity-stress.png"):
        assert name in lines[-2]


def test_no_columns_for_what_nobody_labelled(train, train_toml, without_labels):
    path = train_toml(epochs=1)
    without_labels(path, "forces", "stress")
    code, out, err = train(path)
    assert code == 0
    assert "train E" in out
    assert "train F" not in out
    assert "valid S" not in out
    assert err.count("warning: no training frame has forces") == 1


def test_without_matplotlib(train, train_toml, monkeypatch):
    plain = "plots were skipped: they need matplotlib"
    for module in ("training.records", "training.member", "cli.train_report"):
        monkeypatch.setattr(f"fastequi.{module}.why_no_plots", lambda: plain)
    code, out, _ = train(train_toml(epochs=1))
    assert code == 0
    assert out.count(plain) == 1
    assert ".png" not in out


def test_nothing_to_do(train, train_toml, tmp_path):
    path = train_toml(epochs=1)
    assert train(path)[0] == 0
    code, out, err = train(path, "--resume")
    assert (code, err) == (0, "")
    assert out.startswith(f"nothing to do: {tmp_path / 'out'}: all 1 epochs are done; raise")


def test_members_are_summed_up(train, train_toml):
    code, out, _ = train(train_toml(epochs=1, training="members = 2"))
    assert code == 0
    assert "training, member 2 of 2" in out
    assert "member 1: all 1 epochs are done" in out
    assert re.search(r"^ +2 validation", out, re.MULTILINE)
    assert re.search(r"^ +mean, validation +\d", out, re.MULTILINE)
    assert "member-2: model.safetensors" in out
    assert "  train.resolved.toml, summary.json, report.html\n" in out
    assert out.splitlines()[-1].startswith("open in a browser: ")


def test_one_member(train, train_toml, tmp_path):
    path = train_toml(epochs=1, training="members = 2")
    code, out, _ = train(path, "--member", "2")
    assert code == 0
    assert "training, member 2 of 2" in out
    assert f"written to {tmp_path / 'out' / 'member-2'}" in out
    assert train(path, "--member", "1")[0] == 0
    code, out, _ = train(path, "--resume")
    assert code == 0
    assert "training, member" not in out
    assert re.search(r"^ +mean, validation +\d", out, re.MULTILINE)
    assert train(path, "--resume")[1].startswith("nothing to do")
    code, _, err = train(path, "--member", "3")
    assert code == 2
    assert "training.member: got 3, but training.members = 2; allowed: 1 to 2" in err


@pytest.mark.parametrize("name", [signal.SIGINT, signal.SIGTERM])
def test_signal_writes_a_checkpoint_and_exits_75(train, train_toml, tmp_path, name):
    path = train_toml(tmp_path / "parts", epochs=100000)
    process = start(path)
    wait_for_epoch(tmp_path / "parts" / "out", 1, process)
    time.sleep(random.uniform(0.0, 0.3))
    process.send_signal(name)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 75
    assert "after writing a checkpoint" in err
    assert f"fastequi train {path} --resume" in err
    assert "Traceback" not in err
    compare_with_straight(train, train_toml, tmp_path)


def test_kill_minus_9(train, train_toml, tmp_path):
    path = train_toml(tmp_path / "parts", epochs=100000)
    path.write_text(path.read_text() + "checkpoint_every = 3\n")
    process = start(path)
    wait_for_epoch(tmp_path / "parts" / "out", 4, process)
    time.sleep(random.uniform(0.0, 0.3))
    process.kill()
    assert process.wait() == -signal.SIGKILL
    compare_with_straight(train, train_toml, tmp_path)


def compare_with_straight(train, train_toml, tmp_path):
    """Go on for two epochs; all is as if it had never stopped."""
    with (tmp_path / "parts" / "out" / "metrics.csv").open() as file:
        epochs = file.read().count("\n") + 1
    code, out, err = train(train_toml(tmp_path / "parts", epochs=epochs), "--resume")
    assert code == 0, err
    assert "going on from step" in out
    assert train(train_toml(tmp_path / "whole", epochs=epochs))[0] == 0
    assert results(tmp_path / "parts" / "out") == results(tmp_path / "whole" / "out")


def test_loss_that_is_not_finite_exits_3(train, train_toml, tmp_path):
    path = train_toml(epochs=2000, training='learning_rate = 1e30\nschedule = "constant"')
    code, _, err = train(path)
    assert code == 3
    assert re.search(r"the loss is (nan|inf) at step \d+ \(epoch 1; copper.extxyz, frame", err)
    assert "learning_rate" in err


MISTAKES = {
    'data.train: no file {folder}/coper.extxyz (did you mean copper.extxyz?)':
        ('"copper.extxyz"', '"coper.extxyz"'),
    "validation: got 13, which is 13 of 13 frames; allowed: 1 to 12 frames":
        ("validation = 3", "validation = 13"),
    "training.lr: not a known key (did you mean learning_rate?)": ("epochs = 3", "lr = 0.1"),
    "but no training frame": ("forces = 1.0 }", "forces = 1.0, stress = 1.0 }"),
}  # fmt: skip


@pytest.mark.parametrize("message", MISTAKES)
def test_mistakes_exit_2(train, train_toml, without_labels, tmp_path, message):
    path = train_toml()
    without_labels(path, "stress")
    path.write_text(path.read_text().replace(*MISTAKES[message]))
    code, out, err = train(path)
    assert (code, out) == (2, "")
    assert err.startswith(f"fastequi: {path}: ")
    assert message.format(folder=tmp_path) in err
    assert not (tmp_path / "out").exists()


def test_old_results_are_refused_unless_asked_for(train, train_toml, tmp_path):
    path = train_toml(epochs=1)
    assert train(path)[0] == 0
    code, _, err = train(path)
    assert code == 2
    assert "--resume goes on with it, --overwrite starts anew" in err
    assert train(path, "--overwrite")[0] == 0
    assert train(path, "--overwrite", "--resume")[0] == 2


def test_changed_settings_are_refused_with_a_table(train, train_toml):
    assert train(train_toml(epochs=1))[0] == 0
    code, _, err = train(train_toml(epochs=2, training="ema_decay = 0.5", batch_size=2), "--resume")
    assert code == 2
    assert "  training.batch_size: 4 -> 2\n  training.ema_decay: 0.99 -> 0.5\n" in err


def test_wall_time(train, train_toml, tmp_path):
    code, out, _ = train(train_toml(epochs=100000, training="max_wall_minutes = 0.01"))
    assert code == 0
    assert "the wall time of 0.01 min is over" in out
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert 0.6 <= summary["wall_s"] < 6
    assert summary["validation"]["energies"] == 3


def test_the_time_left_is_never_negative_and_forgets_the_start_up():
    clock = Clock()
    assert clock.left_s(0.0, 5.0) is None
    clock.update(0.1, 60.0)  # a first step of a minute
    clock.update(0.2, 61.0)
    assert clock.left_s(0.2, 61.0) == pytest.approx(8.0)
    assert clock.left_s(1.2, 71.0) == 0.0


def test_numbers_are_short():
    shown = {
        12345.678: "12346",
        1234.5: "1234",
        57.7392: "57.74",
        0.123456: "0.1235",
        2e-5: "2.0e-05",
    }
    assert {value: number(value) for value in shown} == shown
    assert max(len(number(10.0**k * 9.99)) for k in range(-9, 9)) <= 8
