"""Arrays of files that keep plain numbers: their shapes, and the frames that they make."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fastequi.data.frames import Frame
from fastequi.data.units import Units
from fastequi.errors import InputError


def shaped(
    where: str, arrays: Mapping[str, NDArray], name: str, *shapes: tuple[int, ...]
) -> NDArray | None:
    """An array by its name, None where there is none; InputError unless it has such a shape."""
    if name not in arrays:
        return None
    array = arrays[name]
    if array.dtype.kind not in "fiub":
        raise InputError(f"{where}: {name} is not numbers (it is {array.dtype})")
    if array.shape not in shapes:
        allowed = " or ".join(str(list(shape)) for shape in shapes)
        raise InputError(f"{where}: {name} has the shape {list(array.shape)}; allowed: {allowed}")
    return array


def frames_of_arrays(
    path: Path,
    where: str,
    arrays: Mapping[str, NDArray],
    names: Mapping[str, str],
    units: Units,
    first_index: int = 0,
) -> list[Frame]:
    """One frame per row of the positions.

    names  the arrays of species ([atoms] or [frames, atoms]), positions, energy, forces, and where
           the format has them of stress, cell and pbc ([...] or [frames, ...])
    """
    positions = arrays[names["positions"]]
    if positions.ndim != 3 or positions.shape[2] != 3:
        raise InputError(
            f"{where}: {names['positions']} has the shape {list(positions.shape)}; "
            "allowed: [frames, atoms, 3]"
        )
    n, atoms, _ = positions.shape

    def one_per_frame(kind: str, *shape: int) -> NDArray | None:
        array = shaped(where, arrays, names.get(kind, ""), shape, (n, *shape))
        return None if array is None else np.broadcast_to(array, (n, *shape))

    species = one_per_frame("species", atoms)
    energy = shaped(where, arrays, names["energy"], (n,), (n, 1))
    forces = shaped(where, arrays, names["forces"], (n, atoms, 3))
    stress = shaped(where, arrays, names.get("stress", ""), (n, 3, 3))
    cell = one_per_frame("cell", 3, 3)
    pbc = one_per_frame("pbc", 3)
    if pbc is None:
        pbc = np.full((n, 3), cell is not None)
    assert species is not None
    return [
        Frame(
            atomic_numbers=species[k].astype(np.int64),
            positions=positions[k].astype(np.float64) * units.length,
            cell=np.zeros((3, 3)) if cell is None else cell[k].astype(np.float64) * units.length,
            pbc=pbc[k].astype(bool),
            energy=None if energy is None else energy[k].item() * units.energy,
            forces=None if forces is None else forces[k].astype(np.float64) * units.forces,
            stress=None if stress is None else stress[k].astype(np.float64) * units.stress,
            file=str(path),
            index=first_index + k,
        )
        for k in range(n)
    ]
