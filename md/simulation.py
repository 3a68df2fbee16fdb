"""Run molecular dynamics: neighbours, forces, integrator, observers, and a watch over it all.

    simulation = Simulation(atoms, potential, VelocityVerlet(timestep_fs=1.0))
    simulation.run(1000)
    final, = state_to_atoms(simulation.state)

One system is a batch of one. The state is on the device of the potential.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from typing import Protocol

import torch
from ase import Atoms
from torch import Tensor

from fastequi.errors import PhysicsError
from fastequi.md.barostats.checks import LARGEST_STRAIN
from fastequi.md.checks import NAMED_AT_MOST, atom_name, check_atoms, check_state
from fastequi.md.integrators import Integrator
from fastequi.md.neighbors import NeighborList
from fastequi.md.state import State, state_from_atoms
from fastequi.potential import ForceCall, Potential, force_call

#: An atom that moves further in one step is not a simulation any more.
FURTHEST_MOVE_A = 1.0


class Observer(Protocol):
    """Called with the simulation at step 0 and whenever the step is a multiple of `every`."""

    @property
    def every(self) -> int: ...

    def __call__(self, simulation: "Simulation") -> None: ...


@dataclass(frozen=True)
class _Call:
    """A force call, and what it is of: a potential, and elements that may be written into."""

    potential: Potential
    atomic_numbers: Tensor
    version: int
    call: ForceCall

    def is_of(self, potential: Potential, state: State) -> bool:
        numbers = state.atomic_numbers
        return (
            self.potential is potential
            and self.atomic_numbers is numbers
            and self.version == numbers._version
        )


class Simulation:
    """A state, the potential it moves in, and the integrator that moves it.

    state, potential, integrator, neighbors, observers: its parts.
    forces_are_current: whether forces and energies belong to the positions; a restart that brings
        them along sets it, and nothing is computed twice.
    observe_start: whether observers still have to see step 0; a restart clears it.
    phases_s: seconds spent in model, neighbors, integrate, output; wall_s: in `run` altogether.
    stopped: whether the last `run` returned early because it was asked to.
    """

    def __init__(
        self,
        atoms: Atoms | Sequence[Atoms] | State,
        potential: Potential,
        integrator: Integrator,
        *,
        skin_A: float = 1.0,
        observers: Sequence[Observer] = (),
        device: torch.device | str | None = None,
    ) -> None:
        """Checks the structures; raises InputError naming everything that is wrong with them.

        A `State` is taken as it is, with its step and extra state, and is written into.
        """
        if isinstance(atoms, State):
            check_state(atoms, potential)
            state = atoms
        else:
            check_atoms(atoms, potential)
            state = state_from_atoms(atoms)
        self.state = state.to(device if device is not None else potential.device)
        self.potential = potential
        self.integrator = integrator
        integrator.start_(self.state)
        self.neighbors = NeighborList(potential.cutoff, skin_A)
        self.observers = list(observers)
        self.forces_are_current = False
        self.observe_start = self.state.step == 0
        self.phases_s = {"model": 0.0, "neighbors": 0.0, "integrate": 0.0, "output": 0.0}
        self.wall_s = 0.0
        self.stopped = False
        self._stop_requested = False
        self._last_good = self.state.snapshot()
        self._call: _Call | None = None

    def run(self, steps: int) -> None:
        """Do so many more steps, or fewer where a stop is requested.

        Raises PhysicsError when the simulation fails, with `state` back at the last good step.
        """
        started = time.perf_counter()
        self.stopped = False
        try:
            self._last_good = self.state.snapshot()
            if not self.forces_are_current:
                self.compute_forces_()
            if self.observe_start and self.state.step == 0:
                self._call_observers()
            self.observe_start = False
            for _ in range(steps):
                if self._stop_requested:
                    break
                self._step_()
        finally:
            self.stopped, self._stop_requested = self._stop_requested, False
            self.wall_s += time.perf_counter() - started

    def request_stop(self) -> None:
        """Make `run` return after the current step; safe in a signal handler and in observers."""
        self._stop_requested = True

    def compute_forces_(self) -> None:
        """Energies, forces and stress of the positions as they are, into the state."""
        self._forces_(self.state)
        self.forces_are_current = True

    def _step_(self) -> None:
        before_s = self.phases_s["neighbors"] + self.phases_s["model"]
        started = time.perf_counter()
        self._last_good = self.state.snapshot()
        self.integrator.step_(self.state, self._forces_)
        self.state.step += 1
        elapsed = time.perf_counter() - started
        forces_s = self.phases_s["neighbors"] + self.phases_s["model"] - before_s
        self.phases_s["integrate"] += elapsed - forces_s
        self._call_observers()

    def _call_observers(self) -> None:
        due = [o for o in self.observers if self.state.step % o.every == 0]
        if due:
            with self._timed("output"):
                for observer in due:
                    observer(self)

    def _forces_(self, state: State) -> None:
        """Refresh energy, forces and stress, after a look at cell and positions themselves."""
        self._check_strain(state)
        self._check_motion(state)
        with self._timed("neighbors"):
            topology = state.cell, state.pbc, state.system_idx
            is_new = self.neighbors.update(state.positions, *topology)
            if is_new or self._call is None or not self._call.is_of(self.potential, state):
                numbers = state.atomic_numbers
                listed = self.neighbors.graph_with_skin(state.positions, numbers, *topology)
                call = force_call(self.potential, listed, self._call and self._call.call)
                self._call = _Call(self.potential, numbers, numbers._version, call)
        with self._timed("model"):
            prediction = self._call.call(state.positions, state.cell)
            state.energy = prediction.energy.detach()
            state.energies = prediction.energies.detach()
            state.forces = prediction.forces.detach()
            state.stress = prediction.stress.detach()
            self._check_forces(state)

    @contextmanager
    def _timed(self, phase: str) -> Iterator[None]:
        started = time.perf_counter()
        try:
            yield
        finally:
            self.phases_s[phase] += time.perf_counter() - started

    def _check_strain(self, state: State) -> None:
        strain = self.integrator.strain_of_step(state)
        if strain is None or not bool((strain > LARGEST_STRAIN).any()):
            return
        worst = int(strain.argmax())
        step, percent = state.step + 1, 100.0 * float(strain[worst])
        self._go_back_(state)
        raise PhysicsError(
            f"the barostat is too fast: at step {step} it strained the cell of system {worst} by "
            f"{percent:.2g} % (limit {100 * LARGEST_STRAIN:g} %).\nThe last good step is "
            f"{state.step}. What may help: a longer barostat_time_fs; a smaller timestep_fs (now "
            f"{self.integrator.timestep_fs:g}); with npt-scr, a smaller compressibility_per_GPa; a "
            "larger supercell; relaxing structure and cell first."
        )

    def _check_motion(self, state: State) -> None:
        moved = (state.positions - self._last_good.positions).norm(dim=1)
        wrong = ~(moved <= FURTHEST_MOVE_A)  # in this form NaN is wrong too
        if bool(wrong.any()):
            self._fail(state, wrong, [f"moved {d:.3g} Å in one step" for d in moved.tolist()])

    def _check_forces(self, state: State) -> None:
        total = state.forces.abs().sum() + state.energy.abs().sum()  # NaN or inf if any term is
        if bool(torch.isfinite(total)):
            return
        wrong = ~(torch.isfinite(state.forces).all(dim=1) & torch.isfinite(state.energies))
        happened = [
            f"energy {energy:.3g} eV, force ({x:.3g}, {y:.3g}, {z:.3g}) eV/Å"
            for energy, (x, y, z) in zip(
                state.energies.tolist(), state.forces.tolist(), strict=True
            )
        ]
        self._fail(state, wrong, happened)

    def _fail(self, state: State, wrong: Tensor, happened: list[str]) -> None:
        """Put the last good step back; say what went wrong where, and what may help."""
        failed_step = state.step + 1 if self.forces_are_current else state.step
        atoms = torch.nonzero(wrong).squeeze(1).tolist()
        lines = [f"{atom_name(state, a)}: {happened[a]}" for a in atoms[:NAMED_AT_MOST]]
        if len(atoms) > len(lines):
            lines.append(f"and {len(atoms) - len(lines)} more atoms")
        self._go_back_(state)
        raise PhysicsError(
            f"the simulation failed at step {failed_step}:\n- "
            + "\n- ".join(lines or ["the energy is not finite"])
            + f"\nThe last good step is {state.step}. What may help: a smaller timestep_fs (now "
            f"{self.integrator.timestep_fs:g}); relaxing the structure first; a model that was "
            "trained on this chemistry, at this density and temperature."
        )

    def _go_back_(self, state: State) -> None:
        """To the last good step."""
        for field in fields(State):
            setattr(state, field.name, getattr(self._last_good, field.name))
