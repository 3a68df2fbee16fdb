"""Correlations of stress on the fly, and the shear viscosity that they add up to."""

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from fastequi.md.analysis.accumulators.accumulator import Memory
from fastequi.md.analysis.accumulators.window import Window
from fastequi.md.analysis.analysis import Columns
from fastequi.md.analysis.viscosity import COMPONENTS, green_kubo, shear_pressures
from fastequi.md.velocities import internal_temperature_K


class ViscositySums(Window):
    """Sums of p(k) p(k+m) over origins k, of each of five components of the pressure tensor."""

    kind = "viscosity"

    def __init__(self, lags: int = 1000) -> None:
        super().__init__(lags)

    def begin(self, frame: Atoms) -> Memory:
        return {**super().begin(frame), "volume": np.zeros(()), "temperature": np.zeros(())}

    def taken_of(self, frame: Atoms) -> NDArray[np.float64]:
        return shear_pressures(frame)[:, None]

    def groups(self) -> list[NDArray[np.bool_]]:
        return list(np.eye(COMPONENTS, dtype=bool))

    def count_(self, frame: Atoms) -> None:
        super().count_(frame)
        m = self.memory
        m["volume"] = m["volume"] + frame.get_volume()
        m["temperature"] = m["temperature"] + internal_temperature_K(frame)

    def columns(self) -> Columns:
        m, known = self.memory, self.known()
        correlations = m["sums"][:, :known] / m["origins"][:known]
        means = (float(m[name]) / self.frames for name in ("volume", "temperature"))
        return green_kubo(correlations, 1e3 * self.interval_ps(), *means)
