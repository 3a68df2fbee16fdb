"""The learning rate: warm-up, then constant, cosine, or halved on a plateau."""

import math
from dataclasses import asdict, dataclass
from typing import Any


@dataclass
class Schedule:
    """A learning rate that depends on how far training is, and on how well it goes.

    kind        'constant'; 'cosine': to `minimum` at the end (Loshchilov and Hutter 2017);
                'plateau': times `factor` after `patience` epochs without a better validation
    warmup_epochs  linear rise at the start
    """

    learning_rate: float
    kind: str = "plateau"
    warmup_epochs: float = 0.0
    patience: int = 25
    factor: float = 0.5
    minimum: float = 1e-6
    reduction: float = 1.0
    best: float = math.inf
    bad_epochs: int = 0

    def rate(self, epoch: float, progress: float) -> float:
        """The rate after `epoch` epochs, when `progress` (0 to 1) of the training is over."""
        warm = min(1.0, epoch / self.warmup_epochs) if self.warmup_epochs else 1.0
        if self.kind == "cosine":
            shape = 0.5 * (1 + math.cos(math.pi * min(progress, 1.0)))
            return warm * (self.minimum + (self.learning_rate - self.minimum) * shape)
        return warm * self.learning_rate * self.reduction

    def after_epoch(self, validation: float) -> None:
        """Note the validation loss of an epoch."""
        if validation < self.best * (1 - 1e-4):
            self.best, self.bad_epochs = validation, 0
            return
        self.bad_epochs += 1
        if self.kind == "plateau" and self.bad_epochs > self.patience:
            self.reduction, self.bad_epochs = self.reduction * self.factor, 0

    @property
    def is_exhausted(self) -> bool:
        """Whether a plateau schedule has come down to the smallest rate."""
        return self.kind == "plateau" and self.learning_rate * self.reduction < self.minimum

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        kept = asdict(self)
        return {name: kept[name] for name in ("reduction", "best", "bad_epochs")}

    def restore(self, state: dict[str, Any]) -> None:
        for name, value in state.items():
            setattr(self, name, value)
