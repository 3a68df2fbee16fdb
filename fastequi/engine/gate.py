"""The gate through a backend's kernels, in the four operations.

With f an activation times its constant, a = f(y0) its scalars and gates, v the gated blocks:

    x0 = a, xl = v a;  its tangent  da = f'(y0) dy0,  dxl = dv a + v da.

Blocks are [atoms, 2l+1, channels].
"""

from dataclasses import dataclass, field, replace
from typing import Any

from fastequi.engine.blocks import Blocks, Part, empty_stacks, half
from fastequi.irreps import PSEUDOSCALAR, SCALAR
from fastequi.kernels.parts import GatedBlock, new_blocks
from fastequi.model.gate import Gate


@dataclass(frozen=True)
class _Kept:
    """y and x' in stacks; and dy once there is one."""

    y: Blocks
    out: Blocks
    dy: Blocks = field(default_factory=list)


class GatePart:
    """A `Part`; kernels are what a backend offers as its 'gate'.

    copies  2 where tangents are to follow, else 1
    """

    def __init__(self, gate: Gate, kernels: Any, copies: int) -> None:
        self.gate, self.kernels, self.copies = gate, kernels, copies
        conv, out = gate.shapes.irreps_conv, gate.shapes.irreps_out
        self.source, self.scalars = [conv.index(ir) for _, ir in out], conv.index(SCALAR)
        silu, tanh = ("silu", gate.silu_scale), ("tanh", gate.tanh_scale)
        blocks, used = [], out.channels(SCALAR)
        for i, (mul, ir) in enumerate(out):
            if ir == SCALAR:
                blocks.append(GatedBlock(i, 0, mul, 0, *silu))
            elif ir == PSEUDOSCALAR:
                blocks.append(GatedBlock(i, 0, mul, 0, *tanh, own=True))
            else:
                blocks.append(GatedBlock(i, ir.dim, mul, used, *silu))
                used += mul
        self.blocks = tuple(blocks)

    def forward(self, *inputs: Blocks) -> tuple[Blocks, _Kept]:
        """x' from y."""
        (y,) = inputs
        out = empty_stacks(self.gate.shapes.irreps_out, self.copies, len(y[0]), y[0])
        x = half(out, 0)
        self._run("forward", {"y0": y}, {"v": y}, {"x": x})
        return x, _Kept(y, out)

    def vjp(self, kept: _Kept, g: Blocks, onto: Blocks | None = None) -> list[Blocks]:
        dy = new_blocks(self.gate.shapes.irreps_conv, kept.y[0], len(kept.y[0]))
        g = [block.contiguous() for block in g]
        self._run("vjp", {"y0": kept.y, "gy0": dy}, {"v": kept.y, "gv": dy}, {"g": g})
        return [dy]

    def jvp(self, kept: _Kept, *stacks: Blocks) -> tuple[Blocks, _Kept]:
        (both,) = stacks
        y, dy, out = kept.y, half(both, 1), half(kept.out, 1)
        self._run("jvp", {"y0": y, "dy0": dy}, {"v": y, "dv": dy}, {"x": out})
        return kept.out, replace(kept, dy=dy)

    def jvp_vjp(self, kept: _Kept, g: Blocks, onto: Blocks | None = None) -> list[Blocks]:
        y, dy, found = kept.y, kept.dy, [b.new_empty((2, *b.shape)) for b in kept.y]
        (gx, hx), (gy, hy) = (half(g, 0), half(g, 1)), (half(found, 0), half(found, 1))
        scalars = {"y0": y, "dy0": dy, "gy0": gy, "hy0": hy}
        blocks = {"v": y, "dv": dy, "gv": gy, "hv": hy}
        self._run("jvp_vjp", scalars, blocks, {"g": gx, "h": hx})
        return [found]

    def _run(
        self, name: str, scalars: dict[str, Blocks], before: dict[str, Blocks],
        behind: dict[str, Blocks],
    ) -> None:  # fmt: skip
        """One pass of the kernels, over blocks in front of the gate and behind it.

        All are given in their own order; the kernels take the former in that of the latter.
        """
        of_scalars = {kind: blocks[self.scalars] for kind, blocks in scalars.items()}
        sources = {kind: [blocks[k] for k in self.source] for kind, blocks in before.items()}
        self.kernels.run(name, self.blocks, of_scalars, sources | behind)


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
