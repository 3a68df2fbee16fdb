"""The training loop: batches, steps, averages, validation.

The order of frames follows from the seed and the epoch alone, so a checkpoint (trainer_state.py)
needs no state of a random generator, and a resumed run is the same to the last bit on a CPU.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

import torch
from torch import Tensor

from fastequi.data import Dataset, batches, epoch_order
from fastequi.engine.gradients import Sampled, TangentGradient, by_double_backward
from fastequi.errors import PhysicsError
from fastequi.model.nequip import NequIP
from fastequi.potential import Prediction
from fastequi.training.adam import Adam
from fastequi.training.averaging import AveragedNetwork, trained_tensors
from fastequi.training.config import TrainingConfig
from fastequi.training.loss import counts, terms
from fastequi.training.metrics import ErrorSums
from fastequi.training.parallel import Team
from fastequi.training.schedule import Schedule


@dataclass
class Best:
    """The averaged weights with the smallest validation error so far."""

    epoch: int | None = None
    value: float = math.inf
    tensors: dict[str, Tensor] = field(default_factory=dict)


class Trainer:
    """A network in training; `run` goes on until it is done or told to stop."""

    def __init__(
        self, network: NequIP, kernels: str, train: Dataset, validation: Dataset,
        config: TrainingConfig, *, train_scales: bool = False, validate_start: bool = False,
        team: Team | None = None,
    ) -> None:  # fmt: skip
        """train_scales: whether energy scales and shifts train too; validate_start: whether the
        weights that it begins with count as well, as epoch 0.
        """
        self.network, self.train, self.validation = network, train, validation
        self.config, self.schedule, self.team = config, Schedule(config), team or Team()
        self.max_wall_s = 60 * (config.max_wall_minutes or math.inf)
        self.tensors = trained_tensors(network, train_scales)
        self.average = AveragedNetwork(network, self.tensors, config.ema_decay)
        self._gradient = _gradient_of(network, kernels)
        self._predict = TangentGradient(self.average.network, kernels).predict
        self.optimizer = Adam(
            self.tensors, config.optimizer, config.learning_rate, config.amsgrad,
            config.weight_decay,
        )  # fmt: skip
        self.epoch = self.step = self.batches_done = 0
        self.wall_s = 0.0
        self.best = Best()
        self.train_errors = ErrorSums()
        self.train_loss = 0.0
        self.stop_requested = False
        self._stop_wanted = False  # by this process; the team has to agree
        self._validate_start = validate_start
        self.on_step: list[Callable[[Trainer], None]] = []
        self.on_epoch: list[Callable[[Trainer, dict[str, Any]], None]] = []

    # -- how far it is -----------------------------------------------------------------------

    @property
    def batches_per_epoch(self) -> int:
        return math.ceil(len(self.train) / self.config.batch_size)

    @property
    def epochs_done(self) -> float:
        return self.epoch + self.batches_done / self.batches_per_epoch

    @property
    def progress(self) -> float:
        """0 to 1: of the epochs or of the wall time, whichever is further."""
        by_epochs = self.epochs_done / self.config.epochs
        return min(1.0, max(by_epochs, self.wall_s / self.max_wall_s))

    @property
    def why_done(self) -> str:
        """Why there is nothing left to do, or ''."""
        patience = self.config.early_stopping_patience
        if self.epoch >= self.config.epochs:
            return f"all {self.config.epochs} epochs are done"
        if self.wall_s >= self.max_wall_s:
            return f"the wall time of {self.max_wall_s / 60:g} min is over"
        if self.schedule.is_exhausted:
            return "the learning rate has come down to its minimum"
        if patience is not None and self.epoch - (self.best.epoch or 0) >= patience:
            return f"no better validation for {patience} epochs"
        return ""

    # -- running -----------------------------------------------------------------------------

    def request_stop(self) -> None:
        """Have `run` return after the present step; safe in a signal handler."""
        self._stop_wanted = True

    def run(self) -> None:
        """Train until done, or until a stop is requested (then between two steps)."""
        self._clock = perf_counter()
        self._tick()
        if self._validate_start and self.step == 0 and self.best.epoch is None:
            self._tell(self._validated({}))
        while not self.why_done and not self.stop_requested:
            self._run_epoch()
        if self.why_done and self.best.epoch is None:  # out of time before the first validation
            self._tell(self._validated({}))

    def _run_epoch(self) -> None:
        order = epoch_order(len(self.train), self.config.seed, self.epoch)
        for frames in batches(order, self.config.batch_size)[self.batches_done :]:
            self.train_step(frames)
            self.batches_done += 1
            self._tick()
            for observer in self.on_step:
                observer(self)
            if self.stop_requested:
                return
            if self.wall_s >= self.max_wall_s:
                break
        self._finish_epoch()

    def _tick(self) -> None:
        """Wall time, and the wish to stop, agreed on by the team."""
        now = perf_counter()
        self.wall_s, self._clock = self.wall_s + now - self._clock, now
        agreed = torch.tensor([self.wall_s, float(self._stop_wanted)], dtype=torch.float64)
        self.team.sum_([agreed])
        self.wall_s = float(agreed[0]) / self.team.size
        self.stop_requested = bool(agreed[1] > 0)

    def train_step(self, frames: Sequence[int]) -> None:
        """One step of the optimiser on these frames of the training set."""
        self.optimizer.zero_grad()
        divisors = counts([self.train.frames[i] for i in frames])
        value = torch.zeros((), dtype=torch.float64)
        mine = self.team.share(frames)
        if mine:
            value = self._add_gradients(mine, divisors)
        self._share_gradients(value)
        if not math.isfinite(float(value)):
            names = ", ".join(self.train.frames[i].source for i in frames)
            raise PhysicsError(
                f"the loss is {float(value)} at step {self.step + 1} (epoch {self.epoch + 1}; "
                f"{names}); lower training.learning_rate or set training.clip_gradient_norm"
            )
        if self.config.clip_gradient_norm is not None:
            torch.nn.utils.clip_grad_norm_(self.tensors, self.config.clip_gradient_norm)
        self.optimizer.rate = self.schedule.rate(self.epochs_done, self.progress)
        self.optimizer.step()
        self.average.update()
        self.step += 1
        self.train_loss += float(value) * len(frames)

    def _add_gradients(self, frames: Sequence[int], divisors: dict[str, float]) -> Tensor:
        batch = self.train.collate(frames).to(self.network.device)
        found: list[Tensor] = []

        def loss(prediction: Prediction) -> Tensor:
            total = torch.stack([*terms(prediction, batch, self.config.loss, divisors).values()])
            found.append(total.sum())
            return found[0]

        prediction = self._gradient(batch, loss)
        self.train_errors.add(prediction, batch)
        return found[0].detach().cpu()

    def _share_gradients(self, value: Tensor) -> None:
        if self.team.size == 1:
            return
        for tensor in self.tensors:
            if tensor.grad is None:
                tensor.grad = torch.zeros_like(tensor)
        self.team.sum_([value, *(t.grad for t in self.tensors if t.grad is not None)])

    # -- between epochs ----------------------------------------------------------------------

    def _finish_epoch(self) -> None:
        trained = self._team_errors(self.train_errors).results()
        seen = min(self.batches_done * self.config.batch_size, len(self.train))
        row = {
            "learning_rate": self.optimizer.rate,
            "train_loss": self.train_loss / seen,
            **{f"train_{name}": value for name, value in trained.items()},
        }
        self.epoch, self.batches_done = self.epoch + 1, 0
        self.train_errors, self.train_loss = ErrorSums(), 0.0
        row = self._validated(row)
        self.schedule.after_epoch(row["validation_loss"])
        self._tell(row)

    def _validated(self, row: dict[str, Any]) -> dict[str, Any]:
        """A row of metrics with the errors of the averaged weights, which may be the best."""
        errors, loss = self.validate()
        found = errors.results()
        self._keep_best(found, loss)
        self._tick()
        return {
            "epoch": self.epoch, "step": self.step, **row, "validation_loss": loss,
            **{f"validation_{name}": value for name, value in found.items()},
            "best_epoch": self.best.epoch, "wall_s": self.wall_s,
        }  # fmt: skip

    def _tell(self, row: dict[str, Any]) -> None:
        for observer in self.on_epoch:
            observer(self, row)

    def validate(self) -> tuple[ErrorSums, float]:
        """Errors of the averaged weights on the validation set, and their loss.

        Raises PhysicsError, naming frames, where the loss is not finite.
        """
        divisors = counts(self.validation.frames)
        errors, losses = ErrorSums(), torch.zeros(len(self.validation), dtype=torch.float64)
        mine = self.team.share(range(len(self.validation)))
        for part in batches(mine, self.config.batch_size):
            batch = self.validation.collate(part).to(self.network.device)
            prediction = self._predict(batch)
            errors.add(prediction, batch)
            loss = sum(terms(prediction, batch, self.config.loss, divisors).values())
            losses[part[0]] = float(loss)
        self.team.sum_([losses])
        if not math.isfinite(float(losses.sum())):
            raise PhysicsError(self._non_finite_validation(losses))
        return self._team_errors(errors), float(losses.sum())

    def _non_finite_validation(self, losses: Tensor) -> str:
        first = int((~torch.isfinite(losses)).nonzero()[0])
        return (
            f"the validation loss is {float(losses[first])} after epoch {self.epoch} (at or after "
            f"{self.validation.frames[first].source}); start anew with a lower "
            "training.learning_rate or with training.clip_gradient_norm"
        )

    def _team_errors(self, errors: ErrorSums) -> ErrorSums:
        return ErrorSums.merged(self.team.gather(errors))

    def _keep_best(self, results: dict[str, float | None], loss: float) -> None:
        by = {"forces": results["force_mae_meV_per_A"], "energy":
              results["energy_mae_meV_per_atom"], "loss": loss}  # fmt: skip
        value = by[self.config.select_by]
        if value is not None and value < self.best.value:
            tensors = self.average.network.state_dict()
            self.best = Best(self.epoch, value, {n: t.cpu().clone() for n, t in tensors.items()})


def _gradient_of(network: NequIP, kernels: str) -> Callable[[Sampled, Any], Prediction]:
    if kernels == "reference":
        return lambda sample, loss: by_double_backward(network, sample, loss)
    return TangentGradient(network, kernels)
