"""The gradient of a loss of energies and forces by the weights of a network.

F = -dE/dr, so the obvious way differentiates twice (`by_double_backward`, the definition). The
quick way differentiates once. With a = dL/dE_i and t = dL/d(dE/dr_e), held constant, dL/dtheta is
the gradient of

    G = sum_i a_i E_i + sum_e t_e . dE/dr_e,

and its second sum is the change of the energy as the edge vectors move along t. So: energies and
dE/dr without any thought of weights; the loss, hence a and t; then G in one forward pass with
tangents (model/tangent.py), and one backward pass. Positions need no gradient in it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate

import torch
from torch import Tensor

from fastequi.errors import InputError
from fastequi.graph import Graph, edge_vectors
from fastequi.kernels.backend import BACKENDS
from fastequi.kernels.convolution.edges import Edges, make_edges
from fastequi.kernels.convolution.weights import PairWeights
from fastequi.model import tangent
from fastequi.model.nequip import NequIP
from fastequi.model.passes import LayerPasses
from fastequi.model.radial_passes import CompiledRadialPasses, RadialPasses
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
        backend = BACKENDS[implementation]
        compiled = implementation == "cpu"
        networks = [layer.radial for layer in network.interactions()]
        in_step = compiled and CompiledRadialPasses.can(networks)
        self.radial = (CompiledRadialPasses if in_step else RadialPasses)(networks)
        self.layers = [LayerPasses(layer, compiled) for layer in network.interactions()]
        instructions = [layer.shapes.instructions for layer in network.interactions()]
        backend.prepare(instructions, network.dtype, training=True, stretched=False)
        self.convolution = backend.operations

    def predict(self, sample: Sample) -> Prediction:
        """Energies, forces and stress; keeps no autograd graph."""
        run = _Run(self, sample)
        with torch.no_grad():
            energies, gradient = run.energies_and_gradients(run.rows())
        return prediction_from_edges(sample.graph, energies, run.vectors, gradient)

    def __call__(self, sample: Sample, loss: Loss) -> Prediction:
        """Add dL/dtheta to the parameters' gradients; returns the prediction."""
        run = _Run(self, sample)
        rows = run.rows()
        with torch.no_grad():
            energies, gradient = run.energies_and_gradients(rows)
        leaves = energies.requires_grad_(True), gradient.requires_grad_(True)
        prediction = prediction_from_edges(sample.graph, leaves[0], run.vectors, leaves[1])
        weights, displacements = torch.autograd.grad(loss(prediction), leaves)
        with torch.no_grad():
            run.add_gradients(rows, weights, displacements)
        return _detached(prediction)


class _Run:
    """One batch on its way through the network, its atoms sorted by species."""

    def __init__(self, gradient: TangentGradient, sample: Sample) -> None:
        self.g, self.network, graph = gradient, gradient.network, sample.graph
        if self.network.spec.pair_cutoffs:
            sample = _every_edge_alone(graph)
        self.sample = sample
        self.vectors = edge_vectors(graph)
        self.original_species = self.network.species(graph.atomic_numbers)
        self.species, self.atoms = torch.sort(self.original_species, stable=True)
        place = torch.empty_like(self.atoms)
        place[self.atoms] = torch.arange(graph.n_atoms, device=graph.positions.device)
        receiver, self.edges = torch.sort(place[graph.edge_dst], stable=True)
        self.by_atom = make_edges(place[graph.edge_src][self.edges], receiver, graph.n_atoms)
        self.by_species = self.by_atom.from_senders(self.species[self.by_atom.sender])
        self.pair = sample.pair[self.edges]
        self.moves = self.vectors[self.edges].to(self.network.dtype)
        counts = torch.bincount(self.species, minlength=len(self.network.embedding)).tolist()
        ends = [0, *accumulate(counts)]
        self.bounds = [(s, ends[s], ends[s + 1]) for s, n in enumerate(counts) if n]

    def rows(self) -> list[Tensor]:
        """Per layer, W and dW/dr of every pair of atoms, [pairs, 2, weights]."""
        network, first, graph = self.network, self.sample.first, self.sample.graph
        lengths = torch.linalg.vector_norm(self.vectors[first], dim=1).to(network.dtype)
        dst, src = graph.edge_dst[first], graph.edge_src[first]
        species = self.original_species[dst], self.original_species[src]
        basis = tangent.basis_rows(network.basis, lengths, *species)
        return self.g.radial.rows(basis)

    # -- energies and forces -----------------------------------------------------------------

    def energies_and_gradients(self, rows: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Energies of atoms (float64) and dE/dr of edges."""
        x = self._start()
        self.x, self.convolved = [x], []
        for k, row in enumerate(rows):
            x = self._forward(k, x, row)
            self.x.append(x)
        last = x[0][0].clone().requires_grad_(True)
        with torch.enable_grad():
            energies = self._energies(last)
            (g,) = torch.autograd.grad(energies.sum(), last)
        return self._restore(energies.detach(), self._backward([g]))

    def _start(self) -> list[Tensor]:
        """The features that enter: of each atom's species; and what the first layer sends."""
        network = self.network
        attributes = network.attributes()
        for layer in self.g.layers:
            with torch.enable_grad():
                layer.prepare(attributes, self.bounds, self.species)
        every = torch.arange(len(network.embedding), device=self.species.device)
        with torch.enable_grad():
            self.first_x = network.embedding[self.species].unsqueeze(1)
            first = self.g.layers[0].layer
            self.first_sent = first.send([network.embedding.unsqueeze(1)], every)
        x = self.first_x.detach()
        return [torch.stack([x, torch.zeros_like(x)])]

    def _forward(self, k: int, x: list[Tensor], row: Tensor) -> list[Tensor]:
        """One layer; keeps what its adjoint needs."""
        layer = self.g.layers[k]
        sent = layer.send(x, 0) if k else self.first_sent
        edges, instructions = self._edges(k), layer.layer.shapes.instructions
        weights = PairWeights(row, self.pair)
        arguments = sent, self.moves, edges, weights, instructions
        summed = self.g.convolution.forward(*arguments)
        self.convolved.append((summed, arguments))
        return layer.mix(x, summed, 0)

    def _edges(self, k: int) -> Edges:
        """In the first layer species send, not atoms."""
        return self.by_atom if k else self.by_species

    def _energies(self, x: Tensor) -> Tensor:
        network = self.network
        e = network.readout(x.squeeze(1)).squeeze(1).to(torch.float64)
        return network.scale[self.species] * e + network.shift[self.species]

    def _backward(self, g: list[Tensor]) -> Tensor:
        """dE/dr of the (sorted) edges from dE/dx of the last layer."""
        total = torch.zeros_like(self.moves)
        for k in reversed(range(len(self.g.layers))):
            layer, (summed, arguments) = self.g.layers[k], self.convolved[k]
            gm, gx = layer.unmix(g, summed, [x[0] for x in self.x[k]])
            gs = [torch.zeros_like(block) for block in arguments[0]] if k else None
            total += self.g.convolution.vjp(gm, *arguments, dx=gs)
            if gs is not None:
                layer.unsend_(gs, gx)
            g = gx
        return total

    def _restore(self, energies: Tensor, gradient: Tensor) -> tuple[Tensor, Tensor]:
        """In the order of the graph; with nuclear repulsion, which has no weights."""
        e, g = torch.empty_like(energies), torch.empty_like(gradient)
        e[self.atoms], g[self.edges] = energies, gradient
        if self.network.spec.zbl:
            leaf = self.vectors.to(self.network.dtype, copy=True).requires_grad_(True)
            with torch.enable_grad():
                repulsion = self.network.repulsion(
                    self.sample.graph, torch.linalg.vector_norm(leaf, dim=1)
                )
                g += torch.autograd.grad(repulsion.sum(), leaf)[0]
            e += repulsion.detach()
        return e, g

    # -- the gradient by the weights -----------------------------------------------------------

    def add_gradients(self, rows: list[Tensor], weights: Tensor, displacements: Tensor) -> None:
        """Add dG/dtheta: of energies times weights, and their change along displacements."""
        turns = displacements[self.edges]
        made = [self._tangents(k, row, turns) for k, row in enumerate(rows)]
        g = self._reverse_readout(weights[self.atoms])
        d_rows = []
        for k in reversed(range(len(rows))):
            layer, (summed, arguments) = self.g.layers[k], made[k]
            gm, gx = layer.reverse_mix(g, summed, self.x[k])
            d_row, gs = self.g.convolution.jvp_vjp(_stacked(gm), *arguments)
            d_rows.append(d_row)
            if k:
                layer.reverse_send_(_unstacked(gs), self.x[k], gx)
            else:
                torch.autograd.backward(self.first_sent, gs)
            layer.finish()
            g = gx
        self.g.radial.reverse(d_rows[::-1])
        self.first_x.backward(g[0][0])

    def _tangents(self, k: int, row: Tensor, turns: Tensor) -> tuple[list[Tensor], tuple]:
        """The tangents of one layer, written behind its values; (summed, arguments of the jvp)."""
        layer, x = self.g.layers[k], self.x[k]
        if k:
            layer.send(x, 1)
        sent = _stacked(layer.sent) if k else [block.detach() for block in self.first_sent]
        weights = PairWeights(row, self.pair)
        arguments = (
            sent, self.moves, turns, self._edges(k), weights, layer.layer.shapes.instructions, k > 0
        )  # fmt: skip
        summed = _unstacked(self.g.convolution.jvp(*arguments))
        layer.mix(x, [m[1] for m in summed], 1)
        return summed, arguments

    def _reverse_readout(self, weights: Tensor) -> list[Tensor]:
        last = _stacked(self.x[-1])[0].detach().requires_grad_(True)
        with torch.enable_grad():
            total = tangent.weighted_energies(self.network, last, self.species, weights)
        total.backward()
        assert last.grad is not None
        return _unstacked([last.grad])


def _every_edge_alone(graph: Graph) -> Sample:
    """Where the cutoff asks which species receives, the two edges of a pair are not alike."""
    every = torch.arange(graph.n_edges, device=graph.edge_src.device)
    return Sample(graph, every, every)


def _stacked(blocks: Sequence[Tensor]) -> list[Tensor]:
    """[2, atoms, ...] -> [2 atoms, ...]."""
    return [block.flatten(0, 1) for block in blocks]


def _unstacked(blocks: Sequence[Tensor]) -> list[Tensor]:
    """[2 atoms, ...] -> [2, atoms, ...]."""
    return [block.detach().view(2, -1, *block.shape[1:]) for block in blocks]


def _detached(prediction: Prediction) -> Prediction:
    return Prediction(
        *(getattr(prediction, name).detach() for name in Prediction.__dataclass_fields__)
    )
