"""The walk through the layers that dynamics and training have in common: energies and dE/dr.

Dynamics is the first pass of training, forward and vjp, with tables for pair weights and with the
linear map behind the convolution inside of it: the summed messages, the widest tensors (12 kB per
atom in SevenNet-0), then never exist as a whole. Nothing is kept per edge between layers.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from fastequi.engine.arrangement import Arrangement, Order
from fastequi.engine.blocks import Blocks
from fastequi.engine.layer import CompiledLayer, LayerParts, PlainLayer
from fastequi.engine.readout import Readout, is_readout_compiled, readout_of
from fastequi.kernels.backend import Backend
from fastequi.kernels.convolution.weights import LinearOut, Weights
from fastequi.model.nequip import NequIP


@dataclass
class Step:
    """A layer on the way: y is what its gate was given; None where it is to be computed again.

    sent    features that the convolution was given
    send, mix, gate  what the parts have kept
    """

    y: Blocks
    sent: Blocks | None
    send: Any
    mix: Any
    gate: Any


class Walk:
    """A network through a backend.

    training  whether tangents and gradients of weights are to follow; else weights are constants
    """

    def __init__(self, network: NequIP, backend: Backend, *, training: bool) -> None:
        self.network, self.backend, self.training = network, backend, training
        self.operations = backend.operations
        layers = network.interactions()
        if is_compiled(backend, training):
            copies = 2 if training else 1
            self.layers = [CompiledLayer(layer, not training, backend, copies) for layer in layers]
        else:
            self.layers = [PlainLayer(layer, not training) for layer in layers]
        self.linear_out = [
            None if training else LinearOut(layer.linear_out.matrices()) for layer in layers
        ]
        self.instructions = [layer.shapes.instructions for layer in layers]

    @property
    def is_compiled(self) -> bool:
        """Whether a backend does all of it, for constant weights."""
        network, linear = self.network, self.backend.part("linear")
        return (
            not self.training
            and self.backend.part("step") is not None
            and all(isinstance(layer, CompiledLayer) and layer.is_compiled for layer in self.layers)
            and is_readout_compiled(network, linear)
        )

    def of(self, order: Order) -> "BoundWalk":
        """For certain atoms, with the weights as they are."""
        network = self.network
        with torch.set_grad_enabled(self.training):
            attributes = network.attributes()
            every = torch.arange(len(network.embedding), device=network.device)
            sent = network.interactions()[0].send([network.embedding.unsqueeze(1)], every)
            x = network.embedding[order.species].unsqueeze(1)
            parts = [layer.of(order, attributes) for layer in self.layers]
        readout = readout_of(network, order.species, self.backend, self.training)
        return BoundWalk(self, parts, x, sent, readout)


def is_compiled(backend: Backend, training: bool) -> bool:
    """Whether a backend has compiled layers: for training, with the gradients of their weights."""
    has_both = bool(backend.part("linear") and backend.part("gate"))
    return has_both and (not training or backend.has_gradients_of_matrices)


@dataclass(frozen=True)
class BoundWalk:
    """first_x, the features that enter; first_sent, what each species sends in the first layer,
    both differentiable by torch."""

    walk: Walk
    parts: list[LayerParts]
    first_x: Tensor
    first_sent: Blocks
    readout: Readout

    def energies(
        self, a: Arrangement, weights: Sequence[Weights], lean: bool = False
    ) -> tuple[Tensor, list[Step], Any]:
        """(E [atoms] in eV, float64; and what `gradient` takes).

        lean  keep y of each layer and compute the rest again: half of the memory
        """
        x, steps = [self.first_x.detach()], []
        for k, parts in enumerate(self.parts):
            sent, send = self._sent(k, x, a)
            summed = self.walk.operations.forward(*self._arguments(k, a, sent, weights))
            y, mix = parts.mix.forward(summed, x)
            x, gate = parts.gate.forward(y)
            steps.append(Step(y, None, None, mix, None) if lean else Step(y, sent, send, mix, gate))
        (energies,), kept = self.readout.forward(x)
        return energies, steps, kept

    def gradient(
        self, a: Arrangement, weights: Sequence[Weights], steps: list[Step], kept: Any
    ) -> Tensor:
        """dE/dr [edges, 3] in eV/Å of the sum of the energies."""
        return self.edge_sums(a, weights, steps, kept).gradient()

    def edge_sums(
        self, a: Arrangement, weights: Sequence[Weights], steps: list[Step], kept: Any
    ) -> Any:
        """The same as the backend keeps it."""
        g, sums = self.readout.of_sum(kept), self.walk.backend.edge_sums(a.vectors, a.by_atom)
        for k in reversed(range(len(self.parts))):
            g = self._back(k, a, weights, steps, g, sums)
        return sums

    def _back(
        self, k: int, a: Arrangement, weights: Sequence[Weights], steps: list[Step], g: Blocks,
        sums: Any,
    ) -> Blocks:  # fmt: skip
        """dE/dx of a layer from dE/dx'; dE/dr is added to the sums. What is done with is let go."""
        parts, step = self.parts[k], steps[k]
        gate = parts.gate.forward(step.y)[1] if step.gate is None else step.gate
        (gy,) = parts.gate.vjp(gate, g)
        g.clear()
        sent, send = self._sent_again(k, steps, a) if step.sent is None else (step.sent, step.send)
        gm, gx, gs = parts.mix.back(step.mix, gy, n_senders=len(sent[0]) if k else None)
        if not self.walk.training:
            steps.pop()
        del gate, gy, step
        sums.add(gm, *self._arguments(k, a, sent, weights), dx=gs or None)
        if k == 0:
            return []
        del gm, sent
        if a.halo is not None:
            gs = a.halo.returned(gs)
        (gx,) = parts.send.vjp(send, gs, onto=gx or None)
        return gx

    def _sent_again(self, k: int, steps: list[Step], a: Arrangement) -> tuple[Blocks, Any]:
        """As `_sent`, from what the gate before was given."""
        x = self.parts[k - 1].gate.forward(steps[k - 1].y)[0] if k else []
        return self._sent(k, x, a)

    def _sent(self, k: int, x: Blocks, a: Arrangement) -> tuple[Blocks, Any]:
        """What senders send, and what the part has kept; in the first layer, species send."""
        if k == 0:
            return [block.detach() for block in self.first_sent], None
        sent, kept = self.parts[k].send.forward(x)
        return (sent if a.halo is None else a.halo.completed(sent)), kept

    def _arguments(
        self, k: int, a: Arrangement, sent: Blocks, weights: Sequence[Weights]
    ) -> tuple[Any, ...]:
        edges, walk = a.by_atom if k else a.by_species, self.walk
        return sent, a.vectors, edges, weights[k], walk.instructions[k], walk.linear_out[k]
