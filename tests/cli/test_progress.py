"""Progress: plain lines for a file, a bar for a terminal; and the tables after a run."""

import math
import os
import pty
from pathlib import Path

import pytest

from fastequi.cli import progress
from fastequi.cli.report import physics, time_table
from fastequi.md.integrators import LangevinBAOAB, VelocityVerlet
from fastequi.md.trajectory.log import LOG_COLUMNS, LogFile


def test_speed_leaves_out_the_start():
    meter = progress.Speedometer(first_step=100)
    meter.update(100, 0.0)
    meter.update(101, 60.0)  # a minute of compilation
    assert math.isnan(meter.steps_per_s)
    meter.update(111, 62.0)
    assert meter.steps_per_s == pytest.approx(5.0)


def test_lines_where_stdout_is_no_terminal(toml, spawn):
    process = spawn("run", toml(steps=60), TOY_DELAY_S="0.03")
    out, _ = process.communicate(timeout=60)
    lines = [line for line in out.splitlines() if line.startswith("step ")]
    assert 4 <= len(lines) <= 12
    for part in (" of 60", " K", " ns/day", " s left"):
        assert part in lines[-1]


def test_bar_in_a_terminal(toml, spawn):
    terminal, inside = pty.openpty()
    process = spawn("run", toml(steps=60), stdout=inside, TOY_DELAY_S="0.03")
    os.close(inside)
    out = ""
    while True:
        try:
            out += os.read(terminal, 4096).decode(errors="ignore")
        except OSError:  # nobody writes any more
            break
    assert process.wait(30) == 0
    os.close(terminal)
    bar = max(line for line in out.split("\r") if "60/60" in line)
    for part in ("━━", "ns/day", " K"):
        assert part in bar


def test_time_table_adds_up():
    phases = {"model": 7.0, "neighbors": 1.0, "integrate": 0.5, "output": 0.5}
    rows = time_table({"phases_s": phases, "wall_s": 10.0})
    assert [name for name, *_ in rows] == [*phases, "other", "total"]
    assert rows[-2][1:] == (pytest.approx(1.0), pytest.approx(10.0))
    assert sum(share for _, _, share in rows[:-1]) == pytest.approx(100.0)
    assert rows[-1][1:] == (pytest.approx(10.0), pytest.approx(100.0))


def write_log(path: Path, values: list[float]) -> Path:
    log = LogFile(path)
    for step, value in enumerate(values):
        row: dict[str, float] = dict.fromkeys(LOG_COLUMNS, value)
        log.append({**row, "step": step, "time_ps": step * 0.5})
    log.close()
    return path


NVE = VelocityVerlet(0.5).description()
NVT = LangevinBAOAB(0.5, 300.0).description()


def test_drift_and_temperature(tmp_path):
    log = write_log(tmp_path / "log.csv", [1.0, 1.1, 1.2, 1.3])
    assert physics(log, NVE, 100) == "energy drift 2 meV/atom/ps over 1.5 ps"
    log = write_log(tmp_path / "log.csv", [0.0, 0.0, 299.0, 301.0])
    assert "temperature 300.0 K, spread 1.0 K" in physics(log, NVT, 100)
    assert "conserved energy drift 2.4e+03 meV/atom/ps over 1.5 ps" in physics(log, NVT, 100)
    log = write_log(tmp_path / "log.csv", [300.0])
    assert "too few" in physics(log, NVE, 100)


def test_duration():
    assert [progress.duration(s) for s in (5, 600, 7200)] == ["5 s", "10 min", "2.0 h"]
