"""What `[[analysis]]` needs of an analysis that goes on while the run does."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from fastequi.md.analysis.analysis import Columns

#: Arrays by their names: all that an accumulator has to remember.
Memory = dict[str, NDArray]


class Accumulator(ABC):
    """Takes frames one by one, keeps sums, and gives the columns of its analysis at any time.

    kind      the name of its row, and of the analysis in `ANALYSES` whose columns it gives
    settings  the keys of [[analysis]] that it takes beside kind and every
    memory    all that its future depends on; who puts it into another one of the same settings
              goes on to the last bit. Empty before the first frame
    """

    kind: ClassVar[str]
    settings: ClassVar[tuple[str, ...]]

    def __init__(self) -> None:
        self.memory: Memory = {}

    def add(self, frame: Atoms) -> None:
        """Take a frame into account; the atoms of all frames are the same."""
        if not self.memory:
            self.memory = {"frames": np.zeros((), np.int64), "numbers": frame.numbers.copy()}
            self.memory |= self.begin(frame)
        self.count_(frame)
        self.memory["frames"] = self.memory["frames"] + 1

    @property
    def frames(self) -> int:
        """How many were taken."""
        return int(self.memory["frames"]) if self.memory else 0

    def restore(self, memory: Mapping[str, NDArray]) -> None:
        """Go on from what another one remembered."""
        self.memory = {name: array.copy() for name, array in memory.items()}

    @abstractmethod
    def begin(self, frame: Atoms) -> Memory:
        """Empty sums, and what the first frame decides."""

    @abstractmethod
    def count_(self, frame: Atoms) -> None:
        """Add a frame to the sums."""

    @abstractmethod
    def columns(self) -> Columns:
        """What the analysis gives of all frames so far; at least one."""
