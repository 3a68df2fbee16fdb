"""Velocity autocorrelation on the fly."""

import numpy as np
from ase import Atoms
from ase.data import chemical_symbols
from numpy.typing import NDArray

from fastequi.md.analysis.accumulators.window import Window
from fastequi.md.analysis.analysis import Columns
from fastequi.md.analysis.frames import velocities_of


class VacfSums(Window):
    """Sums of v(k) v(k+m) over atoms and origins k."""

    kind = "vacf"

    def taken_of(self, frame: Atoms) -> NDArray[np.float64]:
        return velocities_of([frame])[0]

    def columns(self) -> Columns:
        m, known = self.memory, self.known()
        sums, origins = m["sums"][:, :known], m["origins"][:known]
        columns = {"time_ps": self.times_ps()}
        columns["vacf_A2_per_fs2"] = sums.sum(axis=0) / (origins * len(m["numbers"]))
        for k, z in enumerate(np.unique(m["numbers"])):
            atoms = np.count_nonzero(m["numbers"] == z)
            columns[f"vacf_{chemical_symbols[z]}_A2_per_fs2"] = sums[k] / (origins * atoms)
        return columns
