"""NequIP files: Lightning checkpoints (`.ckpt`) and packages (`.nequip.zip`), read as data.

Nothing of NequIP, e3nn or the file itself is run. From a checkpoint the averaged (EMA) weights
are taken where it has them, as NequIP's own packaging does.
"""

import hashlib
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from ase.data import atomic_numbers as NUMBER_OF
from torch import Tensor

from fastequi.errors import InputError
from fastequi.importers.nequip_config import facts_from_config
from fastequi.importers.nequip_facts import Facts, facts_from_modules, modules_of
from fastequi.importers.nequip_weights import spec_of, tensors_of
from fastequi.importers.unpickle import (
    ZIP_ERRORS,
    Record,
    load_pickle,
    read_torch_checkpoint,
)
from fastequi.model.file import ModelData

_COMPILED = (".nequip.pth", ".nequip.pt2", ".nequip.lmp.pt")
_EMBEDDING = "type_embed.embed_module.weight"
#: Modifiers that leave the energies as the weights say.
_HARMLESS_MODIFIERS = ("enable_", "disable_", "modify_PerTypeScaleShift")
#: Weights that NequIP always trains, and those that it trains when told.
_ALWAYS_TRAINED = re.compile(
    r".*(embed_module|linear_[12]|sc|mlp\.\d+)\.weight|.*mlp\.weights\.\d+"
)
_TRAINED_IF = {
    "bessel_encode.bessel_weights": "bessel_trainable",
    "per_type_energy_scale_shift.scales": "per_type_energy_scales_trainable",
    "per_type_energy_scale_shift.shifts": "per_type_energy_shifts_trainable",
}


def read_nequip(path: Path) -> ModelData:
    """A NequIP checkpoint or package as a fastequi model.

    Raises InputError for other files, damaged or hostile ones, and features not supported.
    """
    if path.name.endswith(_COMPILED):
        raise InputError(
            f"{path}: compiled for one kind of machine; use the .nequip.zip package or the .ckpt "
            "checkpoint that it was compiled from"
        )
    read = _read_package if path.name.endswith(".zip") else _read_checkpoint
    try:
        return read(path)
    except InputError as error:
        text = str(error)
        raise InputError(text if text.startswith(str(path)) else f"{path}: {text}") from error
    except (AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
        # The contents are whatever the file says; what does not fit is its fault.
        kind = type(error).__name__
        raise InputError(f"{path}: not a NequIP file that is known ({kind}: {error})") from error


# -- checkpoints ---------------------------------------------------------------------------------


def _read_checkpoint(path: Path) -> ModelData:
    checkpoint = read_torch_checkpoint(path)
    hyper_parameters, state = checkpoint.get("hyper_parameters"), checkpoint.get("state_dict")
    if not (isinstance(hyper_parameters, Mapping) and isinstance(state, Mapping)):
        raise InputError("a torch checkpoint, but not one of NequIP")
    info = hyper_parameters.get("info_dict")
    if not isinstance(info, Mapping) or "model" not in hyper_parameters:
        raise InputError("a Lightning checkpoint, but not one of NequIP")
    if "schedulefree_optimizer_state_dict" in checkpoint:
        raise InputError(
            "trained with a schedule-free optimizer, which keeps the averaged weights to itself; "
            "run `nequip-package build` on it and use the .nequip.zip"
        )
    config, trained = _unwrapped(hyper_parameters["model"])
    version = str(info["versions"]["nequip"])
    facts = facts_from_config(config, version)
    weights, averaged = _weights(state, trained)
    return _model(path, facts, weights, info.get("data"), version, averaged)


def _unwrapped(config: Mapping[str, Any]) -> tuple[Mapping[str, Any], set[str]]:
    """The innermost builder's arguments, and which optional weights were trained."""
    modifiers: list[Mapping[str, Any]] = []
    while str(config.get("_target_", "")).endswith(".modify"):
        if not isinstance(config["modifiers"], list):
            raise InputError("several models in one file are not supported")
        modifiers = [*config["modifiers"], *modifiers]
        config = config["model"]
    trained = {name for name, flag in _TRAINED_IF.items() if config.get(flag)}
    for modifier in modifiers:
        name = str(modifier["modifier"])
        if not name.startswith(_HARMLESS_MODIFIERS):
            raise InputError(f"NequIP's modifier {name} is not supported")
        if name == "modify_PerTypeScaleShift":
            for kind in ("scales", "shifts"):
                key = f"per_type_energy_scale_shift.{kind}"
                trained = trained | {key} if modifier.get(f"{kind}_trainable") else trained - {key}
    return config, trained


def _weights(state: Mapping[str, Any], trained: set[str]) -> tuple[dict[str, Tensor], str]:
    """The network's state, with averaged weights where there are any, and 'yes' or 'no'."""
    prefixes = [key.removesuffix(_EMBEDDING) for key in state if key.endswith(_EMBEDDING)]
    if len(prefixes) != 1:
        raise InputError("several models in one file, or none of NequIP, are not supported")
    network = {
        key.removeprefix(prefixes[0]): value
        for key, value in state.items()
        if key.startswith(prefixes[0]) and isinstance(value, Tensor)
    }
    extra = state.get("ema._extra_state")
    if extra is None:
        return network, "no"
    if not extra["is_holding_ema_weights"]:
        raise InputError("saved in the middle of a validation; NequIP refuses such files too")
    # EMA weights have no names: they come in the order of the parameters, which is the state's.
    names = [key for key in network if _ALWAYS_TRAINED.fullmatch(key) or key in trained]
    of_ema = [key for key in state if key.startswith("ema.ema_weight_")]
    averaged = [state[key] for key in sorted(of_ema, key=lambda key: int(key.rsplit("_", 1)[1]))]
    if [network[name].shape for name in names] != [tensor.shape for tensor in averaged]:
        raise InputError("its averaged (EMA) weights do not fit its model")
    return network | dict(zip(names, averaged, strict=True)), "yes"


# -- packages ------------------------------------------------------------------------------------


def _read_package(path: Path) -> ModelData:
    try:
        with zipfile.ZipFile(path) as archive:
            members = [n for n in archive.namelist() if n.endswith("/model/eager_model.pkl")]
            if len(members) != 1:
                raise InputError("a zip file, but not a NequIP package")
            root = members[0].removesuffix("/model/eager_model.pkl")
            content = load_pickle(
                archive, members[0], lambda key: f"{root}/.data/{key}.storage", str(path)
            )
            metadata = yaml.safe_load(archive.read(f"{root}/model/package_metadata.txt"))
            config = yaml.safe_load(archive.read(f"{root}/model/config.yaml"))
    except InputError:
        raise
    except (*ZIP_ERRORS, yaml.YAMLError) as error:
        raise InputError(f"not a NequIP package, or truncated ({error})") from error
    graph_model, network = _network(content)
    facts = facts_from_modules(graph_model, network)
    averaged = "yes" if "EMA" in str(config["training_module"]["_target_"]) else "no"
    version = str(metadata["versions"]["nequip"])
    return _model(path, facts, _state(network, ""), config.get("data"), version, averaged)


def _network(record: Any) -> tuple[Record, dict[str, Record]]:
    """The GraphModel and the modules of its network, found inside its wrappers."""
    models = modules_of(record)
    if len(models) != 1:
        raise InputError("several models in one package are not supported")
    graph_model = next(iter(models.values()))
    network = modules_of(modules_of(graph_model).get("model"))
    if "func" in network:  # inside the module that takes derivatives
        network = modules_of(network["func"])
    if "type_embed" not in network or "layer0_convnet" not in network:
        raise InputError(
            f"not a NequIP network, which alone is supported; modules: {', '.join(network)}"
        )
    return graph_model, network


def _state(modules: Mapping[str, Any], prefix: str) -> dict[str, Tensor]:
    """Parameters and buffers by name, as in `state_dict()`."""
    state = {}
    for name, module in modules.items():
        if not isinstance(module, Record):
            continue
        for kind in ("_parameters", "_buffers"):
            for key, value in module.attributes.get(kind, {}).items():
                if isinstance(value, Tensor):
                    state[f"{prefix}{name}.{key}"] = value
        state |= _state(modules_of(module), f"{prefix}{name}.")
    return state


# -- both ----------------------------------------------------------------------------------------


def _model(
    path: Path, facts: Facts, state: dict[str, Tensor], data: Any, version: str, averaged: str
) -> ModelData:
    spec = spec_of(facts, state, elements_of(facts.type_names, _species_map(data)))
    provenance = {
        "source": path.name,
        "source_sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "package": "nequip",
        "package_version": version,
        "EMA_weights": averaged,
        "licence": "unknown",
    }
    return ModelData(spec, tensors_of(facts, state, spec), provenance)


def elements_of(type_names: tuple[str, ...], species_map: Mapping[str, str]) -> tuple[int, ...]:
    """Atomic numbers of the types: by the training's map, or else by their names.

    species_map  chemical symbol -> type name, as NequIP's ChemicalSpeciesToAtomTypeMapper has it
    Raises InputError for types that are not one element each.
    """
    symbols = []
    for name in type_names:
        mapped = [symbol for symbol, other in species_map.items() if other == name] or [name]
        if len(mapped) > 1 or NUMBER_OF.get(mapped[0], 0) < 1:
            raise InputError(
                f"its atom type {name!r} is not one chemical element; models with other types "
                "than elements are not supported"
            )
        symbols.append(mapped[0])
    if len(set(symbols)) != len(symbols):
        raise InputError(f"its atom types {', '.join(type_names)} share elements: not supported")
    return tuple(NUMBER_OF[symbol] for symbol in symbols)


def _species_map(data: Any) -> dict[str, str]:
    """The first map from chemical symbols to type names in the description of the training data."""
    stack, seen = [data], set()
    while stack:
        node = stack.pop()
        if id(node) in seen:  # YAML may repeat nodes, or nest them in themselves
            continue
        seen.add(id(node))
        if isinstance(node, Mapping):
            target = str(node.get("_target_", ""))
            species_map = node.get("chemical_species_to_atom_type_map")
            if target.endswith("ChemicalSpeciesToAtomTypeMapper") and species_map:
                return {str(symbol): str(name) for symbol, name in species_map.items()}
            stack += node.values()
        elif isinstance(node, list | tuple):
            stack += node
    return {}
