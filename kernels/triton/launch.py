"""Builds the kernels of a plan and launches them, each with what its parameters name."""

import linecache
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from typing import Any

import torch
from torch import Tensor

from fastequi.kernels.instructions import Instructions
from fastequi.kernels.triton.form import Form
from fastequi.kernels.triton.plan import (
    LANES,
    TOGETHER_UP_TO,
    Step,
    can_be_together,
    n_slots,
    options,
    plan,
)
from fastequi.kernels.triton.printer import print_kernel, print_together
from fastequi.kernels.triton.step.kernels import KERNELS


@dataclass(frozen=True, slots=True)
class Launch:
    """A kernel, compiled when first launched: of a step, or of all steps of a plan."""

    kernel: Any
    n_blocks: int
    step: Step | None


@cache
def build(source: str) -> Any:
    """The Triton function `kernel` of a printed module.

    Triton reads the source of what it compiles through `linecache`, so no file is written: nothing
    to lock, nothing that a read-only or shared cache could spoil. Triton's own cache keeps the
    binaries.
    """
    name = f"<fastequi {sha256(source.encode()).hexdigest()[:16]}>"
    linecache.cache[name] = (len(source), None, source.splitlines(keepends=True), name)
    module: dict[str, Any] = {"__name__": "fastequi.kernels.triton.printed"}
    exec(compile(source, name, "exec"), module)
    return module["kernel"]


@cache
def launches(
    instructions: Instructions, form: Form, dtype: torch.dtype, together: bool = False
) -> tuple[Launch, ...]:
    """The plan of a pass, printed and handed to Triton; in one launch where asked."""
    steps = plan(instructions, form, dtype)
    if together:
        return (Launch(build(print_together(instructions, steps, form)), n_slots(steps), None),)
    return tuple(
        Launch(build(print_kernel(instructions, step.group, form)), step.n_blocks, step)
        for step in steps
    )


def run(
    instructions: Instructions,
    form: Form,
    named: Mapping[str, Tensor],
    numbers: Sequence[float],
    deterministic: bool,
) -> None:
    """One pass over the edges of the receivers that row_start names.

    named    tensors by the names of the kernels' parameters; x, g, dx and out are numbered by irrep
    numbers  of the table's grid, none for pairs
    """
    n_receivers = named["row_start"].shape[0] - 1
    if n_receivers == 0:
        return
    x0 = named["x0"]
    is_small = n_receivers <= TOGETHER_UP_TO
    together = is_small and can_be_together(instructions, form, x0.dtype)
    slots = n_slots(plan(instructions, form, x0.dtype))
    for_all = {"n_slots": slots, "cutoff_scale": None, "DETERMINISTIC": deterministic}
    # where no dx is needed there is none, and nothing is written
    for_all |= {"NEEDS_DX": "dx0" in named, **_without_gradients(named), **named}
    with torch.cuda.device_of(x0):
        for launch in launches(instructions, form, x0.dtype, together):
            own = for_all if launch.step is None else for_all | _of_step(launch.step, for_all)
            names = launch.kernel.arg_names
            arguments = [own[name] for name in names[: len(names) - len(numbers)]]
            kernel = launch.kernel[n_receivers, launch.n_blocks]
            kernel(*arguments, *numbers, **options_for(x0))


def _without_gradients(named: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """x in the place of each dx."""
    return {f"d{name}": tensor for name, tensor in named.items() if name[0] == "x"}


def _of_step(step: Step, named: Mapping[str, Any]) -> dict[str, Any]:
    """What its kernel calls x and dx."""
    x, dx = named[f"x{step.group.input}"], named[f"dx{step.group.input}"]
    return {"x": x, "dx": dx, "x_half": len(x) // 2, "dx_half": len(dx) // 2, "slot": step.slot}


def run_small(name: str, arguments: Mapping[str, Any], grid: Sequence[int]) -> None:
    """A kernel of `step.kernels.KERNELS`."""
    kernel = KERNELS[name]
    like = arguments[kernel.written[0]]
    options = options_for(like) | kernel.options
    with torch.cuda.device_of(like):
        function = kernel.function(name)[tuple(grid)]
        function(**arguments, **kernel.constexprs(LANES), **options)


def sum_rows(per_edge: Tensor, order: Tensor, start_of: Tensor, total: Tensor) -> None:
    """Add each edge's row to its owner's, in the given order: equal inputs, equal bits."""
    if total.shape[0] == 0:
        return
    from fastequi.kernels.triton.kernels import sum_by_owner

    width, block = total[0].numel(), 4 * LANES
    kernel: Any = sum_by_owner[total.shape[0], -(-width // block)]
    with torch.cuda.device_of(total):
        kernel(per_edge, order, start_of, total, WIDTH=width, BLOCK=block, **options_for(total))


def options_for(tensor: Tensor) -> dict[str, Any]:
    """How Triton compiles for the device of a tensor."""
    return options(capability_of(tensor.device))


def capability_of(device: torch.device) -> int | None:
    """90 for sm_90; None for what is not NVIDIA's."""
    if device.type != "cuda" or torch.version.hip:
        return None
    major, minor = torch.cuda.get_device_capability(device)
    return 10 * major + minor
