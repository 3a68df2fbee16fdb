"""The gate on the CPU, in the four operations: all its blocks in one call.

With f an activation times its constant, y0 scalars, a = f(y0), v the gated blocks and a dot for the
change along a tangent, per atom and channel

    forward   x0 = a,            xl = v a
    jvp       a. = f'(y0) y0.,   x0. = a.,     xl. = v. a + v a.
    vjp       gy0 = (g0 or sum_m g v) f',      gv = g a
    jvp_vjp   with p = (g0 or sum_m g v + h v.), q = (h0 or sum_m h v):
              gy0 = p f' + q f'' y0.,  hy0 = q f',     gv = g a + h a.,  hv = h a.

The first of each pair is for channels that stay scalars, the other for those that gate a block.
Odd scalars stay scalars of a block of their own.
"""

import functools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from fastequi.kernels.cpu.activations import ACTIVATIONS
from fastequi.kernels.llvm import threads
from fastequi.kernels.llvm.arguments import REALS, Arguments, Kind, Named
from fastequi.kernels.llvm.compiler import Kernel
from fastequi.kernels.llvm.ir import Function, Value
from fastequi.kernels.llvm.plan import Plan, PlannedCall
from fastequi.kernels.llvm.target import lanes_of
from fastequi.kernels.parts import GatedBlock

Pass = Literal["forward", "jvp", "vjp", "jvp_vjp"]

#: What each pass reads and writes, of the scalars [atoms, 1, all of them] ...
SCALARS: dict[Pass, tuple[str, ...]] = {
    "forward": ("y0",),
    "jvp": ("y0", "dy0"),
    "vjp": ("y0", "gy0"),
    "jvp_vjp": ("y0", "dy0", "gy0", "hy0"),
}
#: ... and of a block [atoms, 2l+1, channels]; true scalars have only those of x.
BLOCKS: dict[Pass, tuple[str, ...]] = {
    "forward": ("v", "x"),
    "jvp": ("v", "dv", "x"),
    "vjp": ("v", "g", "gv"),
    "jvp_vjp": ("v", "dv", "g", "h", "gv", "hv"),
}
#: Of hexadecimal numbers, for names of functions.
_PLAIN = str.maketrans(".+-", "_pm")
_OF_TRUE_SCALARS = ("x", "g", "h")
#: What is called so of scalars in common, of a block.
_OF_BLOCK = {"y0": "v", "dy0": "dv", "gy0": "gv", "hy0": "hv"}


def run(
    name: Pass, blocks: tuple[GatedBlock, ...], scalars: Mapping[str, Tensor],
    tensors: Mapping[str, list[Tensor]],
) -> None:  # fmt: skip
    """One pass; tensors by the names above, of blocks by their number."""
    everything = [*scalars.values(), *(b for several in tensors.values() for b in several)]
    assert all(tensor.is_contiguous() for tensor in everything)
    one = everything[0]
    n_atoms, shares = one.shape[0], threads.n_threads()
    values: dict[str, Tensor | int] = {f"cut{k}": n_atoms * k // shares for k in range(shares + 1)}
    values |= scalars
    for kind, several in tensors.items():
        values |= {f"{kind}{i}": block for i, block in enumerate(several)}
    _plan(name, blocks, one.shape[-1], one.dtype, shares).run(values)


@functools.cache
def _plan(
    name: Pass, blocks: tuple[GatedBlock, ...], width: int, dtype: torch.dtype, shares: int
) -> Plan:
    return Plan(
        [
            [call for block in blocks for call in _calls(name, block, width, dtype, share)]
            for share in range(shares)
        ]
    )


def _calls(
    name: Pass, block: GatedBlock, width: int, dtype: torch.dtype, share: int
) -> Iterator[PlannedCall]:
    arguments: dict[str, int | Named] = {"channels": block.channels, "width": width}
    arguments |= {kind: Named(kind, block.first * dtype.itemsize) for kind in SCALARS[name]}
    if block.own:
        arguments["width"] = block.channels
        arguments |= {kind: Named(f"{_OF_BLOCK[kind]}{block.number}") for kind in SCALARS[name]}
    of_block = _of_block(name, block.components)
    arguments |= {kind: Named(f"{kind}{block.number}") for kind in of_block}
    atoms = Named(f"cut{share}"), Named(f"cut{share + 1}")
    begin, lanes = 0, lanes_of(dtype)
    while begin < block.channels:
        end = begin + (block.channels - begin) // lanes * lanes
        if end > begin:
            spec = GateSpec(name, block.components, dtype, lanes, block.activation, block.scale)
            yield PlannedCall(_compiled(spec), (*atoms, begin, end), arguments)
        begin, lanes = end, lanes // 2


def _of_block(name: Pass, components: int) -> tuple[str, ...]:
    of_scalars = tuple(kind for kind in BLOCKS[name] if kind in _OF_TRUE_SCALARS)
    return BLOCKS[name] if components else of_scalars


# -- the kernels ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class GateSpec:
    """What the code depends on."""

    of: Pass
    components: int
    dtype: torch.dtype
    lanes: int
    activation: str
    scale: float

    @property
    def arguments(self) -> Arguments:
        tensors = (*SCALARS[self.of], *_of_block(self.of, self.components))
        kinds: dict[str, Kind] = {"channels": "integer", "width": "integer"}
        kinds |= dict.fromkeys(tensors, "reals")
        return Arguments(self.dtype, kinds)

    @property
    def name(self) -> str:
        scale = self.scale.hex().translate(_PLAIN)
        shape = f"{self.components}_{REALS[self.dtype]}{self.lanes}"
        return f"gate_{self.of}{shape}_{self.activation}{scale}"


@functools.cache
def _compiled(spec: GateSpec) -> Kernel:
    return Kernel(spec.name, _Printer(spec).text(), 4, spec.arguments)


class _Printer:
    """void name(first atom, end, first channel, end, arguments)."""

    def __init__(self, spec: GateSpec) -> None:
        self.spec = spec
        names = [("begin", "i64"), ("end", "i64"), ("u_begin", "i64"), ("u_end", "i64")]
        self.f = Function(spec.name, REALS[spec.dtype], [*names, ("arguments", "ptr")])
        self.arg = spec.arguments.load(self.f)

    def text(self) -> str:
        begin, end, u_begin, u_end, _ = self.f.parameters
        with self.f.loop(begin, end) as atom, self.f.loop(u_begin, u_end, self.spec.lanes) as u:
            self.scalar = atom * self.arg["width"] + u
            row = atom * max(self.spec.components, 1)
            self.rows = [
                (row + m) * self.arg["channels"] + u for m in range(max(self.spec.components, 1))
            ]
            getattr(self, f"_{self.spec.of}")()
        return self.f.text()

    def _forward(self) -> None:
        (a,) = self._activated(0)
        if not self.spec.components:
            self._set("x", a)
        for m in range(self.spec.components):
            self._set("x", self._get("v", m) * a, m)

    def _jvp(self) -> None:
        a, first = self._activated(1)
        da = first * self._get("dy0")
        if not self.spec.components:
            self._set("x", da)
        for m in range(self.spec.components):
            self._set("x", self._get("dv", m) * a + self._get("v", m) * da, m)

    def _vjp(self) -> None:
        a, first = self._activated(1)
        p = self._zero() if self.spec.components else self._get("g", 0)
        for m in range(self.spec.components):
            g = self._get("g", m)
            p = p + g * self._get("v", m)
            self._set("gv", g * a, m)
        self._set("gy0", p * first)

    def _jvp_vjp(self) -> None:
        a, first, second = self._activated(2)
        dy0 = self._get("dy0")
        da = first * dy0
        p, q = (self._get("g", 0), self._get("h", 0)) if not self.spec.components else (
            self._zero(), self._zero())  # fmt: skip
        for m in range(self.spec.components):
            g, h, v = self._get("g", m), self._get("h", m), self._get("v", m)
            p = p + g * v + h * self._get("dv", m)
            q = q + h * v
            self._set("gv", g * a + h * da, m)
            self._set("hv", h * a, m)
        self._set("gy0", p * first + q * second * dy0)
        self._set("hy0", q * first)

    def _activated(self, order: int) -> list[Value]:
        """f and its derivatives up to some order."""
        activation = ACTIVATIONS[self.spec.activation]
        return activation(self.f, self._get("y0"), self.spec.scale, order)

    def _zero(self) -> Value:
        return self.f.constant(0.0, "real", self.spec.lanes)

    def _place(self, name: str, m: int | None) -> Value:
        of_block = name in BLOCKS[self.spec.of]
        return self.f.at(self.arg[name], self.rows[m or 0] if of_block else self.scalar)

    def _get(self, name: str, m: int | None = None) -> Value:
        return self.f.load(self._place(name, m), "real", self.spec.lanes)

    def _set(self, name: str, value: Value, m: int | None = None) -> None:
        self.f.store(value, self._place(name, m))
