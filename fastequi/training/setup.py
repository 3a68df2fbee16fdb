"""From a train.toml to a network and its data: where the names in it become objects."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import inf
from pathlib import Path
from typing import Any

import torch
from ase.data import atomic_numbers, chemical_symbols

from fastequi._version import __version__
from fastequi.data import Dataset, Frame, Statistics, fit_baseline, read_sets, statistics
from fastequi.errors import InputError
from fastequi.importers import choose_device, read_any
from fastequi.kernels.dispatch import choose_kernels
from fastequi.model.file import build_model, model_data, set_precision
from fastequi.model.loaded import loaded
from fastequi.model.nequip import NequIP
from fastequi.model.spec import new_spec
from fastequi.process import naming
from fastequi.training.config import TrainConfig
from fastequi.training.loss import LossSpec
from fastequi.training.schedule import Schedule
from fastequi.training.trainer import Settings


@dataclass(frozen=True, slots=True)
class Data:
    """The frames of a training as graphs; test is empty where none is named."""

    train: Dataset
    validation: Dataset
    test: Dataset | None
    statistics: Statistics
    warnings: list[str]

    def sets(self) -> dict[str, Dataset]:
        every = {"train": self.train, "validation": self.validation, "test": self.test}
        return {name: dataset for name, dataset in every.items() if dataset is not None}


@dataclass(frozen=True, slots=True)
class Prepared:
    """A training that is ready to start.

    kernels     (implementation, why this one)
    provenance  facts for the model file
    """

    config: TrainConfig
    data: Data
    network: NequIP
    kernels: tuple[str, str]
    provenance: dict[str, str]
    fingerprint: dict[str, Any]


def prepare(config: TrainConfig, member: int = 0, data: Data | None = None) -> Prepared:
    """Read the data (unless given), make the network, say where everything came from.

    member  number within an ensemble: it shifts the seed. Raises InputError.
    """
    device = choose_device(config.training.device)
    data = data or read_data(config)
    seed = config.training.seed + member
    kernels = choose_kernels(config.model.kernels, device)
    network = make_network(config, data, seed)
    if config.model.kernels == "auto" and not network.spec.normalize_harmonics:
        kernels = "reference", "other kernels need normalised harmonics, this model has none"
    set_precision(network, getattr(torch, config.model.dtype)).to(device)
    provenance = _provenance(config, data, seed)
    return Prepared(config, data, network, kernels, provenance, _fingerprint(config, data, seed))


def read_data(config: TrainConfig) -> Data:
    """Frames of [data], checked, split, with their neighbour lists."""
    d = config.data
    with naming("data"):
        sets = read_sets(
            d.train, d.validation, d.test, seed=config.training.seed, ignore=d.ignore,
            units=d.units.model_dump(exclude_none=True) if d.units else None,
            keys=d.keys.model_dump(exclude_none=True), max_force_eV_per_A=d.max_force_eV_per_A,
        )  # fmt: skip
    cutoff = _cutoff(config)
    train = Dataset(sets.train, cutoff)
    test = Dataset(sets.test, cutoff) if sets.test else None
    return Data(train, Dataset(sets.validation, cutoff), test, statistics(train), sets.warnings)


def _cutoff(config: TrainConfig) -> float:
    if config.model.start_from is None:
        return config.model.cutoff_A
    return read_any(config.model.start_from, config.model.modality).spec.cutoff_A


def make_network(config: TrainConfig, data: Data, seed: int) -> NequIP:
    """A new network with the data's statistics, or the one to start from; float64, on the CPU."""
    if config.model.start_from is not None:
        start = read_any(config.model.start_from, config.model.modality)
        network = build_model(start)
        _check_elements(network, data)
    else:
        network = _new_network(config, data, seed)
    _set_scales_(network, config, data)
    return network


def _new_network(config: TrainConfig, data: Data, seed: int) -> NequIP:
    m = config.model
    numbers = [atomic_numbers[s] for s in m.elements] if m.elements else data.statistics.species
    spec = new_spec(
        sorted(numbers), layers=m.layers, l_max=m.l_max, channels=m.channels, parity=m.parity,
        cutoff_A=m.cutoff_A, n_bessel=m.n_bessel, radial_hidden=m.radial_hidden,
        envelope_p=m.envelope_p, embedding_channels=m.embedding_channels, attributes=m.attributes,
    )  # fmt: skip
    torch.manual_seed(seed)
    network = NequIP(replace(spec, zbl=m.zbl, bessel_trainable=m.bessel_trainable))
    _check_elements(network, data)
    neighbors = m.average_neighbors
    if neighbors == "auto":
        neighbors = data.statistics.n_neighbors
    for layer in network.interactions():
        layer.message_scale.fill_(max(neighbors, 1e-9) ** -0.5)
    return network


def _check_elements(network: NequIP, data: Data) -> None:
    found = {z for dataset in data.sets().values() for z in dataset.species}
    unknown = sorted(found - set(network.atomic_numbers))
    if unknown:
        names = ", ".join(chemical_symbols[z] for z in unknown)
        raise InputError(
            f"model: the data hold {names}, which the model does not know; leave these frames out "
            "with data.ignore, or name all elements in model.elements of a new model"
        )


def _set_scales_(network: NequIP, config: TrainConfig, data: Data) -> None:
    """Energy per unit of the network's output, and the energy of each element where it starts."""
    scale, shift, known = config.model.energy_scale, config.model.energy_shift, data.statistics
    if scale == "force-rms":
        network.scale.fill_(known.force_rms if known.force_rms > 0 else 1.0)
    elif scale != "keep":
        network.scale.fill_(scale)
    if isinstance(shift, dict):
        for symbol, energy in shift.items():
            network.shift[network.atomic_numbers.index(atomic_numbers[symbol])] = energy
    elif shift != "keep":
        started = config.model.start_from is not None
        frames = _residuals(network, data.train) if started else data.train.frames
        _fit_shifts_(network, frames, shift)


def _fit_shifts_(network: NequIP, frames: Sequence[Frame], how: str) -> None:
    """Add the energies of the elements by least squares, or the mean energy per atom to all."""
    baseline = fit_baseline(frames)
    if baseline is None:
        return
    mean = sum(f.energy or 0.0 for f in frames) / sum(f.n_atoms for f in frames if f.energy)
    for z, energy in zip(baseline.species.tolist(), baseline.energies.tolist(), strict=True):
        network.shift[network.atomic_numbers.index(z)] += energy if how != "mean" else mean


def _residuals(network: NequIP, dataset: Dataset) -> list[Frame]:
    """The frames with what the network misses of their energies."""
    potential = loaded(
        model_data(network), "start", network.device, "float32",
        choose_kernels("auto" if network.spec.normalize_harmonics else "reference", network.device),
    )  # fmt: skip
    left = []
    for k, frame in enumerate(dataset.frames):
        if frame.energy is not None:
            energy = float(potential.compute(dataset.collate([k]).graph).energy)
            left.append(replace(frame, energy=frame.energy - energy))
    return left


def settings_of(config: TrainConfig, member: int = 0) -> Settings:
    """[training] as the trainer takes it."""
    t = config.training
    weights = t.loss.model_dump(include={"energy_per_atom", "forces", "stress"})
    delta = t.loss.huber_delta.model_dump() if t.loss.kind == "huber" else {}
    same = {name: getattr(t, name) for name in
            ("batch_size", "epochs", "optimizer", "amsgrad", "weight_decay", "clip_gradient_norm",
             "early_stopping_patience", "ema_decay", "select_by")}  # fmt: skip
    return Settings(
        loss=LossSpec(weights, delta),
        max_wall_s=inf if t.max_wall_minutes is None else 60 * t.max_wall_minutes,
        train_scales=config.model.train_scales,
        seed=t.seed + member,
        **same,
    )


def schedule_of(config: TrainConfig) -> Schedule:
    """The learning rate of [training]."""
    t = config.training
    return Schedule(
        t.learning_rate, t.schedule, t.warmup_epochs, t.plateau_patience, t.plateau_factor,
        t.minimum_learning_rate,
    )  # fmt: skip


def _provenance(config: TrainConfig, data: Data, seed: int) -> dict[str, str]:
    files = [Path(name).name for name in config.data.train]
    facts = {
        "trained on": f"{', '.join(files)}: {len(data.train)} frames",
        "validated on": f"{len(data.validation)} frames",
        "training seed": str(seed),
        "trained with": f"fastequi {__version__}",
    }
    if config.model.start_from:
        facts["started from"] = Path(config.model.start_from).name
    return facts


def _fingerprint(config: TrainConfig, data: Data, seed: int) -> dict[str, Any]:
    """What makes a training this one: a continuation must have the same; it may last longer."""
    facts: dict[str, Any] = {
        f"{name}.frames": _digest(dataset.frames) for name, dataset in data.sets().items()
    }
    kept = config.model_dump(mode="json", include={"model", "training"})
    for section, values in kept.items():
        free = {"kernels", "epochs", "max_wall_minutes", "device", "early_stopping_patience"}
        facts |= {f"{section}.{key}": value for key, value in values.items() if key not in free}
    return facts | {"seed": seed}


def _digest(frames: Sequence[Frame]) -> str:
    digest = hashlib.sha256()
    for frame in frames:
        for label in (frame.positions, frame.atomic_numbers, frame.cell, frame.forces):
            digest.update(b"none" if label is None else label.tobytes())
        digest.update(repr((frame.energy, frame.weight)).encode())
        digest.update(b"none" if frame.stress is None else frame.stress.tobytes())
    return digest.hexdigest()
