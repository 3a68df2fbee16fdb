"""A linear map of a layer in the passes of training, through the products of kernels/cpu/linear.py.

As `LinearPasses`, which it is tested against. One `run` does several maps with all their irreps.
"""

from math import sqrt
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from fastequi.kernels.cpu import linear as cpu_linear
from fastequi.kernels.cpu.linear import Multiply, Outer, Segments, Term
from fastequi.model.linear import BlockLinear, SpeciesLinear
from fastequi.model.linear_passes import Blocks, LinearPasses, add_gradient


class CompiledLinearPasses(LinearPasses):
    """`LinearPasses` on the CPU."""

    def __init__(self, module: BlockLinear | SpeciesLinear) -> None:
        super().__init__(module)
        scales = self.scales if isinstance(module, BlockLinear) else [1.0] * len(self.scales)
        self.products = tuple(
            Term(i, o, module.irreps_out.blocks[o][1].dim, p.shape[-2], p.shape[-1], scale)
            for (o, i, _), p, scale in zip(self.terms, self.parameters, scales, strict=True)
        )
        self.backwards = tuple(term.transposed for term in self.products)

    def prepare(self, attributes: Tensor, bounds: list[tuple[int, int, int]]) -> None:
        n_atoms = bounds[-1][2] if bounds else 0
        self.segments, self.gradients = Segments.one(n_atoms), []
        self.matrices = [p.detach() for p in self.parameters]
        if isinstance(self.module, SpeciesLinear):
            ends = tuple((begin, end) for _, begin, end in bounds)
            self.segments = Segments(ends, tuple(range(len(bounds))))
            self._combine(attributes[[s for s, _, _ in bounds]] / sqrt(self.module.n_attributes))
        self.doubled = self.segments.doubled
        self.transposed = [m.mT.contiguous() for m in self.matrices]

    def _combine(self, mix: Tensor) -> None:
        """Matrices of species, from their attributes."""
        self.mix = mix  # differentiable
        shapes = [(len(mix), *p.shape[1:]) for p in self.parameters]
        self.matrices = [mix.new_empty(shape, requires_grad=False) for shape in shapes]
        cpu_linear.combine(mix.detach(), self.parameters, self.matrices, tuple(self.scales))

    run = staticmethod(cpu_linear.run)

    def forward(self, x: Blocks, y: Blocks, add: bool) -> list[Any]:
        for o in self.missing if not add else ():
            y[o].zero_()
        return [Multiply(self.products, self.segments, _whole(x), self.matrices, y, add)]

    def adjoint(self, g: Blocks, dx: Blocks, add: bool) -> list[Any]:
        segments = self.doubled if g[0].ndim == 4 else self.segments
        return [Multiply(self.backwards, segments, _whole(g), self.transposed, dx, add)]

    def gradient(self, x: Blocks, g: Blocks) -> list[Any]:
        self.gradients = [torch.empty_like(m) for m in self.matrices]
        self._gradient_of_bias(g)
        return [Outer(self.products, self.doubled, _whole(x), _whole(g), self.gradients)]

    def finish(self) -> None:
        if not isinstance(self.module, SpeciesLinear):
            super().finish()
            return
        found = [torch.empty_like(p) for p in self.parameters]
        cpu_linear.spread(self.mix.detach(), self.gradients, found, tuple(self.scales))
        for parameter, gradient in zip(self.parameters, found, strict=True):
            add_gradient(parameter, gradient)
        if self.mix.requires_grad:
            self.mix.backward(self._mix_gradient())

    def _mix_gradient(self) -> Tensor:
        """sum of gradient[s] weights[a] over the elements of all matrices, [species, attributes].

        As products whose rows are attributes; species are filled up to whole vectors.
        """
        n_species, n_attributes = self.mix.shape
        n_columns = -(-n_species // 4) * 4
        total = self.mix.new_empty((n_attributes, n_columns))
        todo: list[Any] = []
        for weight, gradient, scale in zip(
            self.parameters, self.gradients, self.scales, strict=True
        ):
            flat = gradient.flatten(1).T
            columns = functional.pad(flat, (0, n_columns - n_species)).contiguous()
            term = (Term(0, 0, 1, flat.shape[0], n_columns, scale),)
            rows = Segments.one(n_attributes)
            todo.append(Multiply(term, rows, [weight], [columns], [total], add=bool(todo)))
        self.run(todo)
        return total[:, :n_species].T


def _whole(blocks: Blocks) -> Blocks:
    """In one piece of memory each."""
    return [block.contiguous() for block in blocks]
