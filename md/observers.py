"""What a simulation can be asked while it runs; observers of the run are built on it."""

from typing import TYPE_CHECKING

import torch

from fastequi.graph import volumes
from fastequi.md.state import kinetic_energy, pressure_GPa, temperature_K

if TYPE_CHECKING:
    from fastequi.md.simulation import Simulation


def thermodynamics(simulation: "Simulation", system: int = 0) -> dict[str, float]:
    """One row of the log of one system; see `thermodynamics_of_all`."""
    return thermodynamics_of_all(simulation)[system]


def thermodynamics_of_all(simulation: "Simulation") -> list[dict[str, float]]:
    """One row of the log of each system; keys name their units.

    The volume is 0 and the pressure NaN where the cell has none. The kinetic energy is that of all
    motion; the integrator says what part of it is heat, which makes temperature and pressure.
    """
    state, integrator = simulation.state, simulation.integrator
    kinetic, thermal = kinetic_energy(state), integrator.thermal_energy(state)
    columns = {
        "potential_energy_eV": state.energy,
        "kinetic_energy_eV": kinetic,
        "total_energy_eV": state.energy + kinetic,
        "temperature_K": temperature_K(thermal, integrator.degrees_of_freedom(state)),
        "pressure_GPa": pressure_GPa(state, thermal),
        "volume_A3": volumes(state.cell),
        "conserved_eV": integrator.conserved_energy(state),
    }
    table = torch.stack(list(columns.values()), dim=1).tolist()
    moment = {"step": state.step, "time_ps": simulation.time_ps}
    return [{**moment, **dict(zip(columns, values, strict=True))} for values in table]
