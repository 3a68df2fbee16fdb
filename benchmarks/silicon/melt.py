"""Melting and quenching: does the potential stay sane far from where it is at home?

The crystal at 3000 K and constant volume, then cooled in steps to 300 K. At such rates silicon
becomes amorphous. float32, Langevin thermostat.
"""

import numpy as np
from ase import Atoms
from ase.neighborlist import neighbor_list

from benchmarks.silicon.crystal import crystal
from benchmarks.silicon.properties import Effort, Property, Section
from fastequi.md.analysis import (
    diffusion_cm2_per_s,
    mean_squared_displacement,
    positions_of,
    radial_distribution,
    without_drift,
)
from fastequi.md.integrators import LangevinBAOAB
from fastequi.md.simulation import Simulation
from fastequi.md.state import State, state_from_atoms, state_to_atoms
from fastequi.md.velocities import maxwell_boltzmann_
from fastequi.potential import Potential

HOT_K, COLD_K, COOLING_STEPS = 3000.0, 300.0, 10
FRICTION_PER_PS, TIMESTEP_FS, EVERY, SEED = 5.0, 1.0, 20, 1
#: Atoms nearer than this are neighbours; the first minimum of g(r) of amorphous silicon.
BOND_A = 2.9
#: The data come down to 1.83 Å; far below that a potential has lost its repulsion.
CLOSEST_A = 1.7


class Frames:
    """An observer that keeps the atoms."""

    every = EVERY

    def __init__(self) -> None:
        self.atoms: list[Atoms] = []

    def __call__(self, simulation: Simulation) -> None:
        self.atoms += state_to_atoms(simulation.state)


def check(potential: Potential, a: float, effort: Effort) -> Section:
    atoms = crystal(a).repeat(effort.melt_cells)
    state = state_from_atoms(atoms, potential.device)
    maxwell_boltzmann_(state, 2 * HOT_K, seed=SEED)
    hot = hold_(state, potential, HOT_K, effort.melt_ps)
    cooling = []
    for temperature in np.linspace(HOT_K, COLD_K, COOLING_STEPS + 1)[1:]:
        cooling.append(
            hold_(state, potential, float(temperature), effort.quench_ps / COOLING_STEPS)
        )
    liquid, solid = hot[len(hot) // 2 :], cooling[-1]
    closest = min(closest_A(frame) for frame in [*hot, *(f for part in cooling for f in part)])
    r, g_liquid = _g(liquid)
    _, g_solid = _g(solid)
    peak = r[g_liquid.argmax()]
    what = f"{len(atoms)} atoms, {effort.melt_ps:g} and {effort.quench_ps:g} ps"
    found = [
        Property(f"closest in melt and quench ({what})", closest, "Å", 1.83, "the data", CLOSEST_A),
        Property("melt, first peak of g(r)", float(peak), "Å", 2.45, "PBE, literature", 2.3, 2.65),
        Property("melt, neighbours within 2.9 Å", coordination(liquid), "", None, "", 3.5, 8.0),
        Property("melt, diffusion", diffusion(liquid), "cm²/s", None, "", 5e-5),
        Property("quenched, neighbours within 2.9 Å", coordination(solid), "", 4.1, "", 3.7, 4.8),
    ]
    curves = {"r": r, "melt": g_liquid, "quenched": g_solid}
    return Section(found, {name: curve.round(4).tolist() for name, curve in curves.items()})


def hold_(state: State, potential: Potential, temperature_K: float, ps: float) -> list[Atoms]:
    """Run at one temperature; the frames."""
    thermostat = LangevinBAOAB(TIMESTEP_FS, temperature_K, FRICTION_PER_PS, seed=SEED)
    frames = Frames()
    Simulation(state, potential, thermostat, observers=[frames]).run(round(ps * 1e3 / TIMESTEP_FS))
    return frames.atoms


def closest_A(atoms: Atoms) -> float:
    """Distance in Å of the two nearest atoms; infinite if none are within BOND_A."""
    return float(min(neighbor_list("d", atoms, BOND_A), default=np.inf))


def coordination(frames: list[Atoms]) -> float:
    """Mean number of neighbours within BOND_A."""
    counts = [len(neighbor_list("i", frame, BOND_A)) / len(frame) for frame in frames]
    return float(np.mean(counts))


def diffusion(frames: list[Atoms]) -> float:
    """Diffusion coefficient in cm²/s, from displacements over a tenth to a half of the time."""
    msd = mean_squared_displacement(without_drift(positions_of(frames), frames[0].get_masses()))
    total = EVERY * TIMESTEP_FS * (len(frames) - 1)
    return diffusion_cm2_per_s(msd, EVERY * TIMESTEP_FS, 0.1 * total, 0.5 * total)


def _g(frames: list[Atoms]) -> tuple[np.ndarray, np.ndarray]:
    heights = min(frames[0].cell.lengths())
    r, pairs = radial_distribution(frames, min(8.0, 0.5 * heights), bins=120)
    return r, pairs["Si", "Si"]
