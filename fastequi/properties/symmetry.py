"""The standard cell of a crystal: elastic constants are meant in its axes, not in any cell's."""

from importlib.util import find_spec
from typing import Any

import numpy as np
from ase import Atoms

#: Å by which atoms may be off their symmetric places; relaxed ones are off by much less.
TOLERANCE_A = 1e-3


def why_no_symmetry() -> str:
    """What to tell the user where there is no spglib; '' where there is."""
    if find_spec("spglib"):
        return ""
    return "symmetry is not looked for: that needs spglib (pip install 'fastequi[properties]')"


def standard_cell(atoms: Atoms) -> tuple[Atoms, str]:
    """The conventional cell in standard orientation, and the name of its space group.

    The same crystal turned, with the same calculator; (Grosse-Kunstleve and Adams, Acta Cryst.
    A 58, 60, 2002, and spglib's paper, Togo, Shinohara and Tanaka, 2024, say how it is chosen).
    """
    import spglib

    cell: Any = atoms.cell.array, atoms.get_scaled_positions(), _kinds(atoms)
    found = spglib.get_symmetry_dataset(cell, symprec=TOLERANCE_A)
    standard = spglib.standardize_cell(cell, symprec=TOLERANCE_A)
    if found is None or standard is None:
        return atoms, "unknown"
    lattice, places, kinds = standard
    first = {int(kind): k for k, kind in reversed(list(enumerate(_kinds(atoms))))}
    chosen = [first[int(kind)] for kind in kinds]
    crystal = Atoms(
        numbers=atoms.numbers[chosen], masses=atoms.get_masses()[chosen], cell=lattice,
        scaled_positions=places, pbc=True, calculator=atoms.calc,
    )  # fmt: skip
    return crystal, f"{found.international} ({found.number})"


def _kinds(atoms: Atoms) -> np.ndarray:
    """Isotopes are atoms of different kinds: [atoms]."""
    both = np.column_stack([atoms.numbers, atoms.get_masses()])
    return np.unique(both, axis=0, return_inverse=True)[1].reshape(-1)
