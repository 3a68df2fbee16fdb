"""What the CPU has compiled of a layer (kernels/backend.py)."""

import torch

from fastequi.kernels.cpu import gate, linear, norm, step
from fastequi.kernels.cpu.convolution import EdgeSums as edge_sums
from fastequi.kernels.cpu.convolution import (
    compile_all,
    forward,
    jvp,
    jvp_vjp,
    missing_kernels,
    vjp,
)
from fastequi.kernels.instructions import Instructions

__all__ = [
    "edge_sums",
    "forward",
    "gate",
    "jvp",
    "jvp_vjp",
    "linear",
    "norm",
    "prepare",
    "step",
    "vjp",
]


def prepare(
    layers: list[Instructions], dtype: torch.dtype, *, training: bool, has_cutoff_scale: bool
) -> None:
    """Nothing to do when all is in the cache."""
    wanted = {"training": training, "has_cutoff_scale": has_cutoff_scale}
    compile_all(missing_kernels(layers, dtype, **wanted))
