"""Starting structures: files that ASE reads and our own trajectories, repeated into a supercell."""

import math
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import ase.io
import numpy as np
from ase import Atoms

from fastequi.errors import InputError
from fastequi.md.constraints.from_ase import fix_, fixes_centre_of_mass, refused
from fastequi.md.constraints.from_ase import fixed_atoms as fixed_atoms_of
from fastequi.md.trajectory.h5md import is_h5md, open_h5md, read_frame
from fastequi.settings_problems import similar_files


def read_structure(
    path: str,
    index: int = -1,
    supercell: tuple[int, int, int] = (1, 1, 1),
    fixed_atoms: Sequence[int] = (),
    fixed_centre_of_mass: bool = False,
) -> Atoms:
    """Read frame `index` of a file and repeat it along its lattice vectors.

    The file is one that ASE reads or a trajectory.h5, of a run that may still go on. Velocities in
    it are kept, and repeated with the atoms; so is what is fixed in it, and the fixed_atoms beside
    that, counted in the file. Raises InputError if there is no such file, frame or atom.
    """
    file = Path(path)
    if not file.is_file():
        raise InputError(f"no file {path}{similar_files(file)}")
    atoms = _read(path, index, file.stat().st_mtime_ns).copy()
    fix_(atoms, fixed_atoms)
    if supercell != (1, 1, 1):
        atoms = _repeat(atoms, supercell)
    fix_(atoms, (), fixed_centre_of_mass)
    return atoms


def _repeat(atoms: Atoms, supercell: tuple[int, int, int]) -> Atoms:
    """With the fixed atoms of every copy; ASE repeats other constraints only where it can."""
    fixed, others = fixed_atoms_of(atoms), refused(atoms)
    if others:
        raise InputError(f"has {'; '.join(others)}")
    centre = fixes_centre_of_mass(atoms)
    atoms.set_constraint()
    copies = atoms.repeat(supercell)
    fix_(copies, np.flatnonzero(np.tile(fixed, math.prod(supercell))).tolist(), centre)
    return copies


@lru_cache(maxsize=1)
def _read(path: str, index: int, modified_ns: int) -> Atoms:
    """Read once per version of the file: it is looked at when checked and again when used."""
    if is_h5md(Path(path)):
        with open_h5md(Path(path)) as file:
            return read_frame(file, index)
    try:
        atoms = ase.io.read(path, index=index)
    except Exception as error:  # ASE's readers raise anything: KeyError, IndexError, AssertionError
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        raise InputError(f"ASE cannot read frame {index} of {path} ({reason})") from error
    if not isinstance(atoms, Atoms) or len(atoms) == 0:
        raise InputError(f"{path} holds no atoms")
    return atoms
