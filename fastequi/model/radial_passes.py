"""The radial networks of all layers in the passes of training: W and dW/dr, and the way back.

Rows [pairs, 2, n] carry values and d/dr. The networks all begin with the same basis and know
nothing of each other, so the compiled form takes them in step: their products are one call
(kernels/cpu/linear.py), their activations one operation.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from fastequi.kernels.cpu.linear import Multiply, Outer, Segments, Term, run
from fastequi.model import tangent
from fastequi.model.linear_passes import add_gradient
from fastequi.model.mlp import ScalarMLP


class RadialPasses:
    """Networks one after another, by autograd."""

    def __init__(self, networks: Sequence[ScalarMLP]) -> None:
        self.networks = list(networks)

    def rows(self, basis: Tensor) -> list[Tensor]:
        """[pairs, 2, weights] of each network from the basis [pairs, 2, n_bessel]."""
        self._graph = [tangent.mlp_rows(network, basis) for network in self.networks]
        return [rows.detach() for rows in self._graph]

    def reverse(self, gradients: list[Tensor]) -> None:
        """Add to the gradients of the weights, and of the basis, from those of rows."""
        torch.autograd.backward(self._graph, gradients)


class CompiledRadialPasses(RadialPasses):
    """Networks in step, on the CPU; all have the same hidden layers, and no bias."""

    @staticmethod
    def can(networks: Sequence[ScalarMLP]) -> bool:
        """Whether the networks differ in the last layer alone."""
        shapes = [[tuple(w.shape) for w in network.weights[:-1]] for network in networks]
        return all(
            shape == shapes[0] and network.spec == networks[0].spec and network.bias is None
            for shape, network in zip(shapes, networks, strict=True)
        )

    def __init__(self, networks: Sequence[ScalarMLP]) -> None:
        super().__init__(networks)
        self.terms = [
            [
                (Term(0, 0, 1, *_shape(network.weights[d]), network.scales[d]),)
                for network in self.networks
            ]
            for d in range(len(self.networks[0].scales))
        ]

    @torch.no_grad()
    def rows(self, basis: Tensor) -> list[Tensor]:
        self.basis = basis  # differentiable where the Bessel functions are trained
        self.inputs = [[basis.detach().contiguous()] * len(self.networks)]
        self.activations: list[tuple[Tensor, Tensor]] = []
        for d in range(len(self.terms) - 1):
            width = self.networks[0].weights[d].shape[1]
            hidden = basis.new_empty((len(self.networks), *basis.shape[:-1], width))
            self._multiply(d, list(hidden))
            with torch.enable_grad():
                hidden.requires_grad_(True)
                active = tangent.activation_rows(self.networks[0], hidden)
            self.activations.append((hidden, active))
            self.inputs.append(list(active.detach()))
        widths = [network.weights[-1].shape[1] for network in self.networks]
        rows = [basis.new_empty((*basis.shape[:-1], width)) for width in widths]
        self._multiply(len(self.terms) - 1, rows)
        return rows

    @torch.no_grad()
    def reverse(self, gradients: list[Tensor]) -> None:
        for d in reversed(range(1, len(self.terms))):
            hidden, active = self.activations[d - 1]
            found = self._reverse_products(d, gradients, wanted=True)
            gradients = list(torch.autograd.grad(active, hidden, found)[0])
        found = self._reverse_products(0, gradients, wanted=self.basis.requires_grad)
        if self.basis.requires_grad:
            self.basis.backward(found.sum(0))

    def _multiply(self, d: int, out: list[Tensor]) -> None:
        """Layer d of all networks."""
        segments = _rows_of(self.inputs[d][0])
        run(
            [
                Multiply(terms, segments, [x], [network.weights[d]], [y], add=False)
                for terms, network, x, y in zip(
                    self.terms[d], self.networks, self.inputs[d], out, strict=True
                )
            ]
        )

    def _reverse_products(self, d: int, gradients: list[Tensor], wanted: bool) -> Tensor:
        """Gradients of the matrices of layer d; and of its inputs where wanted, stacked."""
        x = self.inputs[d]
        segments, todo = _rows_of(x[0]), []
        weights = [network.weights[d] for network in self.networks]
        found = [torch.empty_like(weight) for weight in weights]
        inputs = x[0].new_empty((len(x), *x[0].shape) if wanted else 0)
        for k, terms in enumerate(self.terms[d]):
            g = gradients[k].contiguous()
            todo.append(Outer(terms, segments, [x[k]], [g], [found[k]]))
            if wanted:
                back = (terms[0].transposed,)
                matrix = weights[k].T.contiguous()
                todo.append(Multiply(back, segments, [g], [matrix], [inputs[k]], add=False))
        run(todo)
        for weight, gradient in zip(weights, found, strict=True):
            add_gradient(weight, gradient)
        return inputs


def _shape(matrix: Tensor) -> tuple[int, int]:
    return matrix.shape[0], matrix.shape[1]


def _rows_of(x: Tensor) -> Segments:
    return Segments.one(x.shape[0] * x.shape[1])
