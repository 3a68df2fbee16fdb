"""A frame: one system at one step as ASE's Atoms, which all writers take and all readers return."""

from collections.abc import Callable
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
    return sent_frames(simulation)()


def sent_frames(simulation: "Simulation") -> Callable[[], list[Atoms]]:
    """`frames_of` this step, for whoever asks later: they are on their way."""
    state, info = simulation.state, {"step": simulation.state.step, "time_ps": simulation.time_ps}
    is_dynamics = simulation.integrator.is_dynamics
    arriving = state.sent()

    def frames() -> list[Atoms]:
        found = state_to_atoms(arriving())
        for atoms in found:
            atoms.info.update(info)
            if not is_dynamics:
                forget_velocities_(atoms)  # a run from this frame draws its own
        return found

    return frames
