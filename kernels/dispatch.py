"""Which implementation of the convolution runs, and why; said aloud, never a silent fall-back."""

from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec

import torch
from torch import Tensor

from fastequi.errors import InputError
from fastequi.kernels.instructions import Instructions

#: Implementation -> the module that provides `fused_convolution`; 'reference' fuses nothing.
FUSED = {"cpu": "fastequi.kernels.convolution.cpu_op"}
IMPLEMENTATIONS = ("reference", *FUSED)


def choose_kernels(requested: str, device: torch.device) -> tuple[str, str]:
    """(implementation, reason) for 'auto' or a name.

    Raises InputError for a name that is not known or cannot run on this device.
    """
    if requested == "auto":
        return _best(device)
    if requested not in IMPLEMENTATIONS:
        raise InputError(
            f"kernels = {requested!r} is not available in this version; "
            f"allowed: auto, {', '.join(IMPLEMENTATIONS)}"
        )
    if requested == "cpu":
        if device.type != "cpu":
            raise InputError(
                f"kernels = 'cpu' cannot run on device {device}; use auto or reference"
            )
        if find_spec("llvmlite") is None:
            raise InputError("kernels = 'cpu' needs the package llvmlite: pip install llvmlite")
    return requested, "as asked"


def _best(device: torch.device) -> tuple[str, str]:
    if device.type != "cpu":
        return "reference", f"plain torch, the only implementation for {device.type}"
    if find_spec("llvmlite") is None:
        return "reference", "the CPU kernels need the package llvmlite, which is not installed"
    return "cpu", "compiled for this processor"


def fused_convolution(implementation: str) -> Callable[..., list[Tensor]]:
    """The function that an implementation provides."""
    return import_module(FUSED[implementation]).fused_convolution


def prepare(
    implementation: str, layers: list[Instructions], dtype: torch.dtype, stretched: bool
) -> None:
    """Compile ahead what the layers of a model need."""
    import_module(FUSED[implementation]).prepare(layers, dtype, stretched)
