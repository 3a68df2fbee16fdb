"""How far a run is, as its directory says it."""

from pathlib import Path

import pytest

from fastequi.md.trajectory.status import Status, last_step, status_of
from fastequi.storage.lock import only_writer


@pytest.fixture
def run(tmp_path) -> Path:
    """Twenty of a hundred steps are logged, and the last row is half written."""
    (tmp_path / "md.resolved.toml").write_text("[dynamics]\nsteps = 100\n")
    (tmp_path / "log.csv").write_text("step,time_ps\n0,0.0\n20,0.02\n21")
    return tmp_path


def test_running_as_long_as_it_is_written(run):
    with only_writer(run):
        assert status_of(run) == Status("running", 20, 100)
    assert status_of(run) == Status("stopped", 20, 100)
    assert status_of(run).text == "stopped at step 20 of 100; --resume goes on"


def test_done_when_the_summary_is_of_the_last_step(run):
    (run / "summary.json").write_text('{"steps": 10}')  # of an earlier, shorter run
    assert status_of(run).state == "stopped"
    (run / "summary.json").write_text('{"steps": 100}')
    assert status_of(run).state == "done"


def test_failed_when_the_last_good_frame_is_not_behind_the_log(run):
    (run / "last_good.extxyz").write_text("1\nstep=19 time_ps=0.019\nAr 0 0 0\n")
    assert status_of(run).state == "stopped"  # it has gone on since
    (run / "last_good.extxyz").write_text("1\nstep=20 time_ps=0.02\nAr 0 0 0\n")
    assert status_of(run).state == "failed"


def test_a_system_of_several_is_as_far_as_the_run(run):
    (run / "0001").mkdir()
    (run / "0001" / "log.csv").write_text("step,time_ps\n40,0.0\n")
    with only_writer(run):
        assert status_of(run / "0001") == Status("running", 40, 100)


def test_without_a_log(tmp_path):
    assert last_step(tmp_path / "log.csv") == 0
