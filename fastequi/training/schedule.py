"""The learning rate: warm-up, then constant, cosine, or halved on a plateau."""

import math
from dataclasses import dataclass
from typing import Any

from fastequi.training.config import TrainingConfig


@dataclass
class Schedule:
    """A learning rate that depends on how far training is, and on how well it goes.

    config  its keys say how: after a linear rise, 'constant'; 'cosine', to the minimum at the end
            (Loshchilov and Hutter 2017); 'plateau', times a factor after some epochs without a
            better validation
    """

    config: TrainingConfig
    reduction: float = 1.0
    best: float = math.inf
    bad_epochs: int = 0

    def rate(self, epoch: float, progress: float) -> float:
        """The rate after `epoch` epochs, when `progress` (0 to 1) of the training is over."""
        rise, highest = self.config.warmup_epochs, self.config.learning_rate
        warm = min(1.0, epoch / rise) if rise else 1.0
        if self.config.schedule == "cosine":
            shape = 0.5 * (1 + math.cos(math.pi * min(progress, 1.0)))
            lowest = self.config.minimum_learning_rate
            return warm * (lowest + (highest - lowest) * shape)
        return warm * highest * self.reduction

    def after_epoch(self, validation: float) -> None:
        """Note the validation loss of an epoch."""
        if validation < self.best * (1 - 1e-4):
            self.best, self.bad_epochs = validation, 0
            return
        self.bad_epochs += 1
        if self.config.schedule == "plateau" and self.bad_epochs > self.config.plateau_patience:
            self.reduction *= self.config.plateau_factor
            self.bad_epochs = 0

    @property
    def is_exhausted(self) -> bool:
        """Whether a plateau schedule has come down to the smallest rate."""
        rate = self.config.learning_rate * self.reduction
        return self.config.schedule == "plateau" and rate < self.config.minimum_learning_rate

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {"reduction": self.reduction, "best": self.best, "bad_epochs": self.bad_epochs}

    def restore(self, state: dict[str, Any]) -> None:
        for name, value in state.items():
            setattr(self, name, value)
