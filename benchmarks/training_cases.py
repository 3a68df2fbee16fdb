"""What trainings are timed on: data, batches and architectures; and who takes the steps.

Data: rMD17 (kcal/mol) and mlearn's silicon, in the folder FASTEQUI_DATA.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.data import chemical_symbols
from torch import Tensor

from benchmarks.common import ROOT
from fastequi.data import Dataset, Frame, read_frames, statistics
from fastequi.kernels.backend import choose_kernels
from fastequi.model.file import ModelData, build_model
from fastequi.training.config import LossConfig, TrainingConfig
from fastequi.training.trainer import Trainer

CUTOFF_A = 5.0
LEARNING_RATE = 0.01
N_BATCHES = 8
MOLECULAR = {"energy_per_atom": 1.0, "forces": 1.0}
PERIODIC = MOLECULAR | {"stress": 1.0}
RMD17_UNITS = {"energy": "kcal/mol", "length": "angstrom"}


def data_folder() -> Path:
    """Where the reference data lies."""
    return Path(os.environ.get("FASTEQUI_DATA", ROOT.parent / "shared" / "data"))


@dataclass(frozen=True)
class Case:
    """Batches of one data set for one architecture (4 layers, l_max 2, 64 channels, 5 Å).

    n_atoms  frames with so many atoms alone
    weights  of the loss
    parity   'full' or 'natural'
    """

    file: str
    units: dict[str, str] | None
    n_atoms: int
    batch_size: int
    weights: dict[str, float]
    parity: str

    def obstacle(self) -> str:
        """Why it cannot run here; '' if it can."""
        path = data_folder() / self.file
        return "" if path.is_file() else f"no {path}; FASTEQUI_DATA names the folder of data"

    @cached_property
    def frames(self) -> list[Frame]:
        found = read_frames(data_folder() / self.file, self.units)
        fit = [
            f for f in found
            if f.n_atoms == self.n_atoms and ("stress" not in self.weights or f.stress is not None)
        ]  # fmt: skip
        return fit[: N_BATCHES * self.batch_size]

    @cached_property
    def dataset(self) -> Dataset:
        return Dataset(self.frames, CUTOFF_A)

    @property
    def batches(self) -> list[list[int]]:
        starts = range(0, len(self.frames), self.batch_size)
        return [list(range(k, k + self.batch_size)) for k in starts]

    def nequip_model(self, **options: Any) -> dict[str, Any]:
        """Arguments of NequIP's builder, with the statistics that both packages start from."""
        known = statistics(self.dataset)
        energies = [frame.energy / frame.n_atoms for frame in self.frames if frame.energy]
        return {
            "_target_": "nequip.model.NequIPGNNModel",
            "seed": 1,
            "model_dtype": "float32",
            "type_names": [chemical_symbols[z] for z in self.dataset.species],
            "r_max": CUTOFF_A,
            "num_layers": 4,
            "l_max": 2,
            "parity": self.parity == "full",
            "num_features": 64,
            "radial_mlp_depth": 1,
            "radial_mlp_width": 128,
            "avg_num_neighbors": known.n_neighbors,
            "per_type_energy_shifts": sum(energies) / len(energies),
            "per_type_energy_scales": known.force_rms,
            **options,
        }


_RMD17 = {"ethanol": 9, "aspirin": 21}
CASES = {
    **{
        f"{molecule}, {parity}": Case(
            f"rmd17/rmd17_{molecule}_train_01.npz", RMD17_UNITS, n, 5, MOLECULAR, parity
        )
        for molecule, n in _RMD17.items()
        for parity in ("full", "natural")
    },
    **{
        f"silicon, {parity}": Case("mlearn/Si_training.extxyz", None, 64, 2, PERIODIC, parity)
        for parity in ("full", "natural")
    },
}


@dataclass
class Stepper:
    """Who takes steps: each call is one step on the next batch, and returns its loss.

    gradients  by the name of fastequi's tensors, after a step
    """

    step: Callable[[], float]
    gradients: Callable[[], dict[str, Tensor]]


def nequip(case: Case, device: str, **options: Any) -> Stepper:
    """NequIP's own step on batches that are already put together, with their neighbour lists."""
    from benchmarks.nequip_training import NequIPTraining

    training = NequIPTraining(case.nequip_model(**options), case.weights, device=device)
    batches = [training.batch([atoms_of(case.frames[k]) for k in b]) for b in case.batches]
    turn = _in_turn(len(batches))
    return Stepper(lambda: float(training.step(batches[turn()])), training.gradients)


def fastequi(case: Case, device: str, start: ModelData) -> Stepper:
    """`Trainer.train_step` with float32 weights, putting its batches together included."""
    network = build_model(start, torch.float32, device)
    total = sum(case.weights.values())
    loss = LossConfig.model_validate({k: w / total for k, w in case.weights.items()})
    config = TrainingConfig(
        loss=loss, batch_size=case.batch_size, learning_rate=LEARNING_RATE, schedule="constant"
    )
    kernels = choose_kernels("auto", torch.device(device))[0]
    trainer = Trainer(network, kernels, case.dataset, case.dataset, config)
    turn = _in_turn(len(case.batches))

    def step() -> float:
        before = trainer.train_loss
        trainer.train_step(case.batches[turn()])
        return (trainer.train_loss - before) / case.batch_size

    def gradients() -> dict[str, Tensor]:
        named = trainer.network.named_parameters()
        return {name: weight.grad for name, weight in named if weight.grad is not None}

    return Stepper(step, gradients)


def start_of(case: Case) -> ModelData:
    """The weights that NequIP starts from, in fastequi's layout."""
    from benchmarks.nequip_training import NequIPTraining

    training = NequIPTraining(case.nequip_model(), case.weights)
    return ModelData(training.spec(), training.weights())


def atoms_of(frame: Frame) -> Atoms:
    """The frame as others read it."""
    atoms = Atoms(frame.atomic_numbers, frame.positions, cell=frame.cell, pbc=frame.pbc)
    labels = {"energy": frame.energy, "forces": frame.forces, "stress": frame.stress}
    known = {name: label for name, label in labels.items() if label is not None}
    atoms.calc = SinglePointCalculator(atoms, **known)
    return atoms


def _in_turn(n: int) -> Callable[[], int]:
    count = iter(range(10**9))
    return lambda: next(count) % n
