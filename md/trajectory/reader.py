"""Read a trajectory of either format back as ASE's Atoms."""

import warnings
from io import StringIO
from pathlib import Path

from ase import Atoms
from ase.io.extxyz import read_extxyz

from fastequi.errors import InputError
from fastequi.md.trajectory.h5md import complete_frames, is_h5md, open_h5md, read_frame


def read_trajectory(path: str | Path) -> list[Atoms]:
    """All whole frames of trajectory.extxyz or trajectory.h5, with momenta, energy, forces, stress.

    Positions are not wrapped; `info` has step and time_ps. A last frame cut short by a kill is
    left out with a warning. Raises InputError if there is no such file or it is of another kind.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"no file {path}")
    if path.suffix == ".extxyz":
        return _read_extxyz(path)
    if is_h5md(path):
        with open_h5md(path) as file:
            return [read_frame(file, i) for i in range(complete_frames(file))]
    raise InputError(f"{path}: got the suffix {path.suffix or 'none'}; allowed: .extxyz, .h5")


def _read_extxyz(path: Path) -> list[Atoms]:
    frames = []
    with path.open(encoding="utf-8") as file:
        while first := file.readline():
            lines = [first, *(file.readline() for _ in range(_n_atoms(path, first) + 1))]
            if not lines[-1].endswith("\n"):
                warnings.warn(f"{path}: frame {len(frames)} is cut short, left out", stacklevel=3)
                break
            frames += read_extxyz(StringIO("".join(lines)), index=0)
    return frames


def _n_atoms(path: Path, line: str) -> int:
    try:
        return int(line)
    except ValueError:
        raise InputError(f"{path}: expected a number of atoms, got {line.strip()!r}") from None
