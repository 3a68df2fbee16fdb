"""Rank 0 leads a run, the others follow: they do what it does, when it says so, until it ends.

What rank 0 reads, writes and prints is no affair of theirs. An error that all ranks have (a
FastEquiError) is the leader's to tell; one that a rank has alone ends all of them at once, since
nobody knows where the others wait.
"""

import signal
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import ase.parallel

from fastequi.errors import FastEquiError, PhysicsError
from fastequi.integrations.lammps.communicator import Communicator
from fastequi.integrations.lammps.worker import Worker
from fastequi.md.clock import PHASES, Clock

_END = "end"


class Ranks:
    """The processes of a run; on every rank the same object, made at the same time.

    clock   of this rank: seconds by phase
    worker  what is to be done here
    """

    def __init__(self, mpi: Any) -> None:
        self.clock = Clock(phases=(*PHASES, "communication"))
        self.comm = Communicator(mpi, self.clock)
        self.worker = Worker(self.comm, self.clock)
        self._is_over = False
        # Where ASE sees mpi4py, it has rank 0 read files and tell the others, who are not there.
        ase.parallel.world.comm = ase.parallel.DummyMPI()

    @property
    def leads(self) -> bool:
        """Whether this is rank 0."""
        return self.comm.rank == 0

    def call(self, name: str, *arguments: Any) -> Any:
        """Have all ranks call a method of their workers; what rank 0's returns. Of the leader."""
        self.comm.told((name, arguments))
        return self._do(name, arguments)

    def follow(self) -> int:
        """Do what the leader says; the exit code that it ends with."""
        try:
            return self._follow()
        except BaseException:  # alone, while the leader waits
            traceback.print_exc()
            sys.stderr.flush()
            self.comm.end_all(1)
            raise

    def _follow(self) -> int:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            if number is not signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self._ask_to_stop)
        while True:
            name, arguments = self.comm.told()
            if name == _END:
                self.worker.close()
                return arguments[0]
            with suppress(FastEquiError):  # the leader has the same
                self._do(name, arguments)

    def end(self, code: int) -> None:
        """Let the others leave, with an exit code; once."""
        if self.leads and not self._is_over:
            self._is_over = True
            self.comm.told((_END, (code,)))
            self.worker.close()

    def _do(self, name: str, arguments: tuple[Any, ...]) -> Any:
        method: Callable[..., Any] = getattr(self.worker, name)
        try:
            return method(*arguments)
        except FastEquiError:
            raise
        except BaseException as error:
            if self.comm.size == 1:
                raise
            is_lammps = type(error).__name__ == "MPIAbortException"
            if is_lammps:
                print(f"fastequi: LAMMPS, rank {self.comm.rank}: {error}", file=sys.stderr)
            else:
                traceback.print_exc()
            sys.stderr.flush()
            self.comm.end_all(PhysicsError.exit_code if is_lammps else 1)

    def _ask_to_stop(self, number: int, frame: Any) -> None:
        self.worker.stopper.asked = True
