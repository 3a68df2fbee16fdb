"""The progress of a training: a line per epoch with the errors, a bar with ETA in a terminal."""

import sys
from types import TracebackType
from typing import Any, TextIO

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from fastequi.cli.progress import duration
from fastequi.training.trainer import Trainer

#: Column of a printed line, its key in a row of metrics, its format.
_COLUMNS = (
    ("epoch", "epoch", "7d"),
    ("rate", "learning_rate", "9.1e"),
    ("E train", "train_energy_mae_meV_per_atom", "9.2f"),
    ("F train", "train_force_mae_meV_per_A", "9.2f"),
    ("E valid", "validation_energy_mae_meV_per_atom", "9.2f"),
    ("F valid", "validation_force_mae_meV_per_A", "9.2f"),
    ("S valid", "validation_stress_mae_meV_per_A3", "9.2f"),
    ("best", "best_epoch", "7d"),
)


class TrainingProgress:
    """Shows how far trainings are while the `with` block lasts; one trainer after the other."""

    def __init__(self, log_every: int, out: TextIO | None = None) -> None:
        self._every = log_every
        self._out = out or sys.stdout
        self._console = Console(file=self._out, highlight=False)
        columns = (
            BarColumn(), TextColumn("{task.percentage:>5.1f} %"), TextColumn("{task.fields[left]}"),
        )  # fmt: skip
        self._bar = Progress(*columns, console=self._console, disable=not self._out.isatty())

    def __enter__(self) -> "TrainingProgress":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.stop()

    def watch(self, trainer: Trainer) -> None:
        """Follow a trainer that is about to run."""
        self._print("   ".join(["MAE: E in meV/atom, F in meV/Å, S in meV/Å³; averaged weights"]))
        widths = [int(form.split(".")[0].rstrip("d")) for *_, form in _COLUMNS]
        self._print(
            " ".join(f"{c[0]:>{w}}" for c, w in zip(_COLUMNS, widths, strict=True)) + "  left"
        )
        self._first = (trainer.progress, trainer.wall_s)
        self._bar.start()
        self._task = self._bar.add_task("", total=1.0, completed=trainer.progress, left="starting")
        trainer.on_step.append(self._after_step)
        trainer.on_epoch.append(self._after_epoch)

    def _after_step(self, trainer: Trainer) -> None:
        if not self._bar.disable:
            self._bar.update(self._task, completed=trainer.progress, left=self._left(trainer))

    def _after_epoch(self, trainer: Trainer, row: dict[str, Any]) -> None:
        if trainer.epoch % self._every and not trainer.why_done:
            return
        cells = []
        for _, key, form in _COLUMNS:
            width = form.split(".")[0].rstrip("d")
            cells.append(f"{'-':>{width}}" if row[key] is None else f"{row[key]:{form}}")
        self._print(" ".join(cells) + f"  {self._left(trainer)}")

    def _left(self, trainer: Trainer) -> str:
        """The time to the end at the speed of this session."""
        progress, wall_s = self._first
        gained = trainer.progress - progress
        if gained <= 0:
            return "starting"
        return f"{duration((trainer.wall_s - wall_s) * (1 - trainer.progress) / gained)} left"

    def _print(self, line: str) -> None:
        self._console.print(line, markup=False, soft_wrap=True)
        self._out.flush()
