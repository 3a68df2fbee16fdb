"""The norm before a gate as a part of the engine, in the four operations.

`kernels/cpu/norm.py` has the formulas; here they are in plain torch, for backends without that
kernel. They ask a device nothing.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from fastequi.engine.blocks import Blocks, empty_stacks, half
from fastequi.engine.linear import add_gradient
from fastequi.kernels.parts import new_blocks
from fastequi.model.gate import RMSNorm


class NormPart:
    """A `Part`; kernels are what a backend offers as its 'norm', None for torch.

    copies  2 where tangents are to follow, else 1
    """

    def __init__(self, norm: RMSNorm, kernels: Any, copies: int) -> None:
        self.norm, self.copies = norm, copies
        self._run = run if kernels is None else kernels.run
        self.parameters = [norm.weights[str(ir)] for _, ir in norm.irreps]
        self._of: list[int] = []
        self._kept: Blocks = []

    def forward(self, *inputs: Blocks) -> tuple[Blocks, Any]:
        (y,) = inputs
        out = empty_stacks(self.norm.irreps, self.copies, len(y[0]), y[0])
        x = half(out, 0)
        self._run("forward", self.norm.EPSILON, {"y": y, "w": self._weights(), "x": x})
        return x, (y, out)

    def vjp(self, kept: Any, g: Blocks, onto: Blocks | None = None) -> list[Blocks]:
        y, _ = kept
        gy = new_blocks(self.norm.irreps, y[0], len(y[0]))
        tensors = {"y": y, "w": self._weights(), "g": [b.contiguous() for b in g], "gy": gy}
        self._run("vjp", self.norm.EPSILON, tensors)
        return [gy]

    def jvp(self, kept: Any, *stacks: Blocks) -> tuple[Blocks, Any]:
        y, out = kept
        dy = half(stacks[0], 1)
        tensors = {"y": y, "dy": dy, "w": self._weights(), "x": half(out, 1)}
        self._run("jvp", self.norm.EPSILON, tensors)
        return out, (y, dy)

    def jvp_vjp(self, kept: Any, g: Blocks, onto: Blocks | None = None) -> list[Blocks]:
        """With the gradients of the weights: g x + h x. is linear in each of them."""
        y, dy = kept
        found = [b.new_empty((2, *b.shape)) for b in y]
        both = [half(g, 0), half(g, 1)]
        tensors = {"y": y, "dy": dy, "w": self._weights(), "g": both[0], "h": both[1]}
        tensors |= {"gy": half(found, 0), "hy": half(found, 1)}
        self._run("jvp_vjp", self.norm.EPSILON, tensors)
        i, di = _inverse(y, dy, self.norm.EPSILON)
        for k, p in enumerate(self.parameters):
            per_atom = both[0][k] * y[k] * i + both[1][k] * (dy[k] * i + y[k] * di)
            add_gradient(p, per_atom.sum(dim=(0, 1)))
        return [found]

    def _weights(self) -> Blocks:
        """Of each component and channel; made again where they have changed."""
        versions = [p._version for p in self.parameters]
        if versions != self._of:
            dims = [ir.dim for _, ir in self.norm.irreps]
            self._kept = [
                p.detach().repeat(dim, 1) for p, dim in zip(self.parameters, dims, strict=True)
            ]
            self._of = versions
        return self._kept


def run(name: str, epsilon: float, tensors: Mapping[str, Sequence[Tensor]]) -> None:
    """As `fastequi.kernels.cpu.norm.run`."""
    y, w = tensors["y"], tensors["w"]
    wy = [b * v for b, v in zip(y, w, strict=True)]
    cy = [b / (len(y) * b.shape[-2] ** 2) for b in y]
    i = (_dot(cy, y) + epsilon).rsqrt()
    if name == "forward":
        _put(tensors["x"], [b * i for b in wy])
        return
    cubed = i * i * i
    if name == "vjp":
        g = tensors["g"]
        p = cubed * _dot(g, wy)
        _put(tensors["gy"], [a * v * i - b * p for a, v, b in zip(g, w, cy, strict=True)])
        return
    dy = tensors["dy"]
    _, di = _inverse(y, dy, epsilon)
    wdy = [b * v for b, v in zip(dy, w, strict=True)]
    if name == "jvp":
        _put(tensors["x"], [a * i + b * di for a, b in zip(wdy, wy, strict=True)])
        return
    g, h = tensors["g"], tensors["h"]
    p, r = cubed * (_dot(g, wy) + _dot(h, wdy)), cubed * _dot(h, wy)
    rq = -3.0 * di / i * r
    for k, c in enumerate(cy):
        hw, cdy = h[k] * w[k], dy[k] / (len(y) * dy[k].shape[-2] ** 2)
        tensors["hy"][k].copy_(hw * i - c * r)
        tensors["gy"][k].copy_(g[k] * w[k] * i + hw * di + c * (rq - p) - cdy * r)


def _inverse(y: Sequence[Tensor], dy: Sequence[Tensor], epsilon: float) -> tuple[Tensor, Tensor]:
    """i and i. [atoms, 1, 1]."""
    cy = [b / (len(y) * b.shape[-2] ** 2) for b in y]
    i = (_dot(cy, y) + epsilon).rsqrt()
    return i, -(i**3) * _dot(cy, dy)


def _dot(a: Sequence[Tensor], b: Sequence[Tensor]) -> Tensor:
    """Over all that an atom has, [atoms, 1, 1]."""
    found = [(x * y).sum(dim=(1, 2), keepdim=True) for x, y in zip(a, b, strict=True)]
    return torch.stack(found).sum(dim=0)


def _put(targets: Sequence[Tensor], values: Sequence[Tensor]) -> None:
    for target, value in zip(targets, values, strict=True):
        target.copy_(value)
