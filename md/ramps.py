"""What an ensemble holds its systems at: a value, one per system, or a ramp over the steps.

In Python a number, a `Ramp`, or a sequence with one of these per system. In a TOML

    temperature_K = 300.0
    temperature_K = [300.0, 600.0]                     # from, to: linear over the steps of the run
    temperature_K = { each = [300.0, [300.0, 600.0]] } # one per system
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, TypeAlias

import torch
from pydantic import PlainSerializer, PlainValidator, ValidationInfo, WithJsonSchema
from pydantic_core import PydanticCustomError
from torch import Tensor

from fastequi.errors import InputError
from fastequi.md.state import State


@dataclass(frozen=True)
class Ramp:
    """From one value to another over `steps` steps, linear; constant before and from there on.

    It begins at step `begin` of the simulation.
    """

    start: float
    end: float
    steps: int
    begin: int = 0

    def __str__(self) -> str:
        return f"{self.start:g} to {self.end:g}"


Target: TypeAlias = float | Ramp | Sequence[float | Ramp]


class Schedule:
    """The values of a batch of systems at every step.

    changes: whether any of them does.
    """

    def __init__(self, target: Target, state: State, what: str) -> None:
        """`what` they are, for the InputError where there is not one, or one per system."""
        given = _each(target, state.n_systems)
        if len(given) != state.n_systems:
            raise InputError(
                f"{len(given)} {what} for {state.n_systems} systems; give one, or one per system"
            )
        ramps = [v if isinstance(v, Ramp) else Ramp(float(v), float(v), 1) for v in given]
        if not all(math.isfinite(v) for ramp in ramps for v in (ramp.start, ramp.end)):
            raise InputError(f"{what} must be finite numbers; got {target}")
        self.lowest = min((min(r.start, r.end) for r in ramps), default=math.inf)
        self.changes = any(ramp.start != ramp.end for ramp in ramps)

        def tensor(values: list[float]) -> Tensor:
            return torch.tensor(values, dtype=torch.float64, device=state.device)

        self._start = tensor([ramp.start for ramp in ramps])
        self._change = tensor([ramp.end - ramp.start for ramp in ramps])
        self._per_step = tensor([1.0 / max(1, ramp.steps) for ramp in ramps])
        self._begin = tensor([float(ramp.begin) for ramp in ramps])

    def at(self, step: int | Tensor) -> Tensor:
        """Values [systems], float64; a step on the device, int64 [], is not asked what it is."""
        if not self.changes:
            return self._start
        return self._start + self._change * (self._per_step * (step - self._begin)).clamp(0.0, 1.0)


def temperature_schedule(temperature_K: Target, state: State, positive: bool = False) -> Schedule:
    """Of temperatures in K; InputError where one is negative or, if asked, zero."""
    schedule = Schedule(temperature_K, state, "temperatures")
    if schedule.lowest < 0.0 or (positive and schedule.lowest == 0.0):
        allowed = "positive" if positive else "zero or positive"
        raise InputError(f"temperatures in K must be {allowed}; got {temperature_K}")
    return schedule


def first_value(target: Target) -> float:
    """At step 0, of the first system."""
    value = _each(target, 1)[0]
    return value.start if isinstance(value, Ramp) else float(value)


def of_systems(target: Target, systems: Sequence[int], begin: int = 0) -> Target:
    """The same for some of the systems, with ramps that begin at step `begin`.

    One value for all systems stays one.
    """

    def moved(value: float | Ramp) -> float | Ramp:
        return replace(value, begin=begin) if isinstance(value, Ramp) else value

    if isinstance(target, int | float | Ramp):
        return moved(target)
    return tuple(moved(target[k]) for k in systems)


def _each(target: Target, n_systems: int) -> list[float | Ramp]:
    if isinstance(target, int | float | Ramp):
        return [target] * n_systems
    return list(target)


def has_ramp(target: Any) -> bool:
    """Whether what a key of a TOML says depends on how many steps there are."""
    return isinstance(target, Ramp) or (isinstance(target, tuple) and any(map(has_ramp, target)))


# -- in a TOML -----------------------------------------------------------------------------------


def target_key(at_least: float = -math.inf) -> Any:
    """The type of a key of [dynamics] that may be a ramp; it comes after `steps`."""

    def read(value: Any, info: ValidationInfo) -> Target:
        steps = info.data.get("steps", 1)
        if isinstance(value, dict) and list(value) == ["each"]:
            each = value["each"]
            if isinstance(each, list | tuple) and each:
                return tuple(one(item, steps) for item in each)
        elif isinstance(value, tuple) and not isinstance(value, Ramp):
            return tuple(one(item, steps) for item in value)
        return one(value, steps)

    def one(value: Any, steps: int) -> float | Ramp:
        if isinstance(value, Ramp):
            return value
        if isinstance(value, list) and len(value) == 2:
            return Ramp(number(value[0]), number(value[1]), steps)
        return number(value)

    def number(value: Any) -> float:
        if type(value) in (int, float) and math.isfinite(value) and value >= at_least:
            return float(value)
        raise PydanticCustomError("target", _allowed(at_least))

    return Annotated[
        Any,
        PlainValidator(read),
        PlainSerializer(_in_toml),
        WithJsonSchema({"anyOf": [{"type": "number"}, {"type": "array"}, {"type": "object"}]}),
    ]


def _allowed(at_least: float) -> Any:
    limit = f" of at least {at_least:g}" if at_least > -math.inf else ""
    return f"a finite number{limit}, [from, to], or {{ each = [one per system] }}"


def _in_toml(target: Any) -> Any:
    """As a TOML has it."""
    if isinstance(target, Ramp):
        return [target.start, target.end]
    return {"each": [_in_toml(v) for v in target]} if isinstance(target, tuple) else target
