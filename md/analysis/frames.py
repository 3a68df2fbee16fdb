"""Arrays from the frames that `read_trajectory` returns."""

from collections.abc import Sequence

import numpy as np
from ase import Atoms
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
