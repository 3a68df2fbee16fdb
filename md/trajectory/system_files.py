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
    """

    def __init__(
        self,
        folder: Path,
        offsets: Mapping[str, int] | None,
        more_columns: Sequence[str] = (),
        trajectory_format: str = "extxyz",
        trajectory_columns: Sequence[str] = CHOSEN_COLUMNS,
        saves_uncertain: bool = False,
    ) -> None:
        """Start new files, or cut those of a checkpoint back to `offsets`, by their names.

        Raises InputError if a file is missing, too short or cannot be written.
        """
        offsets = offsets or {}
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

    def sync(self) -> dict[str, int]:
        """Wait until all is on disk; the offset of each file by its name."""
        return {file.path.name: file.sync() for file in self.files}

    def close(self) -> None:
        """Close the files."""
        for file in self.files:
            file.close()
