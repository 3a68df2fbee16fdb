"""Constraints of ASE's Atoms: which ones the engine takes over, and back again.

Fixed atoms come as FixAtoms, as POSCAR's selective dynamics and extxyz's move_mask come, or as
FixScaled and FixCartesian that leave an atom no direction. FixCom fixes the centre of mass.
Everything else is refused by its name.
"""

from collections.abc import Sequence

import numpy as np
from ase import Atoms
from ase.constraints import FixAtoms, FixCartesian, FixCom, FixConstraint, FixScaled

from fastequi.errors import InputError


def fixed_atoms(atoms: Atoms) -> np.ndarray:
    """Which atoms do not move: [atoms], bool."""
    fixed = np.zeros(len(atoms), dtype=bool)
    for constraint in atoms.constraints:
        if isinstance(constraint, FixAtoms) or _fixes_all_directions(constraint):
            fixed[constraint.index] = True
    return fixed


def fixes_centre_of_mass(atoms: Atoms) -> bool:
    """Whether the centre of mass does not move."""
    return any(isinstance(constraint, FixCom) for constraint in atoms.constraints)


def refused(atoms: Atoms) -> list[str]:
    """A sentence for each kind of constraint that the engine does not apply."""
    unknown = {}
    for constraint in atoms.constraints:
        if not isinstance(constraint, FixAtoms | FixCom) and not _fixes_all_or_none(constraint):
            unknown.setdefault(type(constraint).__name__, []).append(constraint)
    return [
        f"constraints ({name}) that the engine does not apply"
        + (", because they leave some directions free" if name in _BY_DIRECTION else "")
        + "; it applies FixAtoms and FixCom. Remove them with atoms.set_constraint()"
        for name in unknown
    ]


def fix_(atoms: Atoms, indices: Sequence[int], centre_of_mass: bool = False) -> None:
    """Fix more atoms, counted from 0, and the centre of mass, beside what is fixed already.

    Raises InputError for an atom that is not there.
    """
    wrong = missing_atoms(atoms, indices)
    if wrong:
        raise InputError(f"fixed atoms: {wrong}")
    more: list[FixConstraint] = [FixAtoms(indices=sorted(set(indices)))] if indices else []
    if centre_of_mass and not fixes_centre_of_mass(atoms):
        more.append(FixCom())
    if more:
        atoms.set_constraint([*atoms.constraints, *more])


def missing_atoms(atoms: Atoms, indices: Sequence[int]) -> str:
    """A sentence about indices of no atom; empty where there is nothing to say."""
    wrong = [k for k in indices if not 0 <= k < len(atoms)]
    named = ", ".join(map(str, wrong[:5])) + (" and more" if len(wrong) > 5 else "")
    return f"got {named}; the structure has the atoms 0 to {len(atoms) - 1}" if wrong else ""


def _fixes_all_directions(constraint: object) -> bool:
    return isinstance(constraint, FixScaled | FixCartesian) and bool(constraint.mask.all())


def _fixes_all_or_none(constraint: object) -> bool:
    """Of an atom's directions; extxyz gives one to every atom, free or not."""
    if not isinstance(constraint, FixScaled | FixCartesian):
        return False
    return bool(constraint.mask.all()) or not bool(constraint.mask.any())


_BY_DIRECTION = ("FixScaled", "FixCartesian", "FixedPlane", "FixedLine")
