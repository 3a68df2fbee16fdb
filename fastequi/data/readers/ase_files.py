"""Frames of files that ASE reads: extxyz and most others, and ASE databases.

Units are ASE's (eV, Å) unless others are declared.
"""

from collections.abc import Iterator
from pathlib import Path

import ase.db
import ase.io
from ase import Atoms

from fastequi.data.frames import Frame
from fastequi.data.labels import Keys, frame_from_atoms, label_names, name_there, names_of
from fastequi.data.units import Units
from fastequi.errors import InputError


def read_ase_file(path: Path, units: Units | None, keys: Keys | None) -> list[Frame]:
    """Every frame of a file, in its order."""
    return _frames(path, _named_errors(path, ase.io.iread(str(path), ":")), units, keys)


def read_ase_database(path: Path, units: Units | None, keys: Keys | None) -> list[Frame]:
    """Every row of an ASE database by its id; key-value pairs and data may be labels too."""
    return _frames(path, _named_errors(path, _rows(path)), units, keys)


def _rows(path: Path) -> Iterator[Atoms]:
    for row in ase.db.connect(str(path)).select(sort="id"):
        atoms = row.toatoms()
        atoms.info.update(row.key_value_pairs, **row.data)
        yield atoms


def _named_errors(path: Path, frames: Iterator[Atoms]) -> Iterator[Atoms]:
    """The same frames; an error of ASE's, which may be of any class, says which frame it was."""
    read = 0
    try:
        for atoms in frames:
            yield atoms
            read += 1
    except InputError:
        raise
    except Exception as error:
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        raise InputError(f"ASE cannot read frame {read} of {path} ({reason})") from error


def _frames(
    path: Path, structures: Iterator[Atoms], units: Units | None, keys: Keys | None
) -> list[Frame]:
    names = label_names(keys)
    seen: set[str] = set()
    frames = []
    for index, atoms in enumerate(structures):
        seen |= {*atoms.arrays, *atoms.info, *getattr(atoms.calc, "results", {})}
        frames.append(frame_from_atoms(atoms, names, units, str(path), index))
    for key, given in (keys or {}).items():
        if frames and name_there(given, seen) is None:
            asked = " or ".join(f'"{name}"' for name in names_of(given))
            there = ", ".join(sorted(seen - {"numbers", "positions"})) or "nothing"
            raise InputError(
                f"{path}: keys.{key} is {asked}, and no frame has it; the file has {there}"
            )
    return frames
