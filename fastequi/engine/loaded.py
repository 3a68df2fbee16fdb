"""A model on a device, ready to compute, that can say what it is."""

from dataclasses import dataclass

import torch

from fastequi.engine.fused import FusedNequIP
from fastequi.graph import Graph
from fastequi.kernels.backend import BACKENDS
from fastequi.model.facts import KEY, training_facts
from fastequi.model.file import ModelData, build_model
from fastequi.model.nequip import NequIP
from fastequi.potential import ForceCall, Prediction, force_call


@dataclass(frozen=True)
class LoadedModel:
    """A `Potential` with its identity.

    network         the readable network
    engine          what computes: the network itself, or its fused form
    name, sha256    what was asked for, and the identity of its weights
    dtype_name      arithmetic of the network: 'float32' or 'float64'
    kernels         implementation of the convolution, and kernels_reason why this one
    """

    network: NequIP
    engine: NequIP | FusedNequIP
    name: str
    sha256: str
    dtype_name: str
    kernels: str
    kernels_reason: str
    provenance: dict[str, str]

    @property
    def cutoff(self) -> float:
        return self.network.cutoff

    @property
    def atomic_numbers(self) -> tuple[int, ...]:
        return self.network.atomic_numbers

    @property
    def device(self) -> torch.device:
        return self.network.device

    def compute(self, graph: Graph) -> Prediction:
        """Energies, forces and stress of every system of the batch."""
        return self.engine.compute(graph)

    def force_call(self, graph: Graph, last: ForceCall | None = None) -> ForceCall:
        """Of a graph whose edges reach up to the cutoff and a skin."""
        return force_call(self.engine, graph, last)

    def summary(self) -> dict[str, str]:
        """Facts for people, in the order in which to print them."""
        from ase.data import chemical_symbols

        spec = self.network.spec
        numbers = sorted(spec.atomic_numbers)
        symbols = " ".join(chemical_symbols[z] for z in numbers)
        parameters = sum(p.numel() for p in self.network.parameters())
        first = spec.layers[0]
        facts = {
            "model": self.name,
            "origin": spec.origin,
            "modality": spec.modality,
            "elements": f"{len(numbers)}: {symbols}",
            "cutoff": f"{spec.cutoff_A:g} Å, {spec.envelope} envelope",
            "layers": str(len(spec.layers)),
            "features": str(first.irreps if len(spec.layers) == 1 else spec.layers[1].irreps),
            "harmonics": f"l <= {spec.l_max}, parity {spec.parity}",
            "radial network": f"{spec.n_bessel}-" + "-".join(map(str, first.radial.hidden)),
            "self-connection": spec.layers[-1].self_connection,
            "extras": ", ".join(self._extras()),
            "radial tables": self._table_errors(),
            "parameters": f"{parameters:,}",
            "sha256": self.sha256,
        }
        trained = training_facts(self.provenance)
        facts |= {k: v for k, v in self.provenance.items() if k not in facts and k != KEY}
        facts |= trained.in_words() if trained else {}
        return {key: value for key, value in facts.items() if value}

    def _table_errors(self) -> str:
        if isinstance(self.engine, NequIP):
            return ""
        tables = self.engine.tables
        value = max(table.value_error for table in tables)
        slope = max(table.slope_error for table in tables)
        fewest, most = (f(table.n_intervals for table in tables) for f in (min, max))
        return (
            f"{fewest} to {most} intervals, errors of values {value:.1e} and of slopes "
            f"{slope:.1e} relative to the largest"
        )

    def _extras(self) -> list[str]:
        spec = self.network.spec
        found = {
            "layer norm": any(layer.layer_norm for layer in spec.layers),
            "ZBL repulsion": spec.zbl,
            "cutoffs per species pair": spec.pair_cutoffs,
        }
        return [what for what, is_used in found.items() if is_used]


def loaded(
    data: ModelData, name: str, device: torch.device, dtype_name: str, kernels: tuple[str, str]
) -> LoadedModel:
    """Put a model on a device; kernels = (implementation, reason)."""
    network = build_model(data, getattr(torch, dtype_name), device)
    network.requires_grad_(False)
    network.eval()
    fused = not BACKENDS[kernels[0]].is_reference
    engine = FusedNequIP(network, kernels[0]) if fused else network
    return LoadedModel(network, engine, name, data.sha256, dtype_name, *kernels, data.provenance)
