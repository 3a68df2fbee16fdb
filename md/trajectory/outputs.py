"""Outputs: the observers of a run that fill its directory with logs, trajectories, checkpoints."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

from ase import Atoms

from fastequi.md import bias
from fastequi.md.analysis.accumulators.on_the_fly import Asked, OnTheFly
from fastequi.md.disagreement import COLUMN, DisagreementWatch, sent_disagreement
from fastequi.md.observers import EverySo, sent_thermodynamics
from fastequi.md.simulation import Simulation
from fastequi.md.trajectory.checkpoint import Progress, sent_checkpoint
from fastequi.md.trajectory.extxyz import extxyz_text
from fastequi.md.trajectory.frame import frame_of, sent_frames
from fastequi.md.trajectory.log import STAGE
from fastequi.md.trajectory.system_files import SystemFiles
from fastequi.md.trajectory.writer import BackgroundWriter
from fastequi.storage.appending import RecordFile
from fastequi.storage.checkpoint import Checkpoint, write_checkpoint
from fastequi.storage.durable import fsync, write_durably

#: What is written of each system by its own steps.
_LOG, _FRAMES = "log", "frames"


@dataclass
class Periodic:
    """An observer: `action(simulation)` at every multiple of `every` steps, once each."""

    every: int
    action: Callable[[Simulation], None]
    last_step: int = -1

    def __call__(self, simulation: Simulation) -> None:
        step = simulation.state.step
        if step > self.last_step and step % self.every == 0:
            self.action(simulation)
            self.last_step = step


class Outputs:
    """Copies what is due at a step and has a thread write it, in order.

    A checkpoint is queued behind all records before it, so the offsets that it stores are those
    of its step, and the steps never wait for the disk.

    stage: the name of the present one, which rows and frames get; None in a run without.

    Systems that begin later than others count steps of their own, and what is due is due by these.
    """

    def __init__(
        self,
        directory: Path,
        folders: Sequence[str],
        begins: Sequence[int] | None,
        checkpoints: Path,
        log_every: int,
        trajectory_every: int,
        trajectory_format: str,
        trajectory_columns: Sequence[str],
        checkpoint_every: int,
        checkpoints_kept: int,
        fingerprint: Mapping[str, Any],
        progress: Callable[[], Progress],
        resumed: Checkpoint | None = None,
        stage: str | None = None,
        analyses: Sequence[Asked] = (),
        more_columns: Sequence[str] = (),
        is_committee: bool = False,
        disagreement_limit_eV_per_A: float | None = None,
        on_disagreement: str = "warn",
        lengths_of_bias: Callable[[], Mapping[str, int]] | None = None,
    ) -> None:
        """Start new files, or cut those of a checkpoint back to where it was.

        folders       of the systems of the batch, in their order; "" where there is only one
        begins        steps at which they began; None: all at step 0, and so will all others
        checkpoints   where those of the batch go
        progress      where the batch is, for the checkpoints
        analyses      the sections [[analysis]]
        more_columns  of the log, that the ensembles of the run have on top
        is_committee  whether the potential offers `disagreement`, which goes into the log; above
                      the limit, if there is one, on_disagreement says what happens
        lengths_of_bias  bytes of the files that the bias of the only system has written, by their
                      places in the directory; None without a bias, which has a column of the log

        Raises InputError if a file is missing, too short or cannot be written.
        """
        self.directory, self.checkpoints, self.stage = directory, checkpoints, stage
        self._fingerprint, self._progress, self._kept = fingerprint, progress, checkpoints_kept
        self._more_columns, self._lengths_of_bias = more_columns, lengths_of_bias
        more = {bias.COLUMN: lengths_of_bias, COLUMN: is_committee, STAGE: stage is not None}
        self._columns = [*more_columns, *(name for name, is_there in more.items() if is_there)]
        watched = disagreement_limit_eV_per_A is not None
        saves = watched and on_disagreement != "warn"
        self._form = self._columns, trajectory_format, trajectory_columns, saves
        self._analyses = analyses
        self._folders: list[str] = []
        self._systems: list[SystemFiles] = []
        self._on_the_fly: list[OnTheFly] = []
        for folder, begin in zip(folders, begins or [0] * len(folders), strict=True):
            self.join(folder, begin, resumed)
        self._writer = BackgroundWriter()
        self._earlier_s: Mapping[str, float] = resumed.elapsed_s if resumed else {}
        self._started_s = perf_counter()
        last_step = resumed.step if resumed else -1
        watches = []
        if disagreement_limit_eV_per_A is not None:
            save = None if on_disagreement == "warn" else self._uncertain_frames
            watches.append(DisagreementWatch(disagreement_limit_eV_per_A, on_disagreement, save))
        # Checkpoints last: they close the books of their step.
        self.observers = [
            self._by_system(_LOG, log_every, begins, self._log_rows),
            self._by_system(_FRAMES, trajectory_every, begins, self._frames),
            *(Periodic(log_every, watch, last_step) for watch in watches),
            *(
                self._by_system(f"analysis {k}", one.every, begins, partial(self._analyse, k))
                for k, one in enumerate(analyses)
            ),
            Periodic(checkpoint_every, self._checkpoint, last_step),
        ]

    def elapsed_s(self, simulation: Simulation) -> dict[str, float]:
        """Seconds since the run began, over all its sessions: `wall` and the phases."""
        now = {"wall": perf_counter() - self._started_s, **simulation.phases_s}
        return {name: self._earlier_s.get(name, 0.0) + seconds for name, seconds in now.items()}

    def last_record(self, simulation: Simulation, rows: Sequence[int] | None = None) -> None:
        """A row of the log and a frame of this step, if there is none yet: nothing comes after it.

        rows: of which systems; None for all.
        """
        rows = range(len(self._systems)) if rows is None else rows
        self._log_rows(simulation, self._due(_LOG, 1, simulation, rows))
        self._frames(simulation, self._due(_FRAMES, 1, simulation, rows))

    def join(self, folder: str, begin: int, resumed: Checkpoint | None = None) -> None:
        """Open the files of one more system, which begins at a step; or as a checkpoint has them.

        Raises InputError as the constructor.
        """
        offsets = _offsets_in(folder, resumed.offsets) if resumed else None
        (self.directory / folder).mkdir(exist_ok=True)
        own = SystemFiles(self.directory / folder, offsets, *self._form, begin=begin)
        own.last_step = resumed.step - begin if resumed else -1
        self._folders.append(folder)
        self._systems.append(own)
        tensors = resumed.tensors if resumed else {}
        self._on_the_fly.append(OnTheFly(self.directory, self._analyses, folder, tensors))

    def checkpoint(self, simulation: Simulation) -> None:
        """Write a checkpoint of this step, if there is none yet, and wait for it."""
        if self.observers[-1].last_step != simulation.state.step:
            self._checkpoint(simulation)
            self.observers[-1].last_step = simulation.state.step
        self._writer.flush()

    def write_frame(self, simulation: Simulation, name: str, row: int = 0) -> Path:
        """Write this step's frame of a system to a file of its own (extxyz), replacing another."""
        path = self.directory / self._folders[row] / name
        frame = _named(frame_of(simulation, row), self.stage, self._systems[row].begin)
        write_durably(path, extxyz_text(frame).encode())
        return path

    def drop(self, row: int) -> None:
        """Close the files of one system: the batch goes on without it."""
        self._writer.flush()
        del self._folders[row]
        self._systems.pop(row).close()
        self._on_the_fly.pop(row).write()

    def close(self) -> None:
        """Finish what is queued and close the files."""
        try:
            self._writer.close()
        finally:
            for system in self._systems:
                system.close()

    def _by_system(
        self, kind: str, every: int, begins: Sequence[int] | None,
        action: Callable[[Simulation, Sequence[int]], None],
    ) -> EverySo:  # fmt: skip
        """An observer: what has to be done with the systems whose own steps are multiples."""

        def observe(simulation: Simulation) -> None:
            everyone = range(len(self._systems))
            if rows := self._due(kind, every, simulation, everyone):
                action(simulation, rows)

        return EverySo(every if begins is None else 1, observe)

    def _due(self, kind: str, every: int, simulation: Simulation, rows: Iterable[int]) -> list[int]:
        """Those whose own step is a multiple that has not been recorded; now it is."""
        step = simulation.state.step
        return [row for row in rows if self._systems[row].is_due(kind, every, step)]

    def _log_rows(self, simulation: Simulation, rows: Sequence[int]) -> None:
        if not rows:
            return
        table, more = sent_thermodynamics(simulation), sent_disagreement(simulation)
        stage = {} if self.stage is None else {STAGE: self.stage}
        if simulation.bias is not None:
            stage |= {bias.COLUMN: simulation.bias.energy_eV}
        none = dict.fromkeys(self._more_columns, math.nan)  # of the ensembles of other stages
        steps = [{"step": simulation.state.step - self._systems[row].begin} for row in rows]

        def records() -> list[dict[str, Any]]:
            found, disagreement = table(), more()
            return [
                none | found[row] | step | disagreement[row] | stage
                for row, step in zip(rows, steps, strict=True)
            ]

        self._append([self._systems[row].log for row in rows], records)

    def _frames(self, simulation: Simulation, rows: Sequence[int]) -> None:
        if rows:
            files = [self._systems[row].trajectory for row in rows]
            self._append(files, self._sent(simulation, rows))

    def _uncertain_frames(self, simulation: Simulation, rows: Sequence[int]) -> None:
        files = [file for row in rows if (file := self._systems[row].uncertain)]
        self._append(files, self._sent(simulation, rows))

    def _analyse(self, k: int, simulation: Simulation, rows: Sequence[int]) -> None:
        """Give the frames of this step to the k-th [[analysis]] of some systems."""
        on_the_fly, frames = [self._on_the_fly[row] for row in rows], sent_frames(simulation)

        def add() -> None:
            found = frames()
            for row, one in zip(rows, on_the_fly, strict=True):
                one.add(k, found[row])

        self._writer.submit(self.directory, add)

    def _sent(self, simulation: Simulation, rows: Sequence[int]) -> Callable[[], list[Atoms]]:
        """The frames of some systems at this step, which know their stage and their own step."""
        frames, stage = sent_frames(simulation), self.stage
        begins = [self._systems[row].begin for row in rows]

        def named() -> list[Atoms]:
            found = frames()
            own = zip(rows, begins, strict=True)
            return [_named(found[row], stage, begin) for row, begin in own]

        return named

    def _append(self, files: Sequence[RecordFile], records: Callable[[], Sequence[object]]) -> None:
        """A record to each of some files; they are made where they are written."""

        def write() -> None:
            for file, record in zip(files, records(), strict=True):
                file.append(record)

        self._writer.submit(self.directory, write)

    def _checkpoint(self, simulation: Simulation) -> None:
        sent = sent_checkpoint(
            simulation.state,
            self._fingerprint,
            self.elapsed_s(simulation),
            self._progress(),
            simulation.engine_state(),
        )
        systems = list(zip(self._folders, self._systems, strict=True))
        on_the_fly = list(self._on_the_fly)
        of_bias = dict(self._lengths_of_bias()) if self._lengths_of_bias else {}

        def write() -> None:
            offsets = {
                (Path(folder) / name).as_posix(): offset
                for folder, system in systems
                for name, offset in system.sync().items()
            }
            for name in of_bias:
                fsync(self.directory / name)
            offsets |= of_bias
            more = {name: t for one in on_the_fly for name, t in one.tensors().items()}
            checkpoint = sent()
            written = replace(checkpoint, tensors=checkpoint.tensors | more, offsets=offsets)
            write_checkpoint(self.checkpoints, written, self._kept)
            for one in on_the_fly:
                one.write()

        self._writer.submit(self.checkpoints, write)


def _named(frame: Atoms, stage: str | None, begin: int) -> Atoms:
    """A frame that knows its stage, and the step of a system that began at another."""
    frame.info["step"] -= begin
    if stage is not None:
        frame.info["stage"] = stage
    return frame


def _offsets_in(folder: str, offsets: Mapping[str, int]) -> dict[str, int]:
    """Those of the files of one folder, by their own names."""
    paths = {Path(name): offset for name, offset in offsets.items()}
    return {path.name: n for path, n in paths.items() if path.parent == Path(folder)}
