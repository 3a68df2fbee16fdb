"""The passes as PyTorch operators: opaque to torch's compiler, and known on its meta device.

Nothing in them asks the device anything, so they can be captured in CUDA graphs. Both write into
what they are given. Triton is imported when the first of them runs.
"""

from collections.abc import Mapping, Sequence
from functools import cache
from typing import get_args

import torch
from torch import Tensor

from fastequi.irreps import Irreps
from fastequi.kernels.instructions import EdgeParity, Instructions, make_instructions
from fastequi.kernels.triton.form import Form, Operation, Source


def run_(
    instructions: Instructions,
    form: Form,
    read: Mapping[str, Tensor],
    written: Mapping[str, Tensor],
    numbers: Sequence[float],
    deterministic: bool = False,
) -> None:
    """As `launch.run`; operators know which tensors are read and which are written."""
    _convolution_(
        text_of_layer(instructions), text_of_form(form), " ".join([*read, *written]),
        list(read.values()), list(written.values()), list(numbers), deterministic,
    )  # fmt: skip


@torch.library.custom_op("fastequi::convolution_", mutates_args=("written",))
def _convolution_(
    layer: str, form: str, names: str, read: list[Tensor], written: list[Tensor],
    numbers: list[float], deterministic: bool,
) -> None:  # fmt: skip
    from fastequi.kernels.triton import launch

    named = dict(zip(names.split(), [*read, *written], strict=True))
    launch.run(layer_of_text(layer), form_of_text(form), named, numbers, deterministic)


@_convolution_.register_fake
def _(layer, form, names, read, written, numbers, deterministic):
    return None


@torch.library.custom_op("fastequi::sum_rows_", mutates_args=("total",))
def sum_rows_(per_edge: Tensor, order: Tensor, start_of: Tensor, total: Tensor) -> None:
    """Add rows [edges, ...] to total [owners, ...]: order[start_of[i]:start_of[i+1]] are i's."""
    from fastequi.kernels.triton import launch

    launch.sum_rows(per_edge, order, start_of, total)


@sum_rows_.register_fake
def _(per_edge, order, start_of, total):
    return None


# -- what operators take as text -----------------------------------------------------------------


@cache
def text_of_layer(instructions: Instructions) -> str:
    fields = (instructions.irreps_in, instructions.irreps_out)
    text = f"{fields[0]}|{instructions.l_max}|{instructions.edge_parity}|{fields[1]}"
    if layer_of_text(text) != instructions:
        raise ValueError("instructions that make_instructions did not make are not supported")
    return text


@cache
def layer_of_text(layer: str) -> Instructions:
    irreps_in, l_max, parity, irreps_out = layer.split("|")
    edge_parity: EdgeParity = "even" if parity == "even" else "natural"
    return make_instructions(
        Irreps.parse(irreps_in), int(l_max), edge_parity, Irreps.parse(irreps_out)
    )


@cache
def text_of_form(form: Form) -> str:
    return f"{form.operation} {form.source} {int(form.has_tangents)}"


@cache
def form_of_text(text: str) -> Form:
    names = text.split()
    operation: Operation = next(name for name in get_args(Operation) if name == names[0])
    source: Source = next(name for name in get_args(Source) if name == names[1])
    return Form(operation, source, names[2] == "1")
