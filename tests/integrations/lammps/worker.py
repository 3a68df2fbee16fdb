"""Forces of several systems, each on as many ranks as it says; `test_force.py` starts it.

mpiexec -n 4 python worker.py JOBS.json: a list of {case, ranks, dtype, model, data, elements, out}.
Processes start once for all of them: starting takes longer than the forces.
"""

import json
import sys
import traceback
from pathlib import Path
from typing import Any

import numpy as np

from fastequi import load_model
from fastequi.integrations.lammps import attach, lammps_and_mpi
from fastequi.integrations.lammps.communicator import Communicator

lammps, MPI = lammps_and_mpi()

NAMES = ("pxx", "pyy", "pzz", "pxy", "pxz", "pyz")
BOUNDARIES = {"slab": "p p f", "corner": "f f f"}


def main(jobs: str) -> None:
    world, todo = Communicator(MPI.COMM_WORLD), json.loads(Path(jobs).read_text())
    models = {
        key: load_model(key[0], dtype=key[1], device="cpu")
        for key in dict.fromkeys((job["model"], job["dtype"]) for job in todo)
    }
    for job in todo:
        takes_part = world.rank < job["ranks"]
        comm = world.mpi.Split(0 if takes_part else MPI.UNDEFINED)
        if takes_part:
            compute(comm, models[job["model"], job["dtype"]], job)
        world.told()  # who takes no part waits without a core


def compute(comm: Any, model: Any, job: dict[str, Any]) -> None:
    lmp = lammps.lammps(comm=comm, cmdargs=["-log", "none", "-screen", "none"])
    boundary = BOUNDARIES.get(job["case"], "p p p")
    lmp.commands_string(
        f"units metal\nboundary {boundary}\natom_style atomic\nread_data {job['data']}"
    )
    attach(lmp, model, job["elements"])
    lmp.commands_string(
        "fix 1 all nve\ncompute atomic all pe/atom fix\n"
        f"thermo_style custom step pe etotal {' '.join(NAMES)}\nrun 0"
    )
    own = comm.gather(lmp.extract_setting("nlocal"))
    found = gathered(lmp)
    if comm.rank == 0:
        np.savez(job["out"], own=own, **found)  # pyright: ignore[reportArgumentType]
    lmp.close()


def gathered(lmp) -> dict[str, np.ndarray]:
    """All atoms in the order of their ids; pressures in eV/Å³, with LAMMPS's own factor."""
    n = lmp.get_natoms()
    found = {k: np.array(lmp.gather_atoms(k, 1, 3)[:]).reshape(n, 3) for k in ("x", "f")}
    found["energies"] = np.array(lmp.gather("c_atomic", 1, 1)[:])
    found["energy"] = np.array(lmp.get_thermo("pe"))
    bar = lmp.extract_global("nktv2p")
    found["pressure"] = np.array([lmp.get_thermo(name) for name in NAMES]) / bar
    return found


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except BaseException:  # alone, while the others wait
        traceback.print_exc()
        sys.stderr.flush()
        MPI.COMM_WORLD.Abort(1)
