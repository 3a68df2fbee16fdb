"""MPI as the ranks of a run use it: patient where others have no core, and timed.

MPI waits by asking again and again. Where ranks, or other programs, share cores, who waits keeps
the core from whom it waits for; so after a moment, who waits here lets others have it.
"""

import os
from collections.abc import Sequence
from time import perf_counter, sleep
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastequi.integrations.lammps.packages import lammps_and_mpi
from fastequi.md.clock import Clock

#: Looks at a message before others get the core, and seconds until it is slept.
_LOOKS, _AWAKE_S = 50, 0.002
_NAP_S = 0.0002
#: Between instructions nobody is in a hurry.
_IDLE_NAP_S = 0.001


class Communicator:
    """The collective calls of a communicator of mpi4py, `mpi`; all ranks make the same ones.

    place, here   which of how many ranks of its machine this is
    sent_bytes    what this rank has sent to others by `exchange_`
    """

    def __init__(self, mpi: Any, clock: Clock | None = None) -> None:
        self.mpi, self.rank, self.size = mpi, mpi.rank, mpi.size
        self.clock = clock or Clock(phases=("communication",))
        self.sent_bytes = 0
        _, self._MPI = lammps_and_mpi()
        neighbours = mpi.Split_type(self._MPI.COMM_TYPE_SHARED)
        self.place, self.here = neighbours.rank, neighbours.size
        neighbours.Free()

    def exchange_(
        self, rows: NDArray[Any], n_there: NDArray[np.int64], into: NDArray[Any],
        n_back: NDArray[np.int64],
    ) -> None:  # fmt: skip
        """Numbers to all ranks, and theirs into an array; n_there, n_back [ranks], how many."""
        with self.clock.timed("communication"):
            if self.size == 1:
                into.reshape(-1)[:] = rows.reshape(-1)
                return
            self.sent_bytes += int(n_there.sum() - n_there[self.rank]) * rows.itemsize
            _finish(self.mpi.Ialltoallv([rows, n_there], [into, n_back]))

    def sum_(self, values: NDArray[Any]) -> None:
        """An array, summed over the ranks in place."""
        self._reduce_(values, self._MPI.SUM)

    def largest(self, values: Sequence[int]) -> list[int]:
        """Of each of these numbers over the ranks."""
        found = np.array(values, dtype=np.int64)
        self._reduce_(found, self._MPI.MAX)
        return found.tolist()

    def _reduce_(self, values: NDArray[Any], operation: Any) -> None:
        if self.size > 1:
            with self.clock.timed("communication"):
                _finish(self.mpi.Iallreduce(self._MPI.IN_PLACE, values, op=operation))

    def gathered(self, item: Any) -> list[Any] | None:
        """Of each rank, on rank 0; None on others."""
        with self.clock.timed("communication"):
            return self.mpi.gather(item)

    def told(self, item: Any = None) -> Any:
        """What rank 0 says, on every rank; however long that takes, no core is kept busy."""
        if self.size > 1:
            _finish(self.mpi.Ibarrier(), looks=1, awake_s=0.0, nap_s=_IDLE_NAP_S)
        return self.mpi.bcast(item)

    def end_all(self, code: int) -> None:
        """End the processes of all ranks at once, with an exit code."""
        try:
            self.mpi.Abort(code)
        finally:  # it may come back where another rank has ended them all already
            os._exit(code)


def _finish(
    request: Any, looks: int = _LOOKS, awake_s: float = _AWAKE_S, nap_s: float = _NAP_S
) -> None:
    """Wait for a request: at full attention for some looks, then letting others go first."""
    for _ in range(looks):
        if request.Test():
            return
    started = perf_counter()
    while not request.Test():
        if perf_counter() - started < awake_s:
            os.sched_yield()
        else:
            sleep(nap_s)
