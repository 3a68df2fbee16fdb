"""Arrays from the frames that `read_trajectory` returns."""

from collections.abc import Iterator, Sequence

import numpy as np
from ase import Atoms
from ase.data import chemical_symbols
from numpy.typing import NDArray

from fastequi.errors import InputError
from fastequi.md.state import velocities_A_per_fs


def positions_of(frames: Sequence[Atoms]) -> NDArray[np.float64]:
    """Positions [frames, atoms, 3] in Å, as unwrapped as the trajectory has them."""
    return np.array([frame.positions for frame in frames])


def velocities_of(frames: Sequence[Atoms]) -> NDArray[np.float64]:
    """Velocities [frames, atoms, 3] in Å/fs; InputError if a frame has none."""
    for k, frame in enumerate(frames):
        if not frame.has("momenta"):
            raise InputError(f"frame {k} has no velocities")
    return np.array([velocities_A_per_fs(frame) for frame in frames])


def interval_fs(frames: Sequence[Atoms]) -> float:
    """Time from frame to frame in fs; InputError if it is unknown or not always the same."""
    if len(frames) < 2 or not all("time_ps" in frame.info for frame in frames):
        raise InputError("the interval needs two frames or more, each with time_ps in its info")
    steps = np.diff([frame.info["time_ps"] for frame in frames]) * 1e3
    if steps[0] <= 0.0 or not np.allclose(steps, steps[0], rtol=1e-6):
        raise InputError(f"frames are not evenly spaced: {steps.min():g} to {steps.max():g} fs")
    return float(steps.mean())


def same_atoms(frames: Sequence[Atoms]) -> NDArray[np.int64]:
    """Atomic numbers [atoms] of all frames; InputError if there are none, or they differ."""
    if not frames:
        raise InputError("there are no frames")
    numbers = frames[0].numbers
    for k, frame in enumerate(frames):
        if not np.array_equal(frame.numbers, numbers):
            raise InputError(f"frame {k} has other atoms than frame 0")
    return numbers


def by_element(numbers: NDArray[np.int64]) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    """Symbol of each element by atomic number, and which atoms [atoms] it has."""
    for z in np.unique(numbers):
        yield chemical_symbols[z], numbers == z


def fully_periodic(frames: Sequence[Atoms]) -> bool:
    """Whether every frame is periodic in three directions."""
    return all(frame.pbc.all() for frame in frames)


def smallest_height_A(frames: Sequence[Atoms]) -> float:
    """Smallest distance between opposite faces of any frame's cell in Å."""
    cells = np.array([frame.cell.array for frame in frames])
    return float(1.0 / np.linalg.norm(np.linalg.inv(cells), axis=1).max())


def spread_over(frames: Sequence[Atoms], most: int) -> Sequence[Atoms]:
    """At most so many frames, evenly spaced from the first on."""
    return frames[:: max(1, -(-len(frames) // most))]
