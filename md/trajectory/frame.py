"""A frame: one system at one step as ASE's Atoms, which all writers take and all readers return."""

from typing import TYPE_CHECKING

from ase import Atoms

from fastequi.md.state import forget_velocities_, state_to_atoms

if TYPE_CHECKING:
    from fastequi.md.simulation import Simulation


def frame_of(simulation: "Simulation", system: int = 0) -> Atoms:
    """Copy a system as it is now: positions (not wrapped), momenta, energy, forces, stress.

    `info` has `step` and `time_ps`. Later steps do not change the copy.
    """
    return frames_of(simulation)[system]


def frames_of(simulation: "Simulation") -> list[Atoms]:
    """`frame_of` of all systems."""
    frames = state_to_atoms(simulation.state)
    for atoms in frames:
        atoms.info.update(step=simulation.state.step, time_ps=simulation.time_ps)
        if not simulation.integrator.is_dynamics:
            forget_velocities_(atoms)  # a run from this frame draws its own
    return frames
