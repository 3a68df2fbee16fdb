"""Observers, which are called while a simulation runs, and what they can ask it.

    Simulation(atoms, potential, integrator, observers=[(100, print_energy)])

An observer is a function of the simulation with a number, `every`: it is called at step 0 and at
every multiple. Two of a tuple are one; an object that has both is one, too. The tensors of a state
are written in place as the simulation goes on: an observer that keeps one keeps a `clone()` of it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from fastequi.errors import InputError
from fastequi.graph import volumes
from fastequi.md.host_copies import HostCopies
from fastequi.md.state import kinetic_energy, pressure_GPa, temperature_K

if TYPE_CHECKING:
    from fastequi.md.simulation import Simulation


@dataclass(frozen=True)
class EverySo:
    """A function as an observer."""

    every: int
    function: Callable[[Any], Any]

    def __call__(self, simulation: Any) -> None:
        self.function(simulation)


def as_observer(given: Any) -> Any:
    """What was given as one, checked. Raises InputError for what is none."""
    observer = EverySo(*given) if isinstance(given, tuple) and len(given) == 2 else given
    every = getattr(observer, "every", None)
    function = observer.function if isinstance(observer, EverySo) else observer
    if isinstance(every, int) and not isinstance(every, bool) and every >= 1 and callable(function):
        return observer
    raise InputError(
        f"an observer is (every, function), or an object with `every` that can be called; got "
        f"{given!r}. `every` is a whole number of steps above 0; (100, f) calls f(simulation) at "
        "step 0 and every 100 steps"
    )


def thermodynamics(simulation: "Simulation", system: int = 0) -> dict[str, float]:
    """One row of the log of one system; see `thermodynamics_of_all`."""
    return thermodynamics_of_all(simulation)[system]


def thermodynamics_of_all(simulation: "Simulation") -> list[dict[str, float]]:
    """One row of the log of each system; keys name their units.

    The volume is 0 and the pressure NaN where the cell has none, the temperature where nothing is
    warm. An integrator may have more columns. The kinetic energy is that of all
    motion; the integrator says what part of it is heat, which makes temperature and pressure.
    """
    return sent_thermodynamics(simulation)()


def sent_thermodynamics(simulation: "Simulation") -> Callable[[], list[dict[str, float]]]:
    """`thermodynamics_of_all` of this step, for whoever asks later: it is on its way."""
    state, integrator = simulation.state, simulation.integrator
    kinetic, thermal = kinetic_energy(state), integrator.thermal_energy(state)
    columns = {
        "potential_energy_eV": state.energy,
        "kinetic_energy_eV": kinetic,
        "total_energy_eV": state.energy + kinetic,
        "temperature_K": temperature_K(thermal, integrator.degrees_of_freedom(state)),
        "pressure_GPa": pressure_GPa(state, thermal),
        "volume_A3": volumes(state.cell),
        "conserved_eV": simulation.conserved_energy(),
        **integrator.more_columns(state),
    }
    copies = HostCopies({"table": torch.stack(list(columns.values()), dim=1)}, kept=("table",))
    moment = {"step": state.step, "time_ps": simulation.time_ps}

    def rows() -> list[dict[str, float]]:
        table = copies.arrived()["table"].tolist()
        return [{**moment, **dict(zip(columns, values, strict=True))} for values in table]

    return rows
