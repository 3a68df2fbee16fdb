"""Compile printed IR for this CPU and keep the machine code on disk.

One object file per kernel, named by the hash of its text, this CPU and the LLVM version.
"""

import ctypes
import functools
import hashlib
import platform
import threading
from typing import Any

import llvmlite
import llvmlite.binding as llvm

from fastequi.kernels import cache

_lock = threading.Lock()


@functools.cache
def target_machine() -> Any:
    """LLVM's model of this CPU, with all its instructions."""
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    features = llvm.get_host_cpu_features().flatten()
    if vector_bytes() == 64:  # otherwise LLVM halves its vectors on AVX-512
        features += ",-prefer-256-bit"
    target = llvm.Target.from_default_triple()
    return target.create_target_machine(
        cpu=llvm.get_host_cpu_name(), features=features, opt=3, jit=True
    )


@functools.cache
def vector_bytes() -> int:
    """Width of this CPU's vector registers: 64 (AVX-512), 32 (AVX2) or 16."""
    features = llvm.get_host_cpu_features()
    if features.get("avx512f"):
        return 64
    return 32 if features.get("avx2") else 16


class Kernel:
    """A compiled function; call it with addresses and integers."""

    def __init__(self, name: str, source: str, n_integers: int) -> None:
        """source: IR of `void name(i64 * n_integers, ptr)`."""
        self.name, self.source = name, source
        self._engine = _engine_with(_object_code(name, source))
        self.address: int = self._engine.get_function_address(name)
        signature = ctypes.CFUNCTYPE(None, *([ctypes.c_int64] * n_integers), ctypes.c_void_p)
        self._call = signature(self.address)

    def __call__(self, *arguments: int) -> None:
        self._call(*arguments)


def _engine_with(code: bytes) -> Any:
    with _lock:
        engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), _new_machine())
        engine.add_object_file(llvm.object_file.ObjectFileRef.from_data(code))
        engine.finalize_object()
    return engine


def _new_machine() -> Any:
    """An engine owns its machine."""
    machine = target_machine()
    return llvm.Target.from_triple(machine.triple).create_target_machine(
        cpu=llvm.get_host_cpu_name(), features=llvm.get_host_cpu_features().flatten(), jit=True
    )


def _object_code(name: str, source: str) -> bytes:
    entry = entry_name(name, source)
    code = cache.read(entry)
    if code is None:
        code = compile_ir(source)
        cache.write(entry, code)
    return code


def entry_name(name: str, source: str) -> str:
    """Where the cache keeps the machine code of a kernel."""
    return f"{name[:40]}-{_key(source)}.o"


def _key(source: str) -> str:
    machine = (llvm.get_host_cpu_name(), llvm.get_host_cpu_features().flatten(), platform.machine())
    text = repr((source, machine, llvmlite.__version__, llvm.llvm_version_info))
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def compile_ir(source: str) -> bytes:
    """Machine code of an IR module."""
    with _lock:
        module = llvm.parse_assembly(source)
        module.verify()
        machine = target_machine()
        module.triple = machine.triple
        options = llvm.create_pipeline_tuning_options(speed_level=2)
        options.loop_unrolling = False
        options.loop_vectorization = False
        options.slp_vectorization = False
        builder = llvm.create_pass_builder(machine, options)
        builder.getModulePassManager().run(module, builder)
        return machine.emit_object(module)
