"""A file that only grows, in whole records, and can be cut back to where a checkpoint left it."""

import os
from pathlib import Path
from typing import Any, Protocol

from fastequi.errors import InputError


class RecordFile(Protocol):
    """A log or trajectory: records go in, an offset says how much is there."""

    path: Path

    def append(self, record: Any) -> None:
        """Write one record; it is in the file, whole, when this returns."""
        ...

    def sync(self) -> int:
        """Wait until all is on disk; the offset (bytes or frames) to cut back to on resume."""
        ...

    def close(self) -> None:
        """Let go of the file."""
        ...


class AppendFile:
    """Raw bytes, appended record by record without a buffer, so that a kill loses none."""

    def __init__(self, path: Path, offset: int | None = None) -> None:
        """Start an empty file, or cut an existing one back to `offset` bytes and go on.

        Raises InputError if the file is missing or shorter than `offset`.
        """
        self.path = path
        if offset is not None:
            _check_length(path, offset)
        flags = os.O_WRONLY | os.O_CREAT | (os.O_TRUNC if offset is None else 0)
        self._descriptor = os.open(path, flags, 0o666)
        self._length = offset or 0
        os.ftruncate(self._descriptor, self._length)

    def write(self, data: bytes) -> None:
        """Append `data`, all or nothing: a full disk leaves no half record behind."""
        view, position = memoryview(data), self._length
        try:
            while view:
                written = os.pwrite(self._descriptor, view, position)
                view, position = view[written:], position + written
        except OSError as error:
            os.ftruncate(self._descriptor, self._length)
            error.filename = str(self.path)
            raise
        self._length = position

    def sync(self) -> int:
        """fsync; the length in bytes."""
        os.fsync(self._descriptor)
        return self._length

    def close(self) -> None:
        """Close the descriptor."""
        os.close(self._descriptor)


def _check_length(path: Path, offset: int) -> None:
    if not path.is_file():
        raise InputError(f"{path}: missing, but the checkpoint goes on from its byte {offset}")
    length = path.stat().st_size
    if length < offset:
        raise InputError(
            f"{path}: has {length} bytes, but the checkpoint goes on from byte {offset}; "
            "it was cut or replaced since. Start anew with --overwrite or another directory"
        )
