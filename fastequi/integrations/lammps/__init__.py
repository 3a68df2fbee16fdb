"""LAMMPS: the model as its force, on one or several ranks."""

from fastequi.integrations.lammps.force import Force, attach
from fastequi.integrations.lammps.packages import lammps_and_mpi

__all__ = ["Force", "attach", "lammps_and_mpi"]
