"""What is seen of a training: a line per epoch with the errors, a bar with the time left."""

import sys
from types import TracebackType
from typing import Any, TextIO

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from fastequi.cli.counter import Counter
from fastequi.cli.progress import duration
from fastequi.cli.train_report import print_plan
from fastequi.training.member import Member
from fastequi.training.session import Watcher
from fastequi.training.trainer import Trainer

#: Heading, unit, key in a row of metrics and width of a column; all fit 80 characters.
_COLUMNS = (
    ("epoch", "", "epoch", 6),
    ("rate", "", "learning_rate", 7),
    ("train E", "meV/atom", "train_energy_mae_meV_per_atom", 9),
    ("train F", "meV/Å", "train_force_mae_meV_per_A", 8),
    ("valid E", "meV/atom", "validation_energy_mae_meV_per_atom", 9),
    ("valid F", "meV/Å", "validation_force_mae_meV_per_A", 8),
    ("valid S", "meV/Å³", "validation_stress_mae_meV_per_A3", 8),
    ("best", "epoch", "best_epoch", 6),
)


class TrainingProgress(Watcher):
    """Shows how far trainings are while the `with` block lasts; one member after the other."""

    def __init__(self, log_every: int, out: TextIO | None = None) -> None:
        self.members_started = 0
        self._every = log_every
        self._out = out or sys.stdout
        self._console = Console(file=self._out, highlight=False)
        self._bar: Progress | None = None
        self._counter: tuple[str, Counter] | None = None
        self._clock = Clock()

    def __enter__(self) -> "TrainingProgress":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop()

    def counts(self, what: str, done: int, total: int) -> None:
        """Count something before or after the steps, on stderr."""
        if self._counter is None or self._counter[0] != what:
            self._stop()
            self._counter = what, Counter(what).__enter__()
        self._counter[1](done, total)
        if done == total:
            self._stop()

    def starts(self, member: Member) -> None:
        """Say what is about to be trained, and follow its trainer."""
        print_plan(member)
        self.members_started += 1
        trainer, known = member.trainer, member.prepared.data.statistics
        has_stress = any(frame.stress is not None for frame in trainer.validation.frames)
        has_forces = known.force_rms == known.force_rms
        self._columns = [c for c in _COLUMNS if (has_stress or c[0] != "valid S")
                         and (has_forces or not c[0].endswith("F"))]  # fmt: skip
        self._print(" ".join(f"{head:>{width}}" for head, _, _, width in self._columns) + "   left")
        self._print(" ".join(f"{unit:>{width}}" for _, unit, _, width in self._columns).rstrip())
        self._clock = Clock()
        self._start_bar(trainer)
        trainer.on_step.append(self._after_step)
        trainer.on_epoch.append(self._after_epoch)

    def _start_bar(self, trainer: Trainer) -> None:
        if not self._out.isatty():
            return
        columns = (
            BarColumn(), TextColumn("{task.percentage:>5.1f} %"), TextColumn("{task.description}"),
        )  # fmt: skip
        self._bar = Progress(*columns, console=self._console, transient=True)
        self._bar.start()
        self._task = self._bar.add_task("starting", total=1.0)

    def _after_step(self, trainer: Trainer) -> None:
        self._clock.update(trainer.progress, trainer.wall_s)
        if self._bar:
            done, total = trainer.batches_done, trainer.batches_per_epoch
            where = f"epoch {trainer.epoch + 1}, step {done} of {total}, {self._left(trainer)} left"
            self._bar.update(self._task, completed=trainer.progress, description=where)

    def _after_epoch(self, trainer: Trainer, row: dict[str, Any]) -> None:
        if trainer.epoch % self._every and not trainer.why_done:
            return
        cells = [_cell(row.get(key), key, width) for _, _, key, width in self._columns]
        self._print(" ".join(cells) + f"   {self._left(trainer)}")

    def _left(self, trainer: Trainer) -> str:
        left_s = self._clock.left_s(trainer.progress, trainer.wall_s)
        return "-" if left_s is None else duration(left_s)

    def _stop(self) -> None:
        if self._counter:
            self._counter[1].__exit__(None, None, None)
        if self._bar:
            self._bar.stop()
        self._counter = self._bar = None

    def _print(self, line: str) -> None:
        self._console.print(line, markup=False, soft_wrap=True)
        self._out.flush()


class Clock:
    """The time that is left, at the pace since the first step: what came before it is start-up."""

    def __init__(self) -> None:
        self._origin: tuple[float, float] | None = None

    def update(self, progress: float, wall_s: float) -> None:
        """Note that a step is done."""
        if self._origin is None:
            self._origin = progress, wall_s

    def left_s(self, progress: float, wall_s: float) -> float | None:
        """Seconds, never negative; None until there is a pace."""
        if self._origin is None or progress <= self._origin[0]:
            return None
        gained = progress - self._origin[0]
        return max(0.0, (wall_s - self._origin[1]) * (1.0 - progress) / gained)


def _cell(value: float | int | None, key: str, width: int) -> str:
    if value is None:
        return f"{'-':>{width}}"
    if key == "learning_rate":
        return f"{value:>{width}.1e}"
    return f"{number(value) if isinstance(value, float) else value:>{width}}"


def number(value: float) -> str:
    """Four digits that count; never a power of ten unless it is the only way."""
    if value >= 1000:
        return f"{value:.0f}" if value < 1e7 else f"{value:.1e}"
    return f"{value:#.4g}" if value >= 1e-3 else f"{value:.1e}"
