"""Targets: one value, one per system, ramps; in Python and in a TOML."""

import pytest
import torch
from ase import Atoms
from pydantic import ValidationError

from fastequi.errors import InputError
from fastequi.md.config import DynamicsConfig
from fastequi.md.ramps import Ramp, Schedule, first_value, has_ramp, temperature_schedule
from fastequi.md.state import State, state_from_atoms


def systems(n: int) -> State:
    return state_from_atoms([Atoms("Ar")] * n)


def test_a_ramp_is_linear_and_stays_where_it_ends() -> None:
    schedule = Schedule([100.0, Ramp(300.0, 500.0, 200)], systems(2), "temperatures")
    assert schedule.changes
    for step, value in ((0, 300.0), (1, 301.0), (150, 450.0), (200, 500.0), (900, 500.0)):
        assert schedule.at(step).tolist() == [100.0, value]
        assert torch.equal(schedule.at(torch.tensor(step)), schedule.at(step))
    assert not Schedule(Ramp(3.0, 3.0, 10), systems(1), "pressures").changes


def test_wrong_targets_are_refused() -> None:
    with pytest.raises(InputError, match="3 pressures for 2 systems; give one, or one per system"):
        Schedule([0.0, 1.0, 2.0], systems(2), "pressures")
    with pytest.raises(InputError, match="temperatures in K must be zero or positive; got -1"):
        temperature_schedule(-1.0, systems(1))
    with pytest.raises(InputError, match="temperatures in K must be positive; got 300 to 0"):
        temperature_schedule(Ramp(300.0, 0.0, 5), systems(1), positive=True)
    with pytest.raises(InputError, match="pressures must be finite"):
        Schedule(float("nan"), systems(1), "pressures")


def dynamics(**keys: object) -> DynamicsConfig:
    return DynamicsConfig.model_validate({"ensemble": "npt-scr", "steps": 50, **keys})


TARGETS = {
    "number": (300, 300.0, 300.0),
    "ramp": ([300.0, 600], Ramp(300.0, 600.0, 50), [300.0, 600.0]),
    "each": ({"each": [300.0, [1.0, 2.0]]}, (300.0, Ramp(1.0, 2.0, 50)),
             {"each": [300.0, [1.0, 2.0]]}),
}  # fmt: skip


@pytest.mark.parametrize("key", ["temperature_K", "pressure_GPa"])
@pytest.mark.parametrize("target", TARGETS)
def test_targets_are_read_and_written_back(key: str, target: str) -> None:
    given, meant, written = TARGETS[target]
    config = dynamics(**{key: given})
    assert getattr(config, key) == meant
    assert config.model_dump()[key] == written
    assert dynamics(**config.model_dump(include={key})) == config
    assert first_value(meant) == 300.0
    assert has_ramp(meant) == (target != "number")


@pytest.mark.parametrize("wrong", [
    "300", -1.0, [1.0], [1.0, 2.0, 3.0], {"each": []}, {"all": [1.0]}, [1.0, -2.0],
    {"each": [True]}, float("inf"),
])  # fmt: skip
def test_what_a_toml_may_not_say(wrong: object) -> None:
    with pytest.raises(ValidationError, match=r"at least 0, \[from, to\], or \{ each = \["):
        dynamics(temperature_K=wrong)


def test_pressures_may_be_negative() -> None:
    assert dynamics(pressure_GPa=-2.0).model_dump()["pressure_GPa"] == -2.0
    assert torch.equal(
        Schedule(-2.0, systems(1), "pressures").at(3), torch.tensor([-2.0], dtype=torch.float64)
    )
