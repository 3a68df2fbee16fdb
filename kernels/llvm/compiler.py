"""Compile printed IR for this CPU and keep the machine code on disk.

One object file per kernel, named by the hash of its text, this CPU, the width of vectors and the
LLVM version.
"""

import ctypes
import hashlib
import threading
from typing import Any

import llvmlite.binding as llvm

from fastequi.kernels.llvm.arguments import Arguments
from fastequi.kernels.llvm.target import Target, host
from fastequi.storage import cache

_lock = threading.Lock()


class Kernel:
    """A compiled function; call it with addresses and integers."""

    def __init__(
        self, name: str, source: str, n_integers: int, arguments: Arguments | None = None
    ) -> None:
        """source: IR of `void name(i64 * n_integers, ptr)`; arguments: what a plan puts there."""
        self.name, self.source, self.arguments = name, source, arguments
        self._engine = _engine_with(_object_code(name, source))
        self.address: int = self._engine.get_function_address(name)
        signature = ctypes.CFUNCTYPE(None, *([ctypes.c_int64] * n_integers), ctypes.c_void_p)
        self._call = signature(self.address)

    def __call__(self, *arguments: int) -> None:
        self._call(*arguments)


def _engine_with(code: bytes) -> Any:
    with _lock:
        engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), host().machine())
        engine.add_object_file(llvm.object_file.ObjectFileRef.from_data(code))
        engine.finalize_object()
    return engine


def _object_code(name: str, source: str) -> bytes:
    entry = entry_name(name, source)
    code = cache.read(entry)
    if code is None:
        code = compile_ir(source)
        cache.write(entry, code)
    return code


def entry_name(name: str, source: str) -> str:
    """Where the cache keeps the machine code of a kernel."""
    text = repr((source, host().identity))
    return f"{name[:40]}-{hashlib.sha256(text.encode()).hexdigest()[:32]}.o"


def compile_ir(source: str) -> bytes:
    """Machine code of an IR module for this CPU."""
    with _lock:
        return host().compiling_machine.emit_object(optimized(source, host()))


def optimized(source: str, target: Target) -> Any:
    """The verified module after LLVM's passes, for any target."""
    module = llvm.parse_assembly(source)
    module.verify()
    machine = target.compiling_machine
    module.triple = machine.triple
    options = llvm.create_pipeline_tuning_options(speed_level=2)
    options.loop_unrolling = False
    options.loop_vectorization = False
    options.slp_vectorization = False
    builder = llvm.create_pass_builder(machine, options)
    builder.getModulePassManager().run(module, builder)
    return module
