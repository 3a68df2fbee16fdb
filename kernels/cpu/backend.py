"""What the CPU has compiled of a layer (kernels/backend.py)."""

import torch

from fastequi.kernels.cpu import gate, linear
from fastequi.kernels.cpu.convolution import compile_all, forward, missing_kernels, vjp
from fastequi.kernels.cpu.tangent import jvp, jvp_vjp, missing_tangents
from fastequi.kernels.instructions import Instructions

__all__ = ["forward", "gate", "jvp", "jvp_vjp", "linear", "prepare", "vjp"]


def prepare(
    layers: list[Instructions], dtype: torch.dtype, *, training: bool, stretched: bool
) -> None:
    """Nothing to do when all is in the cache."""
    source = "rows" if training else "table"
    missing = missing_kernels(source, layers, dtype, stretched)
    compile_all(missing + (missing_tangents(layers, dtype) if training else []))
