"""Frames of an npz file: many geometries of one molecule, without a cell.

Two layouts, told apart by their names: that of rMD17 (nuclear_charges, coords, energies, forces)
and that of sGDML and MD17 (z, R, E, F). Numbers are plain: their units must be declared.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fastequi.data.frames import Frame
from fastequi.data.labels import Keys, name_there, names_of
from fastequi.data.readers.arrays import frames_of_arrays
from fastequi.data.units import Units, units_or_refuse
from fastequi.errors import InputError

LAYOUTS = (
    {"species": "nuclear_charges", "positions": "coords", "energy": "energies", "forces": "forces"},
    {"species": "z", "positions": "R", "energy": "E", "forces": "F"},
)
_CELLS = ("lattice", "cell", "box")


def read_npz(path: Path, units: Units | None, keys: Keys | None) -> list[Frame]:
    """Every geometry of the file; `keys` may name other arrays for energy and forces."""
    units = units_or_refuse(units, str(path), "an npz file")
    arrays = _load(path)
    return frames_of_arrays(path, str(path), arrays, _layout(path, arrays, keys), units)


def _load(path: Path) -> dict[str, NDArray]:
    """All arrays; nothing pickled, which could run code."""
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except Exception as error:  # zipfile, OSError or ValueError, as the damage has it
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        raise InputError(f"{path}: not a readable npz file ({reason})") from error


def _layout(path: Path, arrays: Mapping[str, NDArray], keys: Keys | None) -> dict[str, str]:
    layout = next((n for n in LAYOUTS if n["species"] in arrays and n["positions"] in arrays), None)
    there = ", ".join(arrays) or "nothing"
    if layout is None:
        known = " or ".join(", ".join(names.values()) for names in LAYOUTS)
        raise InputError(f"{path}: the file has {there}; allowed: {known}")
    for name in _CELLS:
        if name in arrays:
            raise InputError(
                f"{path}: the file has a {name}, and npz files are read without cells, since their "
                "layouts do not agree; write the frames as extxyz"
            )
    for key, given in (keys or {}).items():
        if key not in ("energy", "forces"):
            raise InputError(f"{path}: keys.{key} is not for npz files; allowed: energy, forces")
        name = name_there(given, arrays)
        if name is None:
            asked = " or ".join(f'"{one}"' for one in names_of(given))
            raise InputError(f"{path}: keys.{key} is {asked}; the file has {there}")
        layout = layout | {key: name}
    return layout
