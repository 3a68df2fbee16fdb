"""LAMMPS on 1 to 4 ranks has the engine's own forces."""

import json
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


#: In float64 on these ranks; in float32 the triclinic crystal is on each number of them.
DOUBLE = (
    ("triclinic", 1), ("slab", 2), ("liquid", 3), ("triclinic", 4), ("corner", 4),
)  # fmt: skip
SINGLE = tuple(("triclinic", ranks) for ranks in (1, 2, 3, 4))
#: What sums of float64, or of float32, may differ by.
LIMITS = {
    "float64": {"force": 1e-10, "energy": 1e-12, "stress": 1e-9},
    "float32": {"force": 2e-5, "energy": 1e-6, "stress": 1e-5},
}


@pytest.fixture(scope="module")
def atoms_of() -> dict[str, Atoms]:
    """The systems, rattled."""
    found = {name: make() for name, make in CASES.items()}
    for atoms in found.values():
        atoms.rattle(0.05, seed=1)
    return found


@pytest.fixture(scope="module")
def results(tmp_path_factory, mpiexec, atoms_of) -> Path:
    """The folder of what LAMMPS found, CASE-RANKS-DTYPE.npz: all in one start of four ranks."""
    folder, model, jobs = tmp_path_factory.mktemp("forces"), pretrained(), []
    wanted = [(*one, dtype) for dtype, which in (("float64", DOUBLE), ("float32", SINGLE))
              for one in which]  # fmt: skip
    for case, ranks, dtype in wanted:
        atoms, data = atoms_of[case], folder / f"{case}.data"
        elements = list(dict.fromkeys(atoms.get_chemical_symbols()))
        write_lammps_data(data, atoms, specorder=elements, masses=True, units="metal")
        jobs.append({
            "case": case, "ranks": ranks, "dtype": dtype, "model": model, "data": str(data),
            "elements": elements, "out": str(folder / f"{case}-{ranks}-{dtype}.npz"),
        })  # fmt: skip
    (folder / "jobs.json").write_text(json.dumps(jobs))
    done = mpiexec(4, WORKER, folder / "jobs.json")
    _, errors = done.communicate(timeout=300)
    assert done.returncode == 0, errors
    return folder


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_forces_energy_virial(results, atoms_of, dtype: str):
    limits, wanted = LIMITS[dtype], {"float64": DOUBLE, "float32": SINGLE}[dtype]
    calculator = FastEquiCalculator("sevennet-0", dtype=dtype, device="cpu")
    for case, ranks in wanted:
        found = np.load(results / f"{case}-{ranks}-{dtype}.npz")
        atoms = atoms_of[case].copy()
        atoms.positions, atoms.calc = found["x"], calculator
        forces = atoms.get_forces()
        np.testing.assert_allclose(found["f"], forces, rtol=0, atol=limits["force"], err_msg=case)
        energy = atoms.get_potential_energy()
        assert float(found["energy"]) == pytest.approx(energy, rel=limits["energy"])
        energies = atoms.get_potential_energies()
        np.testing.assert_allclose(found["energies"], energies, rtol=1e2 * limits["energy"])
        if case != "corner":
            stress = atoms.get_stress()[[0, 1, 2, 5, 4, 3]]
            np.testing.assert_allclose(
                -found["pressure"], stress, rtol=limits["stress"], atol=1e-3 * limits["stress"]
            )
        else:
            assert min(found["own"]) == 0


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
    lmp.close()
