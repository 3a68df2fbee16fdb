"""The radial networks of all layers in training: W and dW/dr per pair of atoms, and the way back.

Values [pairs, 2, n] carry d/dr beside them. The networks all begin with the same basis and know
nothing of each other, so the compiled form takes them in step: their products are one call, their
activations one operation.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from fastequi.engine.differentiated import carried
from fastequi.engine.linear import add_gradient
from fastequi.kernels.backend import Backend
from fastequi.kernels.parts import Segments, Term
from fastequi.model.activations import ACTIVATIONS
from fastequi.model.mlp import ScalarMLP
from fastequi.model.radial import RadialBasis


def basis_values(basis: RadialBasis, lengths: Tensor, dst: Tensor, src: Tensor) -> Tensor:
    """The radial basis and its slope in 1/Å, [pairs, 2, n_bessel]; species of the two atoms."""
    x = basis.relative(lengths, dst, src)
    slope = basis.slope_of_relative(x) * (x / lengths).unsqueeze(1)
    return torch.stack([basis.of_relative(x), slope], dim=1)


class RadialNetworks:
    """Networks one after another, differentiated by torch."""

    def __init__(self, networks: Sequence[ScalarMLP]) -> None:
        self.networks = list(networks)

    def forward(self, basis: Tensor) -> tuple[list[Tensor], Any]:
        """[pairs, 2, weights] of each network from the basis [pairs, 2, n_bessel]; and kept."""
        with torch.enable_grad():
            leaves = [b.requires_grad_(True) if b.is_leaf else b for b in basis.unbind(1)]
            both = [carried(lambda x, n=n: [n(x)], leaves[:1], leaves[1:]) for n in self.networks]
            out = [torch.stack([value, slope], dim=1) for (value,), (slope,) in both]
        return [values.detach() for values in out], out

    def reverse(self, kept: Any, gradients: list[Tensor]) -> None:
        """Add to the gradients of the weights, and of the basis, from those of the values."""
        torch.autograd.backward(kept, gradients)


class CompiledRadialNetworks:
    """Networks in step; all have the same hidden layers, and no bias."""

    @staticmethod
    def can(networks: Sequence[ScalarMLP]) -> bool:
        """Whether the networks differ in the last layer alone."""
        shapes = [[tuple(w.shape) for w in network.weights[:-1]] for network in networks]
        return all(
            shape == shapes[0] and network.spec == networks[0].spec and network.bias is None
            for shape, network in zip(shapes, networks, strict=True)
        )

    def __init__(self, networks: Sequence[ScalarMLP], kernels: Any) -> None:
        self.networks, self.kernels, self.spec = list(networks), kernels, networks[0].spec
        self.terms = [
            [_term_of(network, d) for network in self.networks]
            for d in range(len(self.networks[0].scales))
        ]

    @torch.no_grad()
    def forward(self, basis: Tensor) -> tuple[list[Tensor], Any]:
        """As `RadialNetworks.forward`."""
        inputs, slopes = [[basis.detach().contiguous()] * len(self.networks)], []
        for d in range(len(self.terms) - 1):
            width = self.networks[0].weights[d].shape[1]
            hidden = basis.new_empty((len(self.networks), *basis.shape[:-1], width))
            self._multiply(d, inputs[d], list(hidden))
            active, kept = self._activated(hidden)
            slopes.append(kept)
            inputs.append(list(active))
        widths = [network.weights[-1].shape[1] for network in self.networks]
        values = [basis.new_empty((*basis.shape[:-1], width)) for width in widths]
        self._multiply(len(self.terms) - 1, inputs[-1], values)
        return values, (basis, inputs, slopes)

    @torch.no_grad()
    def reverse(self, kept: Any, gradients: list[Tensor]) -> None:
        """As `RadialNetworks.reverse`."""
        basis, inputs, slopes = kept
        for d in reversed(range(1, len(self.terms))):
            found = self._reverse_products(d, inputs[d], gradients, wanted=True)
            gradients = list(_deactivated(found, *slopes[d - 1]))
        wanted = basis.requires_grad  # where the Bessel functions are trained
        found = self._reverse_products(0, inputs[0], gradients, wanted)
        if wanted:
            basis.backward(found.sum(0))

    def _activated(self, hidden: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor, Tensor]]:
        """f(v) and f'(v) v' of hidden layers [networks, pairs, 2, width], times the constant; and
        f', f'' and v'."""
        values, tangents = hidden.unbind(dim=-2)
        scale = self.spec.activation_scale
        f, f1, f2 = ACTIVATIONS[self.spec.activation].derivatives(values)
        f1, f2 = f1 * scale, f2 * scale
        return torch.stack([f * scale, f1 * tangents], dim=-2), (f1, f2, tangents)

    def _multiply(self, d: int, inputs: list[Tensor], out: list[Tensor]) -> None:
        """Layer d of all networks."""
        segments = self._rows_of(inputs[0])
        self.kernels.run(
            [
                self.kernels.Multiply(terms, segments, [x], [network.weights[d]], [y], add=False)
                for terms, network, x, y in zip(
                    self.terms[d], self.networks, inputs, out, strict=True
                )
            ]
        )

    def _reverse_products(
        self, d: int, x: list[Tensor], gradients: list[Tensor], wanted: bool
    ) -> Tensor:
        """Gradients of the matrices of layer d; and of its inputs where wanted, stacked."""
        segments, todo = self._rows_of(x[0]), []
        weights = [network.weights[d] for network in self.networks]
        found = [torch.empty_like(weight) for weight in weights]
        inputs = x[0].new_empty((len(x), *x[0].shape) if wanted else 0)
        for k, terms in enumerate(self.terms[d]):
            g = gradients[k].contiguous()
            todo.append(self.kernels.Outer(terms, segments, [x[k]], [g], [found[k]]))
            if wanted:
                back = (terms[0].transposed,)
                matrix = weights[k].T.contiguous()
                todo.append(
                    self.kernels.Multiply(back, segments, [g], [matrix], [inputs[k]], add=False)
                )
        self.kernels.run(todo)
        for weight, gradient in zip(weights, found, strict=True):
            add_gradient(weight, gradient)
        return inputs

    def _rows_of(self, x: Tensor) -> Any:
        return Segments.one(x.shape[0] * x.shape[1])


def _deactivated(g: Tensor, f1: Tensor, f2: Tensor, tangents: Tensor) -> Tensor:
    """The gradient at v, v' from that at f(v), f'(v) v': g f' + h f'' v', h f'."""
    by_value, by_tangent = g.unbind(dim=-2)
    changed = torch.addcmul(by_value * f1, by_tangent * tangents, f2)
    return torch.stack([changed, by_tangent * f1], dim=-2)


def radial_networks(
    networks: Sequence[ScalarMLP], backend: Backend
) -> RadialNetworks | CompiledRadialNetworks:
    """As a backend does them."""
    if backend.has_gradients_of_matrices and CompiledRadialNetworks.can(networks):
        return CompiledRadialNetworks(networks, backend.part("linear"))
    return RadialNetworks(networks)


def _term_of(network: ScalarMLP, depth: int) -> tuple[Term]:
    n_in, n_out = network.weights[depth].shape
    return (Term(0, 0, 1, n_in, n_out, network.scales[depth]),)
