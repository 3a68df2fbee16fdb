"""ModelSpec: everything about a member of the NequIP family except its weights.

One description serves NequIP, SevenNet and nequix models and those trained here; it is saved as
JSON beside the weights. Constants that packages disagree on (normalisation of weights and
activations) are fields, so that each member computes what its own package computes.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from math import sqrt
from typing import Any, Literal

from fastequi.irreps import SCALAR, Irreps, Parity, hidden_irreps
from fastequi.kernels.instructions import EdgeParity, Instructions, make_instructions

#: sqrt(1 / E[f(z)^2]) for normal z, as e3nn.math.normalize2mom estimates it from 10^6 samples.
E3NN_SILU_SCALE = 1.6791767923989418
E3NN_TANH_SCALE = 1.5937334472592695

WeightRule = Literal["fan_in", "kaiming", "none"]
SelfConnection = Literal["species", "linear", "none"]
Attributes = Literal["embedding", "one-hot"]


@dataclass(frozen=True, slots=True)
class MLPSpec:
    """A perceptron on invariants, without biases: activation_scale * act(h @ (rule * W)) per layer.

    weight_rule  'fan_in': 1/sqrt(h_in); 'kaiming': the same with sqrt(2) after the first layer
                 (NequIP); 'none': 1
    """

    hidden: tuple[int, ...]
    activation: str = "silu"
    activation_scale: float = 1.0
    weight_rule: WeightRule = "kaiming"

    def weight_scales(self, n_in: int) -> tuple[float, ...]:
        """The factor of each weight matrix, for n_in inputs."""
        fan_in = (n_in, *self.hidden)
        if self.weight_rule == "none":
            return (1.0,) * len(fan_in)
        gain = sqrt(2.0) if self.weight_rule == "kaiming" and self.activation != "none" else 1.0
        return tuple((gain if k else 1.0) / sqrt(n) for k, n in enumerate(fan_in))


@dataclass(frozen=True, slots=True)
class LayerSpec:
    """One interaction layer.

    irreps           features after the gate
    radial           radial network (its outputs are the weights of the convolution)
    self_connection  'species': one matrix per species (NequIP), 'linear', or 'none'
    layer_norm       RMS norm over all irreps before the gate (nequix)
    scalar_bias      constants on the 0e outputs of both linears (a SevenNet modality)
    """

    irreps: Irreps
    radial: MLPSpec
    self_connection: SelfConnection = "species"
    layer_norm: bool = False
    scalar_bias: bool = False


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """A member of the NequIP family (Batzner et al. 2022).

    atomic_numbers      elements in the order of the embedding rows
    cutoff_A            longest edge
    envelope            'polynomial' (DimeNet) or 'xplor'
    envelope_parameter  p of the polynomial, or where XPLOR starts in Å
    pair_cutoffs        whether a table of shorter cutoffs per (receiver, sender) species exists
    embedding_channels  width of the initial features
    normalize_harmonics  Y of the edge's direction; False: r^l Y_l (early SevenNet models)
    attributes          what species self-connections mix with: 'embedding' or 'one-hot'
    tanh_scale          activation constant of 0o scalars; silu_scale of 0e scalars and gates
    zbl                 nuclear repulsion added (Ziegler, Biersack, Littmark), ended by a
                        polynomial envelope with zbl_envelope_p
    modality            level of theory chosen from a multi-fidelity model, or ''
    """

    origin: str
    atomic_numbers: tuple[int, ...]
    cutoff_A: float
    embedding_channels: int
    layers: tuple[LayerSpec, ...]
    readout: MLPSpec
    l_max: int = 2
    edge_parity: EdgeParity = "natural"
    normalize_harmonics: bool = True
    n_bessel: int = 8
    bessel_trainable: bool = False
    envelope: Literal["polynomial", "xplor"] = "polynomial"
    envelope_parameter: float = 6.0
    pair_cutoffs: bool = False
    attributes: Attributes = "embedding"
    silu_scale: float = E3NN_SILU_SCALE
    tanh_scale: float = E3NN_TANH_SCALE
    readout_bias: bool = False
    zbl: bool = False
    zbl_envelope_p: float = 6.0
    modality: str = ""

    @property
    def parity(self) -> Parity:
        """'even', 'natural' or 'full', read off the hidden irreps."""
        if self.edge_parity == "even":
            return "even"
        unnatural = any(ir.p != (-1) ** ir.l for layer in self.layers for _, ir in layer.irreps)
        return "full" if unnatural else "natural"

    def shapes(self) -> "tuple[LayerShapes, ...]":
        """Irreps and instructions of every layer."""
        result, irreps = [], Irreps(((self.embedding_channels, SCALAR),))
        for layer in self.layers:
            result.append(_layer_shapes(irreps, layer.irreps, self.l_max, self.edge_parity))
            irreps = result[-1].irreps_out
        return tuple(result)

    def to_json(self) -> str:
        data = asdict(self)
        for entry, layer in zip(data["layers"], self.layers, strict=True):
            entry["irreps"] = str(layer.irreps)
        return json.dumps(data, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> "ModelSpec":
        """Raises KeyError, TypeError or ValueError when the text is not a spec."""
        return _spec_from_dict(json.loads(text))


@dataclass(frozen=True, slots=True)
class LayerShapes:
    """What follows from a LayerSpec and the features before it.

    irreps_in     features that enter
    instructions  of the convolution
    irreps_conv   after the second linear: scalars followed, in the 0e block, by one gate per l > 0
    irreps_out    after the gate; irreps that no path reaches are gone
    """

    irreps_in: Irreps
    instructions: Instructions
    irreps_conv: Irreps
    irreps_out: Irreps

    @property
    def n_gates(self) -> int:
        return sum(mul for mul, ir in self.irreps_out if ir.l > 0)


def _layer_shapes(
    irreps_in: Irreps, hidden: Irreps, l_max: int, edge_parity: EdgeParity
) -> LayerShapes:
    wanted = Irreps.collect([*hidden, (1, SCALAR)])  # 0e carries the gates
    instructions = make_instructions(irreps_in, l_max, edge_parity, wanted)
    reached = Irreps(tuple((mul, ir) for mul, ir in hidden if ir in instructions.irreps_out))
    n_gates = sum(mul for mul, ir in reached if ir.l > 0)
    return LayerShapes(
        irreps_in, instructions, Irreps.collect([*reached, (n_gates, SCALAR)]), reached
    )


def new_spec(
    atomic_numbers: Sequence[int],
    *,
    layers: int = 4,
    l_max: int = 2,
    channels: Sequence[int] = (64, 64, 64),
    parity: Parity = "full",
    cutoff_A: float = 5.0,
    n_bessel: int = 8,
    radial_hidden: Sequence[int] = (128,),
    envelope_p: float = 6.0,
    embedding_channels: int | None = None,
    attributes: Attributes = "embedding",
    bessel_trainable: bool = False,
    zbl: bool = False,
) -> ModelSpec:
    """A NequIP model as NequIP 0.19 would build it; channels are per degree, 0 to l_max.

    attributes = 'one-hot' is the form of the paper: a matrix per species of its own.

    Raises ValueError when `channels` has not l_max + 1 entries.
    """
    if len(channels) != l_max + 1:
        raise ValueError(
            f"channels: got {list(channels)}, but l_max = {l_max} needs {l_max + 1} entries"
        )
    hidden = LayerSpec(hidden_irreps(channels, parity), MLPSpec(tuple(radial_hidden)))
    last = replace(hidden, irreps=Irreps(((channels[0], SCALAR),)))
    stack = [hidden] * (layers - 1) + [last]
    stack[0] = replace(stack[0], self_connection="none")  # an isolated atom's energy is its shift
    return ModelSpec(
        origin="fastequi",
        atomic_numbers=tuple(int(z) for z in atomic_numbers),
        cutoff_A=float(cutoff_A),
        embedding_channels=embedding_channels or channels[0],
        layers=tuple(stack),
        readout=MLPSpec(()),
        l_max=l_max,
        edge_parity="even" if parity == "even" else "natural",
        n_bessel=n_bessel,
        bessel_trainable=bessel_trainable,
        envelope_parameter=float(envelope_p),
        attributes=attributes,
        zbl=zbl,
    )


def _spec_from_dict(data: dict[str, Any]) -> ModelSpec:
    layers = tuple(
        LayerSpec(
            **(entry | {"irreps": Irreps.parse(entry["irreps"]), "radial": _mlp(entry["radial"])})
        )
        for entry in data["layers"]
    )
    changed = {
        "layers": layers,
        "readout": _mlp(data["readout"]),
        "atomic_numbers": tuple(data["atomic_numbers"]),
    }
    return ModelSpec(**(data | changed))


def _mlp(data: dict[str, Any]) -> MLPSpec:
    changed: dict[str, Any] = {"hidden": tuple(data["hidden"])}
    return MLPSpec(**(data | changed))
