"""`fastequi analyze`: its files, its words, and what it says of directories that are no runs."""

import base64
import json
import re
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule

from fastequi.cli.main import run_command
from fastequi.errors import InputError
from fastequi.importers.sevennet import find_pretrained
from fastequi.md.analysis import ANALYSES, LOG_ANALYSES
from fastequi.md.analysis.table import write_csv
from fastequi.md.analysis.viscosity import green_kubo
from fastequi.md.trajectory.reader import read_trajectory

SILICON = """
[system]
structure = "silicon.extxyz"
supercell = [2, 2, 2]
[model]
name = "silicon"
[dynamics]
timestep_fs = 2.0
steps = 120
temperature_K = 300.0
friction_per_ps = 5.0
seed = 7
[output]
directory = "run"
log_every = 2
trajectory_every = 2
"""

WATER = """
[system]
structure = "water.extxyz"
[model]
name = "sevennet-0"
[dynamics]
ensemble = "nve"
timestep_fs = 0.5
steps = 200
temperature_K = 300.0
seed = 7
[output]
directory = "run"
log_every = 2
trajectory_every = 2
trajectory_format = "h5md"
"""


def table(path: Path) -> dict[str, np.ndarray]:
    found = np.genfromtxt(path, delimiter=",", names=True, deletechars="")
    return {name: found[name] for name in found.dtype.names or ()}


@pytest.fixture(scope="module")
def silicon(tmp_path_factory) -> Path:
    """A run of the bundled example, smaller and shorter."""
    folder = tmp_path_factory.mktemp("silicon")
    assert run_command(["init", "silicon", str(folder)]) == 0
    (folder / "md.toml").write_text(SILICON)
    assert run_command(["run", str(folder / "md.toml")]) == 0
    return folder / "run"


@pytest.fixture
def run(silicon, tmp_path) -> Path:
    """A copy to spoil."""
    shutil.copytree(silicon, tmp_path / "run", ignore=shutil.ignore_patterns("analysis"))
    return tmp_path / "run"


def test_silicon(silicon, command, tmp_path):
    result = command("analyze", silicon, "--json", tmp_path / "out.json")
    assert result.code == 0, result.err
    for word in ("Si64", "temperature", "±", "Si around Si", "Si-Si highest peak", "109",
                 "drift of the conserved energy", "left out: viscosity"):  # fmt: skip
        assert word in result.out
    names = {path.name for path in (silicon / "analysis").iterdir()}
    left_out = ("viscosity", "minimization")
    every = [name for name in (*ANALYSES, *LOG_ANALYSES) if name not in left_out]
    assert names == {f"{name}.{end}" for name in every for end in ("csv", "png")} | {
        "averages.csv", "analysis.json",
    }  # fmt: skip
    rdf = table(silicon / "analysis" / "rdf.csv")
    assert list(rdf) == ["r_A", "Si-Si"]
    assert rdf["r_A"][rdf["Si-Si"].argmax()] == pytest.approx(2.36, abs=0.05)
    expected = ANALYSES["rdf"](read_trajectory(silicon / "trajectory.extxyz"))
    np.testing.assert_allclose(rdf["Si-Si"], expected["Si-Si"], rtol=1e-10)
    (system,) = json.loads((tmp_path / "out.json").read_text())["systems"]
    assert system["formula"] == "Si64"
    assert system["frames"] == 61
    assert system["findings"]["coordination"]["Si-Si_first_shell"]["value"] == pytest.approx(4.0)
    temperature = system["averages"]["temperature_K"]
    assert 0.0 < temperature["error"] < temperature["spread"]
    assert system["left_out"] == {"viscosity": system["left_out"]["viscosity"]}
    density = system["averages"]["density_g_per_cm3"]
    assert density["mean"] == pytest.approx(2.281, abs=0.001)
    assert density["error"] == 0.0


@pytest.fixture(scope="module")
def water(tmp_path_factory) -> Path:
    """A run of one molecule, before `command` puts its toy in place of every model."""
    try:
        find_pretrained("sevennet-0")
    except InputError as error:
        pytest.skip(str(error))
    folder = tmp_path_factory.mktemp("water")
    molecule("H2O").write(folder / "water.extxyz")
    (folder / "md.toml").write_text(WATER)
    assert run_command(["run", str(folder / "md.toml")]) == 0
    return folder / "run"


def test_water(water, command):
    """A molecule without a cell: structure and vibrations, and reasons for what has none."""
    result = command("analyze", water)
    assert result.code == 0, result.err
    assert "left out: structure factor: a structure factor needs three periodic" in result.out
    assert "relative to the density within" in result.out
    folder = water / "analysis"
    assert not (folder / "lattice.csv").exists()
    rdf, adf = table(folder / "rdf.csv"), table(folder / "adf.csv")
    assert list(rdf) == ["r_A", "H-H", "H-O"]
    assert rdf["r_A"][rdf["H-O"].argmax()] == pytest.approx(0.97, abs=0.1)
    angle = (adf["angle_deg"] * adf["H-O-H"]).sum() / adf["H-O-H"].sum()
    assert angle == pytest.approx(104.0, abs=6.0)
    assert list(table(folder / "vacf.csv")) == [
        "time_ps", "vacf_A2_per_fs2", "vacf_H_A2_per_fs2", "vacf_O_A2_per_fs2",
    ]  # fmt: skip
    spectrum = table(folder / "spectrum.csv")
    beyond = spectrum["wavenumber_per_cm"] > 2500
    peak = spectrum["wavenumber_per_cm"][beyond][spectrum["density_H_cm"][beyond].argmax()]
    assert 3300 < peak < 4100


def test_from_and_to(run, command, tmp_path):
    result = command("analyze", run, "--from", "0.1", "--to", "0.2", "--json", tmp_path / "o.json")
    assert result.code == 0, result.err
    (system,) = json.loads((tmp_path / "o.json").read_text())["systems"]
    assert (system["frames"], system["from_ps"], system["to_ps"]) == (26, 0.1, 0.2)
    msd = table(run / "analysis" / "msd.csv")
    assert msd["time_ps"][-1] == pytest.approx(0.1)


def test_a_viscosity_that_the_run_has_accumulated(run, command, tmp_path):
    """It goes before what frames say; where it says nothing, that is told and it is shown as is."""
    times = np.arange(600.0)
    noise = np.random.default_rng(5).normal(scale=0.02, size=(5, 600))
    liquid = (1.0 + 0.1 * np.arange(-2.0, 3.0))[:, None] * np.exp(-times / 20.0) + noise
    crystal = np.ones((5, 1)) * np.cos(times / 20.0)
    (run / "analysis").mkdir()
    path = run / "analysis" / "viscosity-on-the-fly.csv"
    write_csv(path, green_kubo(1e-6 * liquid, 4.0, 1000.0, 300.0))
    result = command("analyze", run, "--json", tmp_path / "out.json")
    assert result.code == 0, result.err
    assert "note: of the whole run, as viscosity-on-the-fly.csv has it" in result.out
    (system,) = json.loads((tmp_path / "out.json").read_text())["systems"]
    found = system["findings"]["viscosity"]["viscosity_mPa_s"]
    # 1000 Å³ / k 300 K times 1e-6 (eV/Å³)² times 80 fs, eV/Å³ fs being 1.602e-4 Pa s
    assert found["value"] == pytest.approx(80e-3 / 0.025852 * 0.1602177, abs=3 * found["error"])
    assert 0.02 < found["error"] / found["value"] < 0.15
    assert "shear viscosity" in result.out
    assert " mPa s" in result.out
    assert {"viscosity.csv", "viscosity.png"} <= {p.name for p in (run / "analysis").iterdir()}
    page = (run / "report.html").read_text(encoding="utf-8")
    assert "shear viscosity (Green and Kubo)" in page
    assert "shear viscosity (Green and Kubo), on the fly" not in page
    write_csv(path, green_kubo(1e-6 * crystal, 4.0, 1000.0, 300.0))
    result = command("analyze", run)
    assert "left out: viscosity: the stress is not forgotten" in result.out
    page = (run / "report.html").read_text(encoding="utf-8")
    assert "shear viscosity (Green and Kubo), on the fly (viscosity-on-the-fly.csv)" in page


def test_several_systems(run, command, tmp_path):
    for name in ("0002", "0010"):
        shutil.copytree(run, tmp_path / "many" / name)
    result = command("analyze", tmp_path / "many", "--json", tmp_path / "o.json")
    assert result.code == 0, result.err
    systems = json.loads((tmp_path / "o.json").read_text())["systems"]
    assert [Path(system["directory"]).name for system in systems] == ["0002", "0010"]
    assert (tmp_path / "many" / "0010" / "analysis" / "rdf.png").is_file()
    page = data_of((tmp_path / "many" / "report.html").read_text(encoding="utf-8"))
    assert [row[0] for row in page["tables"][0]["rows"]] == [
        {"text": name, "link": f"{name}/report.html"} for name in ("0002", "0010")
    ]
    assert list(page["plots"][0]["panels"][0]["curves"]) == ["0002", "0010"]
    rows = (tmp_path / "many" / "analysis" / "averages.csv").read_text().splitlines()
    assert rows[0].startswith("system,quantity,mean,error,spread,autocorrelation_time_ps")
    assert len(rows) == 1 + 2 * 7


def test_a_second_analysis_replaces_the_first_and_nothing_else(run, command):
    assert command("analyze", run).code == 0
    (run / "analysis" / "mine.csv").write_text("1")
    (run / "trajectory.extxyz").unlink()
    result = command("analyze", run)
    assert result.code == 0, result.err
    names = {path.name for path in (run / "analysis").iterdir()}
    assert names == {"mine.csv", "analysis.json", "averages.csv", "drift.csv", "drift.png",
                     "thermodynamics.csv", "thermodynamics.png"}  # fmt: skip


def test_without_matplotlib(run, command, monkeypatch):
    monkeypatch.setattr("fastequi.plotting.find_spec", lambda name: None)
    result = command("analyze", run)
    assert result.code == 0, result.err
    assert "pip install 'fastequi[plot]'" in result.out
    assert not list((run / "analysis").glob("*.png"))
    assert (run / "analysis" / "rdf.csv").is_file()


def test_cut_short_by_a_kill(run, command):
    for name in ("log.csv", "trajectory.extxyz"):
        (run / name).write_bytes((run / name).read_bytes()[:-9])
    result = command("analyze", run)
    assert result.code == 0, result.err
    assert "60 frames" in result.out
    assert result.err.count("cut short") == 2


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda run: shutil.rmtree(run), "there is no such folder"),
        (lambda run: [path.unlink() for path in run.iterdir() if path.is_file()], "no run of"),
        (lambda run: (run / "log.csv").write_text("a,b\n1,2\n"), "not a log of fastequi"),
        (lambda run: (run / "trajectory.extxyz").write_text("no number\n"), "number of atoms"),
        (lambda run: (run / "trajectory.extxyz").write_text("1\n\nH a b c\n"), "not extxyz"),
        (lambda run: (run / "trajectory.extxyz").write_text("1\n\nH 0 0 0\n"), "no time_ps"),
        (lambda run: (run / "trajectory.extxyz").write_bytes(b"\xff\xfe\x00"), "UTF-8"),
        (lambda run: (run / "md.resolved.toml").write_text("[["), "not valid TOML"),
    ],
)  # fmt: skip
def test_what_is_no_run_is_said_in_one_sentence(run, command, spoil, message):
    spoil(run)
    result = command("analyze", run)
    assert result.code == 2
    assert message in result.err
    assert str(run) in result.err
    assert len(result.err.strip().splitlines()) == 1


def test_a_run_that_has_only_begun(run, command):
    header = (run / "log.csv").read_text().splitlines()[0]
    (run / "log.csv").write_text(header + "\n")
    (run / "trajectory.extxyz").write_text("")
    result = command("analyze", run)
    assert result.code == 2
    assert "not written a frame or a row" in result.err


def test_a_foreign_h5_file(run, command):
    (run / "trajectory.extxyz").unlink()
    h5py.File(run / "trajectory.h5", "w").close()
    result = command("analyze", run)
    assert result.code == 2
    assert "not a trajectory of fastequi" in result.err


def test_one_frame_alone(run, command):
    lines = (run / "trajectory.extxyz").read_text().splitlines(keepends=True)
    (run / "trajectory.extxyz").write_text("".join(lines[:66]))
    result = command("analyze", run)
    assert result.code == 0, result.err
    assert "1 frames" in result.out
    assert "left out: msd: the interval needs two frames" in result.out
    assert (run / "analysis" / "rdf.csv").is_file()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--from", "5"), "nothing between 5 and inf ps; the run has 0 to 0.24 ps"),
        (("--from", "2", "--to", "1"), "--from must be at most --to"),
        (("--json", "none/out.json"), "there is no folder"),
    ],
)
def test_options_that_cannot_be(run, command, options, message):
    result = command("analyze", run, *options)
    assert result.code == 2
    assert message in result.err


def test_a_file_is_no_folder(command, tmp_path):
    Atoms("H").write(tmp_path / "a.extxyz")
    result = command("analyze", tmp_path / "a.extxyz")
    assert result.code == 2
    assert "is not a folder" in result.err


# -- the page ------------------------------------------------------------------------------------


def data_of(page: str) -> dict:
    (text,) = re.findall(r'<script id="data" type="application/json">(.*?)</script>', page, re.S)
    return json.loads(text)


def test_the_page_is_one_file_that_holds_everything(run, command):
    command("analyze", str(run))
    page = (run / "report.html").read_text(encoding="utf-8")
    assert len(page) < 3e6
    assert "default-src 'none'" in page  # a browser is forbidden to load anything
    assert not re.search(r'(?:src|href)\s*=\s*["\']?https?:', page)
    data = data_of(page)
    written = json.loads((run / "analysis" / "analysis.json").read_text())
    assert "report.html" in written["files"]
    titles = {plot["title"] for plot in data["plots"]}
    assert titles >= {"radial distribution", "velocity autocorrelation"}
    movie, frames = data["movie"], list(read_trajectory(run / "trajectory.extxyz"))
    assert len(movie["times_ps"]) == len(frames)
    grid = np.frombuffer(base64.b64decode(movie["positions"]), dtype="<i4")
    positions = grid.reshape(len(frames), -1, 3) * movie["unit_A"]
    expected = np.array([frame.get_positions(wrap=True) for frame in frames])
    assert np.abs(positions - expected).max() <= 0.5001 * movie["unit_A"]


@pytest.mark.parametrize(("width", "dark"), [(1200, False), (390, True)])
def test_a_browser_draws_the_page_without_a_complaint(run, command, browse, width, dark):
    command("analyze", str(run))
    shown = browse((run / "report.html").resolve().as_uri(), width, dark)
    n_panels = sum(len(plot["panels"]) for plot in data_of(shown)["plots"])
    assert f'data-ready="{n_panels} plots, viewer"' in shown
    means = re.search(r'<div id="tables">(.*?)</table>', shown, re.S)
    assert means
    assert "<td>temperature</td>" in means[1]
