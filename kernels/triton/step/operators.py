"""The kernels of a step as one PyTorch operator, which torch's meta device knows too.

It writes into what it is given, allocates nothing and asks the device nothing.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from fastequi.kernels.triton.step.kernels import KERNELS


def launch_(name: str, grid: Sequence[int], **arguments: Tensor | float) -> None:
    """Run a kernel of `KERNELS` with its parameters by name; no programs, no launch.

    Tensors must lie in one piece of memory; ValueError names one that does not.
    """
    tensors = {k: v for k, v in arguments.items() if isinstance(v, Tensor)}
    for parameter, tensor in tensors.items():
        if not tensor.is_contiguous():
            raise ValueError(f"{name}: {parameter} has strides {tensor.stride()}; copy it once")
    written = KERNELS[name].written
    read = [k for k in tensors if k not in written]
    reals = {k: v for k, v in arguments.items() if isinstance(v, float)}
    counts = {k: v for k, v in arguments.items() if isinstance(v, int)}
    if 0 in grid:
        return
    _step_kernel_(
        name, " ".join([*read, *written, *reals, *counts]), [tensors[k] for k in read],
        [tensors[k] for k in written], list(reals.values()), list(counts.values()), list(grid),
    )  # fmt: skip


@torch.library.custom_op("fastequi::step_kernel_", mutates_args=("written",))
def _step_kernel_(
    name: str, names: str, read: list[Tensor], written: list[Tensor], reals: list[float],
    counts: list[int], grid: list[int],
) -> None:  # fmt: skip
    from fastequi.kernels.triton import launch

    values: list[Any] = [*read, *written, *reals, *counts]
    launch.run_small(name, dict(zip(names.split(), values, strict=True)), grid)


@_step_kernel_.register_fake
def _(name, names, read, written, reals, counts, grid):
    return None
