"""A linear map of a layer through a backend's products: one matrix, or one per species.

The products of several maps with all their irreps are one call (`run`): alone, each is too small to
pay for a call and to be shared by threads. Blocks are [atoms, 2l+1, channels], or stacks of them;
atoms are sorted by species.
"""

from dataclasses import dataclass
from functools import cached_property
from math import sqrt
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from fastequi.engine.arrangement import Order
from fastequi.engine.blocks import Blocks
from fastequi.irreps import SCALAR
from fastequi.kernels.parts import Segments, Term
from fastequi.model.linear import BlockLinear, SpeciesLinear


class LinearMap:
    """A `BlockLinear` or `SpeciesLinear`, times a factor.

    kernels  what a backend offers as its 'linear'
    """

    def __init__(
        self, module: BlockLinear | SpeciesLinear, kernels: Any, factor: float = 1.0
    ) -> None:
        self.module, self.kernels = module, kernels
        ins, outs = module.irreps_in, module.irreps_out
        shared = [(ins.index(ir), outs.index(ir), ir) for _, ir in outs if ir in ins]
        self.missing_in = [i for i, (_, ir) in enumerate(ins) if ir not in outs]
        self.missing_out = [o for o, (_, ir) in enumerate(outs) if ir not in ins]
        self.parameters = [module.weights[str(ir)] for *_, ir in shared]
        self.scales = tuple(factor / sqrt(p.shape[-2]) for p in self.parameters)
        of_matrix = (1.0,) * len(shared) if self.of_species else self.scales
        self.terms = tuple(
            Term(i, o, ir.dim, p.shape[-2], p.shape[-1], scale)
            for (i, o, ir), p, scale in zip(shared, self.parameters, of_matrix, strict=True)
        )
        self.transposed_terms = tuple(term.transposed for term in self.terms)
        self.bias = module.bias if isinstance(module, BlockLinear) else None
        self.scalars, self.factor = outs.index(SCALAR) if SCALAR in outs else -1, factor

    @property
    def of_species(self) -> bool:
        return isinstance(self.module, SpeciesLinear)

    def completed(self, products: Blocks) -> Blocks:
        """The output where all products were made elsewhere: zeros for irreps without any."""
        y = {term.target: products[term.source] for term in self.terms}
        one, outs = products[0], self.module.irreps_out
        for o in self.missing_out:
            mul, ir = outs.blocks[o]
            y[o] = one.new_empty((len(one), ir.dim, mul))
        self.kernels.run(self.kernels.cleared([y[o] for o in self.missing_out]))
        return [y[o] for o in range(len(outs.blocks))]

    def taken(self, g: Blocks) -> Blocks:
        """The gradient at these products from that at the output."""
        found = {term.source: g[term.target] for term in self.terms}
        return [found[i] for i in sorted(found)]

    def of(self, order: Order, attributes: Tensor) -> "BoundLinear":
        """With the matrices that some atoms need; attributes [species, ...] of the model."""
        n_atoms = len(order.species)
        matrices = [p.detach() for p in self.parameters]
        if not isinstance(self.module, SpeciesLinear):
            segments = Segments.one(n_atoms)
            return BoundLinear(self, segments, self.kernels.gathered(matrices), None)
        present = [s for s, _, _ in order.bounds]
        mix = attributes[present] / sqrt(self.module.n_attributes)  # differentiable
        found = [mix.new_empty((len(mix), *p.shape[1:]), requires_grad=False) for p in matrices]
        self.kernels.combine(mix.detach(), matrices, found, self.scales)
        ends = tuple((begin, end) for _, begin, end in order.bounds)
        segments = Segments(ends, tuple(range(len(ends))))
        return BoundLinear(self, segments, self.kernels.gathered(found), mix)


@dataclass(frozen=True)
class BoundLinear:
    """A linear map for atoms in certain segments, which have one matrix in common.

    mix  [species that are present, attributes], where matrices are made of attributes
    """

    map: LinearMap
    segments: Segments
    matrices: list[Tensor]
    mix: Tensor | None

    @cached_property
    def doubled(self) -> Segments:
        """The segments of stacks."""
        return self.segments.doubled

    @cached_property
    def transposed(self) -> list[Tensor]:
        return self.map.kernels.gathered([matrix.mT.contiguous() for matrix in self.matrices])

    def forward(self, x: Blocks, y: Blocks, add: bool) -> list[Any]:
        """What `run` is to do: write the products into y, or add them."""
        kernels, empty = self.map.kernels, [] if add else self.map.missing_out
        multiply = kernels.Multiply(self.map.terms, self.segments, _whole(x), self.matrices, y, add)
        return [*kernels.cleared([y[o] for o in empty]), multiply]

    @cached_property
    def _bias(self) -> Tensor | None:
        return None if self.map.bias is None else self.map.bias.detach() * self.map.factor

    def bias(self, y: Blocks) -> list[Any]:
        """What `run` is to do: add the bias, if there is one."""
        if self._bias is None:
            return []
        return [self.map.kernels.Rows("add_row", {"y": y[self.map.scalars], "row": self._bias})]

    def vjp(self, g: Blocks, dx: Blocks, add: bool) -> list[Any]:
        """What `run` is to do: write (or add) what g, blocks or stacks, is at x."""
        kernels, empty = self.map.kernels, [] if add else self.map.missing_in
        segments = self.doubled if g[0].ndim == 4 else self.segments
        multiply = kernels.Multiply(
            self.map.transposed_terms, segments, _whole(g), self.transposed, dx, add
        )
        clear = kernels.cleared([dx[i].flatten(0, -3) for i in empty])
        return [*clear, multiply]

    def gradient(self, x: Blocks, g: Blocks) -> "Gradient":
        """Of the matrices, of stacks: `run` fills it, `finish` passes it on."""
        found = [torch.empty_like(matrix) for matrix in self.matrices]
        outer = self.map.kernels.Outer(self.map.terms, self.doubled, _whole(x), _whole(g), found)
        if self.map.bias is not None:
            bias = self.map.factor * g[self.map.scalars][0].sum(dim=(0, 1))
            add_gradient(self.map.bias, bias)
        return Gradient(self, outer, found)


@dataclass(frozen=True)
class Gradient:
    """Of the matrices of a map; `outer` says how `run` finds it."""

    linear: BoundLinear
    outer: Any
    matrices: list[Tensor]

    def finish(self) -> None:
        """Add to the gradients of the weights, and of the attributes."""
        linear, mix = self.linear.map, self.linear.mix
        if mix is None:
            found = self.matrices
        else:
            found = [torch.empty_like(p) for p in linear.parameters]
            linear.kernels.spread(mix.detach(), self.matrices, found, linear.scales)
        for parameter, gradient in zip(linear.parameters, found, strict=True):
            add_gradient(parameter, gradient)
        if mix is not None and mix.requires_grad:
            mix.backward(self._of_mix(mix))

    def _of_mix(self, mix: Tensor) -> Tensor:
        """sum of gradient[s] weights[a] over the elements of all matrices, [species, attributes].

        As products whose rows are attributes; species are filled up to whole vectors.
        """
        linear = self.linear.map
        n_species, n_attributes = mix.shape
        n_columns = -(-n_species // 4) * 4
        total = mix.new_empty((n_attributes, n_columns))
        todo: list[Any] = []
        for weight, gradient, scale in zip(
            linear.parameters, self.matrices, linear.scales, strict=True
        ):
            columns = gradient.flatten(1).T
            columns = functional.pad(columns, (0, n_columns - n_species)).contiguous()
            term = (Term(0, 0, 1, len(columns), n_columns, scale),)
            rows = Segments.one(n_attributes)
            todo.append(
                linear.kernels.Multiply(term, rows, [weight], [columns], [total], add=bool(todo))
            )
        linear.kernels.run(todo)
        return total[:, :n_species].T


def add_gradient(parameter: Tensor, gradient: Tensor) -> None:
    """To what a parameter has; the tensor may become its own."""
    parameter.grad = gradient if parameter.grad is None else parameter.grad + gradient


def _whole(blocks: Blocks) -> Blocks:
    """In one piece of memory each."""
    return [block.contiguous() for block in blocks]
