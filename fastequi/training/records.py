"""The files that a training fills while it runs: metrics, checkpoints, model, learning curve.

`member.py` says when; here is what is written. All belong to one member of an ensemble.
"""

from pathlib import Path
from time import perf_counter
from typing import Any

from fastequi.model.file import ModelData, save_model
from fastequi.plotting import why_no_plots
from fastequi.storage.appending import AppendFile
from fastequi.storage.checkpoint import Checkpoint, set_aside_later, write_checkpoint
from fastequi.training import directory as names
from fastequi.training.metrics import ErrorSums
from fastequi.training.plots import plot_learning_curve
from fastequi.training.trainer import Trainer
from fastequi.training.trainer_state import numbers_of, tensors_of

_ERRORS = tuple(ErrorSums().results())
#: The columns of metrics.csv; errors in meV and Å.
COLUMNS = (
    "epoch", "step", "learning_rate", "train_loss", "validation_loss",
    *(f"train_{name}" for name in _ERRORS), *(f"validation_{name}" for name in _ERRORS),
    "best_epoch", "wall_s",
)  # fmt: skip

#: An epoch may take hours: this often (seconds) there is a checkpoint inside it, too.
CHECKPOINT_S = 600.0
#: The learning curve is drawn again this often (seconds), and for at most this share of the time.
_PICTURE_S, _PICTURE_SHARE = 30.0, 0.02


class Records:
    """Observes a trainer and writes; a kill at any moment leaves files to go on from."""

    def __init__(
        self, folder: Path, trainer: Trainer, fingerprint: dict[str, Any],
        provenance: dict[str, str], checkpoint_every: int, resumed: Checkpoint | None,
    ) -> None:  # fmt: skip
        """Start new files, or cut metrics.csv back to where a checkpoint left it."""
        self.folder, self.trainer = folder, trainer
        self._fingerprint, self._provenance = fingerprint, provenance
        self._every = checkpoint_every
        self._checkpoint_s = self._picture_s = perf_counter()
        self._pause_s = 0.0 if why_no_plots() == "" else float("inf")
        (folder / names.CHECKPOINTS).mkdir(parents=True, exist_ok=True)
        set_aside_later(folder / names.CHECKPOINTS, trainer.step)
        self._metrics = AppendFile(
            folder / names.METRICS, resumed.offsets[names.METRICS] if resumed else None
        )
        if resumed is None:
            self._metrics.write((",".join(COLUMNS) + "\n").encode())
        elif trainer.best.tensors:  # the file may be of an epoch after the checkpoint
            save_model(folder / names.MODEL, self.best_model())
        trainer.on_step.append(self._after_step)
        trainer.on_epoch.append(self._after_epoch)

    def best_model(self) -> ModelData:
        """The averaged weights with the smallest validation error so far."""
        best = self.trainer.best
        facts = self._provenance | {"best epoch": str(best.epoch)}
        return ModelData(self.trainer.network.spec, best.tensors, facts)

    def checkpoint(self) -> None:
        """Write a checkpoint of this moment."""
        trainer = self.trainer
        checkpoint = Checkpoint(
            tensors_of(trainer), numbers_of(trainer), self._fingerprint,
            {names.METRICS: self._metrics.sync()}, {"wall": trainer.wall_s},
        )  # fmt: skip
        write_checkpoint(self.folder / names.CHECKPOINTS, checkpoint)
        self._checkpoint_s = perf_counter()

    def close(self) -> None:
        """Let go of metrics.csv."""
        self._metrics.close()

    def _after_step(self, trainer: Trainer) -> None:
        if perf_counter() - self._checkpoint_s > CHECKPOINT_S:
            self.checkpoint()

    def _after_epoch(self, trainer: Trainer, row: dict[str, Any]) -> None:
        cells = [_cell(row.get(name)) for name in COLUMNS]
        self._metrics.write((",".join(cells) + "\n").encode())
        if trainer.best.epoch == trainer.epoch:
            save_model(self.folder / names.MODEL, self.best_model())
        if trainer.epoch % self._every == 0:
            self.checkpoint()
        if perf_counter() - self._picture_s > max(_PICTURE_S, self._pause_s):
            self.draw_learning_curve()

    def draw_learning_curve(self) -> None:
        """Draw what metrics.csv holds."""
        started_s = perf_counter()
        plot_learning_curve(self.folder / names.METRICS, self.folder / names.LEARNING_CURVE)
        self._picture_s = perf_counter()
        self._pause_s = (self._picture_s - started_s) / _PICTURE_SHARE


def _cell(value: float | int | None) -> str:
    if value is None:
        return ""
    return f"{value:.8g}" if isinstance(value, float) else str(value)
