"""The files that grow while one system runs: its log, its trajectory, its uncertain frames."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from fastequi.md.trajectory.directory import LOG, TRAJECTORIES, UNCERTAIN
from fastequi.md.trajectory.extxyz import CHOSEN_COLUMNS, ExtxyzFile
from fastequi.md.trajectory.h5md import H5mdFile
from fastequi.md.trajectory.log import LogFile
from fastequi.storage.appending import RecordFile


class SystemFiles:
    """The record files in the folder of a system, open.

    uncertain: frames on which the members of a committee disagree; None where nobody asks.
    begin: the step at which the system began; last_step: its own step up to which all is written.
    """

    def __init__(
        self,
        folder: Path,
        offsets: Mapping[str, int] | None,
        more_columns: Sequence[str] = (),
        trajectory_format: str = "extxyz",
        trajectory_columns: Sequence[str] = CHOSEN_COLUMNS,
        saves_uncertain: bool = False,
        begin: int = 0,
    ) -> None:
        """Start new files, or cut those of a checkpoint back to `offsets`, by their names.

        Raises InputError if a file is missing, too short or cannot be written.
        """
        offsets = offsets or {}
        self.begin, self.last_step = begin, -1
        self._last_of: dict[str, int] = {}
        self.log = LogFile(folder / LOG, offsets.get(LOG), more_columns)
        path = folder / TRAJECTORIES[trajectory_format]
        self.trajectory: RecordFile
        if trajectory_format == "extxyz":
            self.trajectory = ExtxyzFile(path, offsets.get(path.name), trajectory_columns)
        else:
            self.trajectory = H5mdFile(path, offsets.get(path.name))
        self.uncertain = None
        if saves_uncertain:
            self.uncertain = ExtxyzFile(folder / UNCERTAIN, offsets.get(UNCERTAIN))

    @property
    def files(self) -> list[RecordFile]:
        """All of them."""
        return [file for file in (self.log, self.trajectory, self.uncertain) if file is not None]

    def is_due(self, kind: str, every: int, step: int) -> bool:
        """Whether its own step is a multiple that has not been due before, which it then was."""
        own = step - self.begin
        is_due = own % every == 0 and own > self._last_of.get(kind, self.last_step)
        if is_due:
            self._last_of[kind] = own
        return is_due

    def sync(self) -> dict[str, int]:
        """Wait until all is on disk; the offset of each file by its name."""
        return {file.path.name: file.sync() for file in self.files}

    def close(self) -> None:
        """Close the files."""
        for file in self.files:
            file.close()
