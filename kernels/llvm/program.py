"""Programs: plans that were run once, one after the other, and are run again by one call.

    with recording() as program:
        ...                     # plans run, and are noted down with the memory that they were given
    program.run()               # the same calls on the same memory

What lies between the plans of a small system costs several times as much as their arithmetic. Of a
program nothing is left but the calls: all threads go through all plans, and begin one when all
shares of the one before are done, whoever did them. A thread that comes late, because the system
took its core away, finds them done and keeps nobody waiting.

Whatever else writes numbers while a program is recorded would be missing from it, in silence; so
torch's operations are refused then, but for those that only make or look at memory.
"""

import ctypes
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import numpy as np
from torch import Tensor
from torch.overrides import TorchFunctionMode

from fastequi.kernels.llvm.compiler import Kernel
from fastequi.kernels.llvm.threads import TEAM, n_threads, run_on_threads

_current = threading.local()


def recorded() -> "Program | None":
    """The program that this thread is recording, if it is."""
    return getattr(_current, "program", None)


@contextmanager
def recording() -> Iterator["Program"]:
    """Plans that run inside, in this thread, become a program.

    Raises RuntimeError at a function of torch that computes.
    """
    assert recorded() is None, "a program is being recorded already"
    program = _current.program = Program()
    try:
        with _NoArithmetic():
            yield program
    finally:
        _current.program = None


class Program:
    """Stages one after the other, on memory that it keeps alive."""

    def __init__(self) -> None:
        self.n_threads = n_threads()
        self._stages: list[tuple[int, np.ndarray]] = []
        self._memory: list[Any] = []
        self._table: np.ndarray | None = None

    @property
    def n_stages(self) -> int:
        return len(self._stages)

    def add(self, data: np.ndarray, address: int, memory: Iterable[Any]) -> None:
        """A plan that is filled in, at its address, and what it was filled in with."""
        self._stages.append((address, data))
        self._memory += (value for value in memory if isinstance(value, Tensor))
        self._table = None

    def run(self) -> None:
        """All stages; returns when they are done."""
        if self._table is None:
            table = [_yield_address(), len(self._stages), *(address for address, _ in self._stages)]
            self._table = np.array(table, dtype=np.int64)
        address = self._table.__array_interface__["data"][0]
        _kernel("rewind")(address)
        run_on_threads(_kernel("stages"), self.n_threads, address)


class _NoArithmetic(TorchFunctionMode):
    """Refuses functions of torch that write numbers, or look at them; views and memory that is not
    filled may pass. (A TorchDispatchMode, which sees the same more directly, would load torch's
    compiler: 130 MB.)"""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs, name = kwargs or {}, getattr(func, "__name__", str(func))
        is_written = (name.endswith("_") and not name.endswith("__")) or "out" in kwargs
        if is_written or name in _LOOKS_AT_NUMBERS:
            raise _refused(name)
        found = func(*args, **kwargs)
        if name not in _MEMORY and not _storages(found) <= _storages((args, kwargs)):
            raise _refused(name)
        return found


def _refused(name: str) -> RuntimeError:
    return RuntimeError(
        f"torch computes {name} while a program is recorded, and would not when it runs"
    )


_MEMORY = ("empty", "empty_like", "new_empty")
_LOOKS_AT_NUMBERS = ("__setitem__", "__bool__", "item", "tolist", "equal", "numpy")


def _storages(values: Any) -> set[int]:
    """Addresses of the memory of all tensors that are not empty."""
    if isinstance(values, Tensor):
        return {values.untyped_storage().data_ptr()} if values.numel() else set()
    if isinstance(values, dict):
        values = values.values()
    elif not isinstance(values, list | tuple):
        return set()
    return set().union(*map(_storages, values))


@cache
def _yield_address() -> int:
    """Of the function that gives a core away for a while; 0 where the system has none."""
    try:
        return ctypes.cast(ctypes.CDLL(None).sched_yield, ctypes.c_void_p).value or 0
    except (AttributeError, OSError, TypeError):
        return 0


@cache
def _kernel(name: str) -> Kernel:
    return Kernel(name, _SOURCES[name], n_integers=0)


#: Looks at a counter before a waiting thread gives its core away; a power of two.
_LOOKS = 2**12


def _for_each_stage(name: str, body: str) -> str:
    """void name(ptr stages), [address of yield, stages, address of the data of each].

    `body` has the data of one, and the place of its counter of shares done; it goes on to %next.
    """
    return f"""
define void @{name}(ptr %stages) {{
entry:
  %yield = load ptr, ptr %stages
  %n.at = getelementptr i64, ptr %stages, i64 1
  %n = load i64, ptr %n.at
  br label %head
head:
  %s = phi i64 [ 0, %entry ], [ %s.next, %next ]
  %more = icmp slt i64 %s, %n
  br i1 %more, label %stage, label %over
stage:
  %place = add i64 %s, 2
  %data.at = getelementptr i64, ptr %stages, i64 %place
  %data = load ptr, ptr %data.at
  %done.at = getelementptr i64, ptr %data, i64 1
{body}
next:
  %s.next = add i64 %s, 1
  br label %head
over:
  ret void
}}
"""


# A share of what there is to do, then wait until all is done.
_STAGES = TEAM + _for_each_stage(
    "stages",
    f"""
  call void @team(ptr %data)
  %shares.at = getelementptr i64, ptr %data, i64 2
  %shares = load i64, ptr %shares.at
  br label %wait
wait:
  %looks = phi i64 [ 1, %stage ], [ %looks.next, %again ]
  %done = load atomic i64, ptr %done.at seq_cst, align 8
  %all = icmp sge i64 %done, %shares
  br i1 %all, label %next, label %look
look:
  %rest = and i64 %looks, {_LOOKS - 1}
  %long = icmp eq i64 %rest, 0
  %can = icmp ne ptr %yield, null
  %give.way = and i1 %long, %can
  br i1 %give.way, label %yielding, label %again
yielding:
  %given = call i32 %yield()
  br label %again
again:
  %looks.next = add i64 %looks, 1
  br label %wait
""",
)

# Both counters back to zero.
_REWIND = _for_each_stage(
    "rewind",
    """
  store i64 0, ptr %data
  store i64 0, ptr %done.at
  br label %next
""",
)
_SOURCES = {"stages": _STAGES, "rewind": _REWIND}
