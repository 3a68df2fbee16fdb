"""The gate through a backend's kernels, in the four operations.

With f an activation times its constant, a = f(y0) its scalars and gates, v the gated blocks:

    x0 = a, xl = v a;  its tangent  da = f'(y0) dy0,  dxl = dv a + v da.

Activations, and odd scalars, are torch's. Blocks are [atoms, 2l+1, channels].
"""

from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from fastequi.engine.blocks import Blocks, Part, empty_stacks, half
from fastequi.irreps import PSEUDOSCALAR, SCALAR
from fastequi.model.activations import ACTIVATIONS
from fastequi.model.gate import Gate

#: f, f', f'' of an activation times its constant.
_Values = tuple[Tensor, Tensor, Tensor]


@dataclass(frozen=True)
class _Kept:
    """y, the activations of its scalars and gates, of each odd block by number, x' in stacks; and
    dy, the tangent of a once there is one."""

    y: Blocks
    a: _Values
    odd: dict[int, _Values]
    out: Blocks
    dy: Blocks = field(default_factory=list)
    da: Tensor | None = None


class GatePart:
    """A `Part`; kernels are what a backend offers as its 'gate'.

    copies  2 where tangents are to follow, else 1
    """

    def __init__(self, gate: Gate, kernels: Any, copies: int) -> None:
        self.gate, self.kernels, self.copies = gate, kernels, copies
        conv, out = gate.shapes.irreps_conv, gate.shapes.irreps_out
        self.source, self.scalars = [conv.index(ir) for _, ir in out], conv.index(SCALAR)
        self.odd = [i for i, (_, ir) in enumerate(out) if ir == PSEUDOSCALAR]
        self.blocks, used = [], out.channels(SCALAR)
        for i, (mul, ir) in enumerate(out):
            if ir == SCALAR:
                self.blocks.append(kernels.GatedBlock(i, 0, mul, 0))
            elif ir != PSEUDOSCALAR:
                self.blocks.append(kernels.GatedBlock(i, ir.dim, mul, used))
                used += mul
        self.blocks = tuple(self.blocks)

    def forward(self, *inputs: Blocks) -> tuple[Blocks, _Kept]:
        """x' from y."""
        (y,) = inputs
        out = empty_stacks(self.gate.shapes.irreps_out, self.copies, len(y[0]), y[0])
        x = half(out, 0)
        a = _scaled("silu", y[self.scalars], self.gate.silu_scale)
        odd = {i: _scaled("tanh", y[self.source[i]], self.gate.tanh_scale) for i in self.odd}
        for i, f in odd.items():
            x[i].copy_(f[0])
        self.kernels.run("values", self.blocks, {"a": a[0]}, {"v": self._sources(y), "x": x})
        return x, _Kept(y, a, odd, out)

    def vjp(self, kept: _Kept, g: Blocks, onto: Blocks | None = None) -> list[Blocks]:
        dy, g = [torch.empty_like(block) for block in kept.y], [b.contiguous() for b in g]
        for i, f in kept.odd.items():
            torch.mul(g[i], f[1], out=dy[self.source[i]])
        scalars = {"a": kept.a[0], "f1": kept.a[1], "gy0": dy[self.scalars]}
        blocks = {"v": self._sources(kept.y), "g": g, "gv": self._sources(dy)}
        self.kernels.run("adjoint", self.blocks, scalars, blocks)
        return [dy]

    def jvp(self, kept: _Kept, *stacks: Blocks) -> tuple[Blocks, _Kept]:
        (both,) = stacks
        dy, out, da = half(both, 1), half(kept.out, 1), torch.empty_like(kept.a[0])
        for i, f in kept.odd.items():
            torch.mul(dy[self.source[i]], f[1], out=out[i])
        scalars = {"a": kept.a[0], "f1": kept.a[1], "dy0": dy[self.scalars], "da": da}
        blocks = {"v": self._sources(kept.y), "dv": self._sources(dy), "x": out}
        self.kernels.run("tangents", self.blocks, scalars, blocks)
        return kept.out, replace(kept, dy=dy, da=da)

    def jvp_vjp(self, kept: _Kept, g: Blocks, onto: Blocks | None = None) -> list[Blocks]:
        found = [block.new_empty((2, *block.shape)) for block in kept.y]
        (gx, hx), (gy, hy) = (half(g, 0), half(g, 1)), (half(found, 0), half(found, 1))
        for i, f in kept.odd.items():
            k = self.source[i]
            _chain(gx[i], hx[i], f, kept.dy[k], gy[k], hy[k])
        assert kept.da is not None
        s, (a, f1, f2) = self.scalars, kept.a
        scalars = {"a": a, "f1": f1, "f2": f2, "dy0": kept.dy[s], "da": kept.da,
                   "gy0": gy[s], "hy0": hy[s]}  # fmt: skip
        blocks = {"v": kept.y, "dv": kept.dy, "gv": gy, "hv": hy}
        named = {name: self._sources(of) for name, of in blocks.items()}
        self.kernels.run("reverse", self.blocks, scalars, named | {"g": gx, "h": hx})
        return [found]

    def _sources(self, y: Blocks) -> Blocks:
        """Blocks in front of the gate in the order of those behind it."""
        return [y[k] for k in self.source]


class InTurn:
    """A `Part`: two parts, one after the other."""

    def __init__(self, first: Part, second: Part) -> None:
        self.first, self.second = first, second

    def forward(self, *inputs: Blocks) -> tuple[Blocks, Any]:
        between, kept = self.first.forward(*inputs)
        out, kept_too = self.second.forward(between)
        return out, (kept, kept_too)

    def vjp(self, kept: Any, g: Blocks, onto: Blocks | None = None) -> list[Blocks]:
        return self.first.vjp(kept[0], self.second.vjp(kept[1], g)[0])

    def jvp(self, kept: Any, *stacks: Blocks) -> tuple[Blocks, Any]:
        between, kept_first = self.first.jvp(kept[0], *stacks)
        out, kept_too = self.second.jvp(kept[1], between)
        return out, (kept_first, kept_too)

    def jvp_vjp(self, kept: Any, g: Blocks, onto: Blocks | None = None) -> list[Blocks]:
        return self.first.jvp_vjp(kept[0], self.second.jvp_vjp(kept[1], g)[0])


def _scaled(name: str, y: Tensor, scale: float) -> _Values:
    value, first, second = ACTIVATIONS[name].derivatives(y)
    return value * scale, first * scale, second * scale


def _chain(g: Tensor, h: Tensor, f: _Values, dy: Tensor, gy: Tensor, hy: Tensor) -> None:
    """Of a = f(y), da = f'(y) dy: gy = g f' + h f'' dy, hy = h f'."""
    torch.mul(g, f[1], out=gy)
    gy.addcmul_(h * dy, f[2])
    torch.mul(h, f[1], out=hy)
