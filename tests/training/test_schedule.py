"""Learning rates: their values where one can say them without the code."""

import math

import pytest

from fastequi.training.config import TrainingConfig
from fastequi.training.schedule import Schedule


def schedule_of(kind: str, **keys) -> Schedule:
    return Schedule(TrainingConfig(learning_rate=0.01, schedule=kind, **keys))


def test_constant():
    schedule = schedule_of("constant")
    assert {schedule.rate(e, e / 10) for e in range(10)} == {0.01}
    schedule.after_epoch(1.0)
    assert not schedule.is_exhausted


def test_cosine_begins_high_and_ends_at_the_minimum():
    schedule = schedule_of("cosine", minimum_learning_rate=1e-4)
    assert schedule.rate(0, 0.0) == pytest.approx(0.01)
    assert schedule.rate(50, 0.5) == pytest.approx((0.01 + 1e-4) / 2)
    assert schedule.rate(25, 0.25) == pytest.approx(1e-4 + 0.0099 * (1 + math.sqrt(0.5)) / 2)
    assert schedule.rate(100, 1.0) == pytest.approx(1e-4)
    assert schedule.rate(120, 1.2) == pytest.approx(1e-4)  # beyond the wall time


@pytest.mark.parametrize("kind", ["constant", "plateau"])
def test_warm_up_is_linear(kind):
    schedule = schedule_of(kind, warmup_epochs=2.0)
    rates = [schedule.rate(epoch, 0.0) for epoch in (0.0, 0.5, 1.0, 2.0, 3.0)]
    assert rates == pytest.approx([0.0, 0.0025, 0.005, 0.01, 0.01])


def test_plateau_waits_for_more_than_its_patience():
    schedule = schedule_of("plateau", plateau_patience=2, plateau_factor=0.5)
    rates = []
    for loss in (1.0, 0.9, 0.9, 0.9, 0.9, 0.8, 0.8, 0.8, 0.8):
        schedule.after_epoch(loss)
        rates.append(schedule.rate(0, 0))
    assert rates == [0.01, 0.01, 0.01, 0.01, 0.005, 0.005, 0.005, 0.005, 0.0025]


def test_plateau_takes_a_tiny_improvement_for_none():
    schedule = schedule_of("plateau", plateau_patience=1)
    for loss in (1.0, 1.0 - 1e-5, 1.0 - 2e-5):
        schedule.after_epoch(loss)
    assert schedule.rate(0, 0) == 0.005


def test_plateau_is_exhausted_below_its_minimum():
    schedule = schedule_of(
        "plateau", plateau_patience=1, plateau_factor=0.1, minimum_learning_rate=5e-4
    )
    exhausted = []
    for _ in range(6):
        schedule.after_epoch(1.0)
        exhausted.append(schedule.is_exhausted)
    assert exhausted == [False, False, False, False, True, True]


def test_state_goes_through_a_checkpoint():
    schedule, other = (schedule_of("plateau", plateau_patience=1) for _ in range(2))
    for loss in (1.0, 2.0, 2.0, 2.0):
        schedule.after_epoch(loss)
    other.restore(schedule.state())
    assert other == schedule
