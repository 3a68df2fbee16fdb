"""Backends: who computes a model's convolutions, and why; said aloud, never a silent fall-back.

A backend is a row of `BACKENDS` and a module with the four operations of the convolution
(convolution/definitions.py), and `prepare` where these are compiled ahead. What else it has
compiled (products of linear maps, gates, a whole step) it offers under the names of `PARTS`; the
rest is torch's.
"""

from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor

from fastequi.errors import InputError
from fastequi.kernels import c_compiler
from fastequi.kernels.convolution.edges import Edges, EdgeSums
from fastequi.kernels.instructions import Instructions

#: What a backend may have compiled besides: parts of a layer, sums of edges, a step of dynamics.
PARTS = ("linear", "gate", "norm", "step", "edge_sums")


@dataclass(frozen=True)
class Backend:
    """name; its module; the kind of device and the package that it needs, '' for none.

    builds_c  whether the package needs a C compiler
    """

    name: str
    module: str
    device_type: str = ""
    package: str = ""
    builds_c: bool = False

    def obstacle(self, device: torch.device) -> str:
        """Why it cannot run there, and the way out; '' where it can."""
        if self.device_type and device.type != self.device_type:
            return f"runs on {self.device_type}, not on {device}; use auto or reference"
        if self.package and find_spec(self.package) is None:
            return f"needs the package {self.package}: pip install {self.package}"
        if self.builds_c and (missing := c_compiler.missing()):
            return f"needs {missing}"
        return ""

    @property
    def is_reference(self) -> bool:
        return self.name == "reference"

    @cached_property
    def operations(self) -> Any:
        """The module, imported when it is first asked for."""
        return import_module(self.module)

    def prepare(
        self,
        layers: list[Instructions],
        dtype: torch.dtype,
        *,
        training: bool,
        has_cutoff_scale: bool,
    ) -> None:
        """Compile ahead what a model needs, saying so; for training, of both passes."""
        if hasattr(self.operations, "prepare"):
            wanted = {"training": training, "has_cutoff_scale": has_cutoff_scale}
            self.operations.prepare(layers, dtype, **wanted)

    def edge_sums(self, vectors: Tensor, edges: Edges) -> Any:
        """`EdgeSums`, its own or those that suit any."""
        own = self.part("edge_sums")
        return EdgeSums(self.operations, vectors) if own is None else own(vectors, edges)

    @property
    def captures_torch(self) -> bool:
        """Whether what repeats its steps, a device's own recording, repeats torch's part too."""
        step = self.part("step")
        return step is not None and step.recording is None

    @property
    def has_gradients_of_matrices(self) -> bool:
        """Whether its products of linear maps have them, as training wants."""
        return hasattr(self.part("linear"), "Outer")

    def part(self, name: str) -> Any:
        """Its compiled form of a part; None where it has none."""
        assert name in PARTS
        return getattr(self.operations, name, None)


BACKENDS = {
    backend.name: backend
    for backend in (
        Backend("reference", "fastequi.kernels.convolution.definitions"),
        Backend("cpu", "fastequi.kernels.cpu.backend", "cpu", "llvmlite"),
        Backend("triton", "fastequi.kernels.triton.backend", "cuda", "triton", builds_c=True),
    )
}


def choose_kernels(requested: str, device: torch.device) -> tuple[str, str]:
    """(name of a backend, reason) for 'auto' or a name.

    Raises InputError for a name that is not known or cannot run on this device.
    """
    if requested == "auto":
        return _best(device)
    if requested not in BACKENDS:
        raise InputError(
            f"kernels = {requested!r} is not available in this version; "
            f"allowed: auto, {', '.join(BACKENDS)}"
        )
    if obstacle := BACKENDS[requested].obstacle(device):
        raise InputError(f"kernels = {requested!r} {obstacle}")
    return requested, "as asked"


def _best(device: torch.device) -> tuple[str, str]:
    """The first that is made for this kind of device."""
    for backend in BACKENDS.values():
        if backend.device_type == device.type:
            if obstacle := backend.obstacle(device):
                return "reference", f"kernels = {backend.name!r} {obstacle}"
            kind = "processor" if device.type == "cpu" else "GPU"
            return backend.name, f"compiled for this {kind}"
    return "reference", f"plain torch, the only implementation for {device.type}"
