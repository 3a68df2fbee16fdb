"""Memory accesses of interpreted Triton kernels, held to what a GPU demands.

    with checked_accesses() as accesses:
        backend.forward(...)
    assert accesses.total > 0

Inside, each tensor that a kernel is given begins 2^48 bytes after the one before, so that an
access belongs to one tensor however wrong its offset is. It is known who loads, stores and adds:

    beyond the end       of the tensor; what was asked for is not done
    race                 a program touches what another one of the launch writes, or writes what it
                         loads; between atomics there is none
    lanes                two lanes of a program store to one address, or one loads what a lane has
                         stored before
    nobody wrote         a number from memory that `poisoned_memory` has filled is loaded

The interpreter runs programs one after the other, so that none of these need change a result
there. It has no hooks for this: what is replaced inside are names of Triton 3.5 to 3.9 that may
change, and then nothing is counted.
"""

import inspect
import linecache
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from fastequi.kernels.testing import POISON

#: Distance between the beginnings of tensors, in bits; they begin in the middle of their ranges.
_RANGE_BITS = 48
_NOBODY, _SEVERAL = -1, -2

_LOAD, _STORE, _ATOMIC = range(3)
_VERBS = ("load", "store", "atomic")
#: What an access must not meet of another program's, and what it is called in the interpreter.
_AGAINST = {_LOAD: (_STORE, _ATOMIC), _STORE: (_LOAD, _STORE, _ATOMIC), _ATOMIC: (_LOAD, _STORE)}
_METHODS = {
    "create_masked_load": _LOAD,
    "create_masked_store": _STORE,
    "create_atomic_rmw": _ATOMIC,
    "create_atomic_cas": _ATOMIC,
}


@dataclass
class Accesses:
    """How many instructions loaded, stored and added, and what is wrong, each line once."""

    counts: list[int] = field(default_factory=lambda: [0, 0, 0])
    faults: dict[tuple[str, str], str] = field(default_factory=dict)

    @property
    def total(self) -> int:
        return sum(self.counts)

    def fault(self, kind: str, detail: str = "") -> None:
        line = _line_of_kernel()
        self.faults.setdefault((kind, line), f"{kind}{detail}: {line}")


@contextmanager
def checked_accesses() -> Iterator[Accesses]:
    """Check all kernels that the interpreter runs inside; it must have been chosen before.

    Raises AssertionError at the end, naming the lines of the kernels.
    """
    from triton.runtime import interpreter

    accesses = Accesses()
    memory = _Memory(accesses, interpreter)
    builder = type(interpreter.interpreter_builder)
    with ExitStack() as stack:
        for method, kind in _METHODS.items():
            stack.enter_context(
                patch.object(builder, method, memory.watched(getattr(builder, method), kind))
            )
        stack.enter_context(
            patch.object(interpreter, "_implicit_cvt", memory.placed(interpreter._implicit_cvt))
        )
        stack.enter_context(
            patch.object(interpreter, "_patch_lang", memory.once(interpreter._patch_lang))
        )
        executor = interpreter.GridExecutor
        stack.enter_context(patch.object(executor, "__call__", memory.launching(executor.__call__)))
        yield accesses
    if accesses.faults:
        raise AssertionError("\n  ".join(["accesses of kernels:", *accesses.faults.values()]))


class _Memory:
    """The tensors of the launch that runs, and which program has touched which of their numbers."""

    def __init__(self, accesses: Accesses, interpreter: Any) -> None:
        self.accesses, self.interpreter = accesses, interpreter
        self.tensors: list[Tensor] = []
        self.touched: dict[tuple[int, int], NDArray[np.int64]] = {}
        self.prepared: dict[Any, Any] = {}

    # -- what replaces the interpreter's own -------------------------------------------------

    def launching(self, call: Callable[..., Any]) -> Callable[..., Any]:
        """Every launch begins anew: the one before it has ended."""

        def new(executor: Any, *arguments: Any, **named: Any) -> Any:
            self.tensors.clear()
            self.touched.clear()
            self.prepared.clear()
            return call(executor, *arguments, **named)

        return new

    def once(self, prepare: Callable[[Any], Any]) -> Callable[[Any], Any]:
        """Language that a function uses, replaced once in a launch rather than at every call.

        Only for speed: kernels that call functions take a third of the time.
        """

        def new(function: Any) -> Any:
            if function not in self.prepared:
                self.prepared[function] = prepare(function)
            return self.prepared[function]

        return new

    def placed(self, convert: Callable[[Any], Any]) -> Callable[[Any], Any]:
        """Arguments of a kernel, tensors with an address of their own."""

        def new(argument: Any) -> Any:
            made = convert(argument)
            if isinstance(argument, Tensor):
                self.tensors.append(argument)
                made.handle.data = np.array([_begin(len(self.tensors) - 1)], np.uint64)
            return made

        return new

    def watched(self, method: Callable[..., Any], kind: int) -> Callable[..., Any]:
        """An access, looked at before it is done with real addresses."""
        names = list(inspect.signature(method).parameters)
        at = names.index("ptrs" if "ptrs" in names else "ptr")
        mask_at = names.index("mask") if "mask" in names else None

        def new(*arguments: Any) -> Any:
            changed = list(arguments)
            pointers = arguments[at]
            mask = np.ones(pointers.data.shape, bool)
            if mask_at is not None:
                mask = np.broadcast_to(arguments[mask_at].data.astype(bool), pointers.data.shape)
            real, inside = self.inspect(pointers.data, mask, kind)
            changed[at] = self.interpreter.TensorHandle(real, pointers.dtype)
            if mask_at is not None:
                old = arguments[mask_at]
                changed[mask_at] = self.interpreter.TensorHandle(inside, old.dtype)
            elif not inside.all():
                raise AssertionError("an atomic without a mask beyond the end")
            result = method(*changed)
            if kind == _LOAD and _is_poison(result.data[inside]):
                self.accesses.fault("load of what nobody wrote")
            return result

        return new

    # -- one access --------------------------------------------------------------------------

    def inspect(
        self, pointers: NDArray[np.uint64], mask: NDArray[np.bool_], kind: int
    ) -> tuple[NDArray[np.uint64], NDArray[np.bool_]]:
        """Real addresses, and the mask without what lies outside; faults are noted."""
        self.accesses.counts[kind] += 1
        number = (int(pointers.flat[0]) >> _RANGE_BITS) - 1
        tensor = self.tensors[number]
        size = tensor.element_size()
        index = (pointers.astype(np.int64) - _begin(number)) // size
        inside = mask & (index >= 0) & (index < _extent(tensor))
        if (mask & ~inside).any():
            detail = f" [{index[mask & ~inside][0]} of {_extent(tensor)}]"
            self.accesses.fault(f"{_VERBS[kind]} beyond the end", detail)
        self.note(tensor, index[inside], kind)
        return np.where(inside, tensor.data_ptr() + index * size, 0).astype(np.uint64), inside

    def note(self, tensor: Tensor, index: NDArray[np.int64], kind: int) -> None:
        """Races, and who has touched what from now on."""
        fault, me = self.accesses.fault, self.program()
        if kind == _STORE and len(np.unique(index)) < len(index):
            fault("lanes store to one address")
        of_storage = self.owners(tensor)
        place = index + tensor.storage_offset()
        for other in _AGAINST[kind]:
            by = of_storage[other, place]
            if ((by != _NOBODY) & (by != me)).any():
                fault(f"race: {_VERBS[kind]} and another program's {_VERBS[other]}")
            elif kind == _LOAD and (by == me).any():
                fault("load of what other lanes of the program may have stored")
        mine = of_storage[kind, place]
        of_storage[kind, place] = np.where((mine == _NOBODY) | (mine == me), me, _SEVERAL)

    def owners(self, tensor: Tensor) -> NDArray[np.int64]:
        """By kind of access and place in the storage: a program, nobody or several."""
        storage, size = tensor.untyped_storage(), tensor.element_size()
        key = (storage.data_ptr(), size)
        if key not in self.touched:
            self.touched[key] = np.full((3, storage.nbytes() // size), _NOBODY)
        return self.touched[key]

    def program(self) -> int:
        builder = self.interpreter.interpreter_builder
        (i, j, k), (_, ny, nz) = builder.grid_idx, builder.grid_dim
        return (i * ny + j) * nz + k


def _begin(number: int) -> int:
    return ((number + 1) << _RANGE_BITS) + (1 << (_RANGE_BITS - 1))


def _extent(tensor: Tensor) -> int:
    """Numbers between the first and the last of a tensor, views included."""
    if tensor.numel() == 0:
        return 0
    steps = zip(tensor.shape, tensor.stride(), strict=True)
    return 1 + sum((size - 1) * stride for size, stride in steps)


def _is_poison(loaded: NDArray[Any]) -> bool:
    poison = POISON.get(loaded.dtype.name)
    return poison is not None and bool((loaded.view(poison.dtype) == poison).any())


def _line_of_kernel() -> str:
    """Of the innermost frame that is neither Triton's nor of this module."""
    import triton

    strangers = (str(Path(triton.__file__).parent), __file__)
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename.startswith(strangers):
        frame = frame.f_back
    return linecache.getline(frame.f_code.co_filename, frame.f_lineno).strip()
