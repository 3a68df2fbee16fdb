"""The output directory: which names in it are fastequi's, and who may write there."""

import fcntl
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fastequi.errors import InputError

RESOLVED_CONFIG = "md.resolved.toml"
LOG = "log.csv"
TRAJECTORIES = {"extxyz": "trajectory.extxyz", "h5md": "trajectory.h5"}
FINAL = "final.extxyz"
LAST_GOOD = "last_good.extxyz"
UNCERTAIN = "uncertain.extxyz"
SUMMARY = "summary.json"
CHECKPOINTS = "checkpoints"

_FILES = (RESOLVED_CONFIG, LOG, *TRAJECTORIES.values(), FINAL, LAST_GOOD, UNCERTAIN, SUMMARY)
_CHECKPOINT = re.compile(r"step-\d+\.safetensors(\.damaged|\.tmp)?")


def own_files(directory: Path) -> list[Path]:
    """The files in a run's directory that fastequi wrote."""
    named = [directory / f"{name}{end}" for name in _FILES for end in ("", ".tmp")]
    folder = directory / CHECKPOINTS
    checkpoints = folder.iterdir() if folder.is_dir() else []
    return [path for path in named if path.is_file()] + sorted(
        path for path in checkpoints if _CHECKPOINT.fullmatch(path.name)
    )


def check_is_run(directory: Path) -> None:
    """Raise InputError if a folder holds files but none that marks it as a run of fastequi."""
    if directory.is_dir() and any(directory.iterdir()):
        if not (directory / RESOLVED_CONFIG).is_file():
            raise InputError(
                f"{directory}: does not look like a run of fastequi (it has no "
                f"{RESOLVED_CONFIG}), so nothing in it is touched; choose another output.directory"
            )


def empty_run_directory(directory: Path) -> None:
    """Remove from a folder what an earlier run wrote; all other files stay."""
    check_is_run(directory)
    try:
        # The mark of a run goes last: killed half-way, the folder can still be overwritten.
        for path in reversed(own_files(directory)):
            path.unlink()
        (directory / CHECKPOINTS).mkdir(exist_ok=True)
    except OSError as error:
        raise InputError(f"{directory}: cannot be written: {error.strerror}") from error


@contextmanager
def only_writer(directory: Path) -> Iterator[None]:
    """Make the folder and hold a lock on it; InputError if another process has it.

    The lock goes with the process, however it ends.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(directory, os.O_RDONLY)
    except OSError as error:
        raise InputError(f"{directory}: cannot be written: {error.strerror}") from error
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
