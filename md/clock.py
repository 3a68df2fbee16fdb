"""Where the time of a run goes: each moment is of the innermost phase that is open.

On a CPU by the host's clock. On a GPU by events: the host is long ahead there, and does not wait to
know; what events have passed is added up when somebody asks.
"""

import time
from collections.abc import Sequence
from typing import Any

import torch

PHASES = ("model", "neighbors", "integrate", "output")


class Clock:
    """Of the steps of one simulation; gpu: what has events, `torch.cuda`, or None on a CPU."""

    def __init__(self, gpu: Any = None, phases: Sequence[str] = PHASES) -> None:
        self._gpu = gpu
        self._open: list[str] = []
        self._last: Any = None
        self._spent_s: dict[str, float] = dict.fromkeys(phases, 0.0)
        self._unread: list[tuple[str, Any, Any]] = []

    @classmethod
    def on(cls, device: torch.device, phases: Sequence[str]) -> "Clock":
        """For what is computed there."""
        return cls(torch.cuda if device.type == "cuda" else None, phases)

    @property
    def phases_s(self) -> dict[str, float]:
        """Seconds spent in each phase, without what a GPU has not done yet; waits for nothing."""
        while self._unread and self._unread[0][2].query():
            phase, begin, end = self._unread.pop(0)
            self._spent_s[phase] += 1e-3 * begin.elapsed_time(end)
        return dict(self._spent_s)

    def timed(self, phase: str) -> "_Timed":
        """What happens inside is of this phase, but for what another one inside is of."""
        return _Timed(self, phase)

    def begin(self, phase: str) -> None:
        """From here on it is of this phase."""
        self._turn()
        self._open.append(phase)

    def end(self) -> None:
        """From here on it is of the phase before."""
        self._turn()
        self._open.pop()

    def _turn(self) -> None:
        """A phase begins or ends here."""
        if self._gpu is None:
            now = time.perf_counter()
            if self._open:
                self._spent_s[self._open[-1]] += now - self._last
        elif self._gpu.is_current_stream_capturing():
            return  # what is noted down has no time
        else:
            now = self._gpu.Event(enable_timing=True)
            now.record()
            if self._open:
                self._unread.append((self._open[-1], self._last, now))
        self._last = now


class _Timed:
    """A `with` block of one phase; steps of a few atoms would notice a generator."""

    __slots__ = ("_clock", "_phase")

    def __init__(self, clock: Clock, phase: str) -> None:
        self._clock, self._phase = clock, phase

    def __enter__(self) -> None:
        self._clock.begin(self._phase)

    def __exit__(self, *error: object) -> None:
        self._clock.end()
