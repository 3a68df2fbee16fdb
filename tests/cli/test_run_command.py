"""`fastequi run`: the files, what is printed, and one clear message for every bad input."""

import csv
import json

import ase.io
import h5py
import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk

from fastequi.md.config import load_config
from fastequi.md.trajectory.h5md import ELEMENTS
from fastequi.md.trajectory.reader import read_trajectory

FILES = {"md.resolved.toml", "log.csv", "trajectory.extxyz", "final.extxyz", "checkpoints",
         "summary.json", "report.html"}  # fmt: skip
SUMMARY = ["atoms", "steps", "wall_s", "steps_per_s", "atom_steps_per_s", "ns_per_day", "device",
           "kernels", "dtype", "model", "model_sha256", "peak_memory_MB", "phases_s"]  # fmt: skip


def rows_of(directory) -> list[dict[str, str]]:
    """The log of a run, as written."""
    return list(csv.DictReader((directory / "log.csv").read_text().splitlines()))


def test_writes_what_was_promised(toml, command, tmp_path):
    path = toml(steps=20)
    assert command("run", path).code == 0
    directory = tmp_path / "run"
    assert {p.name for p in directory.iterdir()} == FILES
    rows = rows_of(directory)
    assert [int(row["step"]) for row in rows] == [0, 3, 6, 9, 12, 15, 18]
    frames = read_trajectory(directory / "trajectory.extxyz")
    assert [frame.info["step"] for frame in frames] == [0, 5, 10, 15, 20]
    final = ase.io.read(directory / "final.extxyz")
    assert isinstance(final, Atoms)
    assert (final.positions == frames[-1].positions).all()
    resolved = load_config(directory / "md.resolved.toml", existing="allow")
    assert resolved == load_config(path, existing="allow")
    assert len(list((directory / "checkpoints").iterdir())) == 2


def test_summary(toml, command, tmp_path):
    assert command("run", toml(steps=20)).code == 0
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert list(summary) == SUMMARY
    assert set(summary["phases_s"]) == {"model", "neighbors", "integrate", "output"}
    assert sum(summary["phases_s"].values()) <= summary["wall_s"]
    assert (summary["atoms"], summary["steps"], summary["dtype"]) == (32, 20, "float64")
    assert summary["steps_per_s"] == pytest.approx(20 / summary["wall_s"])
    assert summary["ns_per_day"] == pytest.approx(summary["steps_per_s"] * 4e-6 * 86400)
    assert summary["peak_memory_MB"] > 50


def test_summary_counts_all_sessions(toml, command, tmp_path):
    assert command("run", toml(steps=20)).code == 0
    first = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert command("run", toml(steps=30), "--resume").code == 0
    second = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert second["steps"] == 30
    assert second["phases_s"]["model"] > first["phases_s"]["model"]


def test_says_what_it_does_and_where_the_time_went(toml, command):
    out = command("run", toml(steps=20)).out
    for part in ("32 (Ar32)", "10.6 x 10.6 x 10.6 Å", "toy, float64, cutoff 7.5 Å",
                 "reference (a toy)", "cpu",
                 "nvt-langevin, timestep 4 fs, temperature 60 K, friction 5 /ps, seed 3",
                 "Maxwell-Boltzmann at 60 K, seed 3", "0 to 20 (0.08 ps)", "steps/s", "ns/day",
                 "peak memory", "temperature", "log.csv ("):  # fmt: skip
        assert part in out, part
    table = out[out.index("phase") :].splitlines()[1:7]
    shares = [float(line.split()[2].rstrip("%")) for line in table]
    assert sum(shares[:-1]) == pytest.approx(100, abs=0.5)
    assert shares[-1] == 100.0


def test_nve_reports_drift(toml, command):
    assert "energy drift" in command("run", toml(steps=20, ensemble="nve")).out


def test_velocities_of_the_structure_are_kept(toml, command, tmp_path):
    path = toml(steps=0)
    atoms = bulk("Ar", a=5.3, cubic=True)
    atoms.set_momenta(np.arange(12.0).reshape(4, 3))
    atoms.write(tmp_path / "ar.extxyz")
    result = command("run", path)
    assert "velocities of the structure" in result.out
    frame = read_trajectory(tmp_path / "run" / "trajectory.extxyz")[0]
    np.testing.assert_allclose(frame.get_momenta(), atoms.get_momenta(), atol=1e-7)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("ensemble", ["nve", "nvt-langevin"])
@pytest.mark.parametrize("name", ["final.extxyz", "trajectory.h5"])
def test_a_run_starts_where_another_ended(toml, command, tmp_path, name, ensemble, dtype):
    """From either file, to the last bit of energies, temperature and pressure."""
    settings = {"ensemble": ensemble, "dtype": dtype, "format": "h5md"}
    assert command("run", toml(tmp_path / "first", steps=15, **settings)).code == 0
    path = toml(tmp_path / "second", steps=6, **settings)
    path.write_text(path.read_text().replace("ar.extxyz", f"../first/run/{name}"))
    result = command("run", path)
    assert result.code == 0, result.err
    assert "velocities of the structure\n" in result.out
    end, start = rows_of(tmp_path / "first" / "run")[-1], rows_of(tmp_path / "second" / "run")[0]
    assert (end["step"], start["step"]) == ("15", "0")
    for column in ("potential_energy_eV", "kinetic_energy_eV", "total_energy_eV", "temperature_K",
                   "pressure_GPa", "volume_A3"):  # fmt: skip
        assert start[column] == end[column], column


def test_a_run_starts_from_any_whole_frame_of_h5md(toml, command, tmp_path):
    """Also of a run that was killed while it wrote one."""
    assert command("run", toml(tmp_path / "first", steps=15, format="h5md")).code == 0
    trajectory = tmp_path / "first" / "run" / "trajectory.h5"
    with h5py.File(trajectory, "r+", libver="latest") as file:
        for name in ELEMENTS:
            values = file[f"{name}/value"]
            assert isinstance(values, h5py.Dataset)
            values.resize(5, axis=0)  # a fifth frame without its step
    path = toml(tmp_path / "second", steps=0)
    text = path.read_text().replace("ar.extxyz", "../first/run/trajectory.h5")
    frames = read_trajectory(trajectory)
    assert len(frames) == 4
    for index in (-1, 1):
        path.write_text(text.replace("[model]", f"index = {index}\n[model]"))
        assert command("run", path, "--overwrite").code == 0
        final = ase.io.read(tmp_path / "second" / "run" / "final.extxyz")
        assert isinstance(final, Atoms)
        assert (final.positions == frames[index].positions).all()
    path.write_text(text.replace("[model]", "index = 4\n[model]"))
    result = command("run", path, "--overwrite")
    assert result.code == 2
    assert "trajectory.h5: has no frame 4; it has 4 whole frames" in result.err


def test_another_hdf5_file_is_no_structure(toml, command, tmp_path):
    path = toml()
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["x"] = 1
    (tmp_path / "broken.h5").write_bytes(b"not HDF5")
    for name, reason in (("other.h5", "not a trajectory of fastequi"),
                         ("broken.h5", "not a readable HDF5 file")):  # fmt: skip
        path.write_text(path.read_text().replace("ar.extxyz", name).replace("other.h5", name))
        result = command("run", path)
        assert result.code == 2
        assert "system.structure:" in result.err
        assert f"{name}: {reason}" in result.err


def test_a_supercell_says_that_it_draws_velocities_anew(toml, command, tmp_path):
    path = toml(steps=0, ensemble="nve")
    atoms = bulk("Ar", a=5.3, cubic=True)
    atoms.set_momenta(np.arange(12.0).reshape(4, 3) ** 2 / 50)
    atoms.write(tmp_path / "ar.extxyz")
    path.write_text(path.read_text().replace("[model]", "supercell = [1, 3, 2]\n[model]"))
    momenta = atoms.get_momenta()
    heat = ((momenta - momenta.mean(axis=0)) ** 2).sum() / 2 / 39.948
    assert (
        f"Maxwell-Boltzmann at {2 * heat / 9 / units.kB:.4g} K, the temperature of the structure, "
        "seed 3 (with its own velocities, the 6 copies would move alike)"
    ) in command("run", path).out


def test_nve_after_langevin_says_that_it_drifts_and_how_warm_it_is(toml, command, tmp_path):
    """A heat bath leaves the whole in motion: that is neither temperature nor pressure."""
    assert command("run", toml(tmp_path / "bath", steps=20)).code == 0
    path = toml(tmp_path / "free", steps=6, ensemble="nve")
    path.write_text(path.read_text().replace("ar.extxyz", "../bath/run/final.extxyz"))
    result = command("run", path)
    start = read_trajectory(tmp_path / "free" / "run" / "trajectory.extxyz")[0]
    velocities, masses = start.get_velocities(), start.get_masses()
    drift = masses @ velocities / masses.sum()
    speed = f"{1e3 * units.fs * np.linalg.norm(drift):.3g} Å/ps"
    assert f"of the structure, whose centre of mass moves at {speed}" in result.out
    rows = rows_of(tmp_path / "free" / "run")
    heat = 0.5 * (masses[:, None] * (velocities - drift) ** 2).sum()
    expected_K = 2 * heat / (3 * len(start) - 3) / units.kB
    assert float(rows[0]["temperature_K"]) == pytest.approx(expected_K, rel=1e-6)
    gas = 2 * heat / 3 / start.get_volume()
    pressure = gas - start.get_stress()[:3].mean()
    assert float(rows[0]["pressure_GPa"]) == pytest.approx(pressure / units.GPa, rel=1e-6)


def test_velocities_that_add_up_to_nothing_are_not_said_to_drift(toml, command, tmp_path):
    assert command("run", toml(tmp_path / "first", steps=20, ensemble="nve")).code == 0
    path = toml(tmp_path / "second", steps=6, ensemble="nve")
    path.write_text(path.read_text().replace("ar.extxyz", "../first/run/final.extxyz"))
    assert "velocities of the structure\n" in command("run", path).out


def test_check_writes_nothing(toml, command, tmp_path):
    path = toml()
    before = sorted(tmp_path.rglob("*"))
    result = command("run", path, "--check")
    assert result.code == 0
    for part in ("energy -", "largest force", "pressure", "ns/day", "memory", "trajectory.extxyz"):
        assert part in result.out
    assert "nan" not in result.out
    assert sorted(tmp_path.rglob("*")) == before


def test_existing_directory_needs_overwrite_and_foreign_files_stay(toml, command, tmp_path):
    path = toml(steps=20)
    assert command("run", path).code == 0
    log = (tmp_path / "run" / "log.csv").read_bytes()
    (tmp_path / "run" / "notes.txt").write_text("mine")
    for option in ([], ["--check"]):
        refused = command("run", path, *option)
        assert refused.code == 2
        assert "--overwrite" in refused.err
    assert (tmp_path / "run" / "log.csv").read_bytes() == log
    assert command("run", toml(steps=6), "--overwrite").code == 0
    assert len((tmp_path / "run" / "log.csv").read_text().splitlines()) == 4
    assert (tmp_path / "run" / "notes.txt").read_text() == "mine"


def test_overwrite_refuses_what_is_no_run(toml, command, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "log.csv").write_text("mine")
    result = command("run", toml(), "--overwrite")
    assert result.code == 2
    assert "does not look like a run of fastequi" in result.err
    assert (tmp_path / "run" / "log.csv").read_text() == "mine"


def test_bad_input_with_overwrite_removes_nothing(toml, command, tmp_path):
    assert command("run", toml(steps=6)).code == 0
    before = {p.name: p.read_bytes() for p in (tmp_path / "run").iterdir() if p.is_file()}
    path = toml(steps=6)
    bulk("Si").write(tmp_path / "ar.extxyz")  # an element that the model does not know
    assert command("run", path, "--overwrite").code == 2
    after = {p.name: p.read_bytes() for p in (tmp_path / "run").iterdir() if p.is_file()}
    assert after == before


EDITS = {
    "unknown key": (("steps =", "stepps ="), "did you mean steps?"),
    "wrong type": (("seed = 3", 'seed = "3"'), 'dynamics.seed: got "3"'),
    "wrong unit": (("timestep_fs", "timestep_ps"), "did you mean timestep_fs, in fs?"),
    "missing file": (("ar.extxyz", "arr.extxyz"), "did you mean ar.extxyz?"),
    "negative temperature": (("= 60.0", "= -60.0"), "dynamics.temperature_K: got -60.0"),
    "unknown model": (("sevennet-0", "sevenet-0"), 'did you mean "sevennet-0"?'),
    "missing model": (("sevennet-0", "my/model.pth"), "model.name: no file"),
    "not writable": (('"run"', '"md.toml/run"'), "cannot be written"),
}


@pytest.mark.parametrize("mistake", EDITS)
def test_mistakes_in_the_toml(toml, command, tmp_path, mistake):
    edit, expected = EDITS[mistake]
    path = toml()
    path.write_text(path.read_text().replace(*edit))
    result = command("run", path)
    assert result.code == 2
    assert expected in result.err
    assert str(path) in result.err
    assert not result.out
    assert not (tmp_path / "run").exists()


def argon(**changes) -> Atoms:
    """Four argon atoms with something changed."""
    atoms = bulk("Ar", a=5.3, cubic=True)
    for name, value in changes.items():
        setattr(atoms, name, value)
    return atoms


def with_position(index: int, position: list[float]) -> Atoms:
    atoms = argon()
    atoms.positions[index] = position
    return atoms


STRUCTURES = {
    "unknown element": (bulk("Si"), "the potential does not know Si; it knows Ar, Kr"),
    "on top of each other": (with_position(1, [0.0, 0.0, 0.05]), "on top of each other"),
    "NaN": (with_position(2, [np.nan, 0.0, 0.0]), "not finite: atom 2 (Ar)"),
    "zero cell": (argon(cell=np.zeros((3, 3))), "no lattice vector"),
    "flat cell": (argon(cell=[[5, 0, 0], [5, 0, 0], [0, 0, 5]]), "span no volume"),
    "no atoms": (Atoms(cell=[5, 5, 5], pbc=True), "no atoms"),
}


@pytest.mark.parametrize("problem", STRUCTURES)
def test_structures_that_cannot_be_simulated(toml, command, tmp_path, problem):
    atoms, expected = STRUCTURES[problem]
    path = toml()
    ase.io.write(tmp_path / "ar.xyz", atoms, format="extxyz")
    path.write_text(path.read_text().replace("ar.extxyz", "ar.xyz"))
    result = command("run", path)
    assert result.code == 2
    assert expected in result.err
    assert "system.structure" in result.err
    assert str(path) in result.err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("cell", ["left-handed", "smaller than the cutoff"])
def test_unusual_cells_work(toml, command, tmp_path, cell):
    path = toml(steps=6)
    atoms = bulk("Ar", a=5.3, cubic=cell == "left-handed")
    if cell == "left-handed":
        atoms.set_cell(atoms.cell.array[[1, 0, 2]])
        atoms = atoms.repeat(2)
        assert np.linalg.det(atoms.cell.array) < 0
    atoms.write(tmp_path / "ar.extxyz")
    assert command("run", path).code == 0


def test_explosion_exits_3_and_leaves_the_last_good_frame(toml, command, tmp_path):
    path = toml(steps=200, ensemble="nve")
    path.write_text(path.read_text().replace("timestep_fs = 4.0", "timestep_fs = 700.0"))
    result = command("run", path)
    assert result.code == 3
    assert "the simulation failed at step" in result.err
    assert "last good frame" in result.err
    good = ase.io.read(tmp_path / "run" / "last_good.extxyz")
    assert isinstance(good, Atoms)
    assert np.isfinite(good.positions).all()
    assert not (tmp_path / "run" / "summary.json").exists()
    rows = rows_of(tmp_path / "run")
    assert rows[0]["step"] == "0"
    assert read_trajectory(tmp_path / "run" / "trajectory.extxyz")[0].info["step"] == 0


def test_full_disk(toml, spawn, tmp_path):
    """A limit on the file size stands in for a disk that is full."""
    process = spawn("run", toml(steps=300), TOY_FILE_BYTES="20000")
    _, err = process.communicate(timeout=60)
    assert process.returncode == 74
    assert "trajectory.extxyz: cannot be written: File too large" in err
    assert "the checkpoint of step 0 is intact: --resume goes on from there" in err
    assert "Traceback" not in err
    frames = read_trajectory(tmp_path / "run" / "trajectory.extxyz")
    assert [frame.info["step"] for frame in frames] == list(range(0, 5 * len(frames), 5))
    assert len(frames) >= 2


def test_two_runs_in_one_directory(toml, command, tmp_path):
    from fastequi.storage.lock import only_writer

    with only_writer(tmp_path / "run"):
        result = command("run", toml(steps=6))
    assert result.code == 2
    assert "another run is writing here" in result.err


def test_resume_and_overwrite_exclude_each_other(toml, command):
    result = command("run", toml(), "--resume", "--overwrite")
    assert result.code == 2
    assert "choose one" in result.err


def test_device_option(toml, command):
    assert command("run", toml(steps=6), "--device", "cpu").code == 0
    result = command("run", toml(), "--device", "tpu")
    assert result.code == 2
    assert 'dynamics.device: got "tpu"' in result.err
