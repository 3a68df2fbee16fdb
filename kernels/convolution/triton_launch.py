"""Plans, builds and launches the printed kernels: which paths, how many channels, one warp each.

A plan is made from the instruction tables alone by `plan`; the numbers in it come from compiling
every kernel offline (registers.json, README.md). No kernel of a plan spills.
"""

import linecache
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from typing import Any

import torch
from torch import Tensor

from fastequi.kernels.convolution.triton_printer import Group, print_kernel
from fastequi.kernels.instructions import Instructions

#: Threads of a warp: a program is one warp, so that no reduction needs shared memory.
LANES = 64 if torch.version.hip else 32

#: Set explicitly: the default differs between versions of Triton.
OPTIONS = {"num_warps": 1, "enable_fp_fusion": True}


@dataclass(frozen=True, slots=True)
class Step:
    """One launch: a group, its first slot in buffers of partial sums, its blocks of channels."""

    group: Group
    slot: int
    n_blocks: int


#: Components of the output that a thread holds, times its channels: up to WIDE a thread takes two
#: or four channels, beyond MOST the paths are split. Numbers of 8 bytes take two registers.
WIDE, MOST = 50, 70


@cache
def plan(
    instructions: Instructions, fused: bool, backward: bool, dtype: torch.dtype, lanes: int = LANES
) -> tuple[Step, ...]:
    """The launches that make up one pass."""
    steps, slot = [], 0
    for i, (channels, _) in enumerate(instructions.irreps_in):
        paths = tuple(p for p, path in enumerate(instructions.paths) if path.input == i)
        size = dtype.itemsize // 4
        for part in _split(instructions, paths, MOST // size):
            per_thread = WIDE // size // _components(instructions, part)
            block = lanes * _channels_per_thread(-(-channels // lanes), per_thread)
            steps.append(Step(Group(i, part, block), slot, -(-channels // block)))
            slot += steps[-1].n_blocks
    return tuple(steps)


def _components(instructions: Instructions, paths: tuple[int, ...]) -> int:
    return sum(2 * instructions.paths[p].l3 + 1 for p in paths)


def _split(instructions: Instructions, paths: tuple[int, ...], most: int) -> list[tuple[int, ...]]:
    """Consecutive paths in as few groups as hold `most` components each, evenly filled."""
    total = _components(instructions, paths)
    n_groups = -(-total // most)
    groups: list[tuple[int, ...]] = [() for _ in range(n_groups)]
    filled = 0
    for p in paths:
        groups[filled * n_groups // total] += (p,)
        filled += _components(instructions, (p,))
    return [group for group in groups if group]


def _channels_per_thread(needed: int, allowed: int) -> int:
    """4, 2 or 1: contiguous channels are loaded together, and scalars of an edge serve them all."""
    return next((n for n in (4, 2) if n <= allowed and n <= needed), 1)


@cache
def build(source: str) -> Any:
    """The Triton function `kernel` of a printed module.

    Triton reads the source of what it compiles through `linecache`, so no file is written: nothing
    to lock, nothing that a read-only or shared cache could spoil. Triton's own cache keeps the
    binaries.
    """
    name = f"<fastequi {sha256(source.encode()).hexdigest()[:16]}>"
    linecache.cache[name] = (len(source), None, source.splitlines(keepends=True), name)
    module: dict[str, Any] = {"__name__": "fastequi.kernels.convolution.printed"}
    exec(compile(source, name, "exec"), module)
    return module["kernel"]


# -- launches ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class FusedEdges:
    """Edges of the inference form: Y and w follow from the vectors and the table."""

    sender: Tensor
    row_start: Tensor
    vectors: Tensor
    stretch: Tensor | None
    knots: Tensor
    cutoff: float

    fused = True

    @property
    def pointers(self) -> tuple[Tensor | None, ...]:
        return self.sender, self.row_start, self.vectors, self.stretch, self.knots

    @property
    def numbers(self) -> tuple[float, int]:
        """Intervals per angstrom, and the last interval."""
        n_intervals = self.knots.shape[0] - 1
        return n_intervals / self.cutoff, n_intervals - 1


@dataclass(frozen=True)
class StoredEdges:
    """Edges of the training form: Y and w are in memory."""

    sender: Tensor
    row_start: Tensor
    harmonics: Tensor
    weights: Tensor

    fused = False
    numbers = ()

    @property
    def pointers(self) -> tuple[Tensor, ...]:
        return self.sender, self.row_start, self.harmonics, self.weights


def forward(
    instructions: Instructions, x: Sequence[Tensor], edges: FusedEdges | StoredEdges
) -> list[Tensor]:
    """Messages summed over neighbours; every element is written exactly once."""
    n_receivers = edges.row_start.shape[0] - 1
    out = [x[0].new_empty((n_receivers, ir.dim, mul)) for mul, ir in instructions.irreps_out]
    if n_receivers == 0:
        return out
    for step in plan(instructions, edges.fused, False, x[0].dtype):
        source = print_kernel(instructions, step.group, fused=edges.fused, backward=False)
        build(source)[(n_receivers, step.n_blocks)](
            x[step.group.input],
            *edges.pointers,
            *[out[o] for o in outputs(instructions, step.group)],
            *edges.numbers,
            **OPTIONS,
        )
    return out


def backward(
    instructions: Instructions,
    g: Sequence[Tensor],
    x: Sequence[Tensor],
    edges: FusedEdges | StoredEdges,
    edge_gradients: Sequence[Tensor],
    *,
    needs_dx: bool,
    deterministic: bool,
    flags: dict[str, bool],
) -> list[Tensor]:
    """dx per input irrep (none unless needed); fills `edge_gradients` (dvectors; or dY and dW)."""
    n_receivers, n_edges = edges.row_start.shape[0] - 1, edges.sender.shape[0]
    steps = plan(instructions, edges.fused, True, x[0].dtype)
    dx = [torch.zeros_like(block) for block in x] if needs_dx else []
    for i, block in enumerate(x):
        mine = [step for step in steps if step.group.input == i]
        if not mine or n_receivers == 0:
            continue
        target = block  # never written when dx is not needed
        if needs_dx:
            target = block.new_zeros((n_edges, *block.shape[1:])) if deterministic else dx[i]
        for step in mine:
            source = print_kernel(instructions, step.group, fused=edges.fused, backward=True)
            build(source)[(n_receivers, step.n_blocks)](
                block,
                *edges.pointers,
                *[g[o] for o in outputs(instructions, step.group)],
                target,
                *edge_gradients,
                *edges.numbers,
                step.slot,
                n_slots(steps),
                NEEDS_DX=needs_dx,
                DETERMINISTIC=deterministic,
                **flags,
                **OPTIONS,
            )
        if needs_dx and deterministic:
            _sum_by_sender(target, edges.sender, dx[i])
    return dx


def n_slots(steps: Sequence[Step]) -> int:
    """Programs that add to the same edge, over all launches."""
    return sum(step.n_blocks for step in steps)


def outputs(instructions: Instructions, group: Group) -> list[int]:
    """Output irreps that the group writes, in the order of the kernel's arguments."""
    return sorted({instructions.paths[p].output for p in group.paths})


def _sum_by_sender(per_edge: Tensor, sender: Tensor, total: Tensor) -> None:
    """Sums in the order of the edges, so that equal inputs give equal bits."""
    if total.shape[0] == 0:
        return
    from fastequi.kernels.convolution.triton_kernels import sum_by_sender

    order = torch.argsort(sender, stable=True)
    senders = torch.arange(total.shape[0] + 1, device=sender.device)
    start_of = torch.searchsorted(sender[order], senders)
    width, block = total[0].numel(), 4 * LANES
    grid = (total.shape[0], -(-width // block))
    launch: Any = sum_by_sender[grid]
    launch(per_edge, order, start_of, total, WIDTH=width, BLOCK=block, **OPTIONS)
