"""From the last features to the energies of atoms, by hand in the first pass."""

import functools
from typing import Any

import torch
from torch import Tensor

from fastequi.engine.blocks import Blocks
from fastequi.engine.differentiated import Differentiated
from fastequi.kernels.backend import Backend
from fastequi.kernels.parts import Segments, Term
from fastequi.model.activations import ACTIVATIONS
from fastequi.model.nequip import NequIP


class Readout(Differentiated):
    """A `Part`: scalars [atoms, 1, channels] -> energies [atoms] in eV, float64.

    Nuclear repulsion has no features and is left out.
    """

    def __init__(self, network: NequIP, species: Tensor) -> None:
        super().__init__(lambda x: [network.atom_energies(x, species)])
        self.network, self.species = network, species

    def forward(self, *inputs: Blocks) -> tuple[Blocks, Any]:
        mlp, slopes = self.network.readout, []
        activation, scale = ACTIVATIONS[mlp.spec.activation], mlp.spec.activation_scale
        h = inputs[0][0].squeeze(1)
        for k, weight in enumerate(mlp.scaled_weights()):
            h = h @ weight
            if k == 0 and mlp.bias is not None:
                h = h + mlp.bias
            if k < len(mlp.scales) - 1:
                h, slope, _ = activation.derivatives(h)
                h, slope = h * scale, slope * scale
                slopes.append(slope)
        return [self.network.scaled_energies(h, self.species)], slopes

    def vjp(self, kept: Any, g: Blocks, onto: Blocks | None = None) -> list[Blocks]:
        mlp = self.network.readout
        gh = (g[0] * self.network.scale[self.species]).to(self.network.dtype).unsqueeze(1)
        weights = mlp.scaled_weights()
        for weight, slope in zip(reversed(weights[1:]), reversed(kept), strict=True):
            gh = (gh @ weight.T) * slope
        return [[(gh @ weights[0].T).unsqueeze(1)]]

    def of_sum(self, kept: Any) -> Blocks:
        """The gradient of the sum of the energies."""
        ones = torch.ones(len(self.species), dtype=torch.float64, device=self.species.device)
        return self.vjp(kept, [ones])[0]


class CompiledReadout(Readout):
    """The same, forward and backward, through a backend's products and what it does to energies.

    linear, step  what the backend offers under these names; weights are constants
    """

    def __init__(self, network: NequIP, species: Tensor, linear: Any, step: Any) -> None:
        super().__init__(network, species)
        self.linear, self.step = linear, step
        self.weights = [weight.detach().contiguous() for weight in network.readout.scaled_weights()]
        bias = network.readout.bias
        self.bias = None if bias is None else bias.detach()
        self.scale, self.shift = network.scale[species], network.shift[species]
        if not _is_activated(network):
            self._collapse()
        self.transposed = [weight.T.contiguous() for weight in self.weights]
        self.start = self.scale.to(network.dtype).view(-1, 1, 1)

    def _collapse(self) -> None:
        """One row in the place of matrices between which nothing stands; a bias joins the shift."""
        between = self.network.readout.spec.activation_scale
        first, *others = (weight.to(torch.float64) for weight in self.weights)
        exact = [first, *(between * weight for weight in others)]
        if self.bias is not None:
            behind = functools.reduce(torch.mm, exact[1:], self.bias.to(torch.float64)[None])
            self.shift, self.bias = self.shift + self.scale * behind.view(()), None
        self.weights = [functools.reduce(torch.mm, exact).to(self.network.dtype)]

    def forward(self, *inputs: Blocks) -> tuple[Blocks, Any]:
        (h,), slopes, spec = inputs[0][:1], [], self.network.readout.spec
        for k, weight in enumerate(self.weights):
            todo, h = self._times(h, weight)
            if k == 0 and self.bias is not None:
                todo.append(self.linear.Rows("add_row", {"y": h, "row": self.bias}))
            if k < len(self.weights) - 1:
                value, slope = torch.empty_like(h), torch.empty_like(h)
                tensors = {"y": value, "slope": slope, "a": h}
                scale = spec.activation_scale
                todo.append(self.linear.Rows("activate", tensors, spec.activation, scale))
                slopes.append(slope)
                h = value
            self.linear.run(todo)
        return [self.step.energies(h, self.scale, self.shift)], slopes

    def of_sum(self, kept: Any) -> Blocks:
        g = self.start
        for k in reversed(range(len(self.weights))):
            todo, g = self._times(g, self.transposed[k])
            if k > 0:
                todo.append(self.linear.Rows("times", {"y": g, "a": g, "b": kept[k - 1]}))
            self.linear.run(todo)
        return [g]

    def _times(self, h: Tensor, weight: Tensor) -> tuple[list[Any], Tensor]:
        """What makes h @ weight, and where."""
        out = h.new_empty((len(h), 1, weight.shape[1]))
        rows = Segments.one(len(h))
        term = Term(0, 0, 1, *weight.shape)
        return [self.linear.Multiply((term,), rows, [h], [weight], [out], add=False)], out


def is_readout_compiled(network: NequIP, linear: Any) -> bool:
    """Whether a backend's 'linear' has what it takes."""
    return not _is_activated(network) or network.readout.spec.activation in linear.ACTIVATIONS


def _is_activated(network: NequIP) -> bool:
    """Whether anything stands between two matrices."""
    return len(network.readout.scales) > 1 and network.readout.spec.activation != "none"


def readout_of(network: NequIP, species: Tensor, backend: Backend, training: bool) -> Readout:
    """As a backend does it."""
    linear, step = backend.part("linear"), backend.part("step")
    if training or linear is None or step is None or not is_readout_compiled(network, linear):
        return Readout(network, species)
    return CompiledReadout(network, species, linear, step)
