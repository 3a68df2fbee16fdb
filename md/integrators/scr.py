"""Constant pressure: stochastic cell rescaling, with stochastic velocity rescaling.

Bernetti & Bussi, J. Chem. Phys. 153, 114107 (2020); of axes and free cells: Del Tatto, Raiteri,
Bernetti & Bussi, Appl. Sci. 12, 1139 (2022). First order in time like Berendsen's barostat, and as
quick to find the density, but with the noise that makes the volume's distribution right. With the
strain e of a step, the pressure tensor P and the mobility M = compressibility / (3 time V),

    e = M V (P - P0) t + sqrt(2 kT M t) w,  w symmetric: variance 1 on the diagonal, 1/2 beside it,

whose trace is their eq. for ln V. Positions about the centre of mass go with the cell, velocities
against it. The factors are applied in the middle of the step, with the stress of its beginning.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from fastequi.graph import volumes
from fastequi.md.barostats.checks import check_cells, check_coupling, check_speed
from fastequi.md.barostats.strain import (
    Coupling,
    identity_like,
    kinetic_tensor,
    projected,
    strain_cell_,
    strain_velocities_,
    turn_back_,
)
from fastequi.md.integrators.integrator import Integrator, PerBatch, check_positive
from fastequi.md.integrators.keys import (
    BarostatAxes,
    BarostatTime,
    CouplingKind,
    Pressure,
    ThermostatTime,
)
from fastequi.md.integrators.steps import drift_, kick_, stochastic_rescaling_
from fastequi.md.noise import BAROSTAT_STREAM, THERMOSTAT_STREAM, AtomNoise
from fastequi.md.ramps import Schedule, Target, temperature_schedule
from fastequi.md.state import State, kinetic_energy
from fastequi.md.velocities import internal_degrees_of_freedom, internal_kinetic_energy
from fastequi.settings import Positive
from fastequi.units import BOLTZMANN_eV_PER_K, GPA_PER_eV_PER_A3


@dataclass(frozen=True, slots=True)
class _Baths:
    """Noise and targets of a batch; cells draw their noise as two atoms would."""

    noise: AtomNoise
    cell_noise: AtomNoise
    temperature: Schedule
    pressure: Schedule
    projection: Tensor
    identity: Tensor


@dataclass(frozen=True)
class CellRescaling(Integrator):
    """NPT dynamics; invariant: total energy minus what bath and piston have put in.

    temperature_K, pressure_GPa: see `fastequi.md.ramps`. seed: see `fastequi.md.noise.AtomNoise`.
    compressibility_per_GPa: an estimate; a cell whose own is as large answers in barostat_time_fs,
    a stiffer one sooner. coupling, barostat_axes: see `fastequi.md.barostats.strain.Coupling`.

    The piston's work on potential energy is that of the stress before and after the step, so the
    invariant holds as well as the timestep allows. Extra state: `heat` [systems], eV of bath and
    piston; `strain` [systems, 3, 3], of the last step; `deformation`, where the cell is flexible.
    """

    ensemble = "npt-scr"
    method = "stochastic cell rescaling"

    timestep_fs: float
    temperature_K: Target
    pressure_GPa: Pressure = 0.0
    thermostat_time_fs: ThermostatTime = 100.0
    barostat_time_fs: BarostatTime = 1000.0
    compressibility_per_GPa: Annotated[
        Positive, Field(description="1/GPa, roughly: 0.01 for a stiff solid, 0.5 for a liquid")
    ] = 0.01
    coupling: CouplingKind = "isotropic"
    barostat_axes: BarostatAxes = "xyz"
    seed: int | Sequence[int] = 0
    _fixed: PerBatch[_Baths] = field(
        init=False, repr=False, compare=False, default_factory=PerBatch
    )

    def __post_init__(self) -> None:
        for name in ("timestep_fs", "thermostat_time_fs", "barostat_time_fs",
                     "compressibility_per_GPa"):  # fmt: skip
            check_positive(name, getattr(self, name))
        check_coupling(self._coupling)

    @property
    def _coupling(self) -> Coupling:
        return Coupling(self.coupling, self.barostat_axes)

    def start_(self, state: State) -> None:
        """As for every ensemble; InputError for cells that it cannot change, or only too fast."""
        super().start_(state)
        check_cells(state, self._coupling, self.ensemble)
        kT = BOLTZMANN_eV_PER_K * self._baths(state).temperature.at(state.step)
        width = (2.0 * kT * self._mobility(volumes(state.cell)) * self.timestep_fs).sqrt()
        check_speed(state, width, self.ensemble, self.barostat_time_fs, power=0.5)

    def extra_state(self, state: State) -> dict[str, Tensor]:
        """Nothing put in, and no strain."""
        self._baths(state)  # says what is wrong with temperatures and pressures
        extra = {
            "heat": torch.zeros(state.n_systems, dtype=torch.float64, device=state.device),
            "strain": torch.zeros_like(state.cell),
        }
        if self.coupling == "flexible":
            extra["deformation"] = identity_like(state.cell).repeat(state.n_systems, 1, 1)
        return extra

    def step_(self, state: State, forces_: Callable[[State], None]) -> None:
        """Kick t/2, drift t/2, rescale cell and velocities, drift t/2, forces, kick t/2."""
        dt = self.timestep_fs
        kick_(state, dt / 2)
        drift_(state, dt / 2)
        self._barostat_(state)
        self._thermostat_(state)
        drift_(state, dt / 2)
        forces_(state)
        state.extra["heat"].add_(_work_of_stress(state, volumes(state.cell)), alpha=0.5)
        kick_(state, dt / 2)

    def _barostat_(self, state: State) -> None:
        """The strain of this step, with the kinetic energy and half the stress on the books."""
        volume = volumes(state.cell)
        strain, before = state.extra["strain"], kinetic_energy(state)
        strain.copy_(self._strain(state, volume))
        state.extra["heat"].add_(_work_of_stress(state, volume), alpha=0.5)
        strain_cell_(state, strain)
        strain_velocities_(state, -strain)
        if self.coupling == "flexible":
            turn = turn_back_(state, state.extra["deformation"], strain)
            strain.copy_(turn.mT @ strain @ turn)
        state.extra["heat"] += kinetic_energy(state) - before

    def _strain(self, state: State, volume: Tensor) -> Tensor:
        """The allowed strains of one step [systems, 3, 3]; volume [systems]."""
        baths, dt = self._baths(state), self.timestep_fs
        kT = BOLTZMANN_eV_PER_K * baths.temperature.at(state.step)
        target = baths.pressure.at(state.step) / GPA_PER_eV_PER_A3 * volume
        force = kinetic_tensor(state).addcmul_(volume.view(-1, 1, 1), state.stress, value=-1.0)
        force.addcmul_(target.view(-1, 1, 1), baths.identity, value=-1.0)
        mobility = self._mobility(volume)
        width = (2.0 * dt * kT * mobility).sqrt()
        noise = _symmetric(baths.cell_noise.normal(state.step, BAROSTAT_STREAM))
        noise.mul_(width.view(-1, 1, 1)).addcmul_(mobility.view(-1, 1, 1), force, value=dt)
        return projected(noise, baths.projection)

    def _mobility(self, volume: Tensor) -> Tensor:
        """Strain rate over driving energy [systems] in 1/(eV fs); volume [systems]."""
        compressibility = self.compressibility_per_GPa * GPA_PER_eV_PER_A3
        return compressibility / (3.0 * self.barostat_time_fs) / volume

    def _thermostat_(self, state: State) -> None:
        baths = self._baths(state)
        state.extra["heat"] += stochastic_rescaling_(
            state,
            self.thermostat_time_fs,
            baths.temperature.at(state.step),
            self.timestep_fs,
            baths.noise.normal(state.step, THERMOSTAT_STREAM),
        )

    def _baths(self, state: State) -> _Baths:
        return self._fixed.get(state, self._make_baths)

    def _make_baths(self, state: State) -> _Baths:
        systems = torch.arange(state.n_systems, device=state.device)
        return _Baths(
            noise=AtomNoise(self.seed, state.system_idx),
            cell_noise=AtomNoise(self.seed, systems.repeat_interleave(2)),
            temperature=temperature_schedule(self.temperature_K, state),
            pressure=Schedule(self.pressure_GPa, state, "pressures"),
            projection=self._coupling.projection(state.device),
            identity=identity_like(state.cell),
        )

    def strain_of_step(self, state: State) -> Tensor:
        """Largest component [systems] of the last step's."""
        return state.extra["strain"].abs().amax(dim=(1, 2))

    def degrees_of_freedom(self, state: State) -> Tensor:
        """3N - 3: the motion of the centre of mass is conserved; see `fastequi.md.velocities`."""
        return internal_degrees_of_freedom(state)

    def thermal_energy(self, state: State) -> Tensor:
        """Kinetic energy about the centre of mass [systems] in eV."""
        return internal_kinetic_energy(state)

    def conserved_energy(self, state: State) -> Tensor:
        """Potential plus kinetic energy minus heat [systems] in eV."""
        return state.energy + kinetic_energy(state) - state.extra["heat"]


def _work_of_stress(state: State, volume: Tensor) -> Tensor:
    """V stress : strain of the last step [systems] in eV."""
    return volume * (state.stress * state.extra["strain"]).sum(dim=(1, 2))


def _symmetric(normal: Tensor) -> Tensor:
    """Symmetric noise [systems, 3, 3] of two rows of three normal numbers for each system."""
    diagonal, beside = normal.view(-1, 2, 3).unbind(1)
    x, y, z = (beside * 0.5**0.5).unbind(1)
    zero = torch.zeros_like(x)
    off = torch.stack([zero, z, y, z, zero, x, y, x, zero], dim=1).view(-1, 3, 3)
    return torch.diag_embed(diagonal) + off
