"""Who may write to a folder: one process at a time."""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fastequi.errors import InputError
from fastequi.storage.durable import naming_files


@contextmanager
def only_writer(directory: Path) -> Iterator[None]:
    """Make the folder and hold a lock on it; InputError if another process has it.

    The lock goes with the process, however it ends.
    """
    with naming_files(directory):
        directory.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(directory, os.O_RDONLY)
    try:
        _lock(descriptor)
    except BlockingIOError:
        os.close(descriptor)
        raise InputError(f"{directory}: another run is writing here; wait or stop it") from None
    except OSError:
        pass  # a file system without locks: nothing can be known, go on
    try:
        yield
    finally:
        os.close(descriptor)


def _lock(descriptor: int) -> None:
    """Once more if it is taken: it may be someone who only asks (`is_written`)."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        time.sleep(0.05)
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def is_written(directory: Path) -> bool:
    """Whether a process holds the lock; False on a file system without locks, which do not tell."""
    try:
        descriptor = os.open(directory, os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return False
