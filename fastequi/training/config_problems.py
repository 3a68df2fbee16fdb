"""What is said of a wrong train.toml beyond what every TOML shares: its words, files, agreement."""

import os
from collections.abc import Iterator, Sequence
from inspect import signature
from pathlib import Path
from typing import Any

from fastequi.data.units import parse_units
from fastequi.errors import InputError
from fastequi.model.spec import new_spec
from fastequi.settings_problems import (
    Vocabulary,
    directory_problem,
    model_problem,
    similar_files,
    toml,
    value_at,
)

#: Keys of [model] that go to `new_spec` as they are: its parameters after the elements.
OF_NEW_SPEC = tuple(signature(new_spec).parameters)[1:]
#: Keys of [model] that a model to start from brings along.
ARCHITECTURE = (*OF_NEW_SPEC, "elements", "average_neighbors")

#: From NequIP's, MACE's and SevenNet's configuration files.
_ALIASES = {
    "train_file": "train", "train_file_path": "train", "training": "train", "dataset": "train",
    "load_dataset_path": "train", "load_trainset_path": "train",
    "valid": "validation", "val": "validation", "n_val": "validation", "valid_file": "validation",
    "val_file_path": "validation", "valid_fraction": "validation",
    "data_divide_ratio": "validation", "load_validset_path": "validation",
    "test_file": "test", "test_file_path": "test", "load_testset_path": "test",
    "energy_key": "data.keys.energy", "forces_key": "data.keys.forces",
    "stress_key": "data.keys.stress", "virials_key": "data.keys.virial",
    "foundation_model": "start_from", "finetune": "start_from", "checkpoint": "start_from",
    "pretrained": "start_from", "continue": "start_from",
    "num_layers": "layers", "num_interactions": "layers", "num_convolution_layer": "layers",
    "n_layers": "layers", "lmax": "l_max", "max_ell": "l_max", "max_l": "l_max",
    "num_features": "channels", "num_channels": "channels", "hidden_irreps": "channels",
    "channel": "channels", "features": "channels", "is_parity": "parity",
    "r_max": "cutoff_A", "rmax": "cutoff_A", "rcut": "cutoff_A", "cutoff_radius": "cutoff_A",
    "num_bessels": "n_bessel", "bessel_basis_num": "n_bessel", "num_radial_basis": "n_bessel",
    "radial_mlp_width": "radial_hidden", "radial_mlp": "radial_hidden",
    "polynomial_cutoff_p": "envelope_p", "poly_cut_p_value": "envelope_p",
    "num_cutoff_basis": "envelope_p", "type_embed_num_features": "embedding_channels",
    "chemical_species": "elements", "chemical_symbols": "elements", "type_names": "elements",
    "species": "elements", "pair_potential": "zbl", "avg_num_neighbors": "average_neighbors",
    "conv_denominator": "average_neighbors", "shift": "energy_shift", "e0s": "energy_shift",
    "per_type_energy_shifts": "energy_shift", "scale": "energy_scale",
    "per_type_energy_scales": "energy_scale", "default_dtype": "dtype", "model_dtype": "dtype",
    "precision": "dtype", "batch": "batch_size", "bs": "batch_size",
    "lr": "learning_rate", "eta": "learning_rate",
    "max_epochs": "epochs", "max_num_epochs": "epochs", "epoch": "epochs", "n_epochs": "epochs",
    "num_epochs": "epochs", "max_time": "max_wall_minutes", "max_hours": "max_wall_minutes",
    "optim": "optimizer", "scheduler": "schedule", "lr_scheduler": "schedule",
    "scheduler_patience": "plateau_patience", "lr_scheduler_patience": "plateau_patience",
    "lr_factor": "plateau_factor", "scheduler_factor": "plateau_factor",
    "min_lr": "minimum_learning_rate", "clip_grad": "clip_gradient_norm",
    "gradient_clip_val": "clip_gradient_norm", "grad_clip": "clip_gradient_norm",
    "patience": "early_stopping_patience", "early_stopping": "early_stopping_patience",
    "energy_weight": "training.loss.energy_per_atom", "e_weight": "training.loss.energy_per_atom",
    "pe_weight": "training.loss.energy_per_atom",
    "per_atom_energy": "training.loss.energy_per_atom", "energy": "training.loss.energy_per_atom",
    "force_weight": "training.loss.forces", "f_weight": "training.loss.forces",
    "forces_weight": "training.loss.forces", "force": "training.loss.forces",
    "force_loss_weight": "training.loss.forces", "stress_weight": "training.loss.stress",
    "stress_loss_weight": "training.loss.stress", "delta": "training.loss.huber_delta",
    "ema": "ema_decay", "random_seed": "seed", "n_models": "members", "ensemble": "members",
    "monitor": "select_by", "outdir": "directory", "results_dir": "directory", "name": "directory",
    "save_every": "checkpoint_every", "max_force": "max_force_eV_per_A",
}  # fmt: skip

_NOT_OFFERED = {
    "model.kernels": ("cpu", "triton"),
    "training.optimizer": ("sgd", "radam", "lbfgs", "muon", "nadam"),
    "training.schedule": ("step", "exponential", "linear", "onecycle"),
    "training.loss.kind": ("mae", "l1", "l2mae"),
}

_EXPECTED = {
    "data.train": "a file name in quotes, or a list of them",
    "data.validation": (
        "a number of frames above 0, a fraction between 0 and 1, a file name in quotes, or a list "
        "of them"
    ),
    "data.test": "a file name in quotes, or a list of them",
    "data.ignore": 'a list of file and frames, for example ["train.extxyz:12", "more.extxyz:3-9"]',
    "model.channels": "a list of whole numbers above 0, for example [64, 64, 64]",
    "model.radial_hidden": "a list of whole numbers above 0, for example [128]",
    "model.elements": 'a list of symbols, for example ["H", "C", "O"]',
    "model.average_neighbors": '"auto", or a number above 0',
    "model.energy_scale": '"force-rms", "keep" (with start_from), or a number of eV above 0',
    "model.energy_shift": (
        '"auto", "least-squares", "mean", "keep" (with start_from), or eV per element, for example '
        "{ H = -13.6, O = -432.0 }"
    ),
}

VOCABULARY = Vocabulary(_ALIASES, _NOT_OFFERED, _EXPECTED)


def further_problems(
    raw: dict[str, Any], existing: str, model_names: Sequence[str]
) -> Iterator[str]:
    """Files that are not there and keys that contradict each other, in a raw train.toml.

    Paths are absolute. Works on any keys that have a sensible type, so that they are reported with
    all the rest.
    """
    for key in ("train", "validation", "test"):
        yield from _missing_files(f"data.{key}", value_at(raw, ("data", key)))
    yield from _units_problem(value_at(raw, ("data", "units")))
    model, training = raw.get("model"), raw.get("training")
    if isinstance(model, dict):
        yield from _start_problems(model, model_names)
        yield from _channels_problem(model)
        yield from _shift_problem(model)
    if isinstance(training, dict):
        yield from _loss_problem(training)
        yield from _learning_rate_problem(training)
        yield from _member_problem(training)
    directory = value_at(raw, ("output", "directory"))
    if isinstance(directory, str):
        yield from directory_problem(Path(directory), existing)


def _missing_files(key: str, value: Any) -> Iterator[str]:
    for path in value if isinstance(value, list) else [value]:
        if isinstance(path, str) and path and not Path(path).exists():
            yield f"{key}: no file {path}{similar_files(Path(path))}"


def _units_problem(units: Any) -> Iterator[str]:
    complete = isinstance(units, dict) and {"energy", "length"} <= units.keys()
    if complete and all(isinstance(unit, str) for unit in units.values()):
        known = {
            key: units[key] for key in ("energy", "length", "forces", "stress") if key in units
        }
        try:
            parse_units(known)
        except InputError as error:
            yield f"data.{error}"


def _start_problems(model: dict[str, Any], model_names: Sequence[str]) -> Iterator[str]:
    start = model.get("start_from")
    if isinstance(start, str) and start:
        yield from model_problem("model.start_from", start, model_names)
        surplus = [f"model.{key}" for key in ARCHITECTURE if key in model]
        if surplus:
            name = os.path.basename(start)
            yield (
                f"{', '.join(surplus)}: given by start_from = {toml(name)}; remove "
                f"{'them' if len(surplus) > 1 else 'it'}, or remove start_from to train a new model"
            )
        return
    if "modality" in model:
        yield "model.modality: goes with start_from; a new model has none"
    for key in ("energy_scale", "energy_shift"):
        if model.get(key) == "keep":
            yield f'model.{key}: got "keep", but without start_from there is nothing to keep'


def _channels_problem(model: dict[str, Any]) -> Iterator[str]:
    channels, l_max = model.get("channels"), model.get("l_max", 2)
    if isinstance(channels, list) and type(l_max) is int and 0 <= l_max != len(channels) - 1:
        yield (
            f"model.channels: got {toml(channels)}; l_max = {l_max} needs {l_max + 1} numbers, one "
            "per degree from 0"
        )


def _shift_problem(model: dict[str, Any]) -> Iterator[str]:
    shift, elements = model.get("energy_shift"), model.get("elements")
    if isinstance(shift, dict) and isinstance(elements, list):
        missing = [str(symbol) for symbol in elements if symbol not in shift]
        if missing:
            yield f"model.energy_shift: no energy for {', '.join(missing)} of model.elements"


def _loss_problem(training: dict[str, Any]) -> Iterator[str]:
    loss = training.get("loss")
    if isinstance(loss, dict):
        weights = {"energy_per_atom": 1.0, "forces": 1.0, "stress": 0.0}
        weights = {key: loss.get(key, default) for key, default in weights.items()}
        if all(weight == 0 for weight in weights.values()):
            yield f"training.loss: all of {', '.join(weights)} are 0: nothing would be learnt"


def _member_problem(training: dict[str, Any]) -> Iterator[str]:
    member, members = training.get("member"), training.get("members", 1)
    if type(member) is int and type(members) is int and member > members:
        yield (
            f"training.member: got {member}, but training.members = {members}; allowed: 1 to "
            f"{members}"
        )


def _learning_rate_problem(training: dict[str, Any]) -> Iterator[str]:
    lowest, rate = training.get("minimum_learning_rate", 1e-6), training.get("learning_rate", 0.01)
    numbers = isinstance(lowest, int | float) and isinstance(rate, int | float)
    if numbers and training.get("schedule", "plateau") != "constant" and 0 < rate <= lowest:
        yield (
            f"training.minimum_learning_rate: {toml(lowest)} is not below learning_rate = "
            f'{toml(rate)}; give a lower one, or schedule = "constant"'
        )
