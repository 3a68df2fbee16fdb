"""A bias: forces on top of those of a potential, by someone who counts steps and may remember them.

It is asked once per step, on the host, so that a chunk is one step with its looks.
"""

from typing import Protocol

from fastequi.md.state import State

#: The column of log.csv that a biased run has on top: the bias, which energies of the log contain.
COLUMN = "bias_eV"


class Bias(Protocol):
    """What a simulation adds to energy, forces and stress of its one system."""

    @property
    def energy_eV(self) -> float:
        """Of the last step; NaN before the first."""
        ...

    @property
    def wants_stop(self) -> bool:
        """Whether the last step was asked to be the last one."""
        ...

    def begin_(self, state: State, timestep_fs: float) -> None:
        """See the step that a restart goes on from, whose forces are known, unless it has seen one
        already; the state stays as it is."""
        ...

    def add_(self, state: State, step: int, timestep_fs: float) -> None:
        """Add the bias of a step to what the potential said of it; raises PhysicsError where it is
        not finite. What is remembered of a step is so once, however often it is asked for."""
        ...
