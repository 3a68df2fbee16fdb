"""Kernel calls prepared once and run many times: only addresses and sizes are filled in.

Small systems are ruled by what a call costs before any arithmetic. All numbers of all calls (which
kernel, its four integers, its argument arrays) form one array of 64-bit integers: a template plus
named values, added by two numpy operations per run.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from operator import itemgetter

import numpy as np

from fastequi.kernels.llvm.compiler import Kernel
from fastequi.kernels.llvm.threads import call_k, run_team


@dataclass(frozen=True, slots=True)
class Named:
    """A number given by name when the plan runs, plus a constant."""

    name: str
    offset: int = 0


@dataclass(frozen=True, slots=True)
class PlannedCall:
    """kernel(four integers, arguments)."""

    kernel: Kernel
    integers: tuple[int | Named, ...]
    arguments: tuple[int | Named, ...]


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
        self._kernels = [kernel for share in shares for call in share for kernel in _used_by(call)]
        bounds = np.cumsum([0, *map(len, shares)]).tolist()
        numbers: list[int | Named] = [0, len(shares), *bounds]
        waiting = _add_calls(numbers, [call for share in shares for call in share])
        while waiting:  # arrays of arguments, and of the calls of blocks, behind the calls
            place, call = waiting.pop(0)
            numbers[place] = Named(_HERE, 8 * len(numbers))
            if isinstance(call, Blocks):
                waiting += _add_calls(numbers, call.calls)
            else:
                numbers += call.arguments
        self._link(numbers)

    def _link(self, numbers: list[int | Named]) -> None:
        names = {n.name: None for n in numbers if isinstance(n, Named)} | {_HERE: None}
        self.names = [name for name in names if name != _HERE]
        self._given = itemgetter(_NONE, _HERE, *self.names)
        index = {name: i for i, name in enumerate([_NONE, _HERE, *self.names])}
        parts = [(n.name, n.offset) if isinstance(n, Named) else (_NONE, n) for n in numbers]
        self._selector = np.array([index[name] for name, _ in parts])
        self._template = np.array([number for _, number in parts], dtype=np.int64)

    def run(self, values: Mapping[str, int]) -> None:
        """Fill in and run; returns when all calls are done."""
        if self._n_shares == 0:
            return
        data = np.empty_like(self._template)
        here = data.__array_interface__["data"][0]
        given = np.array(self._given({**values, _NONE: 0, _HERE: here}), dtype=np.int64)
        np.add(self._template, given[self._selector], out=data)
        run_team(self._n_shares, here)


_NONE, _HERE = "0", "this array"


def _used_by(call: PlannedCall | Blocks) -> list[Kernel]:
    """The kernels of a call; a plan holds on to them, because its numbers are their addresses."""
    inner = [inner.kernel for inner in call.calls] if isinstance(call, Blocks) else []
    return [call.kernel, *inner]


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
