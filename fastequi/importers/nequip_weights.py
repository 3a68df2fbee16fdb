"""From a NequIP network's facts and state to a ModelSpec and tensors in fastequi's layout.

The names of the state are those inside NequIP's `SequentialGraphNetwork`, for example
'layer0_convnet.conv.linear_1.weight'.
"""

import re
from math import sqrt

import torch
from torch import Tensor

from fastequi.errors import InputError
from fastequi.importers.e3nn_layout import (
    Blocks,
    Coupling,
    e3nn_sorted,
    joined,
    linear_by_irrep,
    parse_blocks,
    reorder_columns,
    reorder_gates,
    reorder_rows,
    species_linear_by_irrep,
)
from fastequi.importers.nequip_facts import Facts
from fastequi.irreps import SCALAR, Irrep, Irreps
from fastequi.kernels.instructions import EdgeParity, harmonic_irrep
from fastequi.model.spec import LayerShapes, LayerSpec, MLPSpec, ModelSpec
from fastequi.model.zbl import COULOMB_eV_A

State = dict[str, Tensor]


def spec_of(facts: Facts, state: State, atomic_numbers: tuple[int, ...]) -> ModelSpec:
    """The description of the network. Raises InputError for what it cannot describe."""
    l_max, edge_parity = _edge_harmonics(facts.edge_irreps)
    layers = []
    for t, text in enumerate(facts.hidden_irreps):
        conv = f"layer{t}_convnet.conv"
        layers.append(
            LayerSpec(
                irreps=_hidden(text),
                radial=MLPSpec(_hidden_widths(_perceptron(state, f"{conv}.edge_mlp"))),
                self_connection="species" if f"{conv}.sc.weight" in state else "none",
            )
        )
    return ModelSpec(
        origin="nequip",
        atomic_numbers=atomic_numbers,
        cutoff_A=facts.r_max,
        embedding_channels=state["type_embed.embed_module.weight"].shape[1],
        layers=tuple(layers),
        readout=_readout(facts, state),
        l_max=l_max,
        edge_parity=edge_parity,
        n_bessel=state["bessel_encode.bessel_weights"].numel(),
        envelope_parameter=facts.envelope_p,
        bessel_trainable=facts.bessel_trainable,
        pair_cutoffs=state["edge_norm._rmax_recip"].ndim > 0,
        zbl=_has_zbl(facts, state, atomic_numbers),
        zbl_envelope_p=6.0 if facts.zbl_p is None else facts.zbl_p,
    )


def tensors_of(facts: Facts, state: State, spec: ModelSpec) -> dict[str, Tensor]:
    """The weights, named as in `NequIP.state_dict()`, in the precision they were stored with."""
    n_species = len(spec.atomic_numbers)
    out = {
        "embedding": state["type_embed.embed_module.weight"],
        "basis.frequencies": state["bessel_encode.bessel_weights"].flatten(),
        "scale": _per_species(state["per_type_energy_scale_shift.scales"], 1.0, n_species),
        "shift": _per_species(state["per_type_energy_scale_shift.shifts"], 0.0, n_species),
    }
    if spec.pair_cutoffs:
        recip = state["edge_norm._rmax_recip"]
        out["basis.pair_cutoff"] = recip.double().reciprocal().view(n_species, n_species)
    sender_scale = torch.tensor(facts.sender_scale, dtype=torch.float64)
    for t, weight in enumerate(_layers(facts, state, spec)):
        weight["message_scale"] = sender_scale.expand(n_species).clone()
        out |= {f"layers.{t}.{name}": value for name, value in weight.items()}
    for k, weight in enumerate(_perceptron(state, "per_atom_energy_readout.mlp_module")):
        gain = sqrt(2.0) if facts.readout_activation == "identity" and k > 0 else 1.0
        out[f"readout.weights.{k}"] = weight if gain == 1.0 else weight.double() * gain
    return out


# -- the description -----------------------------------------------------------------------------


def _edge_harmonics(text: str) -> tuple[int, EdgeParity]:
    blocks = parse_blocks(text)
    parities: tuple[EdgeParity, ...] = ("natural", "even")
    for parity in parities:
        if blocks == [(1, harmonic_irrep(degree, parity)) for degree in range(len(blocks))]:
            return len(blocks) - 1, parity
    raise InputError(f"edge harmonics {text} are not supported; all degrees from 0 to l_max are")


def _hidden(text: str) -> Irreps:
    blocks = [block for block in parse_blocks(text) if block[0]]
    if len({ir for _, ir in blocks}) != len(blocks):
        raise InputError(f"hidden features {text}, where an irrep appears twice, are not supported")
    if SCALAR not in {ir for _, ir in blocks}:
        raise InputError(f"hidden features {text} without 0e are not supported")
    return Irreps.collect(blocks)


def _readout(facts: Facts, state: State) -> MLPSpec:
    hidden = _hidden_widths(_perceptron(state, "per_atom_energy_readout.mlp_module"))
    if not hidden:
        return MLPSpec(())
    activation = facts.readout_activation
    return MLPSpec(hidden, "none" if activation == "identity" else activation)


def _perceptron(state: State, prefix: str) -> list[Tensor]:
    """The matrices [in, out] of a ScalarMLPFunction, first to last."""
    pattern = re.compile(re.escape(prefix) + r"\.mlp\.(?:weights\.(\d+)|(\d+)\.weight)")
    found = {int(m[1] or m[2]): state[k] for k in state if (m := pattern.fullmatch(k))}
    if not found:
        raise InputError(f"it has no weights of {prefix}")
    return [found[k] for k in sorted(found)]


def _hidden_widths(weights: list[Tensor]) -> tuple[int, ...]:
    return tuple(weight.shape[1] for weight in weights[:-1])


def _has_zbl(facts: Facts, state: State, atomic_numbers: tuple[int, ...]) -> bool:
    if facts.zbl_p is None:
        return False
    # NequIP stores half the constant: each pair is two edges.
    if abs(float(state["pair_potential._qqr2exesquare"]) * 2 - COULOMB_eV_A) > 1e-5:
        raise InputError("ZBL in LAMMPS units other than metal is not supported")
    if state["pair_potential.atomic_numbers"].tolist() != list(atomic_numbers):
        raise InputError("the elements of its ZBL term are not those of its type names")
    return True


# -- the weights ---------------------------------------------------------------------------------


def _per_species(value: Tensor, default: float, n_species: int) -> Tensor:
    if value.numel() == 0:
        return torch.full((n_species,), default, dtype=torch.float64)
    return value.double().flatten().expand(n_species).clone()


def _layers(facts: Facts, state: State, spec: ModelSpec) -> list[dict[str, Tensor]]:
    features: Blocks = [(spec.embedding_channels, SCALAR)]
    layers = []
    for t, shape in enumerate(spec.shapes()):
        reached = {ir for _, ir in shape.irreps_out}
        hidden = [block for block in parse_blocks(facts.hidden_irreps[t]) if block[1] in reached]
        prefix = f"layer{t}_convnet.conv."
        of_layer = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
        layers.append(_layer(of_layer, features, hidden, shape, spec))
        features = [b for b in hidden if b[1].l == 0] + [b for b in hidden if b[1].l > 0]
    return layers


def _layer(
    state: State, features: Blocks, hidden: Blocks, shape: LayerShapes, spec: ModelSpec
) -> dict[str, Tensor]:
    """One layer; `features` enter and `hidden` leave it, both in the package's order."""
    gated = [block for block in hidden if block[1].l > 0]
    gates = [(mul, SCALAR) for mul, _ in gated]
    scalars = [block for block in hidden if block[1].l == 0]
    conv = joined(e3nn_sorted([*scalars, *gates, *gated]))
    couplings = _couplings(features, {ir for _, ir in conv}, spec)
    middle = joined(e3nn_sorted([(mul, ir_out) for _, _, ir_out, mul in couplings]))
    mixed_out = linear_by_irrep(state["linear_2.weight"], middle, conv)
    maps = {
        "linear_in": linear_by_irrep(state["linear_1.weight"], features, features),
        "linear_out": reorder_rows(mixed_out, couplings, shape.instructions),
    }
    if "sc.weight" in state:
        maps["self_connection"] = species_linear_by_irrep(
            state["sc.weight"], features, spec.embedding_channels, conv
        )
    for name in ("linear_out", "self_connection"):
        if name in maps:
            maps[name]["0e"] = reorder_gates(maps[name]["0e"], gated, shape)
    radial = _perceptron(state, "edge_mlp")
    radial[-1] = reorder_columns(radial[-1], couplings, shape.instructions)
    out = {f"radial.weights.{k}": weight for k, weight in enumerate(radial)}
    for name, matrices in maps.items():
        out |= {f"{name}.weights.{ir}": matrix for ir, matrix in matrices.items()}
    return out


def _couplings(features: Blocks, wanted: set[Irrep], spec: ModelSpec) -> list[Coupling]:
    return [
        (ir, l2, ir_out, mul)
        for mul, ir in features
        for l2 in range(spec.l_max + 1)
        for ir_out in ir.product(harmonic_irrep(l2, spec.edge_parity))
        if ir_out in wanted
    ]
