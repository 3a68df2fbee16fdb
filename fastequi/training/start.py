"""The network that a training begins with: new, with the statistics of the data, or a known one."""

from collections.abc import Sequence

import torch
from ase.data import atomic_numbers, chemical_symbols

from fastequi.data import Dataset, Statistics
from fastequi.errors import InputError
from fastequi.model.file import ModelData, build_model
from fastequi.model.nequip import NequIP
from fastequi.model.spec import new_spec
from fastequi.training.config import ModelConfig
from fastequi.training.config_problems import OF_NEW_SPEC
from fastequi.training.shifts import set_shifts_


def make_network(
    config: ModelConfig, start: ModelData | None, train: Dataset, known: Statistics, seed: int
) -> tuple[NequIP, str]:
    """The network in float64 on the CPU, and where its energies of the elements are from.

    start  the model that start_from names
    """
    network = build_model(start) if start else _new_network(config, known, seed)
    check_elements(network.atomic_numbers, train.species)
    _set_scale_(network, config, known)
    return network, set_shifts_(network, config, train)


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
