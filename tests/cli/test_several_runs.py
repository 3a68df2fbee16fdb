"""`fastequi run a.toml b.toml`: one failing does not stop the others; a table; the worst code."""

from pathlib import Path

import pytest

from fastequi.cli import several_runs
from fastequi.cli.several_runs import command_of, worst
from fastequi.cli.walltime import read_walltime, written
from fastequi.errors import InputError


@pytest.fixture
def three(toml, tmp_path) -> list[Path]:
    """A good one, one with a mistake, one that explodes."""
    good = toml(tmp_path / "good", steps=20)
    wrong = toml(tmp_path / "wrong", steps=20)
    wrong.write_text(wrong.read_text().replace("steps =", "stepps ="))
    exploding = toml(tmp_path / "exploding", steps=200, ensemble="nve")
    exploding.write_text(exploding.read_text().replace("timestep_fs = 4.0", "timestep_fs = 700.0"))
    return [wrong, exploding, good]


def test_each_has_its_row_and_the_worst_its_code(three, command):
    result = command("run", *three)
    assert result.code == 2
    table = result.out[result.out.rindex("ns/day") :]
    for word in ("wrong input", "physics failed", "done"):
        assert word in table
    assert (three[2].parent / "run" / "summary.json").exists()
    assert (three[1].parent / "run" / "last_good.extxyz").exists()
    assert command("run", *three[1:], "--overwrite").code == 3


def test_after_a_stop_none_is_started(toml, command, tmp_path, monkeypatch):
    monkeypatch.setenv("TOY_DELAY_S", "0.05")
    paths = [toml(tmp_path / name, steps=400) for name in ("a", "b")]
    result = command("run", *paths, "--max-walltime", "0:01")
    assert result.code == 75
    assert "not started" in result.out
    assert (tmp_path / "a" / "run" / "checkpoints").is_dir()
    assert not (tmp_path / "b" / "run").exists()


def test_one_process_per_gpu(three, command, monkeypatch, tmp_path):
    """What the processes do is not the question: they only say where they are."""
    monkeypatch.setattr(several_runs, "accelerators", lambda: {"cuda:0": "A", "cuda:1": "B"})
    say = tmp_path / "say.sh"
    say.write_text(
        '#!/bin/sh\necho "$@"\ncase "$1" in *wrong*) echo "fastequi: no" ; exit 2;; esac\n'
    )

    def fake(config, gpu, options, deadline_s):
        return ["sh", str(say), str(config), gpu]

    monkeypatch.setattr(several_runs, "command_of", fake)
    result = command("run", *three)
    assert result.code == 2
    for path in three:
        assert f"{path}: {path} cuda:" in result.out
    assert "fastequi: no" in result.out[result.out.rindex("ns/day") :]


def test_the_command_of_a_gpu(tmp_path):
    words = command_of(tmp_path / "md.toml", "cuda:1", {"resume": True, "check": False}, None)
    assert words[-5:] == ["run", str(tmp_path / "md.toml"), "--device", "cuda:1", "--resume"]


def test_worst():
    assert worst([0, 0]) == 0
    assert worst([0, 75, 3]) == 3
    assert worst([3, 2, 74]) == 2
    assert worst([3, 1, -9]) == -9


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 5400), ("90:30", 5430), ("01:30:00", 5400), ("1-12", 129600), ("1-12:30", 131400),
     ("0-00:00:10", 10), ("0:01", 1)],
)  # fmt: skip
def test_walltimes_as_slurm_has_them(text, seconds):
    assert read_walltime(text) == seconds
    assert read_walltime(written(seconds)) == seconds


@pytest.mark.parametrize("text", ["", "0", "two hours", "1:2:3:4", "-5", "1-", "2h"])
def test_other_walltimes(text):
    with pytest.raises(InputError, match="--max-walltime: got"):
        read_walltime(text)


def test_no_file_at_all(command):
    result = command("run")
    assert result.code == 2
    assert "name an md.toml" in result.err
