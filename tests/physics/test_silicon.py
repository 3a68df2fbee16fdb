"""The bundled potential is silicon: what benchmarks/silicon checks, in short.

The thorough check takes minutes and is marked slow: 100 ps of NVE, NPT, melting and quenching.
"""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ase import units
from ase.data import atomic_masses

from benchmarks.silicon import crystal, defects, dynamics, mlearn, phonons
from benchmarks.silicon.__main__ import PAGE, main
from benchmarks.silicon.properties import QUICK, Property, Section
from fastequi import FastEquiCalculator, load_model
from fastequi.data import read_frames
from fastequi.importers import BUNDLED
from fastequi.model.file import read_model
from fastequi.properties.elasticity import elasticity

pytest.importorskip("phonopy", reason="NO PHONOPY: pip install 'fastequi[properties]'")

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def exact() -> FastEquiCalculator:
    return FastEquiCalculator("silicon", dtype="float64", device="cpu")


@pytest.fixture(scope="module")
def a(exact) -> float:
    """Lattice constant in Å."""
    return crystal.lattice_constant(exact)


def values(section: Section) -> dict[str, float]:
    """Property -> value; fails if one is out of bounds."""
    assert not [p for p in section.properties if not p.holds]
    return {p.name: p.value for p in section.properties}


def test_crystal_is_that_of_pbe(exact):
    """Lattice constant within 0.5 %, bulk modulus and elastic constants within 15 %, no stress."""
    found = values(crystal.check(exact))
    assert found["bulk modulus, E(V)"] == pytest.approx(found["(C11 + 2 C12) / 3"], rel=0.05)
    assert found["C44"] < found["C44, atoms in place"]  # relaxing softens


def test_defects(exact, a):
    values(defects.check(exact, a))


def test_phonons_are_real_and_near_those_of_pbe(exact, a):
    found = values(phonons.check(exact, a, QUICK))
    assert found["lowest of Γ-X-K-Γ-L"] == pytest.approx(0.0, abs=1e-3)  # acoustic at Γ


def test_sound_is_as_fast_as_the_elastic_constants_say(exact, a):
    """Two roads to C11 and C44: the branches near Γ towards X, and the stress of strained cells."""
    share = 0.02  # of the way from Γ past X to the next Γ, in units of 2 pi / a
    k = share * 2 * np.pi / a
    found = phonons.of_crystal(exact, a, 6)
    (THz,) = found.frequencies_THz(np.array([[0.5 * share, 0.0, 0.5 * share]]))
    speeds = 2 * np.pi * THz[:3] * units.fs**-1 * 1e-3 / k  # in ASE's unit
    density = 8 * atomic_masses[14] / a**3
    moduli = density * speeds**2 / units.GPa
    c = elasticity(crystal.crystal(a, exact)).tensor_GPa
    np.testing.assert_allclose(moduli, [c[3, 3], c[3, 3], c[0, 0]], rtol=0.02)


def test_float32_agrees_with_float64(exact, a):
    atoms = crystal.crystal(a, exact).repeat(2)
    atoms.rattle(0.1, seed=1)
    results = []
    for calculator in (exact, FastEquiCalculator("silicon", dtype="float32", device="cpu")):
        atoms.calc = calculator
        results.append((atoms.get_potential_energy() / len(atoms), atoms.get_forces()))
    assert results[0][0] == pytest.approx(results[1][0], abs=1e-5)
    np.testing.assert_allclose(results[0][1], results[1][1], atol=2e-4)


def test_short_dynamics_conserve_energy(a):
    """200 steps: the energy stays within 0.1 meV/atom, which is 0.4 % of kT."""
    effort = replace(QUICK, nve_cells=2, nve_ps=0.2)
    section = dynamics.check_nve(load_model("silicon", "cpu"), a, effort)
    found = {p.name: p.value for p in section.properties}
    assert found["NVE energy, spread"] < 0.1
    assert 200.0 < found["NVE temperature"] < 400.0


@pytest.mark.parametrize(
    ("group", "kbar"),
    [
        ("Elastic", [-1, -2, -3, -6, -4, -5]),
        ("Vacancy", [-1, -2, -3, -6, -5, -4]),
        ("Surface", [-1, -2, -3, 0, 0, 0]),
    ],
)
def test_data_of_mlearn(tmp_path, group, kbar):
    """Its files as extxyz: labels as they are, stress in ASE's order and sign where it is known."""
    sites = [{"species": [{"element": "Si"}], "xyz": [x, 0.0, 0.0]} for x in (0.0, 2.4)]
    entry = {
        "group": group,
        "structure": {"lattice": {"matrix": np.diag([9.0, 8.0, 7.0]).tolist()}, "sites": sites},
        "outputs": {
            "energy": -3.0,
            "forces": [[0.5, 0, 0], [-0.5, 0, 0]],
            "virial_stress": kbar,
        },
    }
    for part in ("training", "test"):
        (tmp_path / f"{part}.json").write_text(json.dumps([entry]))
    mlearn.main([str(tmp_path), "--output", str(tmp_path)])
    (frame,) = read_frames([tmp_path / "Si_training.extxyz"])
    assert frame.config_type == group
    assert frame.energy == -3.0
    assert frame.forces is not None
    assert frame.forces[0, 0] == 0.5
    if group == "Surface":
        assert frame.stress is None
        return
    assert frame.stress is not None
    xx, yy, zz, yz, xz, xy = range(1, 7)
    expected = np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]]) * 0.1 * units.GPa
    np.testing.assert_allclose(frame.stress, expected, rtol=1e-6)


def test_page_is_of_these_weights():
    """Errors and physics in silicon.md belong to the file beside it."""
    sha256 = read_model(BUNDLED / "silicon.safetensors").sha256
    assert sha256[:12] in PAGE.read_text(), "run python -m benchmarks.silicon --write"
    results = json.loads((ROOT / "benchmarks" / "results" / "silicon.json").read_text())
    assert results["model_sha256"] == sha256
    assert all(Property(**p).holds for s in results["sections"].values() for p in s["properties"])


@pytest.mark.slow
def test_thorough(tmp_path):
    assert main(["silicon", "--output", str(tmp_path / "silicon.json")]) == 0
    assert (tmp_path / "silicon.png").stat().st_size > 20_000


@pytest.mark.slow
def test_quick_runs_everything(tmp_path):
    assert main(["silicon", "--quick", "--output", str(tmp_path / "silicon.json")]) == 0
    sections = json.loads((tmp_path / "silicon.json").read_text())["sections"]
    assert len(sections) == 6
