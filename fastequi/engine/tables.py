"""Radial tables of a network: W(r) of every layer, for dynamics."""

import copy
import hashlib
from collections.abc import Callable

import torch
from torch import Tensor

from fastequi._version import __version__
from fastequi.kernels.radial_table import (
    TOLERANCE,
    RadialTable,
    build_table,
    tables_from_bytes,
    tables_to_bytes,
)
from fastequi.model.interaction import Interaction
from fastequi.model.nequip import NequIP
from fastequi.storage import cache


def cached_tables(network: NequIP) -> list[RadialTable]:
    """`radial_tables` in the network's precision, kept on disk between runs."""
    settings = network.spec.to_json(), network.dtype, TOLERANCE[network.dtype], __version__
    digest = hashlib.sha256(" ".join(map(str, settings)).encode())
    for name, tensor in network.state_dict().items():
        if "radial" in name or "basis" in name:
            digest.update(tensor.cpu().contiguous().numpy().tobytes())
    entry = f"splines-{digest.hexdigest()[:32]}"
    stored = cache.read(entry)
    if stored is None:
        tables = [table.to(network.dtype, "cpu") for table in radial_tables(network)]
        cache.write(entry, tables_to_bytes(tables))
        return tables
    return tables_from_bytes(stored)


def radial_tables(network: NequIP) -> list[RadialTable]:
    """From the network in float64, as fine as its own precision asks for; with r^l where its
    harmonics are r^l Y_l."""
    exact = copy.deepcopy(network).to("cpu", torch.float64)

    def weights_of(layer: Interaction) -> Callable[[Tensor], Tensor]:
        powers = None if network.spec.normalize_harmonics else degrees_of_weights(layer)

        def weights(r: Tensor) -> Tensor:
            found = layer.weights(exact.basis.of_relative(r / network.cutoff))
            return found if powers is None else found * r.unsqueeze(1) ** powers

        return weights

    kink = network.spec.envelope_parameter if network.spec.envelope == "xplor" else None
    return [
        build_table(weights_of(layer), network.cutoff, network.dtype, kink=kink)
        for layer in exact.interactions()
    ]


def degrees_of_weights(layer: Interaction) -> Tensor:
    """The degree l of the harmonic that each weight goes with, [weights]."""
    paths = layer.shapes.instructions.paths
    return torch.cat([torch.full((path.channels,), path.l2) for path in paths])


def times_powers(values: Tensor, lengths: Tensor, degrees: Tensor) -> Tensor:
    """W r^l and its slope, from W and dW/dr [pairs, 2, weights]; lengths [pairs] in Å."""
    factor, slope = _powers(values, lengths, degrees)
    w, dw = values.unbind(1)
    return torch.stack([w * factor, dw * factor + w * slope], dim=1)


def times_powers_transposed(g: Tensor, lengths: Tensor, degrees: Tensor) -> Tensor:
    """The gradient at W and dW/dr from that at what `times_powers` returns."""
    factor, slope = _powers(g, lengths, degrees)
    by_value, by_slope = g.unbind(1)
    return torch.stack([by_value * factor + by_slope * slope, by_slope * factor], dim=1)


def _powers(like: Tensor, lengths: Tensor, degrees: Tensor) -> tuple[Tensor, Tensor]:
    """r^l and l r^(l - 1), [pairs, weights]."""
    r, degrees = lengths.unsqueeze(1), degrees.to(like)
    return r**degrees, degrees * r ** (degrees - 1).clamp(min=0)
