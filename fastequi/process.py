"""What a long run needs of its process: signals, sums in a fixed order, clear errors."""

import os
import signal
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

from fastequi.errors import InputError


@contextmanager
def naming(where: str) -> Iterator[None]:
    """Say in an InputError which key of the TOML it is about."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{where}: {error}") from error


@contextmanager
def reproducible(device: torch.device, asked: bool = False) -> Iterator[None]:
    """Have torch and kernels add up in a fixed order, so that a restart is the same to the last
    bit: on a CPU, and on a GPU where it is asked.

    On a CPU, without it, the gradient of an indexed read is summed by threads in any order; the
    fixed order costs nothing measurable there. On a GPU it does; unasked, it is left as it was set.

    The debug mode "warn" is the same switch as use_deterministic_algorithms, which also loads
    torch's compiler: seconds, 150 MB, and functions that keep a process group alive for ever.
    """
    before = torch.get_deterministic_debug_mode()
    only_warns = torch.is_deterministic_algorithms_warn_only_enabled()
    memory: Any = torch.utils.deterministic
    fill_before = memory.fill_uninitialized_memory
    if asked or device.type == "cpu":
        torch.set_deterministic_debug_mode("warn")
        memory.fill_uninitialized_memory = False
    try:
        yield
    finally:
        torch.set_deterministic_debug_mode(before)
        if only_warns and not before:  # a mode has no word for this: off, and a warning if put on
            torch.use_deterministic_algorithms(False, warn_only=True)
        memory.fill_uninitialized_memory = fill_before


@contextmanager
def stopping_on_signals(request_stop: Callable[[], None]) -> Iterator[None]:
    """Have SIGTERM, SIGINT and SIGHUP end the run after the current step; a second one ends it at
    once.

    SIGHUP comes when a terminal is closed; under nohup it is ignored, and stays so.

    One that comes before the first step ends it there, one that comes after the last is too late.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # Python delivers signals to the main thread only
        return
    before: dict[signal.Signals, Any] = {}

    def stop(number: int, frame: Any) -> None:
        request_stop()
        if number == signal.SIGHUP:
            _leave_the_terminal()
        for name, handler in before.items():
            signal.signal(name, handler)

    for name in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        if name is not signal.SIGHUP or signal.getsignal(name) is not signal.SIG_IGN:
            before[name] = signal.signal(name, stop)
    try:
        yield
    finally:
        for name, handler in before.items():
            signal.signal(name, handler)


def _leave_the_terminal() -> None:
    """Words for a terminal that is closed go nowhere; each would be an error. Files are kept."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for descriptor in (1, 2):
        if stat.S_ISCHR(os.fstat(descriptor).st_mode):
            os.dup2(nowhere, descriptor)
    os.close(nowhere)
