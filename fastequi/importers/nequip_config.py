"""What a NequIP checkpoint says besides its weights: the arguments of the model's builder.

Defaults and orders that changed between releases of NequIP (0.8 to 0.19) are settled here.
"""

from collections.abc import Mapping
from math import sqrt
from typing import Any

from fastequi.errors import InputError
from fastequi.importers.nequip_facts import (
    ACTIVATIONS,
    Facts,
    refuse_dtype,
    refuse_pair_potential,
)

_STANDARD_PRESET = {"parity": False, "type_embed_num_features": 32}
_PRESETS = {
    "S": {"num_layers": 2, "l_max": 1, "num_features": [128, 64]},
    "M": {"num_layers": 4, "l_max": 2, "num_features": [128, 64, 32]},
    "L": {"num_layers": 6, "l_max": 3, "num_features": [128, 64, 32, 32]},
    "XL": {"num_layers": 6, "l_max": 4, "num_features": [320, 96, 64, 32, 32]},
}
#: Arguments that may have any value: the weights tell the rest.
_FREE = set(
    "_target_ seed model_dtype compile_mode do_derivatives type_names r_max preset num_layers "
    "l_max parity num_features type_embed_num_features radial_mlp_depth radial_mlp_width "
    "feature_irreps_hidden irreps_edge_sh readout_mlp_hidden_layers_depth "
    "readout_mlp_hidden_layers_width readout_mlp_nonlinearity per_edge_type_cutoff num_bessels "
    "bessel_trainable polynomial_cutoff_p avg_num_neighbors per_type_energy_scales "
    "per_type_energy_shifts per_type_energy_scales_trainable per_type_energy_shifts_trainable "
    "pair_potential convnet_sc learnable_shift".split()
)
#: Arguments for which one value alone is supported.
_FIXED: dict[str, Any] = {
    "categorical_graph_field_embed": None,
    "convnet_resnet": False,
    "convnet_nonlinearity_type": "gate",
    "convnet_nonlinearity_scalars": ACTIVATIONS,
    "convnet_nonlinearity_gates": ACTIVATIONS,
}
#: NequIP's words for the activation of the readout; see Facts.
_READOUT_WORDS = {None: "none", "None": "identity", "null": "identity"} | {
    name: name for name in ("silu", "mish", "gelu", "ssp", "tanh")
}


def release(version: str) -> tuple[int, int]:
    """(0, 19) from '0.19.1'; what cannot be read counts as new."""
    parts = version.split(".")
    if len(parts) < 2 or not (parts[0].isdigit() and parts[1].isdigit()):
        return (99, 0)
    return int(parts[0]), int(parts[1])


def facts_from_config(config: Mapping[str, Any], version: str) -> Facts:
    """Facts from the arguments of a NequIP builder. Raises InputError for what is not supported."""
    config = _with_preset(config)
    _refuse_unsupported(config)
    edge_irreps, hidden_irreps = _irreps_of_config(config, release(version))
    names = tuple(str(name) for name in config["type_names"])
    envelope_p = float(config.get("polynomial_cutoff_p", 6))
    activation = config.get("readout_mlp_nonlinearity", "silu")
    if activation not in _READOUT_WORDS:
        raise InputError(f"readout_mlp_nonlinearity {activation!r} is not supported")
    return Facts(
        type_names=names,
        r_max=float(config["r_max"]),
        envelope_p=envelope_p,
        edge_irreps=edge_irreps,
        hidden_irreps=hidden_irreps,
        sender_scale=_sender_scale(config.get("avg_num_neighbors"), names),
        readout_activation=_READOUT_WORDS[activation],
        bessel_trainable=bool(config.get("bessel_trainable", False)),
        zbl_p=_zbl_of_config(config.get("pair_potential"), envelope_p, release(version)),
    )


def _with_preset(config: Mapping[str, Any]) -> dict[str, Any]:
    target = str(config.get("_target_", "")).rpartition(".")[2]
    if target in ("ModelFromPackage", "ModelFromCheckpoint"):
        raise InputError(
            "it was fine-tuned from another file and does not hold its own architecture; "
            "run `nequip-package build` on it and use the .nequip.zip"
        )
    if target == "PresetNequIPGNNModel":
        preset = _PRESETS.get(str(config["preset"]).upper())
        if preset is None:
            raise InputError(f"NequIP preset {config['preset']!r} is not known")
        return {**_STANDARD_PRESET, **preset, **config}
    if target.removeprefix("Full") not in ("NequIPGNNModel", "NequIPGNNEnergyModel"):
        raise InputError(
            f"models built by {config.get('_target_')} are not supported; NequIP's own "
            "(NequIPGNNModel and its presets) are"
        )
    return dict(config)


def _refuse_unsupported(config: Mapping[str, Any]) -> None:
    for name, value in config.items():
        if name in _FIXED and value != _FIXED[name]:
            raise InputError(f"NequIP's {name} = {value!r} is not supported")
        if name not in _FIXED and name not in _FREE:
            raise InputError(f"NequIP's {name} is not known to this version of fastequi")
    refuse_dtype(str(config["model_dtype"]))


def _irreps_of_config(
    config: Mapping[str, Any], version: tuple[int, int]
) -> tuple[str, tuple[str, ...]]:
    """Edge harmonics and hidden features, in the package's order.

    Before 0.16 the parities were the outer loop, and `parity: false` meant all even.
    """
    if "feature_irreps_hidden" in config:
        edge = config["irreps_edge_sh"]
        edge = _harmonics(edge, -1) if isinstance(edge, int) else str(edge)
        return edge, tuple(str(irreps) for irreps in config["feature_irreps_hidden"])
    l_max, parity = int(config.get("l_max", 1)), bool(config.get("parity", True))
    degrees = range(l_max + 1)
    features = config.get("num_features", 32)
    features = [features] * (l_max + 1) if isinstance(features, int) else list(features)
    if len(features) != l_max + 1:
        raise InputError(f"num_features {features} does not fit l_max = {l_max}")
    if version >= (0, 16):
        blocks = [(l, p) for l in degrees for p in ((1, -1) if parity else ((-1) ** l,))]  # noqa: E741
        edge = _harmonics(l_max, -1)
    else:
        blocks = [(l, p) for p in ((1, -1) if parity else (1,)) for l in degrees]  # noqa: E741
        edge = _harmonics(l_max, -1 if parity else 1)
    hidden = "+".join(f"{features[l]}x{l}{'e' if p > 0 else 'o'}" for l, p in blocks)  # noqa: E741
    n_layers = int(config.get("num_layers", 4))
    return edge, (hidden,) * (n_layers - 1) + (f"{features[0]}x0e",)


def _harmonics(l_max: int, p: int) -> str:
    return "+".join(f"1x{l}{'e' if p**l > 0 else 'o'}" for l in range(l_max + 1))  # noqa: E741


def _sender_scale(average: Any, names: tuple[str, ...]) -> tuple[float, ...]:
    if average is None:  # before 0.16: no normalisation
        return (1.0,)
    if isinstance(average, Mapping):
        return tuple(1 / sqrt(average[name]) for name in names)
    return (1 / sqrt(average),)


def _zbl_of_config(
    potential: Mapping[str, Any] | None, envelope_p: float, version: tuple[int, int]
) -> float | None:
    """Before 0.17 ZBL ended with the polynomial of the network, since then with its own."""
    if potential is None:
        return None
    refuse_pair_potential(str(potential.get("_target_", "")).rpartition(".")[2])
    own = float(potential.get("polynomial_cutoff_p", 6))
    return own if version >= (0, 17) else envelope_p
