"""report.html at the end of a run: it is there, it says how the run ended, and it stays small."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
from ase import Atoms

from fastequi.errors import Stopped
from fastequi.md.analysis.movie import movie_of
from fastequi.md.analysis.report import write_report
from fastequi.md.analysis.run import analyze


def page_of(directory: Path) -> dict:
    page = (directory / "report.html").read_text(encoding="utf-8")
    (text,) = re.findall(r'<script id="data" type="application/json">(.*?)</script>', page, re.S)
    return json.loads(text)


def test_a_run_ends_with_its_page(toml, command, tmp_path):
    result = command("run", toml(steps=40))
    assert result.out.splitlines()[-1] == f"open in a browser: {tmp_path / 'run' / 'report.html'}"
    page = page_of(tmp_path / "run")
    assert page["progress"] == {"state": "done", "text": "finished at step 40", "share": 1.0}
    assert {plot["title"] for plot in page["plots"]} >= {"radial distribution", "conserved energy"}
    assert len(page["movie"]["times_ps"]) == 9
    assert not (tmp_path / "run" / "analysis").exists()  # tables and pictures are for analyze


def test_a_run_that_is_not_to_have_one(toml, command, tmp_path):
    path = toml(steps=10)
    path.write_text(path.read_text().replace("[output]", "[output]\nreport = false"))
    result = command("run", path)
    assert result.code == 0
    assert "report" not in result.out
    assert not (tmp_path / "run" / "report.html").exists()


def test_a_run_that_fails_says_so(toml, command, tmp_path):
    path = toml(steps=200)
    text = path.read_text().replace("temperature_K = 60.0", "temperature_K = [60.0, 1e8]")
    path.write_text(text)
    result = command("run", path)
    assert result.code == 3, result.err
    assert f"open in a browser: {tmp_path / 'run' / 'report.html'}" in result.out
    page = page_of(tmp_path / "run")
    assert page["progress"]["state"] == "failed"
    assert page["checks"][0]["text"].endswith("the last good frame is in last_good.extxyz")


def test_a_run_that_is_stopped_says_so(toml, command, tmp_path, monkeypatch):
    def stop_half_way(setup):
        setup.observers.append(_Stop(setup))
        return execute(setup)

    from fastequi.cli import run

    execute = run.execute
    monkeypatch.setattr(run, "execute", stop_half_way)
    assert command("run", toml(steps=200)).code == Stopped.exit_code
    page = page_of(tmp_path / "run")
    assert page["progress"]["state"] == "stopped"
    assert page["progress"]["text"] == "stopped at step 30 of 200; --resume goes on"
    assert 0.1 < page["progress"]["share"] < 0.2


class _Stop:
    every = 30

    def __init__(self, setup) -> None:
        self.setup = setup

    def __call__(self, simulation) -> None:
        if simulation.state.step:
            self.setup.request_stop()


def test_a_page_that_cannot_be_made_is_no_failure_of_the_run(toml, command, monkeypatch):
    def fails(directory):
        raise ZeroDivisionError("one over nothing")

    monkeypatch.setattr("fastequi.cli.run.write_report", fails)
    result = command("run", toml(steps=10))
    assert result.code == 0
    assert "no report.html, by a bug of fastequi: ZeroDivisionError: one over" in result.out


def test_several_systems_in_one_run(toml, command, tmp_path):
    """One folder up are the settings, the summary and the page that leads to those of each."""
    assert command("run", toml(steps=40)).code == 0
    run, many = tmp_path / "run", tmp_path / "many"
    for name in ("0000", "0001", "0010"):
        shutil.copytree(run, many / name, ignore=shutil.ignore_patterns("md.*", "*.json", "*.html"))
    shutil.copy(run / "md.resolved.toml", many)
    (many / "summary.json").write_text('{"steps": 40}')
    assert write_report(many) == many / "report.html"
    page = page_of(many)
    assert page["progress"]["state"] == "done"
    assert [row[0]["text"] for row in page["tables"][0]["rows"]] == ["0000", "0001", "0010"]
    assert page_of(many / "0010")["facts"][1] == ["atoms", "32"]


def test_long_trajectories_are_thinned_and_say_so():
    rng = np.random.default_rng(0)
    frame = Atoms("Si1000", positions=rng.uniform(0.0, 27.0, (1000, 3)), cell=[27.0] * 3, pbc=True)
    frames = []
    for k in range(2000):
        frames.append(frame.copy())
        frames[-1].info["time_ps"] = 0.1 * k
    movie = movie_of(frames, len(frames))
    assert movie["remark"] == "118 of 2000 frames; atoms are shown in the cell"
    assert movie["times_ps"][-1] == 0.1 * 1999
    assert len(json.dumps(movie)) < 3e6


def test_a_glance_at_much_is_short(toml, command, tmp_path):
    """What takes longest gets fewer frames; what many atoms make too long is left out."""
    assert command("run", toml(steps=100)).code == 0
    glance, whole = (analyze(tmp_path / "run", most_positions=most) for most in (10 * 32, None))
    assert (len(glance.frames), glance.frames_there) == (7, 21)
    assert len(whole.frames) == 21
    assert set(whole.columns) - set(glance.columns) == {"spectrum"}  # of seven frames there is none
    assert len(glance.columns["msd"]["time_ps"]) == 7
    none = analyze(tmp_path / "run", most_positions=0)
    assert none.left_out["rdf"] == "there are no frames"
    assert set(none.columns) == {"thermodynamics", "drift"}
