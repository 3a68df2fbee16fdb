"""Kernels of the convolution: printed, compiled for this processor, kept."""

import functools
from collections.abc import Callable

from fastequi.kernels.cpu.forward import ForwardPrinter
from fastequi.kernels.cpu.printer import Printer
from fastequi.kernels.cpu.reverse import ReversePrinter
from fastequi.kernels.cpu.spec import KernelSpec, Operation
from fastequi.kernels.cpu.vjp import VjpPrinter
from fastequi.kernels.llvm.compiler import Kernel, entry_name
from fastequi.storage import cache

_PRINTERS: dict[Operation, Callable[[KernelSpec], Printer]] = {
    "forward": ForwardPrinter,
    "jvp": ForwardPrinter,
    "vjp": VjpPrinter,
    "jvp_vjp": ReversePrinter,
}


@functools.cache
def _printer(spec: KernelSpec) -> Printer:
    return _PRINTERS[spec.operation](spec)


@functools.cache
def print_kernel(spec: KernelSpec) -> str:
    """The LLVM IR of a kernel: void name(first receiver, end, first channel, end, arguments)."""
    return _printer(spec).text()


def scratch_reals(spec: KernelSpec) -> tuple[int, int]:
    """Reals of scratch that a kernel needs, and for each edge of the receivers at hand."""
    return _printer(spec).scratch_reals


@functools.cache
def compiled(spec: KernelSpec) -> Kernel:
    """The kernel, from the cache on disk or compiled now."""
    return Kernel(spec.name, print_kernel(spec), 4, spec.arguments)


def is_cached(spec: KernelSpec) -> bool:
    """Whether the kernel needs no compilation."""
    return cache.read(entry_name(spec.name, print_kernel(spec))) is not None
