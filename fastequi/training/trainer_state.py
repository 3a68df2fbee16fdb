"""What a checkpoint keeps of a trainer, and how a trainer goes back to it."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from fastequi.storage.checkpoint import on_host
from fastequi.training.averaging import names_of
from fastequi.training.metrics import ErrorSums
from fastequi.training.trainer import Best, Trainer


def tensors_of(trainer: Trainer) -> dict[str, Tensor]:
    """Weights, their averages, the best of these and the optimiser's moments; on the CPU."""
    kept = {f"network.{n}": t for n, t in trainer.network.state_dict().items()}
    kept |= {f"average.{n}": t for n, t in trainer.average.network.state_dict().items()}
    kept |= {f"best.{n}": t for n, t in trainer.best.tensors.items()}
    for name, tensor in zip(names_of(trainer.network, trainer.tensors), trainer.tensors,
                            strict=True):  # fmt: skip
        for key, value in trainer.optimizer.state.get(tensor, {}).items():
            kept[f"optimizer.{key}.{name}"] = value
    return on_host(kept)


def numbers_of(trainer: Trainer) -> dict[str, Any]:
    """Where it stands, as JSON keeps it."""
    return {
        "step": trainer.step, "epoch": trainer.epoch, "batches_done": trainer.batches_done,
        "train_loss": trainer.train_loss, "train_errors": trainer.train_errors.state(),
        "average_updates": trainer.average.n_updates, "schedule": trainer.schedule.state(),
        "best_epoch": trainer.best.epoch, "best_value": trainer.best.value,
        "learning_rate": trainer.optimizer.rate,
    }  # fmt: skip


def restore_(
    trainer: Trainer, tensors: Mapping[str, Tensor], numbers: Mapping[str, Any], wall_s: float
) -> None:
    """Put a trainer back to where `tensors_of` and `numbers_of` were taken."""
    part = _by_first_word(tensors)
    trainer.network.load_state_dict(part["network"])
    trainer.average.network.load_state_dict(part["average"])
    moments = _by_first_word(part.get("optimizer", {}))
    for name, tensor in zip(names_of(trainer.network, trainer.tensors), trainer.tensors,
                            strict=True):  # fmt: skip
        trainer.optimizer.state[tensor] = {
            key: kept[name].to(tensor.device, copy=True)
            for key, kept in moments.items()
            if name in kept
        }
    trainer.best = Best(numbers["best_epoch"], numbers["best_value"], part.get("best", {}))
    trainer.step, trainer.epoch = numbers["step"], numbers["epoch"]
    trainer.batches_done, trainer.train_loss = numbers["batches_done"], numbers["train_loss"]
    trainer.train_errors = ErrorSums.from_state(numbers["train_errors"])
    trainer.average.n_updates = numbers["average_updates"]
    trainer.schedule.restore(numbers["schedule"])
    trainer.optimizer.rate = numbers["learning_rate"]
    trainer.wall_s = wall_s


def _by_first_word(tensors: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """'a.b.c' -> {'a': {'b.c': ...}}."""
    found: dict[str, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        first, rest = name.split(".", 1)
        found.setdefault(first, {})[rest] = tensor
    return found
