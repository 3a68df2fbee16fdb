"""Who may write to a folder: one process at a time."""

import fcntl
import os
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
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise InputError(f"{directory}: another run is writing here; wait or stop it") from None
    except OSError:
        pass  # a file system without locks: nothing can be known, go on
    try:
        yield
    finally:
        os.close(descriptor)
