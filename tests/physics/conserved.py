"""How well dynamics keep their invariant."""

import numpy as np
from ase import Atoms

from fastequi.md.integrators import Integrator
from fastequi.md.simulation import Simulation
from fastequi.md.state import State
from fastequi.potential import Potential


class Invariant:
    """The conserved energy of the first system at every step, in eV."""

    every = 1

    def __init__(self) -> None:
        self.values: list[float] = []

    def __call__(self, simulation: Simulation) -> None:
        self.values.append(float(simulation.integrator.conserved_energy(simulation.state)[0]))


def invariants(
    atoms: Atoms | State, potential: Potential, integrator: Integrator, steps: int
) -> np.ndarray:
    """The invariant [steps + 1] in eV."""
    seen = Invariant()
    Simulation(atoms, potential, integrator, observers=[seen]).run(steps)
    return np.array(seen.values)


def invariant_error(
    atoms: Atoms, potential: Potential, integrator: Integrator, duration_fs: float
) -> float:
    """RMS fluctuation of the invariant over a stretch of time, in eV."""
    steps = round(duration_fs / integrator.timestep_fs)
    return float(np.std(invariants(atoms, potential, integrator, steps)))


def slope_meV_per_atom_per_ps(
    atoms: Atoms, potential: Potential, integrator: Integrator, steps: int
) -> float:
    """Of a line through the invariant."""
    values = invariants(atoms, potential, integrator, steps) / len(atoms) * 1e3
    time_ps = integrator.timestep_fs * 1e-3 * np.arange(steps + 1)
    return float(np.polyfit(time_ps, values, 1)[0])
