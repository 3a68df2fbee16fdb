"""Constant temperature: canonical sampling through velocity rescaling (CSVR).

Bussi, Donadio & Parrinello, J. Chem. Phys. 126, 014101 (2007). All velocities of a system are
scaled by one random factor, so that its kinetic energy is canonical while diffusion and spectra
stay nearly those of free motion. The factor is applied in the middle of the step, where BAOAB has
its bath.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from torch import Tensor

from fastequi.md.integrators.heat_bath import Bath, HeatBath
from fastequi.md.integrators.integrator import PerBatch, check_positive
from fastequi.md.integrators.keys import ThermostatTime
from fastequi.md.integrators.steps import stochastic_rescaling_
from fastequi.md.ramps import Target
from fastequi.md.state import State
from fastequi.md.velocities import internal_degrees_of_freedom, internal_kinetic_energy


@dataclass(frozen=True)
class VelocityRescaling(HeatBath):
    """NVT dynamics with the motion of the centre of mass left alone; see `HeatBath`."""

    ensemble = "nvt-csvr"
    method = "stochastic velocity rescaling"

    timestep_fs: float
    temperature_K: Target
    thermostat_time_fs: ThermostatTime = 100.0
    seed: int | Sequence[int] = 0
    _bath: PerBatch[Bath] = field(init=False, repr=False, compare=False, default_factory=PerBatch)

    def __post_init__(self) -> None:
        check_positive("timestep_fs", self.timestep_fs)
        check_positive("thermostat_time_fs", self.thermostat_time_fs)

    def bath_(self, state: State, temperature: Tensor, noise: Tensor) -> Tensor:
        """One factor for each system."""
        time, dt = self.thermostat_time_fs, self.timestep_fs
        return stochastic_rescaling_(state, time, temperature, dt, noise)

    def degrees_of_freedom(self, state: State) -> Tensor:
        """3N - 3: the motion of the centre of mass is conserved; see `fastequi.md.velocities`."""
        return internal_degrees_of_freedom(state)

    def thermal_energy(self, state: State) -> Tensor:
        """Kinetic energy about the centre of mass [systems] in eV."""
        return internal_kinetic_energy(state)
