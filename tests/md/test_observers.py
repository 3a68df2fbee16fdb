"""What passes for an observer, and what is refused at the door."""

from dataclasses import dataclass

import ase.build
import pytest

from fastequi.errors import InputError
from fastequi.md.integrators import VelocityVerlet
from fastequi.md.observers import as_observer
from fastequi.md.simulation import Simulation
from fastequi.md.testing import LennardJones


def test_a_function_with_a_number_is_called() -> None:
    steps: list[int] = []
    simulation = Simulation(
        ase.build.bulk("Ar", a=5.4, cubic=True), LennardJones(), VelocityVerlet(1.0),
        observers=[(3, lambda simulation: steps.append(simulation.state.step))],
    )  # fmt: skip
    simulation.run(7)
    assert steps == [0, 3, 6]


@dataclass
class NotCallable:
    every: int = 5


@pytest.mark.parametrize(
    "given", [print, (print, 10), (0, print), (2.0, print), (True, print), (5, "x"), (5,), None,
              NotCallable()],
)  # fmt: skip
def test_anything_else_is_refused_at_once(given: object) -> None:
    with pytest.raises(InputError, match=r"an observer is \(every, function\).* got "):
        as_observer(given)  # pyright: ignore[reportArgumentType]
