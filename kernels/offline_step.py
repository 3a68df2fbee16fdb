"""The small kernels of a step, for `offline.py`: which there are, and how they are compiled."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from fastequi.kernels.offline_compile import TARGETS, Usage, compile_for
from fastequi.kernels.triton.step.kernels import KERNELS, OF_MODEL, parameter_type


@dataclass(frozen=True, slots=True)
class StepRow:
    """One kernel for one target; number is the model's, '' where it has none."""

    kernel: str
    number: str
    target: str

    @property
    def name(self) -> str:
        return " ".join(word for word in ("step", self.kernel, self.number, self.target) if word)

    def compile(self) -> Usage:
        """Senders are 32-bit; state is float64."""
        kernel = KERNELS[self.kernel]
        function: Any = kernel.function(self.kernel)
        constants = kernel.constexprs(TARGETS[self.target][1])
        dtype = torch.float64 if self.number == "float64" else torch.float32
        types = {
            p.name: parameter_type(self.kernel, p.name, dtype)
            for p in function.params
            if p.name not in constants
        }
        return compile_for(self.target, function, types, constants, kernel.options)


def step_rows() -> Iterator[StepRow]:
    """In float32 for every target; in float64 for sm_90."""
    for kernel in KERNELS:
        for target in TARGETS:
            yield StepRow(kernel, "float32" if kernel in OF_MODEL else "", target)
        if kernel in OF_MODEL:
            yield StepRow(kernel, "float64", "sm_90")


def step_table(record: Mapping[str, Any]) -> Iterator[str]:
    """Those on sm_90 as Markdown."""
    yield "| kernel of a step | arithmetic of the model | registers | spills | shared bytes |"
    yield "|---|---|---|---|---|"
    for row in step_rows():
        if row.target == "sm_90":
            usage = Usage(**record[row.name])
            cells = (row.kernel, row.number, usage.registers, usage.spills, usage.shared)
            yield "| " + " | ".join(map(str, cells)) + " |"
