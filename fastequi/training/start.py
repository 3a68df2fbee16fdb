"""The network that a training begins with: new, with the statistics of the data, or a known one."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from ase.data import atomic_numbers, chemical_symbols

from fastequi.data import Dataset, Frame, Statistics, fit_baseline
from fastequi.engine.loaded import loaded
from fastequi.errors import InputError
from fastequi.kernels.backend import choose_kernels
from fastequi.model.file import ModelData, build_model, model_data
from fastequi.model.nequip import NequIP
from fastequi.model.spec import new_spec
from fastequi.training.config import ModelConfig
from fastequi.training.config_problems import OF_NEW_SPEC
from fastequi.training.evaluate import evaluate


def make_network(
    config: ModelConfig, start: ModelData | None, train: Dataset, known: Statistics, seed: int
) -> NequIP:
    """The network in float64 on the CPU; `start` is the model that start_from names."""
    network = build_model(start) if start else _new_network(config, known, seed)
    check_elements(network.atomic_numbers, train.species)
    _set_scale_(network, config, known)
    _set_shifts_(network, config, train)
    return network


def check_elements(known: Sequence[int], found: Sequence[int]) -> None:
    """Raise InputError if the data hold elements that the model does not know."""
    unknown = sorted(set(found) - set(known))
    if unknown:
        raise InputError(
            f"model: the data hold {_symbols(unknown)}, but the model knows only "
            f"{_symbols(sorted(known))}; leave these frames out (data.ignore), or name all "
            "elements of a new model (model.elements)"
        )


def _symbols(numbers: Sequence[int]) -> str:
    return ", ".join(chemical_symbols[z] for z in numbers)


def _new_network(config: ModelConfig, known: Statistics, seed: int) -> NequIP:
    numbers = [atomic_numbers[s] for s in config.elements or ()] or known.species
    spec = new_spec(sorted(numbers), **config.model_dump(include=set(OF_NEW_SPEC)))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = NequIP(spec)
    wanted = config.average_neighbors
    neighbors = known.n_neighbors if wanted == "auto" else wanted
    for layer in network.interactions():
        layer.message_scale.fill_(max(neighbors, 1e-9) ** -0.5)
    return network


def _set_scale_(network: NequIP, config: ModelConfig, known: Statistics) -> None:
    """eV that an output of 1 means."""
    scale = config.energy_scale
    if scale == "force-rms":
        network.scale.fill_(known.force_rms if known.force_rms > 0 else 1.0)
    elif scale != "keep":
        network.scale.fill_(scale)


def _set_shifts_(network: NequIP, config: ModelConfig, train: Dataset) -> None:
    """The energy of each element where the network says 0."""
    shift = config.energy_shift
    if isinstance(shift, dict):
        _set_given_(network, shift, train)
    elif shift != "keep":
        residuals = _residuals(network, train) if config.start_from else train.frames
        _add_fitted_(network, residuals, shift)


def _set_given_(network: NequIP, energies: dict[str, float], train: Dataset) -> None:
    """Of a table with more elements than the model knows, those that it knows."""
    given = {atomic_numbers[symbol]: energy for symbol, energy in energies.items()}
    missing = sorted(set(train.species) - set(given))
    if missing:
        raise InputError(
            f"model.energy_shift: no energy for {_symbols(missing)}, which the data hold; add it, "
            'or let "least-squares" find the energies'
        )
    for place, number in enumerate(network.atomic_numbers):
        if number in given:
            network.shift[place] = given[number]


def _add_fitted_(network: NequIP, frames: Sequence[Frame], how: str) -> None:
    """Add the energies of the elements by least squares, or the mean energy per atom to all."""
    labelled = [(f.energy, f.n_atoms) for f in frames if f.energy is not None]
    baseline = fit_baseline(frames)
    if baseline is None:
        return
    mean = sum(energy for energy, _ in labelled) / sum(n_atoms for _, n_atoms in labelled)
    for z, energy in zip(baseline.species.tolist(), baseline.energies.tolist(), strict=True):
        place = network.atomic_numbers.index(z)
        network.shift[place] += mean if how == "mean" else energy


def _residuals(network: NequIP, train: Dataset) -> list[Frame]:
    """The frames with what the network misses of their energies."""
    kernels = choose_kernels("auto", network.device)
    potential = loaded(model_data(network), "start", network.device, "float32", kernels)
    found = evaluate(potential, train)
    missed = found.reference.energy - found.predicted.energy
    return [
        replace(frame, energy=float(energy))
        for frame, energy in zip(train.frames, missed, strict=True)
        if np.isfinite(energy)
    ]
