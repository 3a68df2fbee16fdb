"""What the engine asks of an integrator."""

from collections.abc import Callable
from typing import Protocol

from torch import Tensor

from fastequi.errors import InputError
from fastequi.md.state import State


class Integrator(Protocol):
    """Advances a state by one step.

    A step starts with forces that belong to the positions and leaves them so. It draws its noise
    by `state.step`, which the caller raises by one when the step is done.
    """

    timestep_fs: float

    def step_(self, state: State, forces_: Callable[[State], None]) -> None:
        """One time step; `forces_` refreshes energy, forces and stress in place."""
        ...

    def degrees_of_freedom(self, state: State) -> Tensor:
        """Kinetic degrees of freedom [systems] that hold heat, float64."""
        ...

    def thermal_energy(self, state: State) -> Tensor:
        """Their kinetic energy [systems] in eV: what temperature and pressure are made of."""
        ...

    def conserved_energy(self, state: State) -> Tensor:
        """The invariant [systems] in eV: exact dynamics leave it as it is."""
        ...

    def description(self) -> dict[str, object]:
        """Ensemble and parameters, with units in the names."""
        ...


def positive(name: str, value: float) -> float:
    """The value as a float; InputError unless it is finite and positive."""
    if not 0.0 < value < float("inf"):
        raise InputError(f"{name} is {value}; it must be a positive number")
    return float(value)
