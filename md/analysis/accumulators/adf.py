"""Angular distribution functions on the fly."""

import numpy as np
from ase import Atoms

from fastequi.md.analysis.accumulators.accumulator import Accumulator, Memory
from fastequi.md.analysis.adf import (
    FEWEST_PER_ATOM,
    angle_counts,
    cutoffs_or_usual_A,
    densities_of,
    middles,
    reaches_A,
)
from fastequi.md.analysis.analysis import Columns


class AdfSums(Accumulator):
    """Sums of `angle_counts`; the first frame decides who are neighbours unless cutoff_A does."""

    kind = "adf"
    settings = ("cutoff_A", "bins")

    def __init__(self, cutoff_A: float | None = None, bins: int = 180) -> None:
        super().__init__()
        self._cutoff_A, self._bins = cutoff_A, bins

    def begin(self, frame: Atoms) -> Memory:
        reach = reaches_A(cutoffs_or_usual_A([frame], self._cutoff_A), frame.numbers)
        return {"reach": reach, "counts": np.zeros(len(reach) ** 3 * self._bins, np.int64)}

    def count_(self, frame: Atoms) -> None:
        m = self.memory
        m["counts"] = m["counts"] + angle_counts(frame, m["reach"], self._bins)

    def columns(self) -> Columns:
        m = self.memory
        density = densities_of(m["counts"], m["numbers"], self.frames, FEWEST_PER_ATOM)
        return {
            "angle_deg": middles(self._bins),
            **{"-".join(triplet): y for triplet, y in density.items()},
        }
