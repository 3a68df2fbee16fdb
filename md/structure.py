"""Starting structures: files that ASE reads and our own trajectories, repeated into a supercell."""

from functools import lru_cache
from pathlib import Path

import ase.io
from ase import Atoms

from fastequi.errors import InputError
from fastequi.md.trajectory.h5md import is_h5md, open_h5md, read_frame
from fastequi.settings_problems import similar_files


def read_structure(
    path: str, index: int = -1, supercell: tuple[int, int, int] = (1, 1, 1)
) -> Atoms:
    """Read frame `index` of a file and repeat it along its lattice vectors.

    The file is one that ASE reads or a trajectory.h5, of a run that may still go on. Velocities in
    it are kept, and repeated with the atoms. Raises InputError if there is no such file or frame,
    or if it holds no atoms.
    """
    file = Path(path)
    if not file.is_file():
        raise InputError(f"no file {path}{similar_files(file)}")
    atoms = _read(path, index, file.stat().st_mtime_ns).copy()
    return atoms if supercell == (1, 1, 1) else atoms.repeat(supercell)


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
