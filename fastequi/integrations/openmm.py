"""A model as a force of OpenMM, of a whole system or of some of its particles.

    system.addForce(python_force("sevennet-0", atoms))

Through OpenMM's PythonForce (OpenMM 8.4); positions come to the host at every step. Pressure is for
OpenMM's barostats, which ask for energies alone.
"""

from collections.abc import Sequence
from importlib import import_module
from typing import Any

import numpy as np
from ase import Atoms, units

from fastequi.calculators.ase import FastEquiCalculator
from fastequi.errors import InputError
from fastequi.potential import Potential

#: eV in kJ/mol, and nm in Å: OpenMM's units are kJ/mol, nm and ps.
KJ_PER_MOL_PER_eV = units.mol / units.kJ
_A_PER_NM = 10.0


def python_force(
    model: str | Potential,
    atoms: Atoms,
    *,
    particles: Sequence[int] | None = None,
    **options: Any,
) -> Any:
    """An `openmm.PythonForce` for these atoms.

    atoms      their elements and periodicity, in OpenMM's order; all directions or none
    particles  which of OpenMM's particles they are; None for all
    options    of `FastEquiCalculator`, for example dtype, device, dispersion

    Raises InputError where OpenMM is missing or too old, and for cells that are periodic in part.
    """
    if atoms.pbc.any() and not atoms.pbc.all():
        raise InputError("OpenMM has three periodic directions or none")
    try:
        force_type = import_module("openmm").PythonForce
    except (ImportError, AttributeError) as error:
        raise InputError(f"OpenMM 8.4 or newer is needed ({error}): pip install openmm") from error
    if particles is not None and len(particles) != len(atoms):
        raise InputError(f"{len(particles)} particles, but {len(atoms)} atoms")
    moved = atoms.copy()
    moved.set_constraint()  # OpenMM's matter
    moved.calc = FastEquiCalculator(model, **{"skin_A": 1.0, **options})

    def compute(state: Any) -> tuple[float, np.ndarray]:
        moved.positions = state.getPositions(asNumpy=True)._value * _A_PER_NM
        if moved.pbc.all():
            moved.set_cell(np.array(state.getPeriodicBoxVectors(asNumpy=True)._value) * _A_PER_NM)
        forces = moved.get_forces() * (KJ_PER_MOL_PER_eV * _A_PER_NM)
        return moved.get_potential_energy() * KJ_PER_MOL_PER_eV, forces

    force = force_type(compute)
    force.setUsesPeriodicBoundaryConditions(bool(moved.pbc.all()))
    if particles is not None:
        force.setParticles(list(particles))
    return force
