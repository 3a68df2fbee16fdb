"""Run molecular dynamics: neighbours, forces, integrator, observers, and a watch over it all.

    simulation = Simulation(atoms, potential, VelocityVerlet(timestep_fs=1.0))
    simulation.run(1000)
    final, = state_to_atoms(simulation.state)

One system is a batch of one. The state is on the device of the potential.
"""

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import torch
from ase import Atoms
from torch import Tensor

from fastequi.errors import InputError
from fastequi.md.bias import Bias
from fastequi.md.checks import check_atoms, check_state
from fastequi.md.chunk import Chunks
from fastequi.md.clock import Clock
from fastequi.md.first_step import check_first_step
from fastequi.md.forces import Forces
from fastequi.md.integrators import Integrator
from fastequi.md.neighbors import NeighborList
from fastequi.md.observers import as_observer
from fastequi.md.state import State, state_from_atoms
from fastequi.potential import Potential


class Observer(Protocol):
    """Called with the simulation at step 0 and whenever the step is a multiple of `every`."""

    @property
    def every(self) -> int: ...

    def __call__(self, simulation: "Simulation") -> None: ...


class Simulation:
    """A state, the potential it moves in, and the integrator that moves it.

    state, potential, integrator, neighbors, observers: its parts.
    chunks: how many steps pass between two looks at the device; see `fastequi.md.chunk`.
    forces_are_current: whether forces and energies belong to the positions; a restart that brings
        them along sets it, and nothing is computed twice.
    observe_start: whether observers still have to see the step that it begins with: step 0, and
        no other unless somebody says so; a restart clears it.
    begin: step and time in fs from which on the timestep is the integrator's; a stage sets it.
    phases_s: seconds spent in model, neighbors, integrate, output; wall_s: in `run` altogether. On
        a GPU steps are captured as a whole, and are counted as the model's.
    stopped: whether the last `run` returned early because it was asked to.
    finished: whether it did because the integrator has nothing left to do.
    enough: which of its systems that has to be said of, from which are done [systems]: all.
    """

    def __init__(
        self,
        atoms: Atoms | Sequence[Atoms] | State,
        potential: Potential,
        integrator: Integrator,
        *,
        skin_A: float = 1.0,
        observers: Sequence[Observer | tuple[int, Callable[["Simulation"], Any]]] = (),
        device: torch.device | str | None = None,
        chunk_steps: int | None = None,
        bias: Bias | None = None,
    ) -> None:
        """Checks the structures; raises InputError naming everything that is wrong with them.

        A `State` is taken as it is, with its step and extra state, and is written into.
        chunk_steps: between two looks at the device; None for as many as are good there. Results
        do not depend on it. observers: see `fastequi.md.observers`.
        bias: adds to the forces of one system, for example `fastequi.integrations.plumed.Plumed`;
        energies contain it.
        """
        if isinstance(atoms, State):
            check_state(atoms, potential)
            state = atoms
        else:
            check_atoms(atoms, potential)
            state = state_from_atoms(atoms)
        self.state = state.to(device if device is not None else potential.device)
        if bias is not None and self.state.n_systems > 1:
            raise InputError(f"a bias is of one system; these are {self.state.n_systems}")
        self.integrator = integrator
        integrator.start_(self.state)
        self._forces = Forces(potential, integrator, skin_A, self.state.device, bias)
        self.chunks = Chunks(integrator, self._forces, chunk_steps)
        self.observers: list[Observer] = [as_observer(each) for each in observers]
        self.forces_are_current = False
        self.observe_start = self.state.step == 0
        self.begin: tuple[int, float] = (0, 0.0)
        self.wall_s = 0.0
        self.stopped = self.finished = False
        self._stop_requested = False
        self.enough: Callable[[torch.Tensor], torch.Tensor] = torch.all

    @property
    def potential(self) -> Potential:
        return self._forces.potential

    @potential.setter
    def potential(self, potential: Potential) -> None:
        self._forces.potential = potential

    @property
    def bias(self) -> Bias | None:
        return self._forces.bias

    @property
    def neighbors(self) -> NeighborList:
        return self._forces.neighbors

    @property
    def clock(self) -> Clock:
        """Where the time goes; another simulation that goes on from this one may take it."""
        return self._forces.clock

    @clock.setter
    def clock(self, clock: Clock) -> None:
        self._forces.clock = clock

    @property
    def phases_s(self) -> dict[str, float]:
        return self.clock.phases_s

    def run(self, steps: int) -> None:
        """Do so many more steps, or fewer where a stop is requested or the integrator is finished.

        Raises PhysicsError when the simulation fails, with `state` back at the last good step.
        """
        started = time.perf_counter()
        self.stopped = self.finished = False
        try:
            if not self.forces_are_current:
                self.compute_forces_()
            elif self.bias is not None:
                self.bias.begin_(self.state, self.integrator.timestep_fs)
            if self.observe_start:
                self._call_observers()
                with self.clock.timed("output"):
                    check_first_step(self.state, self.integrator)
            self.observe_start = False
            while steps > 0 and not self._stop_requested and not self._is_finished():
                steps -= self.advance_(min(steps, self._steps_unobserved()))
                if self.bias is not None and self.bias.wants_stop:
                    self.request_stop()
                self._call_observers()
        finally:
            self.stopped, self._stop_requested = self._stop_requested, False
            self.wall_s += time.perf_counter() - started

    @property
    def time_ps(self) -> float:
        """Simulated time at this step."""
        step, time_fs = self.begin
        return (time_fs + (self.state.step - step) * self.integrator.timestep_fs) * 1e-3

    def request_stop(self) -> None:
        """Make `run` return after the current chunk; safe in a signal handler and in observers."""
        self._stop_requested = True

    def compute_forces_(self) -> None:
        """Energies, forces and stress of the positions as they are, into the state."""
        self.chunks.start_(self.state)
        self.forces_are_current = True

    def advance_(self, steps: int) -> int:
        """At most so many steps without observers; how many."""
        return self.chunks.advance_(self.state, steps)

    def conserved_energy(self) -> Tensor:
        """The invariant of its dynamics [systems] in eV."""
        return self.integrator.conserved_energy(self.state)

    def engine_state(self) -> dict[str, Tensor]:
        """What a checkpoint needs to keep beside the state: nothing, of this engine."""
        return {}

    def restore_engine_(self, tensors: Mapping[str, Tensor]) -> None:
        """Go on from what `engine_state` has kept."""

    def _is_finished(self) -> bool:
        done = self.integrator.finished(self.state)
        self.finished = done is not None and bool(self.enough(done))
        return self.finished

    def _steps_unobserved(self) -> int:
        """Up to the next step that somebody wants to see."""
        left = (o.every - self.state.step % o.every for o in self.observers)
        return min(left, default=sys.maxsize)

    def _call_observers(self) -> None:
        due = [o for o in self.observers if self.state.step % o.every == 0]
        if due:
            with self.clock.timed("output"):
                for observer in due:
                    observer(self)
