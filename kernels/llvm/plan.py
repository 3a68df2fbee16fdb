"""Kernel calls prepared once and run many times: only addresses and sizes are filled in.

Small systems are ruled by what a call costs before any arithmetic. All numbers of all calls (which
kernel, its four integers, its argument arrays) form one array of 64-bit integers: a template plus
named values, added by two numpy operations per run.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from fastequi.kernels.llvm.compiler import Kernel
from fastequi.kernels.llvm.threads import run_team


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


class Plan:
    """Shares of calls: shares run side by side, the calls of one share one after another."""

    def __init__(self, shares: Sequence[Sequence[PlannedCall]]) -> None:
        self._n_shares = len(shares)
        calls = [call for share in shares for call in share]
        bounds = np.cumsum([0, *map(len, shares)]).tolist()
        place = 3 + len(shares) + 6 * len(calls)
        numbers: list[int | Named] = [0, len(shares), *bounds]
        for call in calls:
            numbers += [call.kernel.address, *call.integers, Named(_HERE, 8 * place)]
            place += len(call.arguments)
        for call in calls:
            numbers += call.arguments
        self._link(numbers)

    def _link(self, numbers: list[int | Named]) -> None:
        names = {n.name: None for n in numbers if isinstance(n, Named)} | {_HERE: None}
        self.names = [name for name in names if name != _HERE]
        index = {name: i for i, name in enumerate([_NONE, _HERE, *self.names])}
        parts = [(n.name, n.offset) if isinstance(n, Named) else (_NONE, n) for n in numbers]
        self._selector = np.array([index[name] for name, _ in parts])
        self._template = np.array([number for _, number in parts], dtype=np.int64)

    def run(self, values: Mapping[str, int]) -> None:
        """Fill in and run; returns when all calls are done."""
        if self._n_shares == 0:
            return
        data = np.empty_like(self._template)
        here = data.ctypes.data
        given = np.array([0, here, *(values[name] for name in self.names)], dtype=np.int64)
        np.add(self._template, given[self._selector], out=data)
        run_team(self._n_shares, here)


_NONE, _HERE = "0", "this array"
