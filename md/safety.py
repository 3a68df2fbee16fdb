"""Limits beyond which a simulation is not trusted any more: it stops, at its last good look.

An observer looks every few steps at temperature, forces, speeds, energies, and if asked distances;
nothing else of the run changes. What it finds beyond a limit ends the run with a `PhysicsError`
that names the limit, the atoms, the step, and who is near; the state is back at the last look.
"""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field
from torch import Tensor

from fastequi.errors import PhysicsError
from fastequi.md.checks import atom_name
from fastequi.md.nearest import nearest_name, pair_name, pairs_within
from fastequi.md.state import State, atoms_per_system, temperature_K
from fastequi.settings import Count, Positive, Section

if TYPE_CHECKING:
    from fastequi.md.simulation import Simulation


class SafetyConfig(Section):
    """[safety]: limits; beyond them the run stops with exit code 3 and the last good frame."""

    max_temperature_K: Positive | None = Field(default=None, description="K")
    max_force_eV_per_A: Positive | None = Field(default=None, description="eV/Å, of any atom")
    max_displacement_A: Positive | None = Field(
        default=None, description="Å that any atom may go in a step, by its velocity"
    )
    max_energy_jump_eV_per_atom: Positive | None = Field(
        default=None, description="eV/atom, of the potential energy from one look to the next"
    )
    max_drift_eV_per_atom: Positive | None = Field(
        default=None, description="eV/atom, of the conserved energy since the first look"
    )
    min_distance_A: Positive | None = Field(default=None, description="Å, between any two atoms")
    check_every: Annotated[Count, Field(description="steps from one look to the next")] = 10

    @property
    def has_limits(self) -> bool:
        """Whether there is anything to look at."""
        return any(getattr(self, name) is not None for name in LIMITS)


#: The limits, in the order in which they are looked at.
LIMITS = tuple(name for name in SafetyConfig.model_fields if name != "check_every")


class Unsafe(PhysicsError):
    """Something is beyond a limit of [safety]."""


@dataclass
class Safety:
    """The observer. Atoms, temperature and drift are those of each system.

    last_good: the state at the last look that found nothing.
    """

    limits: SafetyConfig
    last_good: State | None = None
    _first: Tensor | None = field(default=None, repr=False)
    _simulation: Any = field(default=None, repr=False)

    @property
    def every(self) -> int:
        return self.limits.check_every

    def __call__(self, simulation: "Simulation") -> None:
        """Look; raises Unsafe, with the state of the simulation back at the last good look."""
        state = simulation.state
        if simulation is not self._simulation:  # of the next stage, or without one of its systems
            self._simulation, self.last_good, self._first = simulation, None, None
        conserved = simulation.conserved_energy()
        if self._first is None:
            self._first = conserved.clone()
        for name, of_atoms, values in self._values(simulation, conserved):
            limit = getattr(self.limits, name)
            worst = int(values.argmax())
            if not float(values[worst]) <= limit:
                system = int(state.system_idx[worst]) if of_atoms else worst
                what = _what(name, state, worst, float(values[worst]))
                self._stop(simulation, name, limit, what, system)
        self._check_distance(simulation)
        self.last_good = state.snapshot()

    def _values(
        self, simulation: "Simulation", conserved: Tensor
    ) -> list[tuple[str, bool, Tensor]]:
        """Of each limit that is set: its name, whether it is of atoms or of systems, numbers."""
        state, integrator, limits = simulation.state, simulation.integrator, self.limits
        atoms = atoms_per_system(state)
        found: list[tuple[str, bool, Tensor]] = []
        if limits.max_temperature_K is not None and integrator.is_dynamics:
            heat = integrator.thermal_energy(state)
            warmth = temperature_K(heat, integrator.degrees_of_freedom(state))
            found.append(("max_temperature_K", False, warmth))
        if limits.max_force_eV_per_A is not None:
            found.append(("max_force_eV_per_A", True, state.forces.norm(dim=1)))
        if limits.max_displacement_A is not None:
            moves = integrator.timestep_fs * state.velocities.norm(dim=1)
            found.append(("max_displacement_A", True, moves))
        if limits.max_energy_jump_eV_per_atom is not None and self.last_good is not None:
            jump = (state.energy - self.last_good.energy).abs() / atoms
            found.append(("max_energy_jump_eV_per_atom", False, jump))
        if limits.max_drift_eV_per_atom is not None and integrator.is_dynamics:
            assert self._first is not None
            drift = (conserved - self._first).abs() / atoms
            found.append(("max_drift_eV_per_atom", False, drift))
        return found

    def _check_distance(self, simulation: "Simulation") -> None:
        limit, state = self.limits.min_distance_A, simulation.state
        if limit is None:
            return
        pairs = pairs_within(state, limit)
        if len(pairs.distance):
            nearest = int(pairs.distance.argmin())
            system = int(state.system_idx[pairs.first[nearest]])
            what = f"{pair_name(state, pairs, nearest)}"
            self._stop(simulation, "min_distance_A", limit, what, system)

    def _stop(
        self, simulation: "Simulation", name: str, limit: float, what: str, system: int
    ) -> None:
        state, step = simulation.state, simulation.state.step
        back = "it is the first look"
        if self.last_good is not None:
            state.copy_(self.last_good)
            back = f"the last good look was at step {state.step}"
        message = f"safety.{name} = {limit:g}: at step {step}, {what}; {back}"
        raise Unsafe(message, system if state.n_systems > 1 else None)


def _what(name: str, state: State, worst: int, value: float) -> str:
    """What is beyond a limit."""
    if name == "max_temperature_K":
        fastest = int((state.masses * state.velocities.square().sum(dim=1)).argmax())
        return f"the temperature is {value:.4g} K (most in {atom_name(state, fastest)})"
    if name == "max_force_eV_per_A":
        near = nearest_name(state, worst)
        return f"the force on {atom_name(state, worst)} is {value:.4g} eV/Å ({near})"
    if name == "max_displacement_A":
        near = nearest_name(state, worst)
        return f"{atom_name(state, worst)} goes {value:.4g} Å in a step ({near})"
    if name == "max_energy_jump_eV_per_atom":
        return f"the potential energy has changed by {value:.4g} eV/atom since the last look"
    return f"the conserved energy has drifted by {value:.4g} eV/atom since the first look"
