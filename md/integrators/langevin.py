"""Constant temperature: Langevin dynamics by the splitting BAOAB.

Leimkuhler & Matthews, Appl. Math. Res. Express 2013, 34: B kick, A drift, O Ornstein-Uhlenbeck.
Of the splittings with these pieces it samples positions best: exactly for a harmonic potential at
every stable timestep, to fourth order at high friction otherwise.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated

from pydantic import Field
from torch import Tensor

from fastequi.md.integrators.heat_bath import Bath, HeatBath
from fastequi.md.integrators.integrator import PerBatch, check_positive
from fastequi.md.integrators.steps import ornstein_uhlenbeck_
from fastequi.md.ramps import Target
from fastequi.md.state import State, kinetic_energy
from fastequi.md.velocities import all_degrees_of_freedom
from fastequi.settings import Positive


@dataclass(frozen=True)
class LangevinBAOAB(HeatBath):
    """NVT dynamics with friction and noise; see `HeatBath`."""

    ensemble = "nvt-langevin"
    method = "BAOAB"

    timestep_fs: float
    temperature_K: Target
    friction_per_ps: Annotated[Positive, Field(description="1/ps")] = 1.0
    seed: int | Sequence[int] = 0
    _bath: PerBatch[Bath] = field(init=False, repr=False, compare=False, default_factory=PerBatch)

    def __post_init__(self) -> None:
        check_positive("timestep_fs", self.timestep_fs)
        check_positive("friction_per_ps", self.friction_per_ps)

    def bath_(self, state: State, temperature: Tensor, noise: Tensor) -> Tensor:
        """O."""
        before = kinetic_energy(state)
        friction_per_fs = self.friction_per_ps * 1e-3
        ornstein_uhlenbeck_(state, friction_per_fs, temperature, self.timestep_fs, noise)
        return kinetic_energy(state) - before

    def degrees_of_freedom(self, state: State) -> Tensor:
        """3N: the bath exchanges momentum too. Less what is fixed."""
        return all_degrees_of_freedom(state)

    def thermal_energy(self, state: State) -> Tensor:
        """All kinetic energy [systems] in eV."""
        return kinetic_energy(state)
