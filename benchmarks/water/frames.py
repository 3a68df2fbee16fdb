"""The ab-initio boxes of water: their order in time, what is learnt from and what is held out.

DeePMD-kit's example (examples/water/data, LGPL-3.0) has 400 boxes of 64 molecules in the order of a
shuffle. Oxygens hardly move between neighbours in time, so the order comes back from the frames
alone. The last 100 in time are held out as a block: frames drawn at random would have neighbours a
few hundredths of an ångström away among those learnt from.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.io import read, write
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.sparse.csgraph import minimum_spanning_tree, shortest_path

from benchmarks.training_cases import data_folder

N_HELD_OUT = 100
FILE = Path("deepmd_water", "water192.extxyz")


@dataclass(frozen=True)
class Boxes:
    """Frames in the order of time, forwards or backwards: those to learn from, those held out."""

    learn: list[Atoms]
    held_out: list[Atoms]

    @property
    def all(self) -> list[Atoms]:
        return [*self.learn, *self.held_out]


def boxes(frames: Sequence[Atoms] | None = None) -> Boxes:
    """All frames of the data (or these), the last hundred in time apart."""
    if frames is None:
        found = read(data_folder() / FILE, index=":")
        assert isinstance(found, list)
        frames = found
    ordered = [frames[k] for k in order_in_time(oxygens(frames), frames[0].cell.lengths())]
    return Boxes(ordered[:-N_HELD_OUT], ordered[-N_HELD_OUT:])


def oxygens(frames: Sequence[Atoms]) -> NDArray[np.float64]:
    """Positions [frames, oxygens, 3] in Å."""
    return np.array([frame.positions[frame.numbers == 8] for frame in frames])


def order_in_time(
    positions: NDArray[np.float64], lengths: NDArray[np.float64]
) -> NDArray[np.int64]:
    """Indices [frames] that sort positions [frames, atoms, 3] of a walk, from one of its ends.

    Frames are points, as far apart as atoms have moved (mean square, nearest image in a box of
    these lengths, in Å); neighbours in time are nearest. The order is that along the longest path
    of the shortest tree that connects them all.
    """
    apart = np.empty((len(positions), len(positions)))
    for k, frame in enumerate(positions):
        moved = positions - frame
        moved -= lengths * np.round(moved / lengths)
        apart[k] = np.square(moved).sum(axis=2).mean(axis=1)
    tree = minimum_spanning_tree(csr_array(apart))
    along = shortest_path(tree, directed=False)
    end = np.unravel_index(along.argmax(), along.shape)[0]
    return np.argsort(along[end], kind="stable")


def subset(frames: Sequence[Atoms], n: int) -> list[Atoms]:
    """So many of the frames, evenly spaced in time."""
    return [frames[k] for k in np.linspace(0, len(frames) - 1, n).round().astype(int)]


def write_sets(folder: Path, sizes: Sequence[int], frames: Sequence[Atoms] | None = None) -> None:
    """`train-N.extxyz` for every size and `test.extxyz`, of the data or of these frames."""
    folder.mkdir(parents=True, exist_ok=True)
    data = boxes(frames)
    sets = {f"train-{n}": subset(data.learn, n) for n in sizes} | {"test": data.held_out}
    for name, members in sets.items():
        write(folder / f"{name}.extxyz", members, format="extxyz")
