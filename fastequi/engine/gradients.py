"""The gradient of a loss of energies and forces by the weights of a network.

F = -dE/dr, so the obvious way differentiates twice (`by_double_backward`, the definition). The
quick way differentiates once. With a = dL/dE_i and t = dL/d(dE/dr_e), held constant, dL/dtheta is
the gradient of

    G = sum_i a_i E_i + sum_e t_e . dE/dr_e,

and its second sum is the change of the energy as the edge vectors move along t. So: energies and
dE/dr without any thought of weights; the loss, hence a and t; then G in one forward pass with
tangents, and one backward pass. Positions need no gradient in it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from fastequi.engine.arrangement import arrange, order_of
from fastequi.engine.blocks import Blocks, flat, stacked
from fastequi.engine.layer import LayerParts
from fastequi.engine.radial import basis_values, radial_networks
from fastequi.engine.repulsion import repulsion
from fastequi.engine.tables import degrees_of_weights, times_powers, times_powers_transposed
from fastequi.engine.walk import Step, Walk
from fastequi.graph import Graph, edge_vectors
from fastequi.kernels.backend import BACKENDS
from fastequi.kernels.convolution.weights import PairWeights
from fastequi.model.nequip import NequIP
from fastequi.potential import Prediction, prediction_from_edges

#: Prediction -> the scalar to be minimised.
Loss = Callable[[Prediction], Tensor]


class Sampled(Protocol):
    """What a network is trained on: a batch of graphs, and which of its edges are one pair.

    pair   [edges] the pair of atoms that an edge belongs to; first [pairs] one edge of each
    """

    @property
    def graph(self) -> Graph: ...
    @property
    def pair(self) -> Tensor: ...
    @property
    def first(self) -> Tensor: ...


@dataclass(frozen=True, slots=True)
class Sample:
    """A `Sampled` and no more."""

    graph: Graph
    pair: Tensor
    first: Tensor


def by_double_backward(network: NequIP, sample: Sampled, loss: Loss) -> Prediction:
    """Add dL/dtheta to the parameters' gradients; returns the prediction. The definition."""
    vectors = edge_vectors(sample.graph)
    leaf = vectors.to(network.dtype, copy=True).requires_grad_(True)
    energies = network(sample.graph, leaf)
    (gradient,) = torch.autograd.grad(energies.sum(), leaf, create_graph=True)
    prediction = prediction_from_edges(sample.graph, energies, vectors, gradient)
    loss(prediction).backward()
    return _detached(prediction)


class TangentGradient:
    """`by_double_backward` for one network through a backend, by its name."""

    def __init__(self, network: NequIP, backend: str) -> None:
        self.network, chosen = network, BACKENDS[backend]
        self.walk = Walk(network, chosen, training=True)
        layers = network.interactions()
        self.radial = radial_networks([layer.radial for layer in layers], chosen)
        normalized, device = network.spec.normalize_harmonics, network.device
        self.degrees = [
            None if normalized else degrees_of_weights(layer).to(device) for layer in layers
        ]
        chosen.prepare(self.walk.instructions, network.dtype, training=True, has_cutoff_scale=False)

    def predict(self, sample: Sampled) -> Prediction:
        """Energies, forces and stress; keeps no autograd graph."""
        run = _Run(self, sample)
        with torch.no_grad():
            energies, gradient, _ = run.first_pass()
        return prediction_from_edges(sample.graph, energies, run.vectors, gradient)

    def __call__(self, sample: Sampled, loss: Loss) -> Prediction:
        """Add dL/dtheta to the parameters' gradients; returns the prediction."""
        run = _Run(self, sample)
        with torch.no_grad():
            energies, gradient, steps = run.first_pass()
        leaves = energies.requires_grad_(True), gradient.requires_grad_(True)
        prediction = prediction_from_edges(sample.graph, leaves[0], run.vectors, leaves[1])
        weights, displacements = torch.autograd.grad(loss(prediction), leaves)
        with torch.no_grad():
            run.second_pass(steps, weights, displacements)
        return _detached(prediction)


class _Run:
    """One batch on its way through the network, and the weights of its pairs."""

    def __init__(self, gradient: TangentGradient, sample: Sampled) -> None:
        self.g, self.network, graph = gradient, gradient.network, sample.graph
        if self.network.spec.pair_cutoffs:
            sample = _every_edge_alone(graph)
        self.sample, self.vectors = sample, edge_vectors(graph)
        self.species = self.network.species(graph.atomic_numbers)
        order = order_of(self.species)
        self.a = arrange(graph, order, self.vectors, self.network.dtype)
        self.walk = gradient.walk.of(order)
        self.pair = self.a.edges_here(sample.pair)
        self.values, self.kept = self._radial()
        self.weights = [PairWeights(values, self.pair) for values in self.values]

    def _radial(self) -> tuple[list[Tensor], Any]:
        """Per layer, W and dW/dr of every pair of atoms, [pairs, 2, weights]; and what is kept."""
        first, graph = self.sample.first, self.sample.graph
        lengths = torch.linalg.vector_norm(self.vectors[first], dim=1).to(self.network.dtype)
        dst, src = self.species[graph.edge_dst[first]], self.species[graph.edge_src[first]]
        values, kept = self.g.radial.forward(basis_values(self.network.basis, lengths, dst, src))
        self.lengths = lengths
        return [
            v if degrees is None else times_powers(v, lengths, degrees)
            for v, degrees in zip(values, self.g.degrees, strict=True)
        ], kept

    def first_pass(self) -> tuple[Tensor, Tensor, list[Step]]:
        """Energies of atoms (float64) and dE/dr of edges, in the order of the graph; the steps."""
        found, steps, kept = self.walk.energies(self.a, self.weights)
        energies = self.a.atoms_back(found)
        gradient = self.a.edges_back(self.walk.gradient(self.a, self.weights, steps, kept))
        if self.network.spec.zbl:
            more, slope = repulsion(self.network, self.sample.graph, self.vectors)
            energies, gradient = energies + more, gradient + slope
        return energies, gradient, steps

    def second_pass(self, steps: list[Step], weights: Tensor, displacements: Tensor) -> None:
        """Add dG/dtheta: of energies times weights, and their change along displacements."""
        along, first = self.a.edges_here(displacements), self.walk.first_x.detach()
        x, convolved = [torch.stack([first, torch.zeros_like(first)])], []
        for k, (parts, step) in enumerate(zip(self.walk.parts, steps, strict=True)):
            x, kept = self._tangents(k, parts, step, x, along)
            convolved.append(kept)
        _, kept = self.walk.readout.jvp(None, x)
        by_energies = self.a.atoms_here(weights)
        by_both = torch.stack([by_energies, torch.ones_like(by_energies)])
        (g,) = self.walk.readout.jvp_vjp(kept, [by_both])
        d_values: list[Tensor] = []
        for k in reversed(range(len(steps))):
            g, found = self._back(k, self.walk.parts[k], g, *convolved[k])
            d_values.append(found)
        self._reverse_radial(d_values[::-1])
        if g:  # the first layer may not look at what was there
            self.walk.first_x.backward(g[0][0])

    def _tangents(
        self, k: int, parts: LayerParts, step: Step, x: Blocks, along: Tensor
    ) -> tuple[Blocks, tuple[Any, ...]]:
        """The tangents of one layer; (x' in stacks, what `_back` takes)."""
        if k:
            (sent, send), edges = parts.send.jvp(step.send, x), self.a.by_atom
            sent = flat(sent)
        else:
            sent, send, edges = step.sent, None, self.a.by_species
        instructions = self.walk.walk.instructions[k]
        arguments = sent, self.a.vectors, along, edges, self.weights[k], instructions, k > 0
        summed = stacked(self.walk.walk.operations.jvp(*arguments))
        y, mix = parts.mix.jvp(step.mix, summed, x)
        x, gate = parts.gate.jvp(step.gate, y)
        return x, (send, arguments, mix, gate)

    def _back(
        self, k: int, parts: LayerParts, g: Blocks, send: Any, arguments: Any, mix: Any, gate: Any
    ) -> tuple[Blocks, Tensor]:
        """The gradients of a layer's input, in stacks, and of its weights of pairs."""
        (gy,) = parts.gate.jvp_vjp(gate, g)
        gm, gx = parts.mix.jvp_vjp(mix, gy)
        found, gs = self.walk.walk.operations.jvp_vjp(flat(gm), *arguments)
        if k:
            (gx,) = parts.send.jvp_vjp(send, stacked(gs), onto=gx or None)
        else:
            torch.autograd.backward(self.walk.first_sent, gs)
        return gx, found

    def _reverse_radial(self, gradients: list[Tensor]) -> None:
        found = [
            g if degrees is None else times_powers_transposed(g, self.lengths, degrees)
            for g, degrees in zip(gradients, self.g.degrees, strict=True)
        ]
        self.g.radial.reverse(self.kept, found)


def _every_edge_alone(graph: Graph) -> Sample:
    """Where the cutoff asks which species receives, the two edges of a pair are not alike."""
    every = torch.arange(graph.n_edges, device=graph.edge_src.device)
    return Sample(graph, every, every)


def _detached(prediction: Prediction) -> Prediction:
    return Prediction(
        *(getattr(prediction, name).detach() for name in Prediction.__dataclass_fields__)
    )
