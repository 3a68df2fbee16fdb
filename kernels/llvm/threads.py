"""Run compiled kernels side by side, on the threads that torch's own operations use.

Between two operations torch's OpenMP threads wait for work by spinning. Threads of our own would
compete with them for the same cores, so shares of work are handed to the same team (libgomp's
`GOMP_parallel`); where torch brings another OpenMP library, to a pool of Python threads. Each
share is taken by whoever is free; what it writes is its own, so the result does not depend on who.

A process that forks takes none of these threads along. The team is ended before and begins anew in
both; without that the first operation of the child, or of torch there, would wait forever.
"""

import ctypes
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any

import torch

from fastequi.kernels.llvm.compiler import Kernel

#: A call in an array of 64-bit integers: a kernel's address, its integers, that of its arguments.
N_INTEGERS = 4
CALL_LENGTH = 1 + N_INTEGERS + 1


def call_k(*first_integers: str) -> str:
    """LLVM IR that makes call %k of the array %calls, with values instead of its first integers."""
    lines = [f"%offset = mul i64 %k, {CALL_LENGTH}",
             "%call = getelementptr i64, ptr %calls, i64 %offset",
             "%f = load ptr, ptr %call"]  # fmt: skip
    integers = [f"i64 {name}" for name in first_integers]
    for i in range(len(first_integers), N_INTEGERS):
        lines += [f"%a{i} = getelementptr i64, ptr %call, i64 {1 + i}",
                  f"%b{i} = load i64, ptr %a{i}"]  # fmt: skip
        integers.append(f"i64 %b{i}")
    lines += [f"%a.arguments = getelementptr i64, ptr %call, i64 {1 + N_INTEGERS}",
              "%arguments = load ptr, ptr %a.arguments",
              f"call void %f({', '.join(integers)}, ptr %arguments)"]  # fmt: skip
    return "\n".join(f"  {line}" for line in lines)


# data: [next share, shares done, shares, first call of each share and one more, calls ...]; calls
# of a share run in turn.
TEAM = f"""
define void @team(ptr %data) {{
entry:
  %done.at = getelementptr i64, ptr %data, i64 1
  %shares.at = getelementptr i64, ptr %data, i64 2
  %shares = load i64, ptr %shares.at
  %bounds = getelementptr i64, ptr %data, i64 3
  %behind = add i64 %shares, 4
  %calls = getelementptr i64, ptr %data, i64 %behind
  br label %claim
claim:
  %share = atomicrmw add ptr %data, i64 1 seq_cst
  %any = icmp slt i64 %share, %shares
  br i1 %any, label %begin, label %over
begin:
  %first.at = getelementptr i64, ptr %bounds, i64 %share
  %first = load i64, ptr %first.at
  %last.at = getelementptr i64, ptr %first.at, i64 1
  %last = load i64, ptr %last.at
  br label %head
head:
  %k = phi i64 [ %first, %begin ], [ %k.next, %body ]
  %more = icmp slt i64 %k, %last
  br i1 %more, label %body, label %end
body:
{call_k()}
  %k.next = add i64 %k, 1
  br label %head
end:
  %done = atomicrmw add ptr %done.at, i64 1 seq_cst
  br label %claim
over:
  ret void
}}
"""


def n_threads() -> int:
    """As many as torch uses."""
    return torch.get_num_threads()


def run_team(n: int, data: int) -> None:
    """Run n shares that are described at address `data`, as above; returns when all are done."""
    run_on_threads(_team(), n, data)


def run_on_threads(kernel: Kernel, n: int, data: int) -> None:
    """kernel(data) on each of n threads; returns when all are done."""
    if n == 1:
        kernel(data)
    elif (parallel := _gomp_parallel()) is not None:
        parallel(kernel.address, data, n, 0)
    else:
        for done in [_pool(n).submit(kernel, data) for _ in range(n)]:
            done.result()


@cache
def _team() -> Kernel:
    return Kernel("team", TEAM, n_integers=0)


@cache
def _pool(workers: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(workers, thread_name_prefix="fastequi")


def _end_team() -> None:
    """Before a fork, and in the thread that forks: no other one lives on in the child."""
    _pool.cache_clear()
    if (end := _gomp("omp_pause_resource_all", ctypes.c_int, [ctypes.c_int])) is not None:
        end(_OMP_PAUSE_SOFT)


os.register_at_fork(before=_end_team)
_OMP_PAUSE_SOFT = 1


@cache
def _gomp_parallel() -> Callable[..., None] | None:
    """GOMP_parallel(function, data, threads, flags) of the libgomp that torch has loaded."""
    types = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint]
    return _gomp("GOMP_parallel", None, types)


def _gomp(name: str, result: Any, arguments: list[Any]) -> Callable[..., Any] | None:
    """A function of the libgomp that comes with torch, if it is that which torch comes with."""
    libraries = [str(path) for path in (Path(torch.__file__).parent / "lib").glob("libgomp*")]
    libraries += [str(path) for path in Path(torch.__file__).parents[1].glob("torch.libs/libgomp*")]
    for library in libraries:
        try:
            function = getattr(ctypes.CDLL(library), name)
        except (OSError, AttributeError):
            continue
        function.argtypes, function.restype = arguments, result
        return function
    return None
