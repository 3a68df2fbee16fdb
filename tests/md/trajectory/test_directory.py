"""The output directory: only fastequi's files are ever removed."""

import pytest

from fastequi.errors import InputError
from fastequi.md.trajectory.directory import (
    check_is_run,
    empty_run_directory,
    own_files,
)


@pytest.fixture
def run_directory(tmp_path):
    """An earlier run with foreign files in it."""
    (tmp_path / "checkpoints").mkdir()
    for name in ("md.resolved.toml", "log.csv", "trajectory.h5", "final.extxyz", "summary.json",
                 "checkpoints/step-000000005.safetensors", "notes.txt",
                 "checkpoints/mine.safetensors"):  # fmt: skip
        (tmp_path / name).write_text("x")
    return tmp_path


def test_foreign_files_stay(run_directory):
    assert len(own_files(run_directory)) == 6
    empty_run_directory(run_directory)
    left = sorted(str(p.relative_to(run_directory)) for p in run_directory.rglob("*"))
    # The mark of a run stays, for the next run to replace.
    assert left == ["checkpoints", "checkpoints/mine.safetensors", "md.resolved.toml", "notes.txt"]


def test_folder_that_is_no_run_is_left_alone(tmp_path):
    (tmp_path / "log.csv").write_text("somebody's")
    with pytest.raises(InputError, match="does not look like a run of fastequi"):
        empty_run_directory(tmp_path)
    assert (tmp_path / "log.csv").read_text() == "somebody's"


def test_killed_in_the_first_moment(tmp_path):
    """While the mark was being written: the folder is still a run's."""
    (tmp_path / "md.resolved.toml.tmp").write_text("half")
    check_is_run(tmp_path)
    empty_run_directory(tmp_path)
    assert not any(tmp_path.iterdir())


def test_empty_or_missing_folder_is_fine(tmp_path):
    check_is_run(tmp_path)
    check_is_run(tmp_path / "new")
