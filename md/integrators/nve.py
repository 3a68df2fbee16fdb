"""Constant energy: velocity Verlet.

Swope, Andersen, Berens & Wilson, J. Chem. Phys. 76, 637 (1982). Second order, symplectic,
reversible; conserves total momentum and, up to a bounded error in timestep², total energy.
"""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from fastequi.md.integrators.integrator import Integrator, check_positive
from fastequi.md.integrators.steps import drift_, kick_
from fastequi.md.state import State, kinetic_energy
from fastequi.md.velocities import internal_degrees_of_freedom, internal_kinetic_energy


@dataclass(frozen=True)
class VelocityVerlet(Integrator):
    """NVE dynamics; invariant: the total energy."""

    ensemble = "nve"
    method = "velocity Verlet"

    timestep_fs: float

    def __post_init__(self) -> None:
        check_positive("timestep_fs", self.timestep_fs)

    def step_(self, state: State, forces_: Callable[[State], None]) -> None:
        """kick t/2, drift t, forces, kick t/2."""
        dt = self.timestep_fs
        kick_(state, dt / 2)
        drift_(state, dt)
        forces_(state)
        kick_(state, dt / 2)

    def degrees_of_freedom(self, state: State) -> Tensor:
        """3N - 3: the motion of the centre of mass is conserved; see `fastequi.md.velocities`."""
        return internal_degrees_of_freedom(state)

    def thermal_energy(self, state: State) -> Tensor:
        """Kinetic energy about the centre of mass [systems] in eV."""
        return internal_kinetic_energy(state)

    def conserved_energy(self, state: State) -> Tensor:
        """Potential plus kinetic energy [systems] in eV."""
        return state.energy + kinetic_energy(state)
