"""How far something is that goes through many items: a bar in a terminal, else a line at times."""

import sys
from time import perf_counter
from types import TracebackType
from typing import TextIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from fastequi.cli.progress import duration

#: Seconds before the first line where there is no terminal, and between lines.
_LINE_S = 10.0


class Counter:
    """Shows `(done, total)` as it is called while the `with` block lasts.

    with Counter("neighbour lists") as progress:
        Dataset(frames, cutoff, progress)
    """

    def __init__(self, what: str, out: TextIO | None = None) -> None:
        """`out` is stderr if not given: what is counted is not the result."""
        self._what, self._out = what, out or sys.stderr
        self._bar: Progress | None = None
        self._started_s = self._printed_s = perf_counter()

    def __enter__(self) -> "Counter":
        if self._out.isatty():
            columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
                       TimeRemainingColumn())  # fmt: skip
            self._bar = Progress(*columns, console=Console(file=self._out), transient=True)
            self._bar.start()
            self._task = self._bar.add_task(self._what, total=None)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar:
            self._bar.stop()

    def __call__(self, done: int, total: int) -> None:
        """Say that `done` of `total` are done."""
        if self._bar:
            self._bar.update(self._task, completed=done, total=total)
            return
        now_s = perf_counter()
        if done and done < total and now_s - self._printed_s > _LINE_S:
            self._printed_s = now_s
            left = duration((now_s - self._started_s) * (total - done) / done)
            print(f"{self._what}: {done} of {total}, {left} left", file=self._out, flush=True)
