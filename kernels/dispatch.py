"""Which implementation of the convolution runs, and why; said aloud, never a silent fall-back."""

from collections.abc import Callable
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor

from fastequi.errors import InputError
from fastequi.kernels.convolution import rows_reference, tangent_reference
from fastequi.kernels.convolution.mixing import mixed_after
from fastequi.kernels.instructions import Instructions

#: Implementation -> the module that provides `fused_convolution`; 'reference' fuses nothing.
FUSED = {
    "cpu": "fastequi.kernels.cpu.convolution",
    "triton": "fastequi.kernels.convolution.triton_op",
}
#: Training without fused kernels: the module whose trilinear `convolution` makes the two passes.
_TRILINEAR = {
    "reference": "fastequi.kernels.convolution.reference",
    "triton": "fastequi.kernels.convolution.triton_op",
}
#: Implementation -> the module of its fused passes of training; these have compiled linear maps,
#: gates and radial networks beside them.
_TANGENTS = {"cpu": "fastequi.kernels.cpu.tangent"}
#: Implementations whose fused convolution takes the linear map behind it as well.
_MIXED = ("cpu",)
#: Implementation -> the kind of device it runs on and the package that it needs.
_NEEDS = {"cpu": ("cpu", "llvmlite"), "triton": ("cuda", "triton")}
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
    if requested in _NEEDS:
        kind, package = _NEEDS[requested]
        if device.type != kind:
            raise InputError(
                f"kernels = {requested!r} runs on {kind}, not on {device}; use auto or reference"
            )
        if find_spec(package) is None:
            raise InputError(f"kernels = {requested!r} needs: pip install {package}")
    return requested, "as asked"


def _best(device: torch.device) -> tuple[str, str]:
    for name, (kind, package) in _NEEDS.items():
        if device.type == kind:
            if find_spec(package) is not None:
                return name, f"compiled for this {'processor' if kind == 'cpu' else 'GPU'}"
            return "reference", f"the {name} kernels need the package {package}: not installed"
    return "reference", f"plain torch, the only implementation for {device.type}"


def fused_convolution(implementation: str) -> Callable[..., list[Tensor]]:
    """The function that an implementation provides."""
    return import_module(FUSED[implementation]).fused_convolution


def mixed_convolution(implementation: str) -> Callable[..., list[Tensor]]:
    """The fused convolution and the linear map behind it, in one where an implementation has it."""
    convolution = fused_convolution(implementation)
    return convolution if implementation in _MIXED else mixed_after(convolution)


def prepare(
    implementation: str, layers: list[Instructions], dtype: torch.dtype, stretched: bool
) -> None:
    """Compile ahead what the layers of a model need."""
    module = import_module(FUSED[implementation])
    if hasattr(module, "prepare"):  # Triton compiles at the first call, and keeps what it compiled
        module.prepare(layers, dtype, stretched)


def training_passes(implementation: str) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """(rows_pass, tangent_pass): the convolution in the first and the second pass of training."""
    if implementation in _TANGENTS:
        first = import_module(FUSED[implementation])
        return first.rows_pass, import_module(_TANGENTS[implementation]).tangent_pass
    trilinear = import_module(_TRILINEAR[implementation]).convolution
    return (
        partial(rows_reference.rows_pass, convolution=trilinear),
        partial(tangent_reference.tangent_pass, convolution=trilinear),
    )


def prepare_training(implementation: str, layers: list[Instructions], dtype: torch.dtype) -> None:
    """Compile ahead what the two passes of training need."""
    if implementation in _TANGENTS:
        import_module(_TANGENTS[implementation]).prepare_training(layers, dtype)


def trains_whole_layers(implementation: str) -> bool:
    """Whether the linear maps, gates and radial networks of training are compiled as well."""
    return implementation in _TANGENTS
