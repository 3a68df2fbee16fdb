"""The progress of a run: a bar with ETA, ns/day and temperature in a terminal, else plain lines.

A thread looks at the step counter a few times per second, so the steps are not slowed down and a
bar moves even if the log has a row per hour.
"""

import math
import sys
import threading
from time import perf_counter
from types import TracebackType
from typing import TextIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from fastequi.md.integrators.minimize import FORCE_COLUMN
from fastequi.md.observers import thermodynamics_of_all
from fastequi.md.simulation import Simulation
from fastequi.run import Setup
from fastequi.running.summary import ns_per_day

_POLL_S = 0.2
_LINE_S = 10.0
#: Columns that a terminal needs to show ^C behind the bar without a new line.
_ROOM_FOR_ECHO = 4


class Speedometer:
    """Steps per second since the first step was done: the start-up before it does not count."""

    def __init__(self, first_step: int) -> None:
        self._first_step = first_step
        self._origin: tuple[int, float] | None = None
        self.steps_per_s = float("nan")

    def update(self, step: int, now_s: float) -> None:
        """Look at the step counter at some time; NaN until two steps were seen."""
        if self._origin is None:
            self._origin = (step, now_s) if step > self._first_step else None
        elif step > self._origin[0]:
            self.steps_per_s = (step - self._origin[0]) / (now_s - self._origin[1])


class Progress:
    """Shows how far a run is while the `with` block lasts. Joins the run's observers.

    Steps are those of all stages and batches together, ns/day those of all systems at present.
    """

    def __init__(self, setup: Setup, out: TextIO | None = None) -> None:
        """`out` is stdout if not given."""
        self.every = setup.config.output.log_every
        self._setup = setup
        self._total = setup.total_steps
        self._first = self._step
        self._out = out or sys.stdout
        self._noted: tuple[float, float, bool] | None = None
        self._speedometer = Speedometer(self._first)
        self._done = threading.Event()
        show = self._show_bar if self._out.isatty() else self._print_lines
        self._thread = threading.Thread(target=show, name="fastequi-progress", daemon=True)
        setup.observers.append(self)

    def __call__(self, simulation: Simulation) -> None:
        """Note the temperatures, or the largest force, whenever the log does."""
        rows = thermodynamics_of_all(simulation)
        warm = simulation.integrator.is_dynamics
        found = [row["temperature_K" if warm else FORCE_COLUMN] for row in rows]
        self._noted = min(found), max(found), warm

    def __enter__(self) -> "Progress":
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._done.set()
        self._thread.join()

    @property
    def _step(self) -> int:
        return self._total - self._setup.steps_left

    def _where(self) -> str:
        """The stage, and which of several batches."""
        setup, words = self._setup, []
        if setup.config.stage:
            words.append(setup.batch.present.name)
        if len(setup.batches) > 1:
            words.append(f"batch {setup.present + 1} of {len(setup.batches)}")
        return ", ".join(filter(None, [*words, setup.batch.words]))

    def _speed(self) -> str:
        steps_per_s = self._speedometer.steps_per_s
        if math.isnan(steps_per_s):
            return "starting"
        batch = self._setup.batch
        integrator = batch.simulation.integrator
        if not integrator.is_dynamics:
            return f"{steps_per_s:.3g} steps/s"
        all_together = steps_per_s * len(batch.systems)
        return f"{ns_per_day(all_together, integrator.timestep_fs):.3g} ns/day"

    def _temperature(self) -> str:
        if self._noted is None:
            return ""
        low, high, warm = self._noted
        if not warm:
            return f"{high:.3g} eV/Å"
        return f"{low:.0f} K" if low == high else f"{low:.0f}-{high:.0f} K"

    def _show_bar(self) -> None:
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[speed]}"),
            TextColumn("{task.fields[temperature]}"),
        )
        console = Console(file=self._out)
        console.width = max(20, console.width - _ROOM_FOR_ECHO)
        with Bar(*columns, console=console) as bar:
            task = bar.add_task("", total=self._total, completed=self._first, speed="",
                                temperature="")  # fmt: skip
            waiting = True
            while waiting:
                waiting = not self._done.wait(_POLL_S)
                self._speedometer.update(self._step, perf_counter())
                bar.update(task, completed=self._step, speed=self._speed(),
                           temperature=self._temperature(), description=self._where())  # fmt: skip

    def _print_lines(self) -> None:
        """A line early on, to know how long it takes, then every 10 % or 10 s (later, 2 %)."""
        started_s = printed_s = perf_counter()
        printed_step = self._first
        tenth = max(1, (self._total - self._first) // 10)
        while not self._done.wait(_POLL_S):
            now_s, step = perf_counter(), self._step
            self._speedometer.update(step, now_s)
            # A minimisation may be at its end long before its steps are.
            if step in (printed_step, self._total) or math.isnan(self._speedometer.steps_per_s):
                continue
            pause_s = max(_LINE_S, 0.02 * (now_s - started_s))
            if (
                printed_step == self._first
                or step - printed_step >= tenth
                or (now_s - printed_s > pause_s)
            ):
                self._print_line(step)
                printed_step, printed_s = step, now_s

    def _print_line(self, step: int) -> None:
        left_s = (self._total - step) / self._speedometer.steps_per_s
        parts = [f"step {step} of {self._total}", self._where(), self._temperature(),
                 self._speed(), f"{duration(left_s)} left"]  # fmt: skip
        print("  ".join(part for part in parts if part), file=self._out, flush=True)


def duration(seconds: float) -> str:
    """Seconds, minutes or hours, as people say it."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
