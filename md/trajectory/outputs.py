"""Outputs: the observers of a run that fill its directory with log, trajectory and checkpoints."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import Any

from fastequi.md.disagreement import COLUMN, DisagreementWatch, largest_disagreement
from fastequi.md.observers import thermodynamics
from fastequi.md.simulation import Simulation
from fastequi.md.trajectory.checkpoint import checkpoint_of
from fastequi.md.trajectory.directory import CHECKPOINTS, LOG, TRAJECTORIES, UNCERTAIN
from fastequi.md.trajectory.extxyz import ExtxyzFile, extxyz_text
from fastequi.md.trajectory.frame import frame_of
from fastequi.md.trajectory.h5md import H5mdFile
from fastequi.md.trajectory.log import LogFile
from fastequi.md.trajectory.writer import BackgroundWriter
from fastequi.storage.appending import RecordFile
from fastequi.storage.checkpoint import Checkpoint, write_checkpoint
from fastequi.storage.durable import write_durably

_TRAJECTORY_FILES = {"extxyz": ExtxyzFile, "h5md": H5mdFile}


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
    """

    def __init__(
        self,
        directory: Path,
        log_every: int,
        trajectory_every: int,
        trajectory_format: str,
        checkpoint_every: int,
        fingerprint: Mapping[str, Any],
        resumed: Checkpoint | None = None,
        is_committee: bool = False,
        disagreement_limit_eV_per_A: float | None = None,
        on_disagreement: str = "warn",
    ) -> None:
        """Start new files, or cut those of a checkpoint back to where it was.

        is_committee  whether the potential offers `disagreement`, which goes into the log; above
                      the limit, if there is one, on_disagreement says what happens

        Raises InputError if a file is missing, too short or cannot be written.
        """
        self.directory = directory
        self.trajectory_path = directory / TRAJECTORIES[trajectory_format]
        self._fingerprint = fingerprint
        offsets: Mapping[str, int] = resumed.offsets if resumed else {}
        log_path = directory / LOG
        self._log: RecordFile = LogFile(
            log_path, offsets.get(LOG), [COLUMN] if is_committee else []
        )
        self._trajectory: RecordFile = _TRAJECTORY_FILES[trajectory_format](
            self.trajectory_path, offsets.get(self.trajectory_path.name)
        )
        self._files = [self._log, self._trajectory]
        self._writer = BackgroundWriter()
        self._earlier_s: Mapping[str, float] = resumed.elapsed_s if resumed else {}
        self._started_s = perf_counter()
        last_step = resumed.step if resumed else -1
        watches = []
        if disagreement_limit_eV_per_A is not None:
            save = None if on_disagreement == "warn" else self._open_uncertain(offsets)
            watches.append(DisagreementWatch(disagreement_limit_eV_per_A, on_disagreement, save))
        # Checkpoints last: they close the books of their step.
        self.observers = [
            Periodic(log_every, self._log_row, last_step),
            Periodic(trajectory_every, self._frame, last_step),
            *(Periodic(log_every, watch, last_step) for watch in watches),
            Periodic(checkpoint_every, self._checkpoint, last_step),
        ]

    def elapsed_s(self, simulation: Simulation) -> dict[str, float]:
        """Seconds since the run began, over all its sessions: `wall` and the phases."""
        now = {"wall": perf_counter() - self._started_s, **simulation.phases_s}
        return {name: self._earlier_s.get(name, 0.0) + seconds for name, seconds in now.items()}

    def checkpoint(self, simulation: Simulation) -> None:
        """Write a checkpoint of this step, if there is none yet, and wait for it."""
        if self.observers[-1].last_step != simulation.state.step:
            self._checkpoint(simulation)
            self.observers[-1].last_step = simulation.state.step
        self._writer.flush()

    def write_frame(self, simulation: Simulation, name: str) -> Path:
        """Write this step's frame to a file of its own (extxyz), replacing an older one."""
        path = self.directory / name
        write_durably(path, extxyz_text(frame_of(simulation)).encode())
        return path

    def close(self) -> None:
        """Finish what is queued and close the files."""
        try:
            self._writer.close()
        finally:
            for file in self._files:
                file.close()

    def _log_row(self, simulation: Simulation) -> None:
        row = thermodynamics(simulation) | largest_disagreement(simulation)
        self._writer.submit(self._log.path, lambda: self._log.append(row))

    def _frame(self, simulation: Simulation) -> None:
        frame = frame_of(simulation)
        self._writer.submit(self._trajectory.path, lambda: self._trajectory.append(frame))

    def _open_uncertain(self, offsets: Mapping[str, int]) -> Callable[[Simulation], None]:
        """A file for frames on which the members of a committee disagree; what writes one."""
        path = self.directory / UNCERTAIN
        file = ExtxyzFile(path, offsets.get(UNCERTAIN))
        self._files.append(file)

        def save(simulation: Simulation) -> None:
            frame = frame_of(simulation)
            self._writer.submit(path, lambda: file.append(frame))

        return save

    def _checkpoint(self, simulation: Simulation) -> None:
        elapsed_s = self.elapsed_s(simulation)
        checkpoint = checkpoint_of(simulation.state, self._fingerprint, elapsed_s)
        folder = self.directory / CHECKPOINTS

        def write() -> None:
            offsets = {file.path.name: file.sync() for file in self._files}
            write_checkpoint(folder, replace(checkpoint, offsets=offsets))

        self._writer.submit(folder, write)
