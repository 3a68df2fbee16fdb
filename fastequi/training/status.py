"""How far a training is, and whether it goes on: from what is in its directory."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastequi.errors import InputError
from fastequi.settings import read_toml
from fastequi.storage.lock import is_written
from fastequi.training import directory as names
from fastequi.training.plots import read_metrics


@dataclass(frozen=True)
class TrainingStatus:
    """How far it is: state is running, done or stopped; share is 0 to 1."""

    state: str
    epoch: int
    epochs: int
    share: float
    why_done: str = ""

    @property
    def text(self) -> str:
        """In a sentence."""
        return {
            "running": f"running: epoch {self.epoch} of {self.epochs}",
            "done": f"finished after epoch {self.epoch}: {self.why_done}",
            "stopped": f"stopped after epoch {self.epoch} of {self.epochs}; --resume goes on",
        }[self.state]


def training_status(folder: Path, is_done: bool = False) -> TrainingStatus:
    """Of the folder of one model, alone or a member of several.

    is_done  of a training that whoever asks has just ended, and still holds
    """
    run = next(d for d in (folder, folder.parent) if (d / names.RESOLVED_CONFIG).is_file())
    training = read_toml(run / names.RESOLVED_CONFIG).get("training", {})
    epoch, wall_s = _last_row(folder / names.METRICS)
    epochs = int(training.get("epochs", 0))
    limit_s = 60.0 * training.get("max_wall_minutes", float("inf"))
    share = min(1.0, max(epoch / max(1, epochs), wall_s / limit_s))
    summary = summary_of(folder)
    if is_written(folder) and not is_done:
        return TrainingStatus("running", epoch, epochs, share)
    if summary.get("epochs", -1) >= epoch:
        return TrainingStatus("done", epoch, epochs, 1.0, str(summary.get("why_done", "")))
    return TrainingStatus("stopped", epoch, epochs, share)


def summary_of(folder: Path) -> dict[str, Any]:
    """summary.json of a folder; empty where there is none yet."""
    try:
        found = json.loads((folder / names.SUMMARY).read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _last_row(metrics: Path) -> tuple[int, float]:
    """Epoch, and seconds since the training began."""
    try:
        columns = read_metrics(metrics)
    except InputError:
        return 0, 0.0
    return int(columns["epoch"][-1]), float(columns["wall_s"][-1])
