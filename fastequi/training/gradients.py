"""The gradient of a loss of energies and forces by the weights of a network.

F = -dE/dr, so the obvious way differentiates twice (`by_double_backward`, the definition). The
quick way differentiates once. With a = dL/dE_i and t = dL/d(dE/dr_e), held constant, dL/dtheta is
the gradient of

    G = sum_i a_i E_i + sum_e t_e . dE/dr_e,

and its second sum is the change of the energy as the edge vectors move along t. So: energies and
dE/dr without any thought of weights; the loss, hence a and t; then G in one forward pass with
tangents (model/tangent.py), and one backward pass. Positions need no gradient in it.
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from fastequi.errors import InputError
from fastequi.graph import Graph, edge_vectors
from fastequi.kernels.convolution.edges import Edges, make_edges
from fastequi.kernels.dispatch import prepare_training, training_convolutions
from fastequi.model import tangent
from fastequi.model.nequip import NequIP
from fastequi.potential import Prediction, prediction_from_edges

#: Prediction -> the scalar to be minimised.
Loss = Callable[[Prediction], Tensor]


@dataclass(frozen=True, slots=True)
class Sample:
    """What a network is trained on: a batch of graphs, and which of its edges are one pair.

    pair   [edges] the pair of atoms that an edge belongs to; first [pairs] one edge of each
    """

    graph: Graph
    pair: Tensor
    first: Tensor


def by_double_backward(network: NequIP, sample: Sample, loss: Loss) -> Prediction:
    """Add dL/dtheta to the parameters' gradients; returns the prediction. The definition."""
    vectors = edge_vectors(sample.graph)
    leaf = vectors.to(network.dtype, copy=True).requires_grad_(True)
    energies = network(sample.graph, leaf)
    (gradient,) = torch.autograd.grad(energies.sum(), leaf, create_graph=True)
    prediction = prediction_from_edges(sample.graph, energies, vectors, gradient)
    loss(prediction).backward()
    return _detached(prediction)


class TangentGradient:
    """`by_double_backward` for one network through an implementation of the convolution.

    Raises InputError for models with r^l harmonics: only the definition trains these.
    """

    def __init__(self, network: NequIP, implementation: str) -> None:
        if not network.spec.normalize_harmonics:
            raise InputError("these kernels need normalised harmonics; use kernels = 'reference'")
        self.network = network
        self.frozen = _sharing_storage(network)
        layers = [layer.shapes.instructions for layer in network.interactions()]
        prepare_training(implementation, layers, network.dtype)
        self._rows_convolution, self._tangent_convolution = training_convolutions(implementation)

    def predict(self, sample: Sample) -> Prediction:
        """Energies, forces and stress; keeps no autograd graph."""
        with torch.no_grad():
            run = _Run(self, sample)
            rows = run.rows()
        return prediction_from_edges(sample.graph, *run.energies_and_gradients(rows))

    def __call__(self, sample: Sample, loss: Loss) -> Prediction:
        """Add dL/dtheta to the parameters' gradients; returns the prediction."""
        run = _Run(self, sample)
        rows = run.rows()
        energies, vectors, gradient = run.energies_and_gradients([row.detach() for row in rows])
        leaves = energies.requires_grad_(True), gradient.requires_grad_(True)
        prediction = prediction_from_edges(sample.graph, leaves[0], vectors, leaves[1])
        weights, displacements = torch.autograd.grad(loss(prediction), leaves)
        run.weighted_change(rows, weights, displacements).backward()
        return _detached(prediction)


class _Run:
    """One batch on its way through the network."""

    def __init__(self, gradient: TangentGradient, sample: Sample) -> None:
        self.g, self.sample, network = gradient, sample, gradient.network
        graph = sample.graph
        self.species = network.species(graph.atomic_numbers)
        self.vectors = edge_vectors(graph)
        self.by_atom = make_edges(graph.edge_src, graph.edge_dst, graph.n_atoms)
        self.by_species = replace(self.by_atom, sender=self.species[graph.edge_src])

    def rows(self) -> list[Tensor]:
        """Per layer, W and dW/dr of every pair of atoms, [pairs, 2, weights]."""
        network, first, graph = self.g.network, self.sample.first, self.sample.graph
        lengths = torch.linalg.vector_norm(self.vectors[first], dim=1).to(network.dtype)
        dst, src = self.species[graph.edge_dst[first]], self.species[graph.edge_src[first]]
        basis = tangent.basis_rows(network.basis, lengths, dst, src)
        return [tangent.mlp_rows(layer.radial, basis) for layer in network.interactions()]

    def _senders(self, k: int) -> tuple[Edges, Tensor]:
        """Edges of layer k and the species of the rows it sends from: of species, in the first."""
        if k:
            return self.by_atom, self.species
        n_species = len(self.g.network.embedding)
        return self.by_species, torch.arange(n_species, device=self.species.device)

    def energies_and_gradients(self, rows: list[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Energies of atoms, edge vectors, dE/dr of edges."""
        network, graph = self.g.frozen, self.sample.graph
        attributes = network.attributes()
        leaf = self.vectors.to(network.dtype, copy=True).requires_grad_(True)
        lengths = torch.linalg.vector_norm(leaf, dim=1) if network.spec.zbl else leaf
        x = [network.embedding[self.species].unsqueeze(1)]
        for k, (layer, row) in enumerate(zip(network.interactions(), rows, strict=True)):
            edges, senders = self._senders(k)
            sent = layer.send(x if k else [network.embedding.unsqueeze(1)], senders)
            summed = self.g._rows_convolution(
                sent, leaf, edges, row, self.sample.pair, layer.shapes.instructions
            )
            x = layer.update(summed, x, self.species, attributes)
        energies = network.energies(x, graph, lengths)
        (gradient,) = torch.autograd.grad(energies.sum(), leaf)
        return energies.detach(), self.vectors, gradient

    def weighted_change(self, rows: list[Tensor], weights: Tensor, displacements: Tensor) -> Tensor:
        """G: energies of atoms times weights, and their sum's change along displacements."""
        network = self.g.network
        vectors = self.vectors.to(network.dtype)
        doubled = torch.cat([self.species, self.species])
        attributes = network.attributes()
        x = [network.embedding[self.species].unsqueeze(1)]
        for k, (layer, row) in enumerate(zip(network.interactions(), rows, strict=True)):
            edges, senders = self._senders(k)
            if k:
                sent = layer.send(x, doubled, len(self.species))
            else:
                sent = layer.send([network.embedding.unsqueeze(1)], senders)
                x = tangent.with_zero_tangent(x)
            summed = self.g._tangent_convolution(
                sent, row, vectors, displacements, self.sample.pair, edges,
                layer.shapes.instructions, moving=k > 0,
            )  # fmt: skip
            x = tangent.update(layer, summed, x, doubled, attributes)
        return tangent.weighted_energies(network, x[0], self.species, weights)


def _sharing_storage(network: NequIP) -> NequIP:
    """The same weights, seen as constants."""
    with torch.no_grad():
        twin = copy.deepcopy(network).requires_grad_(False)
    for theirs, ours in zip(_tensors(twin), _tensors(network), strict=True):
        theirs.data = ours.data
    return twin


def _tensors(module: nn.Module) -> list[Tensor]:
    return [*module.parameters(), *module.buffers()]


def _detached(prediction: Prediction) -> Prediction:
    return Prediction(
        *(getattr(prediction, name).detach() for name in Prediction.__dataclass_fields__)
    )
