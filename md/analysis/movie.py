"""Frames of one system for the viewer of a page: as many as a browser shows without stutter."""

import base64
from collections.abc import Sequence
from typing import Any

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

#: Positions of all frames together, and frames, beyond which a page takes every k-th.
MOST_POSITIONS, MOST_FRAMES = 120_000, 200
#: Positions on the page are whole multiples of this.
UNIT_A = 1e-3


def movie_of(
    frames: Sequence[Atoms], there: int, most_positions: int = MOST_POSITIONS
) -> dict[str, Any]:
    """What the viewer is told; the last frame is always among those that are shown.

    there  frames that the trajectory has, of which `frames` may be a choice already
    """
    atoms = len(frames[0])
    chosen = evenly(len(frames), max(1, min(MOST_FRAMES, most_positions // atoms)))
    used = [frames[k] for k in chosen]
    every = max(1, -(-atoms // most_positions))
    wrapped = np.array([frame.get_positions(wrap=True)[::every] for frame in used])
    remarks = [f"{len(used)} of {there} frames"] if len(used) < there else []
    remarks += [f"one of {every} atoms is shown"] if every > 1 else []
    remarks += ["atoms are shown in the cell"] if frames[0].pbc.any() else []
    return {
        "symbols": frames[0].get_chemical_symbols()[::every],
        "times_ps": [frame.info["time_ps"] for frame in used],
        "cells": [cell_of(frame.cell.array, frame.pbc) for frame in used],
        "unit_A": UNIT_A,
        "positions": encoded(wrapped),
        "remark": "; ".join(remarks),
    }


def evenly(total: int, most: int) -> range:
    """At most so many indices, evenly spaced, the last one among them."""
    step = max(1, -(-total // most))
    return range((total - 1) % step, total, step)


def encoded(positions: NDArray[np.float64]) -> str:
    """Positions [..., 3] in Å as text, in multiples of `UNIT_A`."""
    return base64.b64encode(np.round(positions / UNIT_A).astype("<i4").tobytes()).decode()


def cell_of(cell: NDArray[np.float64], pbc: NDArray[np.bool_]) -> list[list[float]] | None:
    """Lattice vectors to draw; None where there are not three."""
    return np.round(cell, 4).tolist() if pbc.all() else None
