"""Any function of blocks as a part of the engine, differentiated by torch.

It serves what a backend has not compiled; no part of it knows which.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from fastequi.engine.blocks import Blocks


class Differentiated:
    """A `Part`; function(inputs, each blocks) -> blocks, of parameters or of constants."""

    def __init__(self, function: Callable[..., Sequence[Tensor]]) -> None:
        self.function = function

    def forward(self, *inputs: Blocks) -> tuple[Blocks, Any]:
        leaves = [[block.detach().requires_grad_(True) for block in x] for x in inputs]
        with torch.enable_grad():
            out = list(self.function(*leaves))
        return [block.detach() for block in out], (leaves, out)

    def vjp(self, kept: Any, g: Blocks, onto: Blocks | None = None) -> list[Blocks]:
        leaves, out = kept
        wanted = [block for x in leaves for block in x]
        found = torch.autograd.grad(out, wanted, g, materialize_grads=True)
        return _added(_split(found, [len(x) for x in leaves]), onto)

    def jvp(self, kept: Any, *stacks: Blocks) -> tuple[Blocks, Any]:
        sizes = [len(x) for x in stacks]
        leaves = [stack.detach().requires_grad_(True) for x in stacks for stack in x]
        with torch.enable_grad():
            values, tangents = zip(*(leaf.unbind() for leaf in leaves), strict=True)
            both = carried(lambda *blocks: self.function(*_split(blocks, sizes)), values, tangents)
            out = [torch.stack(halves) for halves in zip(*both, strict=True)]
        return [stack.detach() for stack in out], (leaves, out, sizes)

    def jvp_vjp(self, kept: Any, g: Blocks, onto: Blocks | None = None) -> list[Blocks]:
        leaves, out, sizes = kept
        torch.autograd.backward(out, list(g))
        found = [torch.zeros_like(leaf) if leaf.grad is None else leaf.grad for leaf in leaves]
        return _added(_split(found, sizes), onto)


def carried(
    function: Callable[..., Sequence[Tensor]], values: Sequence[Tensor], tangents: Sequence[Tensor]
) -> tuple[Sequence[Tensor], Sequence[Tensor]]:
    """(f(v), f'(v) t), both differentiable by v, t and what f is made of.

    The pullback is linear in the gradient that it is given, and its derivative by that is the map
    that carries tangents. (torch.func.jvp would load torch's compiler, which takes seconds.)
    """
    out = list(function(*values))
    g = [torch.zeros_like(block, requires_grad=True) for block in out]
    pulled = torch.autograd.grad(out, values, g, create_graph=True, materialize_grads=True)
    pairs = [(p, t) for p, t in zip(pulled, tangents, strict=True) if p.requires_grad]
    moved = torch.autograd.grad(
        [p for p, _ in pairs], g, [t for _, t in pairs], create_graph=True, materialize_grads=True
    )
    return out, moved


def _added(found: list[Blocks], onto: Blocks | None) -> list[Blocks]:
    if onto is None:
        return found
    for total, part in zip(onto, found[0], strict=True):
        total += part
    return [onto]


def _split(blocks: Sequence[Tensor], sizes: Sequence[int]) -> list[Blocks]:
    """So many blocks for each input."""
    remaining = iter(blocks)
    return [[next(remaining) for _ in range(size)] for size in sizes]
