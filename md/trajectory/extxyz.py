"""trajectory.extxyz: frames as text, by ASE's own writer, one whole frame per write."""

from io import StringIO
from pathlib import Path

from ase import Atoms
from ase.io.extxyz import write_extxyz

from fastequi.md.trajectory.appending import AppendFile


def extxyz_text(frame: Atoms) -> str:
    """A frame as text: positions, momenta, forces; energy, stress, step, time_ps in its header."""
    text = StringIO()
    write_extxyz(text, [frame])
    return text.getvalue()


class ExtxyzFile:
    """A text trajectory that ASE, OVITO and MDAnalysis read."""

    def __init__(self, path: Path, offset: int | None = None) -> None:
        """A new trajectory, or an old one cut back to `offset` bytes."""
        self.path = path
        self._file = AppendFile(path, offset)

    def append(self, record: Atoms) -> None:
        """Write one frame."""
        self._file.write(extxyz_text(record).encode())

    def sync(self) -> int:
        """fsync; the length in bytes."""
        return self._file.sync()

    def close(self) -> None:
        """Close the file."""
        self._file.close()
