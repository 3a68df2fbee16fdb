"""Kernel calls prepared once and run many times: only tensors and sizes are filled in.

Small systems are ruled by what a call costs before any arithmetic. All numbers of all calls (which
kernel, its four integers, its argument arrays) form one array of 64-bit integers: a template plus
what is given by name, added by two numpy operations per run.
"""

import struct
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from operator import attrgetter, methodcaller
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fastequi.kernels.llvm.arguments import Arguments, Named, check_given
from fastequi.kernels.llvm.compiler import Kernel
from fastequi.kernels.llvm.program import recorded
from fastequi.kernels.llvm.threads import call_k, run_team


@dataclass(frozen=True, slots=True)
class PlannedCall:
    """kernel(four integers, arguments), these by the names that the kernel declares."""

    kernel: Kernel
    integers: tuple[int | Named, ...]
    arguments: Mapping[str, int | float | Named]

    @property
    def declared(self) -> Arguments:
        assert self.kernel.arguments is not None, f"{self.kernel.name} declares no arguments"
        return self.kernel.arguments


@dataclass(frozen=True, slots=True)
class Blocks:
    """Calls for `size` rows at a time of the rows first:end, which become their first integers."""

    first: int | Named
    end: int | Named
    size: int
    calls: Sequence[PlannedCall]

    @property
    def kernel(self) -> Kernel:
        return _in_blocks()

    @property
    def integers(self) -> tuple[int | Named, ...]:
        return self.first, self.end, self.size, len(self.calls)


class Plan:
    """Shares of calls: shares run side by side, the calls of one share one after another."""

    def __init__(self, shares: Sequence[Sequence[PlannedCall | Blocks]]) -> None:
        self._n_shares = len(shares)
        everything = [inner for share in shares for call in share for inner in _with_inner(call)]
        self._kernels = [call.kernel for call in everything]  # the numbers are their addresses
        self._expected = _expected(everything)
        bounds = np.cumsum([0, *map(len, shares)]).tolist()
        numbers: list[int | Named] = [0, 0, len(shares), *bounds]
        waiting = _add_calls(numbers, [call for share in shares for call in share])
        while waiting:  # arrays of arguments, and of the calls of blocks, behind the calls
            place, call = waiting.pop(0)
            numbers[place] = Named(_HERE, 8 * len(numbers))
            if isinstance(call, Blocks):
                waiting += _add_calls(numbers, call.calls)
            else:
                numbers += _slots(call)
        self._link(numbers)

    def _link(self, numbers: list[int | Named]) -> None:
        by_type: dict[torch.dtype | None, list[str]] = defaultdict(list)
        for name, expected in self._expected.items():
            by_type[expected].append(name)
        self._groups = list(by_type.items())
        names = [_NONE, _HERE, *(name for _, group in self._groups for name in group)]
        index = {name: i for i, name in enumerate(names)}
        parts = [(n.name, n.offset) if isinstance(n, Named) else (_NONE, n) for n in numbers]
        self._selector = np.array([index[name] for name, _ in parts])
        self._template = np.array([number for _, number in parts], dtype=np.int64)

    def run(self, values: Mapping[str, Tensor | int]) -> None:
        """Fill in and run; returns when all calls are done.

        Raises ValueError for a missing value and TypeError for one of another type than declared,
        before anything runs.
        """
        if self._n_shares == 0:
            return
        data = np.empty_like(self._template)
        here = data.__array_interface__["data"][0]
        given = np.array([0, here, *self._given(values)], dtype=np.int64)
        np.add(self._template, given[self._selector], out=data)
        run_team(self._n_shares, here)
        if (program := recorded()) is not None:
            program.add(data, here, values.values())

    def _given(self, values: Mapping[str, Tensor | int]) -> list[int]:
        """Integers, and addresses of tensors; a group of one type is checked at a time."""
        given: list[Any] = []
        for expected, names in self._groups:
            try:
                group = [values[name] for name in names]
            except KeyError as error:
                raise ValueError(f"arguments are missing: {error.args[0]}") from None
            try:
                types = set(map(type if expected is None else _dtype_of, group))
            except AttributeError:  # no tensor
                types = set()
            if types != {expected or int}:
                for name, value in zip(names, group, strict=True):
                    check_given(name, expected, value)
            given += group if expected is None else map(_address_of, group)
        return given


_NONE, _HERE = "0", "this array"
_dtype_of, _address_of = attrgetter("dtype"), methodcaller("data_ptr")


def _with_inner(call: PlannedCall | Blocks) -> list[PlannedCall | Blocks]:
    """A call and those that it makes."""
    return [call, *call.calls] if isinstance(call, Blocks) else [call]


def _expected(calls: list[PlannedCall | Blocks]) -> dict[str, torch.dtype | None]:
    """What each name has to be: a tensor of a dtype, or, None, an integer."""
    found: dict[str, torch.dtype | None] = {}

    def expect(value: object, expected: torch.dtype | None) -> None:
        if isinstance(value, Named) and found.setdefault(value.name, expected) != expected:
            raise TypeError(
                f"{value.name} is {found[value.name]} in one call, {expected} in another"
            )

    for call in calls:
        for value in call.integers:
            expect(value, None)
        if isinstance(call, PlannedCall):
            call.declared.check(call.arguments)
            for name, value in call.arguments.items():
                expect(value, call.declared.pointee(name))
    return found


def _slots(call: PlannedCall) -> list[int | Named]:
    """The array of arguments; of a real, its bits."""
    values = (call.arguments[name] for name in call.declared.kinds)
    single = call.declared.dtype == torch.float32
    return [_bits(v, single) if isinstance(v, float) else v for v in values]


def _bits(value: float, single: bool) -> int:
    return int.from_bytes(
        struct.pack("<f" if single else "<d", value).ljust(8, b"\0"), "little", signed=True
    )


def _add_calls(
    numbers: list[int | Named], calls: Sequence[PlannedCall | Blocks]
) -> list[tuple[int, PlannedCall | Blocks]]:
    """Six numbers per call; returns where the addresses of their arguments are to stand."""
    places = []
    for call in calls:
        numbers += [call.kernel.address, *call.integers, 0]
        places.append((len(numbers) - 1, call))
    return places


# The first two integers of the calls are those of a block, not the ones that stand there.
_IN_BLOCKS = f"""
define void @in_blocks(i64 %first, i64 %end, i64 %size, i64 %n, ptr %calls) {{
entry:
  br label %block
block:
  %begin = phi i64 [ %first, %entry ], [ %next, %after ]
  %more = icmp slt i64 %begin, %end
  br i1 %more, label %some, label %done
some:
  %next = add i64 %begin, %size
  %stop = call i64 @llvm.smin.i64(i64 %next, i64 %end)
  br label %head
head:
  %k = phi i64 [ 0, %some ], [ %k.next, %body ]
  %any = icmp slt i64 %k, %n
  br i1 %any, label %body, label %after
body:
{call_k("%begin", "%stop")}
  %k.next = add i64 %k, 1
  br label %head
after:
  br label %block
done:
  ret void
}}
"""


@cache
def _in_blocks() -> Kernel:
    return Kernel("in_blocks", _IN_BLOCKS, n_integers=4)
