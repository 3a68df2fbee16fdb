"""The bundled potential `water`, and the pieces of benchmarks/water that judge it."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import iread, read
from numpy.testing import assert_allclose

from benchmarks.water import deepmd, report
from benchmarks.water.frames import order_in_time
from benchmarks.water.pictures import draw
from benchmarks.water.structure import bond_lengths, has_ions, structure, top
from benchmarks.water.temperature import of_configurations
from benchmarks.water.trainings import Point
from fastequi import load_model
from fastequi.importers import BUNDLED
from fastequi.md.analysis.statistics import mean_of
from fastequi.md.integrators import VelocityVerlet
from fastequi.md.observers import thermodynamics
from fastequi.md.simulation import Simulation
from fastequi.md.velocities import maxwell_boltzmann_
from fastequi.model.file import read_model
from fastequi.units import BOLTZMANN_eV_PER_K

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def results() -> dict[str, Any]:
    return json.loads((ROOT / "benchmarks" / "results" / "water.json").read_text())


def example() -> Atoms:
    found = read(ROOT / "fastequi" / "examples" / "water" / "water.extxyz")
    assert isinstance(found, Atoms)
    return found


def test_the_example_is_liquid_water():
    """64 whole molecules at the density of the data."""
    atoms = example()
    assert atoms.get_chemical_formula() == "H128O64"
    bonds = bond_lengths([atoms])
    assert len(bonds) == 128
    assert not has_ions(atoms)
    assert 0.9 < bonds.min() < bonds.max() < 1.12
    assert_allclose(atoms.cell.array, 12.44466 * np.eye(3), atol=1e-4)


def test_energy_is_conserved_and_the_temperature_that_of_the_room():
    """400 steps of 0.5 fs without a thermostat: within 1 meV/atom, 4 % of kT."""
    rows = []
    simulation = Simulation(
        example(), load_model("water", "cpu"), VelocityVerlet(0.5),
        observers=[(5, lambda s: rows.append(thermodynamics(s)))],
    )  # fmt: skip
    maxwell_boltzmann_(simulation.state, 300.0, seed=1)
    simulation.run(400)
    energy = np.array([row["total_energy_eV"] for row in rows]) / 192 * 1e3
    assert np.ptp(energy) < 1.0
    kelvin = mean_of(np.array([row["temperature_K"] for row in rows]))
    assert 230.0 < kelvin.mean < 370.0


def test_page_is_of_these_weights(results):
    """Errors and physics in water.md belong to the file beside it."""
    sha256 = read_model(BUNDLED / "water.safetensors").sha256
    assert sha256[:12] in (BUNDLED / "water.md").read_text(encoding="utf-8")
    assert results["model_sha256"] == sha256


def test_results_are_within_bounds(results):
    """O-O of 100 boxes within 0.05 Å and 10 %, l = 1 and 2 below l = 0 at every size; what breaks
    in longer runs is said on the page."""
    assert len(results["points"]) == 12
    assert results["runs"][report.JUDGED]["structure"]["ions"] == 0.0
    broken = [label for label, run in results["runs"].items() if run["structure"]["ions"]]
    assert all(miss.endswith("of the frames have ions") for miss in report.misses(results))
    assert len(report.misses(results)) == len(broken)
    assert not broken or "protons began to hop" in (BUNDLED / "water.md").read_text("utf-8")


def test_misses_are_named(results):
    wrong = json.loads(json.dumps(results))
    wrong["runs"][report.JUDGED]["structure"]["peaks"]["O-O"]["place_A"] += 0.2
    wrong["runs"][report.JUDGED]["structure"]["peaks"]["O-O"]["height"] *= 1.3
    for point in wrong["points"]:
        if (point["l_max"], point["frames"]) == (2, 30):
            point["force_rmse_meV_per_A"] = 1e4
    texts = " ".join(report.misses(wrong))
    assert "Å off" in texts
    assert "of the height" in texts
    assert "l = 2 with 30 frames" in texts


def test_order_of_a_shuffled_walk():
    """Forwards or backwards, in a periodic box."""
    random = np.random.default_rng(1)
    walk = np.cumsum(0.3 * random.normal(size=(60, 20, 3)), axis=0) + 5.0 * random.random((20, 3))
    shuffled = random.permutation(60)
    found = shuffled[order_in_time(np.mod(walk[shuffled], 10.0), np.full(3, 10.0))]
    assert found.tolist() in (list(range(60)), list(range(60))[::-1])


class Springs(Calculator):
    """Every atom on a spring to its place in a row."""

    implemented_properties = ["forces"]  # noqa: RUF012

    def __init__(self, stiffness: np.ndarray) -> None:
        super().__init__()
        self.stiffness = stiffness

    def calculate(self, atoms=None, properties=("forces",), system_changes=all_changes):
        super().calculate(atoms, list(properties), system_changes)
        assert self.atoms is not None
        self.results = {"forces": -self.stiffness[:, None] * self.atoms.positions}


def test_temperature_of_springs():
    """Canonical configurations of two elements, soft and stiff: 330 K by either."""
    random = np.random.default_rng(2)
    numbers = np.array([8, 1, 1] * 30)
    stiffness = np.where(numbers == 8, 10.0, 40.0)
    spread = np.sqrt(330.0 * BOLTZMANN_eV_PER_K / stiffness)
    frames = []
    for _ in range(60):
        atoms = Atoms(numbers, spread[:, None] * random.normal(size=(90, 3)))
        forces = -stiffness[:, None] * atoms.positions
        atoms.calc = SinglePointCalculator(atoms, forces=forces)
        frames.append(atoms)
    for element in (8, 1):
        found = of_configurations(frames, Springs(stiffness), element)
        assert found.K == pytest.approx(330.0, abs=4.0 * found.error_K)
        assert found.error_K < 10.0


def test_ions_are_seen():
    atoms = example()
    oxygen, hydrogen = (np.flatnonzero(atoms.numbers == z) for z in (8, 1))
    atoms.positions[hydrogen[0]] = atoms.positions[oxygen[5]] + [0.0, 0.0, 0.9]
    assert has_ions(atoms)


def test_top_of_a_peak():
    r = np.arange(0.0125, 6.0, 0.025)
    g = (
        1.0
        + 1.7 * np.exp(-0.5 * ((r - 2.763) / 0.2) ** 2)
        + 5.0 * np.exp(-(((r - 0.97) / 0.05) ** 2))
    )
    place, height = top(r, g, (2.4, 3.2))
    assert place == pytest.approx(2.763, abs=0.002)
    assert height == pytest.approx(2.7, rel=0.01)


def test_arrays_of_deepmd(tmp_path):
    """Labels, box and order of elements as they are; whole sets."""
    random = np.random.default_rng(3)
    walk = 0.1 * np.arange(110.0)[:, None, None] + random.random((3, 3))
    part = tmp_path / "data" / "data_0" / "set.000"
    part.mkdir(parents=True)
    (part.parent / "type.raw").write_text("0 1 1\n")
    arrays = {
        "coord": walk.reshape(110, 9), "box": np.tile(np.diag([8.0, 9.0, 10.0]).ravel(), (110, 1)),
        "energy": np.arange(110.0), "force": random.normal(size=(110, 9)),
    }  # fmt: skip
    for name, values in arrays.items():
        np.save(part / f"{name}.npy", values.astype(np.float32))
    deepmd.main([str(tmp_path / "data"), "--output", str(tmp_path), "--frames", "10"])
    learnt, held_out = (list(iread(tmp_path / f"{name}.extxyz")) for name in ("train-10", "test"))
    assert (len(learnt), len(held_out)) == (10, 100)
    energies = [frame.get_potential_energy() for frame in [*learnt, *held_out]]
    assert energies in (list(range(110)), list(range(110))[::-1])
    assert str(learnt[0].symbols) == "OH2"
    k = int(energies[0])
    assert_allclose(learnt[0].get_forces(), arrays["force"][k].reshape(3, 3), atol=1e-6)
    assert_allclose(learnt[0].cell.lengths(), [8.0, 9.0, 10.0])


def test_tables_and_picture(tmp_path, results):
    points = [Point(**point) for point in results["points"]]
    assert report.curves_table(points).count("\n") == 4
    assert "ab initio" in report.liquid_table(results)
    pytest.importorskip("matplotlib", reason="the picture needs matplotlib")
    known = structure([example()] * 5).as_json()
    draw(known, {"the same": known}, points, tmp_path / "water.png")
    assert (tmp_path / "water.png").stat().st_size > 20_000
