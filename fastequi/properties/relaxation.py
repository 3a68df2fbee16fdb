"""To rest: atoms, and the cell under a pressure, before anything is differentiated."""

import os
from typing import Any

import numpy as np
from ase import Atoms
from ase.filters import FrechetCellFilter
from ase.optimize import BFGS
from ase.units import GPa

from fastequi.errors import PhysicsError

#: eV/Å, and of the cell eV per strain and atom; second differences need a minimum this sharp.
FORCE_TOLERANCE = 1e-4
MOST_STEPS = 500


def relaxed(atoms: Atoms, pressure_GPa: float = 0.0, with_cell: bool = True) -> Atoms:
    """A copy at rest, with the same calculator; the cell may take any size and shape.

    Raises PhysicsError where no minimum is found.
    """
    found = atoms.copy()
    found.calc = atoms.calc
    moved: Any = (
        FrechetCellFilter(found, scalar_pressure=pressure_GPa * GPa) if with_cell else found
    )
    if not BFGS(moved, logfile=os.devnull).run(fmax=FORCE_TOLERANCE, steps=MOST_STEPS):
        largest = np.linalg.norm(found.get_forces(), axis=1).max()
        raise PhysicsError(
            f"no minimum after {MOST_STEPS} steps: the largest force is {largest:.3g} eV/Å "
            f"(wanted {FORCE_TOLERANCE:g}). Start from a structure nearer to rest, or from "
            "another: this model may have no such phase"
        )
    return found


def strained(atoms: Atoms, strain: np.ndarray, relax: bool) -> Atoms:
    """A copy in the cell deformed by 1 + strain [3, 3]; atoms go along, then to rest if asked."""
    found = atoms.copy()
    found.calc = atoms.calc
    found.set_cell(atoms.cell.array @ (np.eye(3) + strain), scale_atoms=True)
    return relaxed(found, with_cell=False) if relax else found
