"""Systems that are computed together, through the stages of a run, one after the other.

A system that fails leaves the batch at its last good step, and the others go on as if it had never
been there: no system sees another.
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import torch

from fastequi.errors import PhysicsError
from fastequi.integrations.plumed import Plumed
from fastequi.md.config import Config, DynamicsConfig, Stage
from fastequi.md.disagreement import TooUncertain
from fastequi.md.integrators import Integrator
from fastequi.md.ramps import first_value, of_systems
from fastequi.md.safety import Safety
from fastequi.md.selection import select_extra, select_systems
from fastequi.md.simulation import Observer, Simulation
from fastequi.md.state import State, state_from_atoms, system_name
from fastequi.md.trajectory.checkpoint import (
    Progress,
    engine_state_of,
    progress_of,
    state_of,
)
from fastequi.md.trajectory.directory import ERROR, LAST_GOOD
from fastequi.md.trajectory.outputs import Outputs
from fastequi.md.velocities import maxwell_boltzmann_
from fastequi.potential import Potential
from fastequi.process import naming
from fastequi.running.systems import System, drawing_temperature_K, integrator_of, seed_of
from fastequi.storage.checkpoint import Checkpoint
from fastequi.storage.durable import write_durably


class Simulate(Protocol):
    """What makes a simulation."""

    def __call__(
        self, state: State, potential: Potential, integrator: Integrator, /, *, skin_A: float
    ) -> Simulation: ...


class RunningBatch:
    """One batch of a run's systems; a run with one system is one batch of one.

    everyone     all its systems
    systems      those that are running, in the order of the rows of the state
    failed       others: number (as text) -> the last good `step`, and the `error`
    done         others that have left: number (as text) -> their `steps`, and the `last` row of
                 their logs; here nobody leaves before the end
    stage        number of the present stage, from 0
    simulation   of the present stage
    checkpoints  the folder of its checkpoints
    bias         what is added to the forces of the only system, if anything is
    resumed      the checkpoint that it goes on from; None at the beginning
    """

    def __init__(
        self,
        config: Config,
        potential: Potential,
        systems: Sequence[System],
        checkpoints: Path,
        resumed: Checkpoint | None = None,
        *,
        first: Sequence[System] | None = None,
        bias: Plumed | None = None,
        simulate: Simulate | None = None,
    ) -> None:
        """Ready to run, the `first` systems to begin with or, where not given, all.

        simulate: makes the simulations, of another engine than the built-in one

        Raises InputError for systems that a stage cannot take.
        """
        self.config, self.potential, self.bias = config, potential, bias
        self._simulate = simulate or partial(Simulation, bias=bias)
        self.everyone, self.checkpoints, self.resumed = list(systems), checkpoints, resumed
        begins = tuple(system.index for system in first or systems)
        progress = progress_of(resumed) if resumed else Progress(systems=begins)
        self.stage, self._begin = progress.stage, progress.begin
        self.failed: dict[str, Any] = dict(progress.failed)
        self.done: dict[str, Any] = dict(progress.done)
        self.systems = [system for system in systems if system.index in progress.systems]
        self.observers: list[Observer] = []
        self._safety = [Safety(config.safety)] if config.safety.has_limits else []
        self.stop_requested = False
        state = state_of(resumed) if resumed else starting_state(config, self.systems)
        if len(systems) > 1:
            state.names = tuple(system.folder for system in self.systems)
        with self._naming_stage(self.stage):
            self.simulation = self._simulation(state)
        # A checkpoint brings its forces along; computing them twice could differ in the last bit.
        self.simulation.forces_are_current = resumed is not None
        self.simulation.observe_start = resumed is None
        if resumed:
            self.simulation.restore_engine_(engine_state_of(resumed))
            done = self.simulation.integrator.finished(self.simulation.state)
            self.simulation.finished = done is not None and bool(done.all())
        self._check_later_stages()

    @property
    def present(self) -> Stage:
        """The present stage."""
        return self.config.stages[self.stage]

    @property
    def total_steps(self) -> int:
        """Of all stages."""
        return self.config.total_steps

    @property
    def begins(self) -> list[int] | None:
        """Steps at which its systems began; None where all begin together."""
        return None

    @property
    def words(self) -> str:
        """How far it is, where steps do not say it."""
        return ""

    @property
    def steps_left_in_stage(self) -> int:
        """0 where all systems have nothing left to do."""
        end = self._begin[0] + self.present.dynamics.steps
        return 0 if self.simulation.finished else max(0, end - self.simulation.state.step)

    @property
    def steps_left(self) -> int:
        """Of this stage and all later ones; 0 where every system has failed."""
        if not self.systems:
            return 0
        later = self.config.stages[self.stage + 1 :]
        return self.steps_left_in_stage + sum(stage.dynamics.steps for stage in later)

    def progress(self) -> Progress:
        """Where it is, for a checkpoint."""
        systems = tuple(system.index for system in self.systems)
        return Progress(self.stage, self._begin, systems, dict(self.failed))

    def request_stop(self) -> None:
        """Make `run` return after the current step; safe in a signal handler."""
        self.stop_requested = True
        self.simulation.request_stop()

    def run(self, outputs: Outputs) -> None:
        """Run to the end of the last stage, or until a stop is asked for.

        Raises PhysicsError where the only system of a run fails, TooUncertain where the members of
        a committee disagree by more than the user accepts.
        """
        # Who may stop a run comes first: nothing that is not trusted is written.
        self.observers = [*self._safety, *outputs.observers, *self.observers]
        self.simulation.observers += self.observers
        while self.systems and not self.stop_requested:
            try:
                self.simulation.run(self.steps_left_in_stage)
            except TooUncertain:
                raise
            except PhysicsError as error:
                if len(self.everyone) == 1 or (error.system is None and len(self.systems) > 1):
                    raise
                self._drop_(error, outputs)
                continue
            if self.simulation.stopped:
                self.stop_requested = True  # by a bias
            if self.stop_requested or not self._goes_on_(outputs):
                return

    def _goes_on_(self, outputs: Outputs) -> bool:
        """What happens when the steps of a stage are done; whether there is more to do."""
        self._end_stage_(outputs)
        if not self.systems or self.stage + 1 == len(self.config.stages):
            return False
        self._next_stage_(outputs)
        return True

    def _drop_(self, error: PhysicsError, outputs: Outputs) -> None:
        """Go on without the system that failed, after its last good frame and its error."""
        row, state = error.system or 0, self.simulation.state
        system = self.systems[row]
        # Its folder says whose it is.
        message = error.message.replace(f" of {system_name(state, row)}", "")
        self.failed[str(system.index)] = {"step": self._own_step(row), "error": message}
        path = outputs.write_frame(self.simulation, LAST_GOOD, row)
        write_durably(path.with_name(ERROR), f"{message}\n".encode())
        outputs.drop(row)
        self._leave_([row])

    def _leave_(self, leaving: Sequence[int]) -> None:
        """Go on without the systems in some rows."""
        state = self.simulation.state
        rows = [k for k in range(state.n_systems) if k not in leaving]
        self.systems = [self.systems[k] for k in rows]
        if self.systems:
            others = select_systems(state, rows)
            like = self._integrator().extra_state(others)
            others.extra = select_extra(state, rows, like)
            self._replace_simulation_(others)

    def _own_step(self, row: int) -> int:
        """Steps that a system has done."""
        return self.simulation.state.step

    def _end_stage_(self, outputs: Outputs) -> None:
        """Whoever has not come to the end of a minimisation has failed; with more steps, a run
        goes on from here.

        Raises PhysicsError for the only system of a run.
        """
        if self.simulation.finished:
            outputs.last_record(self.simulation)
        if self._unfinished() is not None:
            outputs.checkpoint(self.simulation)
        while self.systems and (error := self._unfinished()) is not None:
            if len(self.everyone) == 1:
                raise error
            self._drop_(error, outputs)

    def _unfinished(self) -> PhysicsError | None:
        """The first system that needs more steps; None where all are done, or none has an end."""
        state = self.simulation.state
        done = self.simulation.integrator.finished(state)
        if done is None or bool(done.all()):
            return None
        row = int((~done).int().argmax())
        return self._not_at_a_minimum(row, state.step - self._begin[0])

    def _not_at_a_minimum(
        self, row: int, steps: int, way_out: str = "more steps with --resume"
    ) -> PhysicsError:
        state = self.simulation.state
        columns = self.simulation.integrator.more_columns(state)
        left = ", ".join(f"{name} {float(value[row]):.3g}" for name, value in columns.items())
        return PhysicsError(
            f"not at a minimum after {steps} steps ({left}). What may help: {way_out}; the other "
            "optimizer; a wider limit",
            row if state.n_systems > 1 else None,
        )

    def _next_stage_(self, outputs: Outputs) -> None:
        before, state = self.simulation.integrator, self.simulation.state
        steps = state.step - self._begin[0]
        self._begin = (state.step, self._begin[1] + steps * before.timestep_fs)
        self.stage += 1
        outputs.stage = self.present.name
        integrator = self._integrator()
        if integrator.is_dynamics and not before.is_dynamics:
            draw_velocities_(state, self.present.dynamics, self.systems)
        state.extra = integrator.extra_state(state)
        self._replace_simulation_(state)

    def _replace_simulation_(self, state: State) -> None:
        """Another simulation that goes on where this one is, with the same observers and clocks."""
        before = self.simulation
        self.simulation = self._simulation(state)
        self.simulation.forces_are_current = before.forces_are_current
        self.simulation.observe_start = before.observe_start
        self.simulation.clock = before.clock
        self.simulation.observers += self.observers

    def _simulation(self, state: State) -> Simulation:
        skin_A = self.config.neighbors.skin_A
        simulation = self._simulate(state, self.potential, self._integrator(), skin_A=skin_A)
        simulation.begin = self._begin
        return simulation

    def _integrator(self) -> Integrator:
        return integrator_of(self.present.dynamics, self.systems, self._begin[0])

    def _check_later_stages(self) -> None:
        """What a stage cannot take is said before the first one has run for a week."""
        state = self.simulation.state
        for k in range(self.stage + 1, len(self.config.stages)):
            with self._naming_stage(k):
                integrator = integrator_of(self.config.stages[k].dynamics, self.systems)
                copy = select_systems(state, range(state.n_systems))
                copy.step = 0
                integrator.start_(copy)

    def _naming_stage(self, k: int) -> Any:
        name = self.config.stages[k].name
        return naming(f"stage {name}" if name else "dynamics")


def starting_state(config: Config, systems: Sequence[System]) -> State:
    """The state at step 0: velocities of the structures, or Maxwell-Boltzmann."""
    state = state_from_atoms([system.atoms for system in systems])
    dynamics = config.stages[0].dynamics
    temperatures = [drawing_temperature_K(config, dynamics, system) for system in systems]
    _draw_(state, temperatures, [seed_of(dynamics, system) for system in systems])
    return state


def draw_velocities_(state: State, dynamics: DynamicsConfig, systems: Sequence[System]) -> None:
    """Velocities at the first temperature of a stage, for systems that were at rest."""
    rows = [system.index for system in systems]
    temperatures = [first_value(of_systems(dynamics.temperature_K, [row])) for row in rows]
    _draw_(state, temperatures, [seed_of(dynamics, system) for system in systems])


def _draw_(state: State, temperatures: Sequence[float | None], seeds: Sequence[int]) -> None:
    """New velocities for the systems that have a temperature."""
    if all(temperature is None for temperature in temperatures):
        return
    own = state.velocities
    maxwell_boltzmann_(state, [t or 0.0 for t in temperatures], seeds)
    kept = torch.tensor([t is None for t in temperatures])[state.system_idx.cpu()]
    state.velocities[kept] = own[kept]
