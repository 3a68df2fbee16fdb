"""Mean squared displacement on the fly."""

import numpy as np
from ase import Atoms
from ase.data import chemical_symbols
from numpy.typing import NDArray

from fastequi.md.analysis.accumulators.accumulator import Memory
from fastequi.md.analysis.accumulators.window import Window
from fastequi.md.analysis.analysis import Columns
from fastequi.md.analysis.frames import fully_periodic
from fastequi.md.analysis.msd import without_drift


class MsdSums(Window):
    """Sums of |r(k+m) - r(k)|² over atoms and origins k, without drift and breathing of the cell.

    In a periodic cell r is s times the mean cell M, which nobody knows before the end. So sums of
    the tensors ds ds are kept: |ds M|² is their product with M Mᵀ.
    """

    kind = "msd"

    def begin(self, frame: Atoms) -> Memory:
        return {**super().begin(frame), "cells": np.zeros((3, 3))}

    def taken_of(self, frame: Atoms) -> NDArray[np.float64]:
        positions = without_drift(frame.positions[None], frame.get_masses())[0]
        return positions @ np.linalg.inv(_cell(frame))

    def products(
        self, now: NDArray[np.float64], before: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        away = now - before
        return np.einsum("mac,mad->mcd", away, away)

    def count_(self, frame: Atoms) -> None:
        super().count_(frame)
        self.memory["cells"] = self.memory["cells"] + _cell(frame)

    def columns(self) -> Columns:
        m, known = self.memory, self.known()
        mean_cell = m["cells"] / self.frames
        sums = np.einsum("kmcd,cd->km", m["sums"][:, :known], mean_cell @ mean_cell.T)
        origins = m["origins"][:known]
        columns = {"time_ps": self.times_ps()}
        columns["msd_A2"] = sums.sum(axis=0) / (origins * len(m["numbers"]))
        for k, z in enumerate(np.unique(m["numbers"])):
            atoms = np.count_nonzero(m["numbers"] == z)
            columns[f"msd_{chemical_symbols[z]}_A2"] = sums[k] / (origins * atoms)
        return columns


def _cell(frame: Atoms) -> NDArray[np.float64]:
    """Lattice vectors; those of length 1 Å where there is no cell to be relative to."""
    return np.asarray(frame.cell.array if fully_periodic([frame]) else np.eye(3), np.float64)
