"""The gate in the four passes of training: values, their adjoint, tangents, and all reversed.

With f an activation times its constant, a = f(y0) its scalars and gates, v the gated blocks:

    x0 = a, xl = v a;  its tangent  da = f'(y0) dy0,  dxl = dv a + v da.

`passes.py` says what the passes are for. Blocks are [atoms, 2l+1, channels].
"""

from typing import Any

import torch
from torch import Tensor

from fastequi.irreps import PSEUDOSCALAR, SCALAR
from fastequi.kernels.cpu import gate as cpu_gate
from fastequi.kernels.cpu.gate import GatedBlock
from fastequi.model import tangent
from fastequi.model.gate import Gate, RMSNorm

Blocks = list[Tensor]


class GatePasses:
    """The four passes of a `Gate` for one batch."""

    def __init__(self, gate: Gate) -> None:
        self.gate = gate
        conv, out = gate.shapes.irreps_conv, gate.shapes.irreps_out
        self.source = [conv.index(ir) for _, ir in out]
        self.scalars = conv.index(SCALAR)
        self.kinds = [ir for _, ir in out]
        self.slices, used = [], out.channels(SCALAR)
        for mul, ir in out:
            gated = ir not in (SCALAR, PSEUDOSCALAR)
            self.slices.append(slice(used, used + mul) if gated else slice(0, mul))
            used += mul if gated else 0

    def values(self, y: Blocks, out: Blocks) -> None:
        """Write x' into `out`; keeps the activations."""
        self.y = y
        self.a = _silu(y[self.scalars], self.gate.silu_scale)
        self.odd = {
            i: _tanh(y[source], self.gate.tanh_scale)
            for i, (source, ir) in enumerate(zip(self.source, self.kinds, strict=True))
            if ir == PSEUDOSCALAR
        }
        for i, (here, x) in enumerate(zip(self.slices, out, strict=True)):
            if i in self.odd:
                x.copy_(self.odd[i][0])
            elif self.kinds[i] == SCALAR:
                x.copy_(self.a[0][:, :, here])
            else:
                torch.mul(y[self.source[i]], self.a[0][:, :, here], out=x)

    def adjoint(self, g: Blocks) -> Blocks:
        """dE/dy from dE/dx'."""
        dy = [torch.empty_like(block) for block in self.y]
        da = torch.zeros_like(self.a[0])
        for i, (here, gx) in enumerate(zip(self.slices, g, strict=True)):
            if i in self.odd:
                torch.mul(gx, self.odd[i][1], out=dy[self.source[i]])
            elif self.kinds[i] == SCALAR:
                da[:, :, here] = gx
            else:
                y, a = self.y[self.source[i]], self.a[0][:, :, here]
                torch.sum(gx * y, dim=1, keepdim=True, out=da[:, :, here])
                torch.mul(gx, a, out=dy[self.source[i]])
        torch.mul(da, self.a[1], out=dy[self.scalars])
        return dy

    def tangents(self, dy: Blocks, out: Blocks) -> None:
        """Write the tangent of x' into `out`, from the tangent of y."""
        self.dy = dy
        self.da = self.a[1] * dy[self.scalars]
        for i, (here, dx) in enumerate(zip(self.slices, out, strict=True)):
            if i in self.odd:
                torch.mul(dy[self.source[i]], self.odd[i][1], out=dx)
            elif self.kinds[i] == SCALAR:
                dx.copy_(self.da[:, :, here])
            else:
                torch.mul(dy[self.source[i]], self.a[0][:, :, here], out=dx)
                dx.addcmul_(self.y[self.source[i]], self.da[:, :, here])

    def reverse(self, g: Blocks, h: Blocks, gy: Blocks, hy: Blocks) -> None:
        """From dG/dx' = g and dG/d(tangent of x') = h, write those of y into gy and hy."""
        ga, ha = torch.zeros_like(self.a[0]), torch.zeros_like(self.a[0])
        for i, here in enumerate(self.slices):
            k = self.source[i]
            if i in self.odd:
                _chain(g[i], h[i], self.odd[i], self.dy[k], gy[k], hy[k])
            elif self.kinds[i] == SCALAR:
                ga[:, :, here], ha[:, :, here] = g[i], h[i]
            else:
                a, da = self.a[0][:, :, here], self.da[:, :, here]
                both = torch.addcmul(g[i] * self.y[k], h[i], self.dy[k])
                torch.sum(both, dim=1, keepdim=True, out=ga[:, :, here])
                torch.sum(h[i] * self.y[k], dim=1, keepdim=True, out=ha[:, :, here])
                torch.mul(g[i], a, out=gy[k])
                gy[k].addcmul_(h[i], da)
                torch.mul(h[i], a, out=hy[k])
        s = self.scalars
        _chain(ga, ha, self.a, self.dy[s], gy[s], hy[s])


class CompiledGatePasses(GatePasses):
    """`GatePasses` on the CPU (kernels/cpu/gate.py); activations, and odd scalars, in torch."""

    def __init__(self, gate: Gate) -> None:
        super().__init__(gate)
        self.blocks = tuple(
            GatedBlock(i, 0 if ir == SCALAR else ir.dim, mul, here.start)
            for i, (here, (mul, ir)) in enumerate(
                zip(self.slices, gate.shapes.irreps_out, strict=True)
            )
            if ir != PSEUDOSCALAR
        )

    def values(self, y: Blocks, out: Blocks) -> None:
        self.y = y
        self.a = _silu(y[self.scalars], self.gate.silu_scale)
        self.da = torch.empty_like(self.a[0])
        self.odd = {}
        for i, (k, ir) in enumerate(zip(self.source, self.kinds, strict=True)):
            if ir == PSEUDOSCALAR:
                self.odd[i] = _tanh(y[k], self.gate.tanh_scale)
                out[i].copy_(self.odd[i][0])
        cpu_gate.run("values", self.blocks, {"a": self.a[0]}, {"v": self._sources(y), "x": out})

    def adjoint(self, g: Blocks) -> Blocks:
        dy, g = [torch.empty_like(block) for block in self.y], [b.contiguous() for b in g]
        for i, f in self.odd.items():
            torch.mul(g[i], f[1], out=dy[self.source[i]])
        scalars = {"a": self.a[0], "f1": self.a[1], "gy0": dy[self.scalars]}
        v = self._sources(self.y)
        cpu_gate.run("adjoint", self.blocks, scalars, {"v": v, "g": g, "gv": self._sources(dy)})
        return dy

    def tangents(self, dy: Blocks, out: Blocks) -> None:
        self.dy = dy
        for i, f in self.odd.items():
            torch.mul(dy[self.source[i]], f[1], out=out[i])
        scalars = {"a": self.a[0], "f1": self.a[1], "dy0": dy[self.scalars], "da": self.da}
        blocks = {"v": self._sources(self.y), "dv": self._sources(dy), "x": out}
        cpu_gate.run("tangents", self.blocks, scalars, blocks)

    def reverse(self, g: Blocks, h: Blocks, gy: Blocks, hy: Blocks) -> None:
        for i, f in self.odd.items():
            k = self.source[i]
            _chain(g[i], h[i], f, self.dy[k], gy[k], hy[k])
        s = self.scalars
        a, f1, f2 = self.a
        scalars = {"a": a, "f1": f1, "f2": f2, "dy0": self.dy[s], "da": self.da,
                   "gy0": gy[s], "hy0": hy[s]}  # fmt: skip
        blocks = {"v": self.y, "dv": self.dy, "gv": gy, "hv": hy}
        named = {name: self._sources(of) for name, of in blocks.items()}
        cpu_gate.run("reverse", self.blocks, scalars, named | {"g": g, "h": h})

    def _sources(self, y: Blocks) -> Blocks:
        """Blocks in front of the gate in the order of those behind it."""
        return [y[k] for k in self.source]


class NormedGatePasses:
    """The four passes of a `Gate` behind an `RMSNorm`; the norm is left to autograd."""

    def __init__(self, norm: RMSNorm, gate: GatePasses) -> None:
        self.norm, self.gate = norm, gate

    def values(self, y: Blocks, out: Blocks) -> None:
        self.y = y
        self.leaves = [block.detach().requires_grad_(True) for block in y]
        with torch.enable_grad():
            self.normed = self.norm(self.leaves)
        self.gate.values([block.detach() for block in self.normed], out)

    def adjoint(self, g: Blocks) -> Blocks:
        return list(torch.autograd.grad(self.normed, self.leaves, self.gate.adjoint(g)))

    def tangents(self, dy: Blocks, out: Blocks) -> None:
        self.leaves = [
            torch.cat([y, t]).requires_grad_(True) for y, t in zip(self.y, dy, strict=True)
        ]
        with torch.enable_grad():
            self.normed = tangent.norm(self.norm, self.leaves)
        self.gate.tangents([tangent.split(block.detach())[1] for block in self.normed], out)

    def reverse(self, g: Blocks, h: Blocks, gy: Blocks, hy: Blocks) -> None:
        stacks = [torch.empty_like(block) for block in self.normed]
        halves = [tangent.split(stack) for stack in stacks]
        self.gate.reverse(g, h, [values for values, _ in halves], [t for _, t in halves])
        torch.autograd.backward(self.normed, stacks, inputs=[*self.leaves, *self.norm.parameters()])
        for leaf, a, b in zip(self.leaves, gy, hy, strict=True):
            gradient: Any = leaf.grad
            values, tangents = tangent.split(gradient)
            a.copy_(values)
            b.copy_(tangents)


def _silu(y: Tensor, scale: float) -> tuple[Tensor, Tensor, Tensor]:
    """f, f', f'' of scale * silu."""
    sigmoid = torch.sigmoid(y)
    value = y * sigmoid
    rest = 1 - sigmoid
    first = torch.addcmul(sigmoid, value, rest)
    second = sigmoid * rest * (1 - value) + first * rest
    return value * scale, first * scale, second * scale


def _tanh(y: Tensor, scale: float) -> tuple[Tensor, Tensor, Tensor]:
    """f, f', f'' of scale * tanh."""
    value = torch.tanh(y)
    first = 1 - value * value
    return value * scale, first * scale, -2 * scale * value * first


def _chain(
    g: Tensor, h: Tensor, f: tuple[Tensor, Tensor, Tensor], dy: Tensor, gy: Tensor, hy: Tensor
) -> None:
    """Of a = f(y), da = f'(y) dy: gy = g f' + h f'' dy, hy = h f'."""
    torch.mul(g, f[1], out=gy)
    gy.addcmul_(h * dy, f[2])
    torch.mul(h, f[1], out=hy)
