"""What a layer does to rows besides products, on the CPU: clear, scale, add a bias, activate.

Each is an operation that `linear.run` takes among the products, so that it costs no call of its
own. Tensors are [atoms, ...] with one row per atom, in one piece of memory.
"""

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from fastequi.kernels.cpu.activations import ACTIVATIONS
from fastequi.kernels.llvm.arguments import REALS, Arguments, Kind, Named
from fastequi.kernels.llvm.compiler import Kernel
from fastequi.kernels.llvm.ir import Function, Value
from fastequi.kernels.llvm.plan import PlannedCall
from fastequi.kernels.llvm.target import lanes_of

Name = Literal["clear", "add_row", "scale", "times", "activate"]

#: What each reads and writes: rows of atoms; 'row' for all atoms, 'factor' with a number for each.
_TENSORS: dict[Name, tuple[str, ...]] = {
    "clear": ("y",),
    "add_row": ("y", "row"),
    "scale": ("y", "a", "factor"),
    "times": ("y", "a", "b"),
    "activate": ("y", "slope", "a"),
}


@dataclass(frozen=True, slots=True)
class Rows:
    """One of

        clear     y = 0                add_row   y += row
        scale     y = a factor         times     y = a b
        activate  y = scale f(a), slope = scale f'(a)

    tensors   by these names; y and a may be the same
    function  and scale, of `activate`
    """

    name: Name
    tensors: dict[str, Tensor]
    function: str = ""
    scale: float = 1.0

    @property
    def dtype(self) -> torch.dtype:
        return self.tensors["y"].dtype

    @property
    def key(self) -> "_Key":
        return _Key(self.name, self.tensors["y"].shape[1:].numel(), self.function, self.scale)

    def values(self, name: str, shares: int) -> dict[str, Tensor | int]:
        """What the plan calls by name; threads share all atoms."""
        n_atoms = len(self.tensors["y"])
        cuts = {f"{name}cut{k}": n_atoms * k // shares for k in range(shares + 1)}
        return {f"{name}{of}": self.tensors[of] for of in _TENSORS[self.name]} | cuts


def cleared(blocks: Sequence[Tensor]) -> list[Rows]:
    """The operations that fill blocks with zeros."""
    return [Rows("clear", {"y": block}) for block in blocks]


class _Key(NamedTuple):
    """What the calls depend on; width is the length of a row."""

    name: Name
    width: int
    function: str
    scale: float

    def calls(
        self, name: str, dtype: torch.dtype, share: int, shares: int
    ) -> Iterator[PlannedCall]:
        """The atoms that a share does, whole vectors of columns first."""
        atoms = Named(f"{name}cut{share}"), Named(f"{name}cut{share + 1}")
        arguments: dict[str, int | float | Named] = {"width": self.width}
        arguments |= {of: Named(f"{name}{of}") for of in _TENSORS[self.name]}
        begin, lanes = 0, lanes_of(dtype)
        while begin < self.width:
            end = begin + (self.width - begin) // lanes * lanes
            if end > begin:
                kernel = _compiled(self.name, dtype, lanes, self.function, self.scale)
                yield PlannedCall(kernel, (*atoms, begin, end), arguments)
            begin, lanes = end, lanes // 2


# -- the kernels ---------------------------------------------------------------------------------


@functools.cache
def _compiled(name: Name, dtype: torch.dtype, lanes: int, function: str, scale: float) -> Kernel:
    kinds: dict[str, Kind] = {"width": "integer", **dict.fromkeys(_TENSORS[name], "reals")}
    arguments = Arguments(dtype, kinds)
    full = f"{name}{function}_{REALS[dtype]}{lanes}"
    return Kernel(full, _print(full, name, arguments, lanes, function, scale), 4, arguments)


def _print(
    full: str, name: Name, arguments: Arguments, lanes: int, function: str, scale: float
) -> str:
    """void full(first atom, end, first column, end, arguments)."""
    names = [("begin", "i64"), ("end", "i64"), ("u_begin", "i64"), ("u_end", "i64")]
    f = Function(full, REALS[arguments.dtype], [*names, ("arguments", "ptr")])
    arg = arguments.load(f)
    begin, end, u_begin, u_end, _ = f.parameters
    with f.loop(begin, end) as atom, f.loop(u_begin, u_end, lanes) as u:
        place = atom * arg["width"] + u

        def get(of: str, at: Value = place, lanes: int = lanes) -> Value:
            return f.load(f.at(arg[of], at), "real", lanes)

        found: dict[str, Value]
        if name == "clear":
            found = {"y": f.constant(0.0, "real", lanes)}
        elif name == "add_row":
            found = {"y": get("y") + get("row", u)}
        elif name == "scale":
            found = {"y": get("a") * get("factor", atom, 1)}
        elif name == "times":
            found = {"y": get("a") * get("b")}
        else:
            value, slope = ACTIVATIONS[function](f, get("a"), scale, 1)
            found = {"y": value, "slope": slope}
        for of, value in found.items():
            f.store(value, f.at(arg[of], place))
    return f.text()
