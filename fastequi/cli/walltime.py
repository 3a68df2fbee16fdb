"""`--max-walltime`: how long a job may take, as SLURM's users write it, and an end in time."""

import math
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from fastequi.errors import InputError

_ALLOWED = (
    "minutes (90), minutes:seconds (90:00), hours:minutes:seconds (01:30:00), days-hours (1-12), "
    "days-hours:minutes or days-hours:minutes:seconds"
)
_FORM = re.compile(r"(?:(\d+)-)?(\d+)(?::(\d+))?(?::(\d+))?")


def read_walltime(text: str) -> float:
    """Seconds of a time as `sbatch --time` takes it. Raises InputError for any other text."""
    match = _FORM.fullmatch(text.strip())
    if match is None:
        raise InputError(f'--max-walltime: got "{text}"; allowed: {_ALLOWED}')
    days, *parts = (None if part is None else int(part) for part in match.groups())
    numbers = [part for part in parts if part is not None]
    if days is not None:  # hours first
        hours, minutes, seconds = [*numbers, 0, 0][:3]
    elif len(numbers) == 3:
        hours, minutes, seconds = numbers
    else:  # minutes first
        hours, minutes, seconds = [0, *numbers, 0][:3]
    total = (((days or 0) * 24 + hours) * 60 + minutes) * 60 + seconds
    if total == 0:
        raise InputError(f'--max-walltime: got "{text}", which leaves no time; allowed: {_ALLOWED}')
    return float(total)


def written(seconds: float) -> str:
    """The same as `read_walltime` takes it."""
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


def seconds_left(deadline_s: float | None) -> float:
    """Until a moment of `time.monotonic()`; infinitely many without one."""
    return math.inf if deadline_s is None else deadline_s - time.monotonic()


@contextmanager
def stopping_at(deadline_s: float | None, request_stop: Callable[[], None]) -> Iterator[None]:
    """Ask for a stop at a moment of `time.monotonic()`, unless the block has ended by then."""
    if deadline_s is None:
        yield
        return
    timer = threading.Timer(max(0.0, seconds_left(deadline_s)), request_stop)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
