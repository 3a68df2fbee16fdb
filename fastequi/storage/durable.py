"""Whole files that are there or not: a kill or a crash leaves the old one or the new one."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fastequi.errors import InputError


def fsync(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def replace_durably(temporary: Path, path: Path) -> None:
    """Put a finished temporary file in place: after a crash there is the old one or the new one."""
    fsync(temporary)
    os.replace(temporary, path)
    fsync(path.parent)


def write_durably(path: Path, data: bytes) -> None:
    """Write a whole file, by way of a temporary one, so that it is never seen half written."""
    temporary = path.with_name(path.name + ".tmp")
    try:
        temporary.write_bytes(data)
    except OSError as error:
        temporary.unlink(missing_ok=True)  # half a file would keep a full disk full
        error.filename = error.filename or str(path)
        raise
    replace_durably(temporary, path)


def write_json(path: Path, value: Any) -> None:
    """Write what JSON can hold, for people and programs, durably."""
    write_durably(path, (json.dumps(value, indent=2) + "\n").encode())


@contextmanager
def naming_files(path: Path) -> Iterator[None]:
    """A file that cannot be written is a matter of the user's disk, not a bug: an InputError.

    path  what is named where the error itself names no file
    """
    try:
        yield
    except OSError as error:
        name = error.filename or path
        raise InputError(f"{name}: cannot be written: {error.strerror}") from error
