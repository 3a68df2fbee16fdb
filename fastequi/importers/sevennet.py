"""SevenNet checkpoints: the weights inside the PyPI wheel, or any `.pth` that SevenNet wrote.

The wheel is found by name and read as data; sevenn itself is never imported. What old files need
(names, order of paths, signs of Wigner 3j) follows sevenn 0.13 and is undone here.
"""

from importlib.metadata import PackageNotFoundError, distribution
from math import pi, sqrt
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fastequi.errors import InputError
from fastequi.importers.e3nn_layout import (
    Blocks,
    Coupling,
    activation_scale,
    e3nn_sorted,
    joined,
    linear_by_irrep,
    parse_blocks,
    reorder_columns,
    reorder_gates,
    reorder_rows,
    species_linear_by_irrep,
)
from fastequi.importers.unpickle import read_torch_checkpoint
from fastequi.irreps import SCALAR, Irrep, Irreps, wigner_3j
from fastequi.kernels.instructions import EdgeParity, harmonic_irrep
from fastequi.model.file import ModelData
from fastequi.model.spec import LayerShapes, LayerSpec, MLPSpec, ModelSpec, SelfConnection

#: Names that users write -> files inside the wheel.
PRETRAINED = {
    "sevennet-0": "SevenNet_0__11Jul2024/checkpoint_sevennet_0.pth",
    "sevennet-l3i5": "SevenNet_l3i5/checkpoint_l3i5.pth",
    "sevennet-mf-0": "SevenNet_MF_0/checkpoint_sevennet_mf_0.pth",
}
_OLD_MODULES = {
    "EdgeEmbedding": "edge_embedding",
    "reducing nn input to hidden": "reduce_input_to_hidden",
    "reducing nn hidden to energy": "reduce_hidden_to_energy",
}
_W3J = "convolution._compiled_main_left_right._w3j_"


def find_pretrained(name: str) -> Path:
    """Path of a pretrained checkpoint in the installed wheel. Raises InputError with the remedy."""
    try:
        path = Path(
            str(
                distribution("sevenn").locate_file(
                    f"sevenn/pretrained_potentials/{PRETRAINED[name]}"
                )
            )
        )
    except PackageNotFoundError:
        path = None
    if path is None or not path.is_file():
        raise InputError(
            f"{name}: its weights come with the PyPI package sevenn, which is not installed. "
            "Install them with: pip install 'fastequi[pretrained]' (or: pip install --no-deps "
            "sevenn==0.13.0; only its weight files are used)"
        )
    return path


def read_sevennet(path: Path, modality: str | None = None) -> ModelData:
    """A SevenNet checkpoint as a fastequi model.

    modality  which level of theory of a multi-fidelity model; InputError lists them when missing.
    Raises InputError for files that are not SevenNet checkpoints and for features not supported.
    """
    checkpoint = read_torch_checkpoint(path)
    config, state = checkpoint.get("config"), checkpoint.get("model_state_dict")
    if not isinstance(config, dict) or not isinstance(state, dict) or "cutoff" not in config:
        raise InputError(f"{path}: a torch checkpoint, but not one of SevenNet")
    try:
        return _Converter(config, _modern_names(state), modality).convert(path.name)
    except KeyError as error:
        raise InputError(f"{path}: not a SevenNet checkpoint that is known: no {error}") from error
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def _modern_names(state: dict[str, Tensor]) -> dict[str, Tensor]:
    result = {}
    for key, value in state.items():
        module, _, rest = key.partition(".")
        module = _OLD_MODULES.get(module, module).replace(" ", "_")
        result[f"{module}.{rest.replace('denumerator', 'denominator')}"] = value.to(torch.float64)
    return result


class _Converter:
    """One conversion: SevenNet's config and state in hand."""

    def __init__(self, config: dict[str, Any], state: dict[str, Tensor], modality: str | None):
        self.config, self.state = config, state
        self.n_layers = int(config["num_convolution_layer"])
        self.edge_parity: EdgeParity = "natural" if config.get("is_parity", False) else "even"
        lmax_edge = int(config.get("lmax_edge", -1))
        self.l_max = lmax_edge if lmax_edge > 0 else int(config["lmax"])
        self._refuse_unsupported()
        self.modality, self.modal_index = self._choose_modality(modality)
        self.features = self._features()  # SevenNet's own order of irreps, layer by layer
        self.spec = self._spec()

    def _refuse_unsupported(self) -> None:
        config = self.config
        unsupported = {
            "linears with biases (use_bias_in_linear)": config.get("use_bias_in_linear", False),
            "a fully connected readout (readout_as_fcn)": config.get("readout_as_fcn", False),
            "optimize_by_reduce: False": config.get("optimize_by_reduce") is False,
            f"gates {config.get('act_gate')}": config.get("act_gate", {}).get("e", "silu")
            != "silu",
            f"scalar activations {config.get('act_scalar')}": config.get("act_scalar", {})
            not in ({}, {"e": "silu", "o": "tanh"}),
        }
        found = [what for what, is_used in unsupported.items() if is_used]
        if found:
            raise InputError("not supported: " + ", ".join(found))

    def _choose_modality(self, modality: str | None) -> tuple[str, int]:
        known = self.config.get("_modal_map") or {}
        if not self.config.get("use_modality", False):
            if modality:
                raise InputError(f"modality {modality!r} was asked for, but the model has none")
            return "", -1
        if modality not in known:
            raise InputError(
                f"this model holds several levels of theory; choose a modality: "
                f"{', '.join(sorted(known))} (got {modality or 'none'})"
            )
        return str(modality), int(known[modality])

    # -- the description -----------------------------------------------------------------------

    def _spec(self) -> ModelSpec:
        config = self.config
        irreps = [Irreps.collect(blocks) for blocks in self.features]
        radial = MLPSpec(
            tuple(config["weight_nn_hidden_neurons"]),
            config.get("act_radial", "silu"),
            activation_scale(config.get("act_radial", "silu")),
            "fan_in",
        )
        kinds = config.get("self_connection_type", "nequip")
        kinds = [kinds] * self.n_layers if isinstance(kinds, str) else kinds
        names: dict[str, SelfConnection] = {"nequip": "species", "linear": "linear", "none": "none"}
        layers = tuple(
            LayerSpec(out, radial, names[kind], scalar_bias=self._has_modal_linears())
            for out, kind in zip(irreps[1:], kinds, strict=True)
        )
        cutoff_function = config["cutoff_function"]
        xplor = cutoff_function["cutoff_function_name"] == "XPLOR"
        type_map = config["_type_map"]
        return ModelSpec(
            origin="sevennet",
            atomic_numbers=tuple(sorted(type_map, key=lambda z: type_map[z])),
            cutoff_A=float(config["cutoff"]),
            embedding_channels=irreps[0].dim,
            layers=layers,
            readout=MLPSpec((irreps[-1].dim // 2,), "none", 1.0, "fan_in"),
            l_max=self.l_max,
            edge_parity=self.edge_parity,
            normalize_harmonics=bool(config.get("_normalize_sph", False)),
            n_bessel=int(config["radial_basis"].get("bessel_basis_num", 8)),
            bessel_trainable=True,
            envelope="xplor" if xplor else "polynomial",
            envelope_parameter=float(
                cutoff_function["cutoff_on"] if xplor else cutoff_function["poly_cut_p_value"]
            ),
            attributes="one-hot",
            readout_bias=self._uses_modality("use_modal_output_block"),
            modality=self.modality,
        )

    def _features(self) -> list[list[tuple[int, Irrep]]]:
        """Features before each layer and at the end; by hand in the config, or all reachable."""
        manual = self.config.get("irreps_manual")
        if manual:
            return [parse_blocks(str(text)) for text in manual]
        channels = int(self.config["channel"])
        l_node = int(self.config.get("lmax_node", -1))
        l_node = l_node if l_node > 0 else int(self.config["lmax"])
        result = [[(channels, SCALAR)]]
        for t in range(self.n_layers):
            last = t == self.n_layers - 1
            paths = self._couplings(result[-1], 0 if last else l_node, last)
            result.append(e3nn_sorted([(channels, ir) for ir in {path[2] for path in paths}]))
        return result

    def _couplings(self, features: Blocks, l_max: int, even_only: bool) -> list[Coupling]:
        """SevenNet's paths, in the order of its loops."""
        return [
            (ir_in, l2, ir_out, mul)
            for mul, ir_in in features
            for l2 in range(self.l_max + 1)
            for ir_out in ir_in.product(harmonic_irrep(l2, self.edge_parity))
            if ir_out.l <= l_max and not (even_only and ir_out.p < 0)
        ]

    def _uses_modality(self, key: str) -> bool:
        return bool(self.modality) and bool(self.config.get(key, False))

    def _has_modal_linears(self) -> bool:
        return any(
            self._uses_modality(f"use_modal_self_inter_{side}") for side in ("intro", "outro")
        )

    # -- the weights ---------------------------------------------------------------------------

    def convert(self, source: str) -> ModelData:
        shapes = self.spec.shapes()
        out = self._embedding()
        for t, shape in enumerate(shapes):
            out |= {f"layers.{t}.{name}": value for name, value in self._layer(t, shape).items()}
        out |= self._readout() | self._scale_shift()
        cutoff = self.spec.cutoff_A
        coeffs = self.state["edge_embedding.basis_function.coeffs"]
        out["basis.frequencies"] = coeffs * cutoff / pi
        provenance = {"source": source, "package": f"sevenn {self.config.get('version')}"}
        return ModelData(self.spec, out, provenance)

    def _embedding(self) -> dict[str, Tensor]:
        n_species, channels = len(self.spec.atomic_numbers), self.spec.embedding_channels
        weight = self.state["onehot_to_feature_x.linear.weight"].view(-1, channels)
        table = weight[:n_species] / sqrt(len(weight))
        if self._uses_modality("use_modal_node_embedding"):
            table = table + weight[n_species + self.modal_index] / sqrt(len(weight))
        return {"embedding": table}

    def _layer(self, t: int, shape: LayerShapes) -> dict[str, Tensor]:
        conv_out = self._gate_blocks(t, shape)
        features, last = self.features[t], t == self.n_layers - 1
        l_max = 0 if last else self.spec.layers[t].irreps.l_max
        couplings = self._couplings(features, l_max, last)
        mid = joined(e3nn_sorted([(mul, ir) for _, _, ir, mul in couplings]))
        intro = self._linear(f"{t}_self_interaction_1", features, features, "intro")
        outro = self._linear(f"{t}_self_interaction_2", mid, conv_out, "outro")
        matrices, bias = outro
        outro = reorder_rows(matrices, couplings, shape.instructions), bias
        out = self._named("linear_in", *intro)
        out |= self._gates_in_our_order(t, shape, self._named("linear_out", *outro))
        out |= self._gates_in_our_order(t, shape, self._self_connection(t, features, conv_out))
        out |= self._radial(t, couplings, shape)
        denominator = self.state[f"{t}_convolution.denominator"]
        out["message_scale"] = (1 / denominator).expand(len(self.spec.atomic_numbers)).clone()
        return out

    def _gate_blocks(self, t: int, shape: LayerShapes) -> list[tuple[int, Irrep]]:
        wanted = self.spec.layers[t].irreps
        if wanted != shape.irreps_out:
            raise InputError(f"layer {t} has irreps that no path reaches: {wanted}")
        return e3nn_sorted(shape.irreps_conv.blocks)

    def _linear(
        self, key: str, blocks_in: Blocks, blocks_out: Blocks, side: str
    ) -> tuple[dict[str, Tensor], Tensor | None]:
        """Matrices by irrep and the constant that the modality adds to 0e (None: no modality)."""
        weight = self.state[f"{key}.linear.weight"]
        n_modal = int(self.config.get("_number_of_modalities", 0))
        if not self._uses_modality(f"use_modal_self_inter_{side}"):
            n_modal = 0
        matrices = linear_by_irrep(weight, [*blocks_in, (n_modal, SCALAR)], blocks_out)
        if not self._has_modal_linears():
            return matrices, None
        scalars = matrices[str(SCALAR)]
        rows, fan_in = len(scalars) - n_modal, sqrt(len(scalars))
        bias = scalars[rows + self.modal_index] / fan_in if n_modal else scalars.new_zeros(1)
        matrices[str(SCALAR)] = scalars[:rows] * (sqrt(rows) / fan_in)
        return matrices, bias.expand(scalars.shape[1]).clone()

    @staticmethod
    def _named(name: str, matrices: dict[str, Tensor], bias: Tensor | None) -> dict[str, Tensor]:
        out = {f"{name}.weights.{ir}": matrix for ir, matrix in matrices.items()}
        return out if bias is None else out | {f"{name}.bias": bias}

    def _gates_in_our_order(
        self, t: int, shape: LayerShapes, tensors: dict[str, Tensor]
    ) -> dict[str, Tensor]:
        gated = [(mul, ir) for mul, ir in self.features[t + 1] if ir.l > 0]
        return {
            name: reorder_gates(x, gated, shape) if name.endswith(("0e", "bias")) else x
            for name, x in tensors.items()
        }

    def _self_connection(self, t: int, features: Blocks, conv_out: Blocks) -> dict[str, Tensor]:
        kind = self.spec.layers[t].self_connection
        key = f"{t}_self_connection_intro"
        if kind == "linear":
            matrices = linear_by_irrep(self.state[f"{key}.linear.weight"], features, conv_out)
        elif kind == "species":
            weight = self.state[f"{key}.fc_tensor_product.weight"]
            n_species = len(self.spec.atomic_numbers)
            matrices = species_linear_by_irrep(weight, features, n_species, conv_out)
        else:
            matrices = {}
        return self._named("self_connection", matrices, None)

    def _radial(self, t: int, couplings: list[Coupling], shape: LayerShapes) -> dict[str, Tensor]:
        depth = len(self.spec.layers[t].radial.hidden)
        weights = [
            self.state[f"{t}_convolution.weight_nn.layer{k}.weight"] for k in range(depth + 1)
        ]
        signs = torch.cat([self._sign(t, c).expand(c[3]) for c in couplings])
        order = list(range(len(couplings)))
        if self._paths_are_sorted():
            order.sort(key=lambda k: (couplings[k][2].l, couplings[k][2].p))
            signs = torch.cat([self._sign(t, couplings[k]).expand(couplings[k][3]) for k in order])
        stored = [couplings[k] for k in order]
        weights[-1] = reorder_columns(weights[-1] * signs, stored, shape.instructions)
        return {f"radial.weights.{k}": weight for k, weight in enumerate(weights)}

    def _paths_are_sorted(self) -> bool:
        """From version 0.11 on the paths are sorted by output irrep."""
        parts = str(self.config["version"]).split(".")
        release = tuple(int(p) for p in parts[:3])
        return release > (0, 11, 0) or (release == (0, 11, 0) and parts[3:] != ["dev0"])

    def _sign(self, t: int, coupling: Coupling) -> Tensor:
        """-1 where the file's Wigner 3j has the other sign than ours."""
        ir_in, l2, ir_out, _ = coupling
        stored = self.state.get(f"{t}_convolution.{_W3J}{ir_in.l}_{l2}_{ir_out.l}")
        if stored is None:
            return torch.ones(1, dtype=torch.float64)
        ours = torch.tensor(np.array(wigner_3j(ir_in.l, l2, ir_out.l)))
        overlap = float((stored * ours).sum())
        if abs(abs(overlap) - 1) > 1e-4:
            raise InputError(
                f"layer {t}: its Wigner 3j of {ir_in.l}, {l2}, {ir_out.l} is not e3nn's"
            )
        return torch.tensor([1.0 if overlap > 0 else -1.0], dtype=torch.float64)

    def _readout(self) -> dict[str, Tensor]:
        width = self.spec.readout.hidden[0]
        first = self.state["reduce_input_to_hidden.linear.weight"].view(-1, width)
        rows, total = self.spec.layers[-1].irreps.dim, len(first)
        out = {
            "readout.weights.0": first[:rows] * sqrt(rows / total),
            "readout.weights.1": self.state["reduce_hidden_to_energy.linear.weight"].view(-1, 1),
        }
        if self.spec.readout_bias:
            out["readout.bias"] = first[rows + self.modal_index] / sqrt(total)
        return out

    def _scale_shift(self) -> dict[str, Tensor]:
        out = {}
        for name in ("scale", "shift"):
            value = self.state[f"rescale_atomic_energy.{name}"]
            value = value[self.modal_index] if value.ndim == 2 else value
            out[name] = value.expand(len(self.spec.atomic_numbers)).clone()
        return out
