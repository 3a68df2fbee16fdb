"""The arguments of a kernel, declared once: it loads them by name, and a caller fills them in.

They are an array of 64-bit numbers. A kernel cannot tell an address from a size, nor what lies at
an address; so a caller that leaves one out, names another one, or gives one of another type is told
so before anything runs.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch

from fastequi.kernels.llvm.ir import Function, Value

#: Tensors of the kernel's precision, of another one, or of integers; a size; a number of the
#: kernel's precision.
Kind = Literal["reals", "float64s", "int64s", "int32s", "integer", "real"]

#: The names of precisions in LLVM.
REALS = {torch.float32: "float", torch.float64: "double"}
_OTHERS: dict[Kind, torch.dtype] = {
    "float64s": torch.float64, "int64s": torch.int64, "int32s": torch.int32,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Named:
    """A tensor or an integer, given by name when a plan runs, plus a constant (in bytes)."""

    name: str
    offset: int = 0


@dataclass(frozen=True)
class Arguments:
    """Names and kinds, in order; dtype is the kernel's precision."""

    dtype: torch.dtype
    kinds: Mapping[str, Kind]

    def load(self, f: Function) -> dict[str, Value]:
        """All, at the beginning of a function whose last parameter is their array."""
        types = {"integer": "i64", "real": "real"}
        return {
            name: f.load(f.at(f.parameters[-1], i, "i64"), types.get(kind, "ptr"))
            for i, (name, kind) in enumerate(self.kinds.items())
        }

    def pointee(self, name: str) -> torch.dtype | None:
        """What a tensor of this name holds; None: it is a number."""
        kind = self.kinds[name]
        return self.dtype if kind == "reals" else _OTHERS.get(kind)

    def check(self, values: Mapping[str, "int | float | Named"]) -> None:
        """ValueError for names, TypeError for types; a `Named` is checked when it is given."""
        if missing := [name for name in self.kinds if name not in values]:
            raise ValueError(f"arguments are missing: {', '.join(missing)}")
        if unknown := [name for name in values if name not in self.kinds]:
            raise ValueError(f"unknown arguments: {', '.join(unknown)}")
        for name, value in values.items():
            named = isinstance(value, Named)
            if self.pointee(name) is not None:
                right = named
            elif self.kinds[name] == "integer":
                right = named or type(value) is int
            else:
                right = type(value) is float
            if not right:
                raise TypeError(f"argument {name} is of kind '{self.kinds[name]}', got {value!r}")


def check_given(name: str, expected: torch.dtype | None, value: object) -> None:
    """TypeError unless it is a tensor of such numbers in one piece, or, without these, an int."""
    if expected is None:
        if type(value) is not int:
            raise TypeError(f"{name} is an integer, got {_described(value)}")
    elif not (isinstance(value, torch.Tensor) and value.dtype == expected):
        raise TypeError(f"{name} is a tensor of {expected}, got {_described(value)}")


def _described(value: object) -> str:
    if isinstance(value, torch.Tensor):
        return f"a tensor of {value.dtype}"
    return f"{value!r} ({type(value).__name__})"
