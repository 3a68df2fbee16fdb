"""What a NequIP file says besides its weights; from the modules of a package.

A package holds the network's modules, here as records. See nequip_config.py for checkpoints.
"""

from dataclasses import dataclass
from typing import Any

from fastequi.errors import InputError
from fastequi.importers.unpickle import Record

#: The activations of the gate, by parity.
ACTIVATIONS = {"e": "silu", "o": "tanh"}
#: Activations between the layers of the readout. 'identity': NequIP's word "None", which counts
#: as a nonlinearity when the weights are normalised, but does nothing.
_READOUT_CLASSES = {
    "SiLU": "silu",
    "Mish": "mish",
    "GELU": "gelu",
    "ShiftedSoftplus": "ssp",
    "Tanh": "tanh",
    "Identity": "identity",
}
_MODULES = set(
    "NodeTypeEmbed SphericalHarmonicEdgeAttrs EdgeLengthNormalizer BesselEdgeLengthEncoding "
    "ApplyFactor ConvNetLayer ScalarMLP PerTypeScaleShift ZBL AtomwiseReduce".split()
)


@dataclass(frozen=True, slots=True)
class Facts:
    """A NequIP network without its weights.

    type_names          in the order of the embedding rows
    r_max               longest edge in Å
    envelope_p          exponent of the cutoff polynomial
    edge_irreps         edge harmonics, in e3nn's notation
    hidden_irreps       features of each layer, in e3nn's notation and the package's order
    sender_scale        1/sqrt(average number of neighbours): one number, or one per type
    readout_activation  between the layers of the readout; 'identity': see the top
    bessel_trainable    whether the roots of the Bessel basis were trained
    zbl_p               exponent of the polynomial that ends the ZBL repulsion; None without ZBL
    """

    type_names: tuple[str, ...]
    r_max: float
    envelope_p: float
    edge_irreps: str
    hidden_irreps: tuple[str, ...]
    sender_scale: tuple[float, ...]
    readout_activation: str
    bessel_trainable: bool
    zbl_p: float | None


def refuse_dtype(name: str) -> None:
    """Raise InputError for a model_dtype that NequIP does not know today."""
    if name not in ("float32", "float64"):
        raise InputError(f"model_dtype {name} is not supported; float32 and float64 are")


def refuse_pair_potential(name: str) -> None:
    """Raise InputError for a pair potential other than ZBL."""
    if name != "ZBL":
        raise InputError(f"the pair potential {name} is not supported; ZBL is")


def modules_of(record: Any) -> dict[str, Record]:
    """The named submodules of a module that was read as a record."""
    return record.attributes.get("_modules", {}) if isinstance(record, Record) else {}


def facts_from_modules(graph_model: Record, network: dict[str, Record]) -> Facts:
    """Facts from the modules of a package. Raises InputError for what is not supported."""
    refuse_dtype(graph_model.attributes["model_dtype"].qualname)
    for name, module in network.items():
        if name == "pair_potential":
            refuse_pair_potential(module.qualname)
        if module.qualname not in _MODULES:
            raise InputError(f"its module {name} ({module.qualname}) is not supported")
    envelope_p = float(modules_of(network["bessel_encode"])["cutoff"].attributes["p"])
    layers = [network[f"layer{t}_convnet"] for t in range(sum("_convnet" in n for n in network))]
    for layer in layers:
        _refuse_unsupported_layer(layer)
    zbl = network.get("pair_potential")
    zbl_cutoff = modules_of(zbl).get("cutoff")
    return Facts(
        type_names=tuple(graph_model.attributes["type_names"]),
        r_max=float(network["edge_norm"].attributes["r_max"]),
        envelope_p=envelope_p,
        edge_irreps=_irreps_text(network["spharm"].attributes["irreps_edge_sh"]),
        hidden_irreps=tuple(_irreps_text(m.attributes["feature_irreps_hidden"]) for m in layers),
        sender_scale=_sender_scale_of_module(modules_of(layers[0])["conv"]),
        readout_activation=_readout_activation(network["per_atom_energy_readout"]),
        bessel_trainable=bool(network["bessel_encode"].attributes["trainable"]),
        zbl_p=None
        if zbl is None
        else float(zbl_cutoff.attributes["p"] if zbl_cutoff else envelope_p),
    )


def _irreps_text(irreps: Record) -> str:
    """e3nn's Irreps, a tuple of (multiplicity, (l, p)), in its notation."""
    parts = []
    for block in irreps.args[0]:
        mul, ir = block.args[0]
        degree, p = ir.args[0]
        parts.append(f"{int(mul)}x{int(degree)}{'e' if p > 0 else 'o'}")
    return "+".join(parts)


def _refuse_unsupported_layer(layer: Record) -> None:
    if layer.attributes.get("resnet"):
        raise InputError("NequIP's convnet_resnet = True is not supported")
    gate = modules_of(layer)["equivariant_nonlin"]
    if gate.qualname != "Gate":
        raise InputError(f"NequIP's nonlinearity {gate.qualname} is not supported; the gate is")
    for part in ("act_scalars", "act_gates"):
        for _, (_, p), act in modules_of(gate)[part].attributes.get("paths", []):
            name = act.attributes["f"].qualname.rpartition(".")[2]
            if name != ACTIVATIONS["e" if p > 0 else "o"]:
                raise InputError(f"the activation {name} in {part} is not supported")


def _sender_scale_of_module(convolution: Record) -> tuple[float, ...]:
    norm = modules_of(convolution).get("avg_num_neighbors_norm")
    if norm is not None:
        return tuple(norm.attributes["_buffers"]["norm_const"].double().flatten().tolist())
    factor = convolution.attributes.get("scatter_norm_factor")  # before 0.16
    return (1.0,) if factor is None else (float(factor),)


def _readout_activation(readout: Record) -> str:
    perceptron = modules_of(modules_of(readout)["mlp_module"])["mlp"]
    names = {module.qualname for module in modules_of(perceptron).values()}
    names -= {"ScalarLinearLayer", "ParameterList"}
    if not names:
        return "none"
    name = names.pop()
    if names or name not in _READOUT_CLASSES:
        raise InputError(f"a readout with {name} is not supported")
    return _READOUT_CLASSES[name]
