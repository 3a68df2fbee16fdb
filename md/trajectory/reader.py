"""Read a trajectory of either format back as ASE's Atoms."""

import warnings
from collections.abc import Callable, Iterator
from io import StringIO
from itertools import islice, pairwise
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


def spread_frames(path: str | Path, most_positions: int) -> tuple[list[Atoms], int]:
    """Frames with at most so many positions together, evenly spaced, and how many there are.

    The last whole frame is among them, and one at least. Only those that are chosen are parsed, so
    that a glance at a long trajectory is cheap. Raises InputError as `read_trajectory` does.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"no file {path}")
    if is_h5md(path):
        with open_h5md(path) as file:
            whole = complete_frames(file)
            atoms = len(read_frame(file, 0)) if whole else 1
            return [read_frame(file, k) for k in _chosen(whole, atoms, most_positions)], whole
    places = _places(path)
    with path.open("rb") as file:
        atoms = _n_atoms(path, file.readline().decode()) if len(places) > 1 else 1
        every, frames = list(pairwise(places)), []
        for k in _chosen(len(every), atoms, most_positions):
            file.seek(every[k][0])
            frames += _frames_of(path, k, file.read(every[k][1] - every[k][0]).decode())
    return frames, len(every)


def _chosen(whole: int, atoms: int, most_positions: int) -> range:
    step = max(1, -(-whole * max(1, atoms) // max(1, most_positions)))
    return range((whole - 1) % step, whole, step) if whole else range(0)


def _places(path: Path) -> list[int]:
    """Where each whole frame of a text begins, in bytes, and where the last one ends."""
    places, here = [0], 0
    with path.open("rb") as file:
        while first := file.readline():
            lines = _n_atoms(path, first.decode("utf-8", "replace")) + 1
            last = b""
            here += len(first)
            for last in islice(file, lines):
                here += len(last)
            if not last.endswith(b"\n"):
                break
            places.append(here)
    return places


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
