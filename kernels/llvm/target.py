"""The processor that kernels are printed and compiled for: this one, or another one, offline.

A kernel's text depends on the width of the vector registers and on how many there are; its machine
code on all that LLVM knows of the processor. FASTEQUI_VECTOR_BYTES forces a width: where it is
wider than the registers, LLVM takes several for a vector, and fewer vectors fit in.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

import llvmlite
import llvmlite.binding as llvm
import torch

from fastequi.errors import InputError

VARIABLE = "FASTEQUI_VECTOR_BYTES"
#: What it may be: NEON and SSE, AVX2, AVX-512.
WIDTHS = (16, 32, 64)
_ARM = ("arm64", "aarch64")


@dataclass(frozen=True)
class Target:
    """A processor.

    triple, cpu, features  as LLVM calls them
    register_bytes         of one of its vector registers
    register_count         how many it has
    vector_bytes           of the vectors in kernels
    """

    triple: str
    cpu: str
    features: str
    register_bytes: int
    register_count: int
    vector_bytes: int

    @property
    def vector_count(self) -> int:
        """Vectors that fit into its registers at a time."""
        return self.register_count // max(self.vector_bytes // self.register_bytes, 1)

    @property
    def instructions(self) -> set[str]:
        """What it has of LLVM's features, by name."""
        return {text[1:] for text in self.features.split(",") if text.startswith("+")}

    @property
    def identity(self) -> tuple[str | int, ...]:
        """What machine code depends on, besides the text of a kernel."""
        llvm_version = ".".join(map(str, llvm.llvm_version_info))
        processor = (self.triple, self.cpu, self.features, self.vector_bytes)
        return (*processor, llvmlite.__version__, llvm_version)

    @property
    def description(self) -> str:
        """The vectors of kernels, in words."""
        if self.vector_bytes == self.register_bytes:
            return f"{self.vector_bytes} bytes, as wide as the processor's registers"
        return f"{self.vector_bytes} bytes, asked for by {VARIABLE}"

    def machine(self) -> Any:
        """LLVM's model of it; each engine needs one of its own."""
        target = llvm.Target.from_triple(self.triple)
        return target.create_target_machine(cpu=self.cpu, features=self.features, opt=3, jit=True)

    @cached_property
    def compiling_machine(self) -> Any:
        """The one that emits code."""
        return self.machine()


@cache
def host() -> Target:
    """The processor at hand, with the width that FASTEQUI_VECTOR_BYTES asks for."""
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    return _described(
        llvm.get_default_triple(), llvm.get_host_cpu_name(), llvm.get_host_cpu_features()
    )


def lanes_of(dtype: torch.dtype) -> int:
    """Numbers per vector."""
    return host().vector_bytes // dtype.itemsize


def _described(triple: str, cpu: str, has: Mapping[str, bool]) -> Target:
    register_bytes, register_count = registers(has, triple.split("-")[0])
    vector_bytes = _wanted_width() or register_bytes
    features = ",".join(f"{'+' if has[name] else '-'}{name}" for name in sorted(has))
    if vector_bytes == 64:  # otherwise LLVM halves its vectors on AVX-512
        features += ",-prefer-256-bit"
    return Target(triple, cpu, features, register_bytes, register_count, vector_bytes)


def registers(has: Mapping[str, bool], machine: str) -> tuple[int, int]:
    """(bytes of a vector register, how many) of a processor with these features."""
    if machine in _ARM:
        return 16, 32
    if has.get("avx512f") and has.get("avx512vl"):
        return 64, 32
    return (32, 16) if has.get("avx2") else (16, 16)


def _wanted_width() -> int | None:
    """None: the registers' own. Raises InputError for what is none of the widths."""
    text = os.environ.get(VARIABLE, "")
    if not text:
        return None
    if text not in map(str, WIDTHS):
        allowed = ", ".join(map(str, WIDTHS))
        raise InputError(
            f"{VARIABLE}={text}: the bytes of a vector are one of {allowed}; "
            "unset it to take this processor's own"
        )
    return int(text)


def offline(name: str) -> Target:
    """One of `OFFLINE`, whatever the machine at hand. Raises KeyError for others."""
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    triple, features, register_bytes, register_count = OFFLINE[name]
    return Target(triple, name, features, register_bytes, register_count, register_bytes)


_LINUX = "x86_64-unknown-linux-gnu"
#: LLVM's name -> triple, features, bytes of a vector register, how many.
OFFLINE: dict[str, tuple[str, str, int, int]] = {
    "x86-64-v2": (_LINUX, "", 16, 16),
    "x86-64-v3": (_LINUX, "", 32, 16),
    "x86-64-v4": (_LINUX, "-prefer-256-bit", 64, 32),
    "apple-m1": ("arm64-apple-macosx", "", 16, 32),
    "neoverse-v1": ("aarch64-unknown-linux-gnu", "", 16, 32),
}
