"""Constant pressure: Martyna, Tobias and Klein's barostat, with Nosé-Hoover chains.

Martyna, Tobias & Klein, J. Chem. Phys. 101, 4177 (1994); integrated as Tuckerman, Alejandre,
López-Rendón, Jochim & Martyna, J. Phys. A 39, 5629 (2006) do it. With the strain rate g, symmetric,
of the cell h, n degrees of freedom of kinetic energy K, the pressure tensor P and the mass W,

    dh/dt = h g,  dx/dt = v + x g,  dv/dt = F/m - v g - v tr(g)/n,
    W dg/dt = V (P - P0) + 2K/n,  W = (n + 3) kT time² / 3,

about the centre of mass, which moves freely. Velocities and g have a chain each; that of g answers
in the barostat's time. Isotropic coupling and coupling by axis are projections of g; its W and with
it the isotropic equations are those of the paper. Deterministic and reversible in time.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from fastequi.graph import volumes
from fastequi.md.barostats.checks import check_cells, check_coupling, check_speed
from fastequi.md.barostats.strain import (
    Coupling,
    add_by_system_,
    deform_cell_,
    deform_velocities_,
    exp_minus_one,
    exp_minus_one_of_diagonal,
    identity_like,
    projected,
    turn_back_,
)
from fastequi.md.integrators.chains import Chain
from fastequi.md.integrators.integrator import Integrator, PerBatch, check_positive
from fastequi.md.integrators.keys import (
    BarostatAxes,
    BarostatTime,
    ChainLength,
    CouplingKind,
    Pressure,
    ThermostatTime,
)
from fastequi.md.integrators.steps import drift_, kick_
from fastequi.md.ramps import Schedule, Target, temperature_schedule
from fastequi.md.state import State, kinetic_energy
from fastequi.md.velocities import internal_degrees_of_freedom, internal_kinetic_energy
from fastequi.units import BOLTZMANN_eV_PER_K, GPA_PER_eV_PER_A3


@dataclass(frozen=True, slots=True)
class _Fixed:
    """What follows from parameters and atoms.

    temperature, pressure in GPa: targets; n [systems] degrees of freedom of atoms; strains
    [systems], of cells; half_mass_per_kT [systems] W / 2kT in fs²; projection: of the coupling.
    """

    temperature: Schedule
    pressure: Schedule
    n: Tensor
    strains: Tensor
    half_mass_per_kT: Tensor
    projection: Tensor
    identity: Tensor


@dataclass(frozen=True, slots=True)
class _Extended:
    """What a barostat and chains add to a state, at the temperature and pressure of a step.

    chain, cell_chain: of the atoms, of the strain rate; half_mass [systems, 1, 1] W/2 in eV fs²;
    pressure [systems, 1, 1] in eV/Å³; n [systems].
    """

    chain: Chain
    cell_chain: Chain
    half_mass: Tensor
    pressure: Tensor
    n: Tensor

    def strain_energy(self, state: State) -> Tensor:
        """Kinetic energy of the cell [systems] in eV."""
        return (self.half_mass * state.extra["strain_rate"].square()).sum(dim=(1, 2))

    def energy(self, state: State) -> Tensor:
        """All that they add to the invariant [systems] in eV."""
        chains = self.chain.energy() + self.cell_chain.energy()
        held = self.pressure.view(-1) * volumes(state.cell)
        return self.strain_energy(state) + held + chains


@dataclass(frozen=True)
class MartynaTobiasKlein(Integrator):
    """NPT dynamics; invariant: energy of atoms, cell and chains plus P0 V, minus work of ramps.

    temperature_K (positive), pressure_GPa: see `fastequi.md.ramps`. coupling, barostat_axes: see
    `fastequi.md.barostats.strain.Coupling`. Times are inverse angular frequencies: of the chains,
    and of a cell whose bulk modulus is about that of a gas, kT per atom; a solid's cell answers ten
    to forty times sooner.

    Extra state: `strain_rate` [systems, 3, 3] in 1/fs; `chain_position`, `chain_velocity` of the
    atoms, `cell_chain_position`, `cell_chain_velocity` of the cell [systems, chain_length]; `work`
    [systems], eV that ramps have done; `deformation`, where the cell is flexible.
    """

    ensemble = "npt-mtk"
    method = "Martyna-Tobias-Klein"

    timestep_fs: float
    temperature_K: Target
    pressure_GPa: Pressure = 0.0
    thermostat_time_fs: ThermostatTime = 100.0
    barostat_time_fs: BarostatTime = 1000.0
    coupling: CouplingKind = "isotropic"
    barostat_axes: BarostatAxes = "xyz"
    chain_length: ChainLength = 3
    _fixed: PerBatch[_Fixed] = field(
        init=False, repr=False, compare=False, default_factory=PerBatch
    )

    def __post_init__(self) -> None:
        for name in ("timestep_fs", "thermostat_time_fs", "barostat_time_fs", "chain_length"):
            check_positive(name, getattr(self, name))
        check_coupling(self._coupling)

    @property
    def _coupling(self) -> Coupling:
        return Coupling(self.coupling, self.barostat_axes)

    def start_(self, state: State) -> None:
        """As for every ensemble; InputError for cells that it cannot change, or only too fast."""
        super().start_(state)
        check_cells(state, self._coupling, self.ensemble)
        extended = self._extended(state, state.step)
        rate = (0.5 * extended.chain.kT / extended.half_mass.view(-1)).sqrt()
        strain = rate * self.timestep_fs
        check_speed(state, strain, self.ensemble, self.barostat_time_fs, power=1.0)

    def extra_state(self, state: State) -> dict[str, Tensor]:
        """Cell and chains at rest."""
        self._of(state)  # says what is wrong with temperatures and pressures
        zeros = torch.zeros(state.n_systems, dtype=torch.float64, device=state.device)
        chain = zeros.unsqueeze(1).repeat(1, self.chain_length)
        extra = {name: chain.clone() for name in (
            "chain_position", "chain_velocity", "cell_chain_position", "cell_chain_velocity"
        )}  # fmt: skip
        extra |= {"strain_rate": torch.zeros_like(state.cell), "work": zeros}
        if self.coupling == "flexible":
            extra["deformation"] = identity_like(state.cell).repeat(state.n_systems, 1, 1)
        return extra

    def step_(self, state: State, forces_: Callable[[State], None]) -> None:
        """Chains, strain rate and velocities t/2; cell and positions t; forces; and back.

        Velocities: friction t/4, kick t/2, friction t/4.
        """
        extended, half = self._extended(state, state.step), self.timestep_fs / 2
        v = state.velocities
        with state.batch.about_centre(v):
            carried = state.batch.kinetic_tensor(v)
            scaled = self._chains_(state, extended, carried)
            carried.mul_(scaled.square().view(-1, 1, 1))
            self._accelerate_cell_(state, extended, carried)
            slowing = self._slowing(state)
            add_by_system_(v, v, slowing, state)
        kick_(state, half)
        deform_velocities_(state, slowing)
        self._move_(state)
        forces_(state)
        if self.coupling == "flexible":  # it was turned with the cell
            slowing = self._slowing(state)
        deform_velocities_(state, slowing)
        kick_(state, half)
        with state.batch.about_centre(v):
            add_by_system_(v, v, slowing, state)
            carried = state.batch.kinetic_tensor(v)
            self._accelerate_cell_(state, extended, carried)
            self._chains_(state, extended, carried)
        fixed = self._of(state)
        if fixed.temperature.changes or fixed.pressure.changes:
            after = self._extended(state, state.step + 1)
            state.extra["work"] += after.energy(state) - extended.energy(state)

    def _chains_(self, state: State, extended: _Extended, carried: Tensor) -> Tensor:
        """Both chains t/2, with what they hold; velocities about the centre of mass.

        carried [systems, 3, 3]: sum m v ⊗ v of these, in eV; returns what they are scaled by.
        """
        half = self.timestep_fs / 2
        scaled = extended.chain.advance_(0.5 * _trace(carried), half)
        state.velocities.mul_(state.batch.of_atoms(scaled.unsqueeze(1)))
        factor = extended.cell_chain.advance_(extended.strain_energy(state), half)
        state.extra["strain_rate"].mul_(factor.view(-1, 1, 1))
        return scaled

    def _accelerate_cell_(self, state: State, extended: _Extended, carried: Tensor) -> None:
        """g += t/2 (V (P - P0) + 2K/n) / W, as far as the coupling allows; carried as above."""
        fixed, volume = self._of(state), volumes(state.cell).view(-1, 1, 1)
        driving = (_trace(carried) / extended.n).view(-1, 1, 1)
        driving = torch.addcmul(driving, extended.pressure, volume, value=-1.0)
        force = carried.addcmul(volume, state.stress, value=-1.0).addcmul_(driving, fixed.identity)
        change = projected(force, fixed.projection)
        state.extra["strain_rate"].addcdiv_(change, extended.half_mass, value=self.timestep_fs / 4)

    def _slowing(self, state: State) -> Tensor:
        """Friction of the cell t/4: what velocities change by [systems, 3, 3]."""
        rate, fixed = state.extra["strain_rate"], self._of(state)
        friction = torch.addcmul(rate, (_trace(rate) / fixed.n).view(-1, 1, 1), fixed.identity)
        return self._exp_minus_one(friction.mul_(-self.timestep_fs / 4))

    def _exp_minus_one(self, m: Tensor) -> Tensor:
        """Of matrices [systems, 3, 3] of the shape of the strain rate."""
        return (exp_minus_one if self.coupling == "flexible" else exp_minus_one_of_diagonal)(m)

    def _move_(self, state: State) -> None:
        """Strain t/2, drift t, strain t/2; a free cell is turned back."""
        rate, dt = state.extra["strain_rate"], self.timestep_fs
        change = self._exp_minus_one(rate * (dt / 2))
        deform_cell_(state, change)
        drift_(state, dt)
        deform_cell_(state, change)
        if self.coupling == "flexible":
            turn = turn_back_(state, state.extra["deformation"], rate * dt)
            rate.copy_(turn.mT @ rate @ turn)

    def _extended(self, state: State, step: int) -> _Extended:
        """At the temperature and pressure of a step."""
        fixed, extra = self._of(state), state.extra
        kT = BOLTZMANN_eV_PER_K * fixed.temperature.at(step)
        chain = Chain(
            extra["chain_position"], extra["chain_velocity"], fixed.n, kT, self.thermostat_time_fs
        )
        cell_chain = Chain(
            extra["cell_chain_position"], extra["cell_chain_velocity"], fixed.strains, kT,
            self.barostat_time_fs,
        )  # fmt: skip
        half_mass = (fixed.half_mass_per_kT * kT).view(-1, 1, 1)
        pressure = (fixed.pressure.at(step) / GPA_PER_eV_PER_A3).view(-1, 1, 1)
        return _Extended(chain, cell_chain, half_mass, pressure, fixed.n)

    def _of(self, state: State) -> _Fixed:
        return self._fixed.get(state, self._make_fixed)

    def _make_fixed(self, state: State) -> _Fixed:
        n = internal_degrees_of_freedom(state)
        return _Fixed(
            temperature=temperature_schedule(self.temperature_K, state, positive=True),
            pressure=Schedule(self.pressure_GPa, state, "pressures"),
            n=n,
            strains=torch.full_like(n, self._coupling.n_strains),
            half_mass_per_kT=(n + 3.0) * self.barostat_time_fs**2 / 6.0,
            projection=self._coupling.projection(state.device),
            identity=identity_like(state.cell),
        )

    def strain_of_step(self, state: State) -> Tensor:
        """Largest component [systems] of the last step's."""
        return self.timestep_fs * state.extra["strain_rate"].abs().amax(dim=(1, 2))

    def degrees_of_freedom(self, state: State) -> Tensor:
        """3N - 3: the motion of the centre of mass is conserved; see `fastequi.md.velocities`."""
        return internal_degrees_of_freedom(state)

    def thermal_energy(self, state: State) -> Tensor:
        """Kinetic energy about the centre of mass [systems] in eV."""
        return internal_kinetic_energy(state)

    def conserved_energy(self, state: State) -> Tensor:
        """Energy of atoms, cell and chains plus P0 V minus work [systems] in eV."""
        extended = self._extended(state, state.step).energy(state)
        return state.energy + kinetic_energy(state) + extended - state.extra["work"]


def _trace(matrices: Tensor) -> Tensor:
    """Of [systems, 3, 3]: [systems]."""
    return matrices.diagonal(dim1=1, dim2=2).sum(dim=1)
