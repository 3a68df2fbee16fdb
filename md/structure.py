"""Starting structures: files that ASE reads and our own trajectories, repeated into a supercell."""

import math
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import ase.io
import numpy as np
from ase import Atoms
from ase.utils import string2index

from fastequi.errors import InputError
from fastequi.md.constraints.from_ase import fix_, fixes_centre_of_mass, refused
from fastequi.md.constraints.from_ase import fixed_atoms as fixed_atoms_of
from fastequi.md.trajectory.h5md import complete_frames, is_h5md, open_h5md, read_frame
from fastequi.settings_problems import similar_files

#: Files that are looked at when they are checked and again when they are used.
_REMEMBERED = 64


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
    (atoms,) = read_structures(path, index, supercell, fixed_atoms, fixed_centre_of_mass)
    return atoms


def read_structures(
    path: str,
    index: int | str = -1,
    supercell: tuple[int, int, int] = (1, 1, 1),
    fixed_atoms: Sequence[int] = (),
    fixed_centre_of_mass: bool = False,
) -> list[Atoms]:
    """All the frames that `index` means: one for a number, several for a slice of ASE's as ":".

    Otherwise as `read_structure`.
    """
    file = Path(path)
    if not file.is_file():
        raise InputError(f"no file {path}{similar_files(file)}")
    frames = [atoms.copy() for atoms in _read(path, index, file.stat().st_mtime_ns)]
    return [_prepared(atoms, supercell, fixed_atoms, fixed_centre_of_mass) for atoms in frames]


def _prepared(
    atoms: Atoms,
    supercell: tuple[int, int, int],
    fixed_atoms: Sequence[int],
    fixed_centre_of_mass: bool,
) -> Atoms:
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


def frame_numbers(index: int | str) -> int | slice:
    """A frame, or several, as ASE reads the text: "3", ":", "-5:", "::10". Raises InputError."""
    try:
        found = string2index(index) if isinstance(index, str) else index
    except (ValueError, TypeError):
        found = None
    if isinstance(found, int | slice):
        return found
    raise InputError(f'got "{index}"; allowed: a whole number, or a slice as in ":", "::10"')


def number_of_frame(index: int | str, k: int) -> int:
    """Of the k-th frame that `index` means; negative numbers count from the end, as in ASE."""
    numbers = frame_numbers(index)
    if isinstance(numbers, int):
        return numbers
    step = 1 if numbers.step is None else numbers.step
    start = numbers.start if numbers.start is not None else (0 if step > 0 else -1)
    return start + k * step


@lru_cache(maxsize=_REMEMBERED)
def _read(path: str, index: int | str, modified_ns: int) -> tuple[Atoms, ...]:
    """Read once per version of the file: it is looked at when checked and again when used."""
    numbers = frame_numbers(index)
    if is_h5md(Path(path)):
        with open_h5md(Path(path)) as file:
            if isinstance(numbers, int):
                return (read_frame(file, numbers),)
            return tuple(read_frame(file, k) for k in range(complete_frames(file))[numbers])
    try:
        found = ase.io.read(path, index=numbers)
    except Exception as error:  # ASE's readers raise anything: KeyError, IndexError, AssertionError
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        raise InputError(f"ASE cannot read frame {index} of {path} ({reason})") from error
    frames = found if isinstance(found, list) else [found]
    if not frames:
        raise InputError(f"{path} has no frame that index = {index} means")
    for atoms in frames:
        if not isinstance(atoms, Atoms) or len(atoms) == 0:
            raise InputError(f"{path} holds no atoms")
    return tuple(frames)
