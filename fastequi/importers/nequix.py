"""nequix `.nqx` files: one line of JSON, then the arrays of the model as consecutive npy records.

The arrays come in the order of nequix's module tree (nequix 0.4): atom energies; per layer the
radial network, linear_1, linear_2, skip and, if there, the norm; the readout. npy holds numbers
only; reading it runs nothing.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from torch import Tensor

from fastequi.errors import InputError
from fastequi.importers.e3nn_layout import Coupling, e3nn_sorted, reorder_columns
from fastequi.irreps import SCALAR, Irreps
from fastequi.model.file import ModelData
from fastequi.model.spec import LayerShapes, LayerSpec, MLPSpec, ModelSpec

# sqrt(1 / mean f(z)^2) over the 1,000,001 equally spaced normal quantiles (e3nn-jax).
_SILU_SCALE = 1.6765620560798837
_LONGEST_HEADER = 1 << 20


def read_nequix(path: Path) -> ModelData:
    """A nequix model as a fastequi model. Raises InputError when the file is not one."""
    try:
        with path.open("rb") as file:
            config = json.loads(file.readline(_LONGEST_HEADER))
            spec = _spec(config)
            tensors = _tensors(spec, config, _arrays(file, path))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise InputError(f"{path}: not a nequix file ({error})") from error
    except (KeyError, TypeError) as error:
        raise InputError(f"{path}: its header lacks {error}") from error
    return ModelData(spec, tensors, {"source": path.name, "package": "nequix"})


def _spec(config: dict[str, Any]) -> ModelSpec:
    if not isinstance(config, dict):
        raise TypeError("a nequix configuration")
    if config.get("index_weights"):
        raise InputError("nequix models with one skip matrix per species are not supported")
    hidden = Irreps.parse(config["hidden_irreps"])
    if len({ir.l for _, ir in hidden}) != len(hidden):
        raise InputError("nequix models with both parities of one degree are not supported")
    radial = MLPSpec((config["radial_mlp_size"],) * config["radial_mlp_layers"], weight_rule="none")
    layer = LayerSpec(hidden, radial, "linear", layer_norm=bool(config["layer_norm"]))
    last = LayerSpec(
        Irreps(((hidden.channels(SCALAR), SCALAR),)), radial, "linear", layer.layer_norm
    )
    numbers = config["atomic_numbers"]
    return ModelSpec(
        origin="nequix",
        atomic_numbers=tuple(numbers),
        cutoff_A=float(config["cutoff"]),
        embedding_channels=len(numbers),
        layers=(layer,) * (config["n_layers"] - 1) + (last,),
        readout=MLPSpec((), weight_rule="fan_in"),
        l_max=config["lmax"],
        n_bessel=config["radial_basis_size"],
        envelope_parameter=float(config["radial_polynomial_p"]),
        silu_scale=_SILU_SCALE,
    )


def _arrays(file: BinaryIO, path: Path) -> Iterator[Tensor]:
    while True:
        try:
            array = np.load(file, allow_pickle=False)
        except (ValueError, EOFError, OSError) as error:
            raise InputError(f"{path}: truncated or damaged ({error})") from error
        yield torch.tensor(np.asarray(array, dtype=np.float64))


def _tensors(
    spec: ModelSpec, config: dict[str, Any], arrays: Iterator[Tensor]
) -> dict[str, Tensor]:
    n_species = len(spec.atomic_numbers)
    next(arrays)  # the atoms' energies once more
    energies = [float(config["atom_energies"][str(z)]) for z in spec.atomic_numbers]
    out = {
        "shift": torch.tensor(energies, dtype=torch.float64) + float(config["shift"]),
        "scale": torch.full((n_species,), float(config["scale"]), dtype=torch.float64),
        "embedding": torch.eye(n_species, dtype=torch.float64),
        "basis.frequencies": torch.arange(1, spec.n_bessel + 1, dtype=torch.float64),
    }
    message_scale = torch.full((n_species,), config["avg_n_neighbors"] ** -0.5, dtype=torch.float64)
    for t, shape in enumerate(spec.shapes()):
        layer = _layer(spec.layers[t], shape, arrays) | {"message_scale": message_scale.clone()}
        out |= {f"layers.{t}.{name}": value for name, value in layer.items()}
    out["readout.weights.0"] = next(arrays)
    return out


def _layer(layer: LayerSpec, shape: LayerShapes, arrays: Iterator[Tensor]) -> dict[str, Tensor]:
    out = {f"radial.weights.{k}": next(arrays) for k in range(len(layer.radial.hidden) + 1)}
    last = f"radial.weights.{len(layer.radial.hidden)}"
    out[last] = reorder_columns(out[last], _couplings(shape), shape.instructions)
    blocks = {
        "linear_in": shape.irreps_in,
        "linear_out": shape.instructions.irreps_out,
        "self_connection": Irreps(tuple(b for b in shape.irreps_in if b[1] in shape.irreps_conv)),
    }
    for name, irreps in blocks.items():
        out |= {f"{name}.weights.{ir}": next(arrays) for _, ir in e3nn_sorted(irreps.blocks)}
    if layer.layer_norm:
        order = e3nn_sorted(shape.irreps_conv.blocks)
        out |= {f"norm.weights.{ir}": next(arrays) for _, ir in order}
    return out


def _couplings(shape: LayerShapes) -> list[Coupling]:
    """nequix's order of radial columns: its paths sorted by output irrep."""
    table = shape.instructions
    couplings = [
        (table.irreps_in.blocks[p.input][1], p.l2, table.irreps_out.blocks[p.output][1], p.channels)
        for p in table.paths
    ]
    return sorted(couplings, key=lambda c: (c[2].l, c[2].p))
