"""Frames of an HDF5 file: groups of frames that share their atoms.

Every group that holds `positions`, at any depth, the file itself included, is read as

    atomic_numbers  [atoms]
    positions       [frames, atoms, 3]
    energies        [frames]              optional
    forces          [frames, atoms, 3]    optional
    stress          [frames, 3, 3]        optional, ASE's sign
    cell            [3, 3] or [frames, 3, 3], rows are lattice vectors; optional
    pbc             [3] or [frames, 3]    optional; all true where there is a cell, else all false

Groups are taken in the order of their names, and frames are counted through the file. Numbers are
plain: their units must be declared.
"""

from collections.abc import Iterator
from pathlib import Path

import h5py
from numpy.typing import NDArray

from fastequi.data.frames import Frame
from fastequi.data.labels import Keys, name_there, names_of
from fastequi.data.readers.arrays import frames_of_arrays
from fastequi.data.units import Units, units_or_refuse
from fastequi.errors import InputError

NAMES = {
    "species": "atomic_numbers",
    "positions": "positions",
    "energy": "energies",
    "forces": "forces",
    "stress": "stress",
    "cell": "cell",
    "pbc": "pbc",
}
_LABELS = ("energy", "forces", "stress")


def read_hdf5(path: Path, units: Units | None, keys: Keys | None) -> list[Frame]:
    """Every frame of every group; `keys` may name other arrays for energy, forces and stress."""
    units = units_or_refuse(units, str(path), "an HDF5 file")
    for key in keys or {}:
        if key not in _LABELS:
            allowed = ", ".join(_LABELS)
            raise InputError(f"{path}: keys.{key} is not for HDF5 files; allowed: {allowed}")
    frames: list[Frame] = []
    seen: set[str] = set()
    for group, arrays in _groups(path):
        where = f"{path}, group {group}"
        if NAMES["species"] not in arrays:
            raise InputError(f"{where} has no atomic_numbers; it has {', '.join(arrays)}")
        seen |= set(arrays)
        chosen = {key: name_there(given, arrays) or "" for key, given in (keys or {}).items()}
        names = NAMES | chosen
        frames += frames_of_arrays(path, where, arrays, names, units, len(frames))
    if not frames:
        raise InputError(f"{path}: no group has positions; allowed: {', '.join(NAMES.values())}")
    for key, given in (keys or {}).items():
        if name_there(given, seen) is None:
            asked, there = " or ".join(f'"{n}"' for n in names_of(given)), ", ".join(sorted(seen))
            raise InputError(f"{path}: keys.{key} is {asked}; the groups have {there}")
    return frames


def _groups(path: Path) -> Iterator[tuple[str, dict[str, NDArray]]]:
    """Names and arrays of the groups that hold positions."""
    try:
        with h5py.File(path, "r") as file:
            names = ["/"]
            file.visit(names.append)
            for name in sorted(names):
                group = file[name]
                if isinstance(group, h5py.Group) and NAMES["positions"] in group:
                    arrays = {k: v[()] for k, v in group.items() if isinstance(v, h5py.Dataset)}
                    yield name, arrays
    except OSError as error:
        raise InputError(f"{path}: not a readable HDF5 file ({error})") from error
