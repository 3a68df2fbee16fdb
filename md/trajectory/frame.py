"""A frame: one system at one step as ASE's Atoms, which all writers take and all readers return."""

from typing import TYPE_CHECKING

from ase import Atoms

from fastequi.md.state import state_to_atoms

if TYPE_CHECKING:
    from fastequi.md.simulation import Simulation


def frame_of(simulation: "Simulation", system: int = 0) -> Atoms:
    """Copy a system as it is now: positions (not wrapped), momenta, energy, forces, stress.

    `info` has `step` and `time_ps`. Later steps do not change the copy.
    """
    state = simulation.state
    atoms = state_to_atoms(state)[system]
    time_ps = state.step * simulation.integrator.timestep_fs * 1e-3
    atoms.info.update(step=state.step, time_ps=time_ps)
    return atoms
