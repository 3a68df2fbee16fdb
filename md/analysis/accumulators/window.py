"""The last frames, beside which each new one is held: what correlations over time are made of."""

from abc import abstractmethod

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from fastequi.errors import InputError
from fastequi.md.analysis.accumulators.accumulator import Accumulator, Memory

#: Distances in time, in ps, that are the same: rounding of sums of timesteps.
_SAME_PS = 1e-9


class Window(Accumulator):
    """Sums over all pairs of frames that are 0, 1, ..., lags - 1 frames apart, of each group.

    Every frame is an origin of time. Frames are evenly spaced; where the timestep changes, as a
    stage may have it, everything begins anew.
    """

    settings = ("lags",)

    def __init__(self, lags: int = 200) -> None:
        super().__init__()
        self._lags = lags

    @abstractmethod
    def taken_of(self, frame: Atoms) -> NDArray[np.float64]:
        """[rows, 3], or [rows, 1]: what is correlated, a row for each atom unless groups differ."""

    def products(
        self, now: NDArray[np.float64], before: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Of [rows, 3] with [frames, rows, 3]: summed over the rows, [frames, ...]."""
        return np.einsum("ac,mac->m", now, before)

    def begin(self, frame: Atoms) -> Memory:
        taken = self.taken_of(frame)
        shape = self.products(taken, taken[None]).shape[1:]
        kinds = len(self.groups())
        return {
            "window": np.zeros((0, *taken.shape)),
            "sums": np.zeros((kinds, self._lags, *shape)),
            "origins": np.zeros(self._lags, np.int64),
            "time_ps": np.array(np.nan),
            "interval_ps": np.array(np.nan),
        }

    def count_(self, frame: Atoms) -> None:
        self._keep_time_(frame)
        m = self.memory
        taken = self.taken_of(frame)
        window = np.concatenate([m["window"], taken[None]])[-self._lags :]
        lags = len(window)  # the newest is the last one: 0 frames apart
        for k, mine in enumerate(self.groups()):
            m["sums"][k, :lags] += self.products(taken[mine], window[::-1, mine])
        m["origins"][:lags] += 1
        m["window"] = window

    def groups(self) -> list[NDArray[np.bool_]]:
        """Which rows [rows] are summed together: the atoms of each element, by atomic number."""
        numbers = self.memory["numbers"]
        return [numbers == z for z in np.unique(numbers)]

    def known(self) -> int:
        """Lags that have been seen; at least 1."""
        return int(np.count_nonzero(self.memory["origins"]))

    def interval_ps(self) -> float:
        """Time from frame to frame; 0 after the first, when nobody knows."""
        interval = float(self.memory["interval_ps"])
        return 0.0 if np.isnan(interval) else interval

    def times_ps(self) -> NDArray[np.float64]:
        """Of the lags that are known."""
        return np.arange(self.known(), dtype=np.float64) * self.interval_ps()

    def _keep_time_(self, frame: Atoms) -> None:
        """Note the interval; with another one, forget all that was."""
        if "time_ps" not in frame.info:
            raise InputError("the frame has no time_ps in its info")
        m, now = self.memory, float(frame.info["time_ps"])
        interval = now - float(m["time_ps"])
        if not np.isnan(m["interval_ps"]) and abs(interval - m["interval_ps"]) > _SAME_PS:
            m |= self.begin(frame) | {"frames": np.zeros((), np.int64)}
        elif np.isnan(m["interval_ps"]) and not np.isnan(interval):
            m["interval_ps"] = np.array(interval)
        m["time_ps"] = np.array(now)
