"""One rank of LAMMPS with fastequi as its force; `test_lammps.py` starts it with mpiexec.

mpiexec -n 2 python worker.py CASE MODEL DATA STEPS OUT ELEMENT ...
"""

import sys

import numpy as np

from fastequi.integrations.lammps import attach, lammps_and_mpi

lammps, MPI = lammps_and_mpi()

NAMES = ("pxx", "pyy", "pzz", "pxy", "pxz", "pyz")


def main(case: str, model: str, data: str, steps: str, out: str, *elements: str) -> None:
    lmp = lammps.lammps(cmdargs=["-log", "none", "-screen", "none"])
    boundary = {"slab": "p p f", "corner": "f f f"}.get(case, "p p p")
    lmp.commands_string(f"units metal\nboundary {boundary}\natom_style atomic\nread_data {data}")
    force = attach(lmp, model, elements, dtype="float64", device="cpu")
    lmp.commands_string(
        "fix 1 all nve\ntimestep 0.002\ncompute atomic all pe/atom fix\n"
        f"thermo_style custom step pe etotal {' '.join(NAMES)}\nrun 0"
    )
    before = gathered(lmp)
    first = set(lmp.numpy.extract_atom("id", nelem=lmp.extract_setting("nlocal")).tolist())
    if int(steps):
        lmp.command(f"run {steps}")
    last = set(lmp.numpy.extract_atom("id", nelem=lmp.extract_setting("nlocal")).tolist())
    after, own = gathered(lmp), MPI.COMM_WORLD.gather((len(first), len(first - last)))
    if MPI.COMM_WORLD.rank == 0:
        results = {f"{k}_{name}": v for k, found in (("before", before), ("after", after))
                   for name, v in found.items()}  # fmt: skip
        np.savez(out, own=own, rebuilds=force.rebuilds, **results)  # pyright: ignore[reportArgumentType]


def gathered(lmp) -> dict[str, np.ndarray]:
    """All atoms in the order of their ids; pressures in eV/Å³, with LAMMPS's own factor."""
    n = lmp.get_natoms()
    found = {k: np.array(lmp.gather_atoms(k, 1, 3)[:]).reshape(n, 3) for k in ("x", "f", "v")}
    found["energies"] = np.array(lmp.gather("c_atomic", 1, 1)[:])
    found["energy"] = np.array([lmp.get_thermo("pe"), lmp.get_thermo("etotal")])
    bar = lmp.extract_global("nktv2p")
    found["pressure"] = np.array([lmp.get_thermo(name) for name in NAMES]) / bar
    return found


if __name__ == "__main__":
    main(*sys.argv[1:])
