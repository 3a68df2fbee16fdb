"""FusedNequIP: the same network for dynamics, with radial tables and the fused convolution.

Nothing is kept per edge between layers: each convolution evaluates harmonics and weights inside,
and its adjoint returns dE/dr. The first layer's messages depend on the sender's species alone, so
they are computed per species and nothing is gathered per atom. Everything node-wise is shared with
`NequIP`.
"""

import copy
import hashlib
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from fastequi._version import __version__
from fastequi.errors import InputError
from fastequi.graph import Graph, edge_vectors
from fastequi.kernels import cache
from fastequi.kernels.backend import BACKENDS
from fastequi.kernels.convolution.differentiable import differentiable
from fastequi.kernels.convolution.edges import Edges, make_edges
from fastequi.kernels.convolution.weights import LinearOut
from fastequi.kernels.radial_table import (
    RadialTable,
    build_tables,
    tables_from_bytes,
    tables_to_bytes,
)
from fastequi.model.interaction import Interaction
from fastequi.model.nequip import NequIP
from fastequi.model.pieces import LayerRun
from fastequi.potential import Prediction, prediction_from_edges


class FusedNequIP:
    """Energies and forces of a `NequIP` network through an implementation of the fused convolution.

    network         with its weights, on its device, in its precision
    implementation  a name of kernels.dispatch, 'cpu' for example
    tables          radial weights of each layer
    """

    def __init__(self, network: NequIP, implementation: str) -> None:
        self.network = network
        backend = BACKENDS[implementation]
        self.convolution = differentiable(backend.operations)
        layers = [layer.shapes.instructions for layer in network.interactions()]
        stretched = network.spec.pair_cutoffs
        backend.prepare(layers, network.dtype, training=False, stretched=stretched)
        self.tables = [t.to(network.dtype, network.device) for t in cached_tables(network)]
        self.linear_out = [
            LinearOut(layer.linear_out.matrices()) for layer in network.interactions()
        ]

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
        """Energies, forces and stress; keeps no autograd graph."""
        graph = graph.to(self.network.device)
        vectors = edge_vectors(graph).detach()
        leaf = vectors.to(self.network.dtype, copy=True).requires_grad_(True)
        with torch.enable_grad():
            energies = self.energies(graph, leaf)
            (gradient,) = torch.autograd.grad(energies.sum(), leaf)
        return prediction_from_edges(graph, energies.detach(), vectors, gradient)

    def energies(self, graph: Graph, vectors: Tensor) -> Tensor:
        """Energy of each atom [atoms] in eV, float64."""
        network = self.network
        species = network.species(graph.atomic_numbers)
        src, dst = graph.edge_src, graph.edge_dst
        lengths = torch.linalg.vector_norm(vectors, dim=1) if network.spec.zbl else vectors
        stretch = self._stretch(species, src, dst)
        by_atom = make_edges(src, dst, graph.n_atoms, stretch)
        by_species = make_edges(species[src], dst, graph.n_atoms, stretch)
        every = torch.arange(len(network.embedding), device=network.device)
        x, attributes = [network.embedding[species].unsqueeze(1)], network.attributes()
        for k, layer in enumerate(network.interactions()):
            edges, senders = (by_atom, species) if k else (by_species, every)
            sources = x if k else [network.embedding.unsqueeze(1)]
            convolution = partial(self._convolve, k)
            x = LayerRun(layer, convolution, edges, species, senders, attributes)(
                sources, x, vectors
            )
        return network.energies(x, graph, lengths)

    def _convolve(self, k: int, x: list[Tensor], vectors: Tensor, edges: Edges) -> list[Tensor]:
        instructions = self.network.interactions()[k].shapes.instructions
        behind = self.linear_out[k]
        return self.convolution(x, vectors, edges, self.tables[k], instructions, behind)

    def _stretch(self, species: Tensor, src: Tensor, dst: Tensor) -> Tensor | None:
        if not self.network.spec.pair_cutoffs:
            return None
        return self.network.cutoff / self.network.basis.pair_cutoff[species[dst], species[src]]


def cached_tables(network: NequIP) -> list[RadialTable]:
    """`radial_tables` in the network's precision, kept on disk between runs."""
    digest = hashlib.sha256(f"{network.spec.to_json()} {network.dtype} {__version__}".encode())
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
    """W(r) of every layer, from the network in float64. Raises InputError for r^l harmonics."""
    if not network.spec.normalize_harmonics:
        raise InputError("fused kernels need normalised harmonics; use kernels = 'reference'")
    exact = copy.deepcopy(network).to("cpu", torch.float64)

    def weights_of(layer: Interaction) -> Callable[[Tensor], Tensor]:
        return lambda r: layer.weights(exact.basis.of_relative(r / network.cutoff))

    xplor = network.spec.envelope == "xplor"
    return build_tables(
        [weights_of(layer) for layer in exact.interactions()],
        network.cutoff,
        kink=network.spec.envelope_parameter if xplor else None,
    )
