"""The gate on a GPU, forward and vjp: all its blocks in one launch (kernels/backend.py, `gate`)."""

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from fastequi.kernels.parts import GatedBlock
from fastequi.kernels.triton.memory import by_memory, made_once, on_device, whole
from fastequi.kernels.triton.plan import LANES
from fastequi.kernels.triton.step.kernels import KERNELS
from fastequi.kernels.triton.step.operators import launch_


class _Placed(NamedTuple):
    """A block, and its tensors: y0, v, what leaves (or its gradient); then gy0 and gv."""

    block: GatedBlock
    width: int
    tensors: tuple[Tensor, ...]


def run(
    name: Literal["forward", "vjp"], blocks: tuple[GatedBlock, ...], scalars: Mapping[str, Tensor],
    tensors: Mapping[str, Sequence[Tensor]],
) -> None:  # fmt: skip
    """One pass; `scalars` [atoms, 1, all of them] and, of each block, `tensors`, by name."""
    kinds = ("v", "x") if name == "forward" else ("v", "g", "gv")
    placed = []
    for b in blocks:
        of_block = {kind: tensors[kind][b.number] for kind in kinds}
        common = {"y0": of_block["v"], "gy0": of_block.get("gv")} if b.own else scalars
        order = [common["y0"], of_block["v"], of_block[kinds[1]]]
        order += [common["gy0"], of_block["gv"]] if name == "vjp" else []
        placed.append(_Placed(b, common["y0"].shape[-1], tuple(order)))
    for group in by_memory(placed, lambda p: p.tensors):
        _launch(name, group)


def _launch(name: str, group: Sequence[_Placed]) -> None:
    tensors = group[0].tensors
    key = tuple((p.block, p.width, *(t.storage_offset() for t in p.tensors)) for p in group)
    table, scales = _table(key, tensors[0].device)
    n_atoms = tensors[0].shape[0]
    grid = -(-n_atoms // KERNELS["gate"].constants["ATOMS"]), len(table)
    named = dict(zip(("y0", "v", "x", "gy0", "gv"), map(whole, tensors), strict=False))
    named |= {"blocks": table, "scales": scales}
    if name == "forward":
        launch_("gate", grid, n_atoms=n_atoms, **named)
    else:
        launch_("gate_vjp", grid, n_atoms=n_atoms, g=named.pop("x"), **named)


@made_once
def _table(key: tuple[tuple, ...], device: torch.device) -> tuple[Tensor, Tensor]:
    """As `gates.place` reads it, a row for each block and so many channels."""
    rows, scales = [], []
    for block, width, y0, *places in key:
        places = [y0 if block.own else y0 + block.first, *places]
        if len(places) > 3 and not block.own:
            places[3] += block.first
        for first in range(0, block.channels, LANES):
            is_tanh = block.activation == "tanh"
            row = [block.components, block.channels, width, is_tanh, first, *places]
            rows.append([*row, 0, 0][:10])
            scales.append(block.scale)
    table = np.array(rows, dtype=np.int64)
    return on_device(table, device), on_device(np.array(scales, dtype=np.float64), device)
