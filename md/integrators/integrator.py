"""What an ensemble is made of: what the engine asks of an integrator, and what it does for it.

An ensemble is one file with a frozen dataclass, and its row in `INTEGRATORS`:

    @dataclass(frozen=True)
    class Berendsen(Integrator):
        ensemble = "nvt-berendsen"
        method = "weak coupling"

        timestep_fs: float
        temperature_K: float
        thermostat_time_fs: Annotated[Positive, Field(description="fs, of the coupling")] = 100.0

Its fields are what its constructor takes, its keys of [dynamics] and what the run reports. Keys
that not every ensemble has stand here with their limits, description and default, and nowhere else.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import fields
from typing import Any, ClassVar, Generic, TypeVar

from torch import Tensor

from fastequi.errors import InputError
from fastequi.md.state import State

Made = TypeVar("Made")


class Integrator(ABC):
    """Advances a state by one step.

    A step starts with forces that belong to the positions and leaves them so. It draws its noise
    by `state.step`, which the caller raises by one when the step is done.

    ensemble   the name of its row, as md.toml has it
    method     how it moves atoms, in a word or two
    is_dynamics  whether atoms move in time, by velocities that have a temperature

    An integrator never changes. What the future depends on is in `State`, or is declared by
    `extra_state` and then in `State.extra`: snapshots, checkpoints and devices follow from there.
    """

    ensemble: ClassVar[str]
    method: ClassVar[str]
    is_dynamics: ClassVar[bool] = True
    timestep_fs: float

    def __setattr__(self, name: str, value: object) -> None:
        """Refuse to remember: no snapshot and no checkpoint would know of it."""
        raise AttributeError(
            f"{type(self).__name__}.{name} cannot be set: an integrator is a frozen dataclass, and "
            "what changes with the steps is declared by extra_state()"
        )

    @abstractmethod
    def step_(self, state: State, forces_: Callable[[State], None]) -> None:
        """One time step; `forces_` refreshes energy, forces and stress in place."""

    @abstractmethod
    def degrees_of_freedom(self, state: State) -> Tensor:
        """Kinetic degrees of freedom [systems] that hold heat, float64."""

    @abstractmethod
    def thermal_energy(self, state: State) -> Tensor:
        """Their kinetic energy [systems] in eV: what temperature and pressure are made of."""

    @abstractmethod
    def conserved_energy(self, state: State) -> Tensor:
        """The invariant [systems] in eV: exact dynamics leave it as it is."""

    def strain_of_step(self, state: State) -> Tensor | None:
        """How much the last step has strained each cell [systems]; None where cells stay."""
        return None

    def finished(self, state: State) -> Tensor | None:
        """Which systems [systems] have nothing left to do, bool; None where there is no end.

        Looked at between chunks of steps: a system that is done must stay as it is.
        """
        return None

    @property
    def column_names(self) -> tuple[str, ...]:
        """The names of `more_columns`, with their units."""
        return ()

    def more_columns(self, state: State) -> dict[str, Tensor]:
        """Numbers [systems] that it has for the log beside those of every ensemble."""
        return {}

    def extra_state(self, state: State) -> dict[str, Tensor]:
        """What this ensemble needs in `State.extra`, as it is before the first step.

        Tensors of any shape and dtype on the device of `state`, whose forces are not known yet;
        steps write into them.
        """
        return {}

    def start_(self, state: State) -> None:
        """Give a state at step 0 its extra state; one that goes on brings its own.

        Raises InputError if it brings another's.
        """
        initial = self.extra_state(state)
        if state.step == 0 and not state.extra:
            state.extra = initial
        needed, brought = _shapes(initial), _shapes(state.extra)
        if needed != brought:
            raise InputError(
                f"{self.ensemble} cannot go on from this state (step {state.step}): it needs "
                f"{needed or 'nothing'} in state.extra, there is {brought or 'nothing'}; "
                "state.extra = integrator.extra_state(state) starts it anew"
            )

    def description(self) -> dict[str, object]:
        """Ensemble and parameters, with units in the names."""
        return {"ensemble": self.ensemble, **{n: getattr(self, n) for n in parameters(type(self))}}


class PerBatch(Generic[Made]):
    """What follows from parameters and atoms alone, made once for a batch: keys of noise, masses.

    It is no place for what changes with the steps: a restart makes it again.
    """

    def __init__(self) -> None:
        self._system_idx: Tensor | None = None

    def get(self, state: State, make: Callable[[State], Made]) -> Made:
        """`make(state)`, again only for other atoms than last time."""
        if self._system_idx is not state.system_idx:
            self._made, self._system_idx = make(state), state.system_idx
        return self._made


def parameters(kind: Any) -> dict[str, Any]:
    """The parameters of an integrator: name -> default (`dataclasses.MISSING` without one)."""
    return {field.name: field.default for field in fields(kind) if field.init}


def check_positive(name: str, value: float) -> None:
    """Raise InputError unless the value is finite and positive."""
    if not 0.0 < value < float("inf"):
        raise InputError(f"{name} is {value}; it must be a positive number")


def _shapes(extra: dict[str, Tensor]) -> dict[str, list[int]]:
    return {name: list(tensor.shape) for name, tensor in sorted(extra.items())}
