"""A linear map of a layer in the passes of training, as plain torch products.

`passes.py` says what the passes are for. Blocks are [atoms, 2l+1, channels], or stacks of values
and tangents [2, atoms, 2l+1, channels]; atoms are sorted by species.
"""

from math import sqrt
from typing import Any

import torch
from torch import Tensor

from fastequi.irreps import SCALAR
from fastequi.model.linear import BlockLinear, SpeciesLinear

Blocks = list[Tensor]


class LinearPasses:
    """A `BlockLinear` or `SpeciesLinear`: y_o = x_i W_o, one matrix or one per species."""

    def __init__(self, module: BlockLinear | SpeciesLinear) -> None:
        self.module = module
        self.terms = [
            (o, module.irreps_in.index(ir), str(ir))
            for o, (_, ir) in enumerate(module.irreps_out)
            if ir in module.irreps_in
        ]
        self.missing = [o for o, (_, ir) in enumerate(module.irreps_out)
                        if ir not in module.irreps_in]  # fmt: skip
        self.parameters = [module.weights[name] for _, _, name in self.terms]
        self.scales = [1 / sqrt(p.shape[-2]) for p in self.parameters]
        self.gradients: list[Tensor] = []
        self.bias = module.bias if isinstance(module, BlockLinear) else None

    def prepare(self, attributes: Tensor, bounds: list[tuple[int, int, int]]) -> None:
        """Make the matrices of this step; bounds (species, first atom, end) of what is present."""
        self.bounds, self.gradients = bounds, []
        if isinstance(self.module, SpeciesLinear):
            present = attributes[[s for s, _, _ in bounds]] / sqrt(self.module.n_attributes)
            self.graph = [  # differentiable: it ends in weights and attributes
                ((present * scale) @ p.flatten(1)).view(-1, *p.shape[1:])
                for p, scale in zip(self.parameters, self.scales, strict=True)
            ]
            self.matrices = [m.detach() for m in self.graph]
            self.gradients = [torch.zeros_like(m) for m in self.matrices]
            return
        with torch.no_grad():
            self.matrices = [p * c for p, c in zip(self.parameters, self.scales, strict=True)]

    def _parts(self, k: int, *blocks: Tensor) -> list[tuple[Tensor, ...]]:
        """(matrix, rows of each block) for every species; blocks [..., atoms, 2l+1, channels]."""
        if not isinstance(self.module, SpeciesLinear):
            return [(self.matrices[k], *(b.view(-1, b.shape[-1]) for b in blocks))]
        found = []
        for s, (_, begin, end) in enumerate(self.bounds):
            rows = [b.narrow(-3, begin, end - begin).flatten(-3, -2) for b in blocks]
            found.append((self.matrices[k][s], *rows))
        return found

    @staticmethod
    def run(todo: list[Any]) -> None:
        """Do what the methods below have returned, of any maps whose results do not meet."""
        assert not todo, "here they have done it all"

    def forward(self, x: Blocks, y: Blocks, add: bool) -> list[Any]:
        """Write the products into y, or add them; returns what `run` is to do of it."""
        for o in self.missing if not add else ():
            y[o].zero_()
        for k, (o, i, _) in enumerate(self.terms):
            for matrix, rows, to in self._parts(k, x[i], y[o]):
                if add:
                    to.addmm_(rows, matrix)
                else:
                    torch.mm(rows, matrix, out=to)
        return []

    def add_bias(self, y: Blocks) -> None:
        if self.bias is not None:
            y[self.module.irreps_out.index(SCALAR)] += self.bias.detach()

    def adjoint(self, g: Blocks, dx: Blocks, add: bool) -> list[Any]:
        """Write (or add) what g is at x. Blocks are [atoms, ...] or stacks."""
        for k, (o, i, _) in enumerate(self.terms):
            for matrix, rows, to in self._parts(k, g[o], dx[i]):
                _product(rows, matrix.T, to, add)
        return []

    def gradient(self, x: Blocks, g: Blocks) -> list[Any]:
        """The gradients of the matrices, of stacks; `finish` passes them on."""
        if isinstance(self.module, SpeciesLinear):
            for k, (o, i, _) in enumerate(self.terms):
                for s, (_, rows, there) in enumerate(self._parts(k, x[i], g[o])):
                    torch.sum(rows.mT @ there, dim=0, out=self.gradients[k][s])
            return []
        parts = [self._parts(k, x[i], g[o])[0] for k, (o, i, _) in enumerate(self.terms)]
        self.gradients = [
            (rows.T @ there).mul_(scale)
            for (_, rows, there), scale in zip(parts, self.scales, strict=True)
        ]
        self._gradient_of_bias(g)
        return []

    def _gradient_of_bias(self, g: Blocks) -> None:
        if self.bias is not None:
            values = g[self.module.irreps_out.index(SCALAR)][0]
            add_gradient(self.bias, values.sum(dim=(0, 1)))

    def finish(self) -> None:
        """Add what `gradient` found, if it was asked, to the weights' and the attributes'."""
        if isinstance(self.module, SpeciesLinear):
            torch.autograd.backward(self.graph, self.gradients)
            return
        for parameter, gradient in zip(self.parameters, self.gradients, strict=False):
            add_gradient(parameter, gradient)


def _product(a: Tensor, b: Tensor, out: Tensor, add: bool) -> None:
    """out (+)= a @ b; a and out may be stacks of rows [2, rows, ...]."""
    if a.ndim == 2:
        out.addmm_(a, b, beta=1 if add else 0)
    else:
        out.baddbmm_(a, b.expand(2, -1, -1), beta=1 if add else 0)


def add_gradient(parameter: Tensor, gradient: Tensor) -> None:
    parameter.grad = gradient if parameter.grad is None else parameter.grad + gradient
