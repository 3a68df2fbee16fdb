"""fastequi's trainer, set up for steps that another package takes too."""

from collections.abc import Mapping, Sequence

import torch
from ase import Atoms

from fastequi.data import Dataset, frame_from_atoms
from fastequi.model.file import ModelData, build_model
from fastequi.training.config import LossConfig, TrainingConfig
from fastequi.training.trainer import Trainer

LEARNING_RATE, EMA_DECAY = 0.01, 0.99
BATCHES = ([0, 3], [1, 4], [2, 5], [3, 1], [5, 0])


def trainer_of(
    model: ModelData,
    structures: Sequence[Atoms],
    weights: Mapping[str, float],
    kernels: str,
    train_scales: bool = False,
) -> Trainer:
    """A trainer in float64 at a constant rate; the weights of the loss are divided by their sum."""
    dataset = Dataset([frame_from_atoms(atoms) for atoms in structures], model.spec.cutoff_A)
    total = sum(weights.values())
    config = TrainingConfig(
        loss=LossConfig.model_validate({k: weight / total for k, weight in weights.items()}),
        ema_decay=EMA_DECAY,
        learning_rate=LEARNING_RATE,
        schedule="constant",
    )
    network = build_model(model)
    return Trainer(network, kernels, dataset, dataset, config, train_scales=train_scales)


def loss_of_step(trainer: Trainer, frames: Sequence[int]) -> float:
    """Take a step; the loss before it."""
    before = trainer.train_loss
    trainer.train_step(frames)
    return (trainer.train_loss - before) / len(frames)


def apart(a: torch.Tensor, b: torch.Tensor) -> float:
    """The largest deviation."""
    return float((a.detach() - b.detach()).abs().max())
