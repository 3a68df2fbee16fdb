"""Read a trajectory of either format back as ASE's Atoms."""

import warnings
from collections.abc import Callable, Iterator
from io import StringIO
from pathlib import Path

from ase import Atoms
from ase.io.extxyz import read_extxyz

from fastequi.errors import InputError
from fastequi.md.trajectory.h5md import complete_frames, is_h5md, open_h5md, read_frame

#: Called with how much is done, of how much.
Progress = Callable[[int, int], None]


def read_trajectory(path: str | Path) -> list[Atoms]:
    """All whole frames of trajectory.extxyz or trajectory.h5, with momenta, energy, forces, stress.

    Positions are not wrapped; `info` has step and time_ps. A last frame cut short by a kill is
    left out with a warning. Raises InputError if there is no such file or it is of another kind.
    """
    return list(each_frame(path))


def each_frame(path: str | Path, progress: Progress | None = None) -> Iterator[Atoms]:
    """The frames of `read_trajectory` one by one; progress(done, total) hears bytes or frames."""
    path = Path(path)
    if not path.is_file():
        raise InputError(f"no file {path}")
    if path.suffix == ".extxyz":
        try:
            yield from _each_extxyz(path, progress)
        except UnicodeDecodeError as error:
            raise InputError(f"{path}: not a text file in UTF-8") from error
    elif is_h5md(path):
        with open_h5md(path) as file:
            whole = complete_frames(file)
            for k in range(whole):
                yield read_frame(file, k)
                if progress:
                    progress(k + 1, whole)
    else:
        raise InputError(f"{path}: got the suffix {path.suffix or 'none'}; allowed: .extxyz, .h5")


def _each_extxyz(path: Path, progress: Progress | None) -> Iterator[Atoms]:
    count, done, total = 0, 0, path.stat().st_size
    with path.open(encoding="utf-8") as file:
        while first := file.readline():
            lines = [first, *(file.readline() for _ in range(_n_atoms(path, first) + 1))]
            if not lines[-1].endswith("\n"):
                warnings.warn(f"{path}: frame {count} is cut short, left out", stacklevel=2)
                break
            text = "".join(lines)
            yield from _frames_of(path, count, text)
            count, done = count + 1, done + len(text.encode())
            if progress:
                progress(done, total)


def _frames_of(path: Path, count: int, text: str) -> list[Atoms]:
    """The one frame of a text. ASE has many ways to say that there is none."""
    try:
        return list(read_extxyz(StringIO(text), index=0))
    except Exception as error:
        raise InputError(f"{path}: frame {count} is not extxyz: {error}") from error


def _n_atoms(path: Path, line: str) -> int:
    try:
        return int(line)
    except ValueError:
        raise InputError(f"{path}: expected a number of atoms, got {line.strip()!r}") from None
