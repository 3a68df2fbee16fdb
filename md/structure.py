"""Starting structures: files that ASE reads, repeated into a supercell."""

from functools import lru_cache
from pathlib import Path

import ase.io
from ase import Atoms

from fastequi.errors import InputError
from fastequi.settings_problems import similar_files


def read_structure(
    path: str, index: int = -1, supercell: tuple[int, int, int] = (1, 1, 1)
) -> Atoms:
    """Read frame `index` of any file that ASE reads and repeat it along its lattice vectors.

    Velocities in the file are kept, and repeated with the atoms. Raises InputError if there is no
    such file or frame, or if it holds no atoms.
    """
    file = Path(path)
    if not file.is_file():
        raise InputError(f"no file {path}{similar_files(file)}")
    atoms = _read(path, index, file.stat().st_mtime_ns).copy()
    return atoms if supercell == (1, 1, 1) else atoms.repeat(supercell)


@lru_cache(maxsize=1)
def _read(path: str, index: int, modified_ns: int) -> Atoms:
    """Read once per version of the file: it is looked at when checked and again when used."""
    try:
        atoms = ase.io.read(path, index=index)
    except Exception as error:  # ASE's readers raise anything: KeyError, IndexError, AssertionError
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        raise InputError(f"ASE cannot read frame {index} of {path} ({reason})") from error
    if not isinstance(atoms, Atoms) or len(atoms) == 0:
        raise InputError(f"{path} holds no atoms")
    return atoms
