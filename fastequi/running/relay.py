"""A minimisation of many systems, of which each makes room for the next as soon as it is done.

Steps of a minimisation are no time that systems would have to share: who has reached its limits
leaves the batch with all its files, and who waits takes its place. Each counts steps of its own, so
that its log, its trajectory and its last step are those that it has alone.
"""

from collections.abc import Sequence
from math import isnan
from pathlib import Path
from typing import Any

import torch

from fastequi.errors import PhysicsError
from fastequi.md.config import Config
from fastequi.md.integrators import INTEGRATORS
from fastequi.md.observers import thermodynamics_of_all
from fastequi.md.selection import join_extra, join_systems
from fastequi.md.state import State
from fastequi.md.trajectory.checkpoint import Progress, progress_of
from fastequi.md.trajectory.directory import FINAL, LAST_GOOD
from fastequi.md.trajectory.outputs import Outputs
from fastequi.potential import Potential
from fastequi.running.memory import Room, split
from fastequi.running.running_batch import RunningBatch, starting_state
from fastequi.running.systems import System
from fastequi.storage.checkpoint import Checkpoint


def is_relay(config: Config, systems: Sequence[System]) -> bool:
    """Whether systems need not wait for each other: many, and the only stage a minimisation."""
    (first, *others) = config.stages
    is_minimization = not INTEGRATORS[first.dynamics.ensemble].is_dynamics
    return len(systems) > 1 and not others and is_minimization


class Relay(RunningBatch):
    """As a batch, of which `systems` are those that have begun and not left.

    joined   number of a system -> the step of the batch at which it began
    """

    def __init__(
        self, config: Config, potential: Potential, systems: Sequence[System], checkpoints: Path,
        resumed: Checkpoint | None, room: Room | None,
    ) -> None:  # fmt: skip
        """As a batch. A run that goes on has the room that it began with."""
        self._room = None if room is None else (room.most_atoms, room.systems)
        first = split(systems, room)[0] if room else systems
        super().__init__(config, potential, systems, checkpoints, resumed, first=first)
        self.joined = dict.fromkeys((system.index for system in self.systems), 0)
        if resumed:
            progress = progress_of(resumed)
            self._room = progress.room
            self.joined |= dict(zip(progress.systems, progress.joined, strict=False))
        self._let_leave_()

    @property
    def waiting(self) -> list[System]:
        """Who has not begun."""
        known = {*(system.index for system in self.systems), *map(int, self.failed | self.done)}
        return [system for system in self.everyone if system.index not in known]

    @property
    def begins(self) -> list[int]:
        """Steps at which its systems began."""
        return [self.joined[system.index] for system in self.systems]

    @property
    def words(self) -> str:
        """How many are done."""
        return f"{len(self.done)} of {len(self.everyone)} systems done"

    @property
    def total_steps(self) -> int:
        """If each took all its steps."""
        return self.config.total_steps * len(self._fills(self.everyone))

    @property
    def steps_left(self) -> int:
        """If each took all its steps."""
        later = self.config.total_steps * len(self._fills(self.waiting))
        return later + max(map(self._left, self._active()), default=0)

    @property
    def steps_left_in_stage(self) -> int:
        """Until the first of its systems has none left."""
        return min(map(self._left, self._active()), default=0)

    def progress(self) -> Progress:
        """Where it is, for a checkpoint."""
        more = {"joined": tuple(self.begins), "done": dict(self.done), "room": self._room}
        return Progress(**vars(super().progress()) | more)

    def _active(self) -> list[int]:
        """Rows of those that are not done."""
        rows = enumerate(self.systems)
        return [row for row, system in rows if str(system.index) not in self.done]

    def _own_step(self, row: int) -> int:
        return self.simulation.state.step - self.joined[self.systems[row].index]

    def _left(self, row: int) -> int:
        return max(0, self.config.total_steps - self._own_step(row))

    def _let_leave_(self) -> None:
        """The simulation returns as soon as one of its systems is done."""
        self.simulation.enough = torch.any

    # -- who leaves, who comes -----------------------------------------------------------------

    def _goes_on_(self, outputs: Outputs) -> bool:
        """Who is done leaves, who has no steps left has failed, who waits comes."""
        finished = self.simulation.integrator.finished(self.simulation.state)
        assert finished is not None
        table = thermodynamics_of_all(self.simulation)
        leaving = [row for row, is_done in enumerate(finished.tolist()) if is_done]
        for row in leaving:
            if str(self.systems[row].index) not in self.done:
                self._finish_(row, table[row], outputs)
        spent = [row for row in self._active() if not self._left(row)]
        way_out = f"more steps in a run that starts from {LAST_GOOD}"
        if len(leaving) + len(spent) == len(self.systems) and not self.waiting:
            outputs.checkpoint(self.simulation)  # with more steps, a run goes on from here
            way_out = "more steps with --resume"
        for row in reversed(spent):
            self._drop_(self._not_at_a_minimum(row, self._own_step(row), way_out), outputs)
            leaving = [k - (k > row) for k in leaving]
        for row in reversed(leaving):
            outputs.drop(row)
        if leaving:
            self._leave_(leaving)
        self._fill_(outputs)
        return bool(self.systems)

    def _finish_(self, row: int, last: dict[str, Any], outputs: Outputs) -> None:
        """The last record of a system, and its final frame."""
        outputs.last_record(self.simulation, [row])
        outputs.write_frame(self.simulation, FINAL, row)
        last = {name: None if isnan(value) else value for name, value in last.items()}
        number = str(self.systems[row].index)
        self.done[number] = {"steps": self._own_step(row), "last": last}

    def _drop_(self, error: PhysicsError, outputs: Outputs) -> None:
        """As in a batch; where all have failed, others come."""
        super()._drop_(error, outputs)
        if not self.systems:
            self._fill_(outputs)

    def _fill_(self, outputs: Outputs) -> None:
        """Systems that wait, in their order, as long as there is room."""
        fills = self._fills([*self.systems, *self.waiting]) if self.waiting else []
        more = fills[0][len(self.systems) :] if fills else []
        if not more:
            return
        state = self.simulation.state
        for system in more:
            self.joined[system.index] = state.step
            outputs.join(system.folder, state.step)
        begun = starting_state(self.config, more)
        begun.names = tuple(system.folder for system in more)
        had_none, self.systems = not self.systems, [*self.systems, *more]
        self._replace_simulation_(self._alone(begun, state) if had_none else self._joined(begun))
        self.simulation.forces_are_current = False
        self.simulation.observe_start = True

    def _alone(self, begun: State, before: State) -> State:
        """New systems, where nobody is left, at the step of those before."""
        begun.extra = self._integrator().extra_state(begun)
        begun.step = before.step
        return begun

    def _joined(self, begun: State) -> State:
        """Those that there are, and new ones behind them."""
        state = self.simulation.state
        joined = join_systems(state, begun)
        joined.extra = join_extra(state, joined, self._integrator().extra_state(joined))
        return joined

    def _replace_simulation_(self, state: State) -> None:
        super()._replace_simulation_(state)
        self._let_leave_()

    def _fills(self, systems: Sequence[System]) -> list[list[System]]:
        """Who would be together if nobody left before all are done."""
        if not systems or self._room is None:
            return [list(systems)] if systems else []
        atoms, most = self._room
        return split(systems, Room(atoms, 0, None, most))
