"""From a train.toml to a network and its data: where the names in it become objects."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from fastequi.data import Dataset, Statistics, read_sets, statistics
from fastequi.importers import read_any
from fastequi.kernels.backend import choose_kernels
from fastequi.model.file import ModelData, set_precision
from fastequi.model.nequip import NequIP
from fastequi.process import naming
from fastequi.training.config import TrainConfig, TrainingConfig
from fastequi.training.identity import fingerprint_of, provenance_of
from fastequi.training.labels import check_labels
from fastequi.training.start import check_elements, make_network


@dataclass(frozen=True, slots=True)
class Data:
    """The frames of a training as graphs, and the model that it starts from.

    test   None where no file is named; start  None for a new model
    """

    train: Dataset
    validation: Dataset
    test: Dataset | None
    start: ModelData | None
    statistics: Statistics
    warnings: list[str]

    def sets(self) -> dict[str, Dataset]:
        every = {"train": self.train, "validation": self.validation, "test": self.test}
        return {name: dataset for name, dataset in every.items() if dataset is not None}


@dataclass(frozen=True, slots=True)
class Prepared:
    """A training of one member that is ready to start.

    training    [training] with the seed of this member
    kernels     (implementation, why this one)
    energies    where the energies of the elements are from
    provenance  facts for the model file
    """

    config: TrainConfig
    training: TrainingConfig
    data: Data
    network: NequIP
    kernels: tuple[str, str]
    energies: str
    provenance: dict[str, str]
    fingerprint: dict[str, Any]


def read_data(config: TrainConfig, progress: Callable[[int, int], None] | None = None) -> Data:
    """Frames of [data], checked, split, with their neighbour lists; every member shares them.

    progress is called with (frames, frames in all) that have their lists. Raises InputError.
    """
    d = config.data
    with naming("data"):
        sets = read_sets(
            d.train, d.validation, d.test, seed=config.training.seed, ignore=d.ignore,
            units=d.units.model_dump(exclude_none=True) if d.units else None,
            keys=d.keys.model_dump(exclude_none=True), max_force_eV_per_A=d.max_force_eV_per_A,
        )  # fmt: skip
    warnings = [*sets.warnings, *check_labels(config.training, sets.train, sets.validation)]
    m = config.model
    start = read_any(m.start_from, m.modality) if m.start_from else None
    cutoff = start.spec.cutoff_A if start else m.cutoff_A
    train = Dataset(sets.train, cutoff, progress)
    test = Dataset(sets.test, cutoff) if sets.test else None
    validation = Dataset(sets.validation, cutoff)
    return Data(train, validation, test, start, statistics(train), warnings)


def prepare(config: TrainConfig, device: torch.device, data: Data, member: int = 0) -> Prepared:
    """Make the network, and say where everything came from.

    member  number within an ensemble: it shifts the seed. Raises InputError.
    """
    seed, sets, start = config.training.seed + member, data.sets(), data.start
    kernels = choose_kernels(config.model.kernels, device)
    network, energies = make_network(config.model, start, data.train, data.statistics, seed)
    for dataset in sets.values():
        check_elements(network.atomic_numbers, dataset.species)
    set_precision(network, getattr(torch, config.model.dtype)).to(device)
    fingerprint = fingerprint_of(config, sets, start.sha256 if start else None, seed)
    return Prepared(
        config, config.training.model_copy(update={"seed": seed}), data, network, kernels,
        energies, provenance_of(config, sets, seed), fingerprint,
    )  # fmt: skip
