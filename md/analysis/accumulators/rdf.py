"""Radial distribution functions on the fly."""

import numpy as np
from ase import Atoms

from fastequi.md.analysis.accumulators.accumulator import Accumulator, Memory
from fastequi.md.analysis.analysis import Columns
from fastequi.md.analysis.frames import fully_periodic, smallest_height_A
from fastequi.md.analysis.rdf import g_of, middles, usual_r_max_A, weighted_counts


class RdfSums(Accumulator):
    """Sums of `weighted_counts`; the first frame decides how far to look unless r_max_A does."""

    kind = "rdf"
    settings = ("r_max_A", "bins")

    def __init__(self, r_max_A: float | None = None, bins: int = 200) -> None:
        super().__init__()
        self._r_max_A, self._bins = r_max_A, bins

    def begin(self, frame: Atoms) -> Memory:
        r_max_A = usual_r_max_A([frame]) if self._r_max_A is None else self._r_max_A
        kinds = len(np.unique(frame.numbers))
        return {
            "edges": np.linspace(0.0, r_max_A, self._bins + 1),
            "periodic": np.array(fully_periodic([frame])),
            "smallest_height": np.array(np.inf),
            "sums": np.zeros((kinds, kinds, self._bins)),
        }

    def count_(self, frame: Atoms) -> None:
        m = self.memory
        m["sums"] = m["sums"] + weighted_counts(frame, m["edges"], bool(m["periodic"]))
        if m["periodic"]:
            m["smallest_height"] = np.minimum(m["smallest_height"], smallest_height_A([frame]))

    def columns(self) -> Columns:
        m = self.memory
        sees_itself = bool(m["periodic"] and m["edges"][-1] > m["smallest_height"])
        density = m["sums"] / self.frames
        g = g_of(density, m["numbers"], m["edges"], bool(m["periodic"]), sees_itself)
        return {"r_A": middles(m["edges"]), **{"-".join(pair): y for pair, y in g.items()}}
