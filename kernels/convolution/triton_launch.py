"""Plans, builds and launches the printed kernels: which paths, how many channels, one warp each.

A plan is made from the instruction tables alone by `plan`; the numbers in it come from compiling
every kernel offline (registers.json, README.md). No kernel of a plan spills. To read the kernels of
a convolution from 64x1o to 0e and 1o with harmonics up to degree 2:

    python -m fastequi.kernels.convolution.triton_launch 64x1o 2 natural 1x0e+1x1o
"""

import linecache
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from fastequi.irreps import Irreps
from fastequi.kernels.convolution.triton_printer import Group, print_kernel
from fastequi.kernels.instructions import EdgeParity, Instructions, make_instructions

#: Threads of a warp: a program is one warp, so that no reduction needs shared memory.
LANES = 64 if torch.version.hip else 32


def options(capability: int | None) -> dict[str, Any]:
    """How Triton compiles; capability is 90 for sm_90, None for what is not NVIDIA's.

    FP fusion is set because its default differs between versions of Triton. For Blackwell, ptxas
    keeps to 168 registers and spills a few; allowed 192, it spills nothing.
    """
    limit = {"maxnreg": 192} if capability is not None and capability >= 100 else {}
    return {"num_warps": 1, "enable_fp_fusion": True, **limit}


def _options_for(tensor: Tensor) -> dict[str, Any]:
    if not tensor.is_cuda or torch.version.hip:
        return options(None)
    major, minor = torch.cuda.get_device_capability(tensor.device)
    return options(10 * major + minor)


@dataclass(frozen=True, slots=True)
class Step:
    """One launch: a group, its first slot in buffers of partial sums, its blocks of channels."""

    group: Group
    slot: int
    n_blocks: int


#: Numbers of 4 bytes that a thread may hold by the count of `_alive`, before paths are split into
#: groups, and before a thread takes several channels (forward, backward). Read off registers.json:
#: beyond these, kernels need more than 168 registers (fewer than 12 warps fit) or spill.
MOST, WIDE = 130, (100, 145)


@cache
def plan(
    instructions: Instructions, fused: bool, backward: bool, dtype: torch.dtype, lanes: int = LANES
) -> tuple[Step, ...]:
    """The launches that make up one pass."""
    steps, slot, size = [], 0, dtype.itemsize // 4
    for i, (channels, _) in enumerate(instructions.irreps_in):
        columns = -(-channels // lanes)
        for part in _split(instructions, i, backward, MOST // size):
            n = next(
                n
                for n in (4, 2, 1)
                if n == 1
                or (
                    columns % n == 0
                    and size * _alive(instructions, part, backward, n) <= WIDE[backward]
                )
            )
            steps.append(Step(Group(i, part, lanes * n), slot, columns // n))
            slot += columns // n
    return tuple(steps)


def _alive(
    instructions: Instructions, paths: tuple[int, ...], backward: bool, channels: int
) -> int:
    """Numbers that a thread of this many channels holds while it computes an edge."""
    chosen = [instructions.paths[p] for p in paths]
    harmonics = sum(2 * l2 + 1 for l2 in {path.l2 for path in chosen} - {0})
    inputs = 2 * chosen[0].l1 + 1
    coupling = 2 * max(2 * path.l3 + 1 for path in chosen)  # a row of M, of x g
    per_channel = sum(2 * path.l3 + 1 for path in chosen) + inputs
    if backward:
        per_channel += inputs + harmonics  # dx, dY
    return channels * per_channel + harmonics + coupling


def _split(
    instructions: Instructions, input: int, backward: bool, most: int
) -> list[tuple[int, ...]]:
    """All paths of an input irrep, consecutive, in as few even groups as stay below `most`."""
    paths = tuple(p for p, path in enumerate(instructions.paths) if path.input == input)
    for n_groups in range(1, len(paths) + 1):
        bounds = [len(paths) * g // n_groups for g in range(n_groups + 1)]
        groups = [paths[a:b] for a, b in pairwise(bounds)]
        if all(_alive(instructions, group, backward, 1) <= most for group in groups):
            return groups
    return [(p,) for p in paths]


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


def print_source(
    instructions: Instructions,
    *,
    fused: bool = True,
    backward: bool = False,
    dtype: torch.dtype = torch.float32,
) -> str:
    """The kernels that a pass launches, one module after the other, for readers."""
    steps = plan(instructions, fused, backward, dtype)
    sources = [
        print_kernel(instructions, step.group, fused=fused, backward=backward) for step in steps
    ]
    return "\n\n".join(sources)


# -- launches ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Launch:
    """A step with its kernel and the output irreps that it reads or writes, in that order."""

    step: Step
    kernel: Any
    outputs: tuple[int, ...]


@cache
def launches(
    instructions: Instructions, fused: bool, backward: bool, dtype: torch.dtype
) -> tuple[Launch, ...]:
    """The plan of a pass, printed and handed to Triton; compiled when first launched."""
    made = []
    for step in plan(instructions, fused, backward, dtype):
        source = print_kernel(instructions, step.group, fused=fused, backward=backward)
        outputs = {instructions.paths[p].output for p in step.group.paths}
        made.append(Launch(step, build(source), tuple(sorted(outputs))))
    return tuple(made)


@dataclass(frozen=True)
class FusedEdges:
    """Edges of the inference form: Y and w follow from the vectors and the table.

    grid  `RadialGrid.constants`
    """

    sender: Tensor
    row_start: Tensor
    vectors: Tensor
    stretch: Tensor | None
    knots: Tensor
    grid: Sequence[float]

    fused = True

    @property
    def pointers(self) -> tuple[Tensor | None, ...]:
        return self.sender, self.row_start, self.vectors, self.stretch, self.knots

    @property
    def numbers(self) -> tuple[float, ...]:
        """Of the grid."""
        return tuple(self.grid)


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
    with torch.cuda.device_of(x[0]):
        for launch in launches(instructions, edges.fused, False, x[0].dtype):
            launch.kernel[(n_receivers, launch.step.n_blocks)](
                x[launch.step.group.input],
                *edges.pointers,
                *[out[o] for o in launch.outputs],
                *edges.numbers,
                **_options_for(x[0]),
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
    dx = [torch.zeros_like(block) for block in x] if needs_dx else []
    if n_receivers == 0:
        return dx
    planned = launches(instructions, edges.fused, True, x[0].dtype)
    slots = n_slots([launch.step for launch in planned])
    with torch.cuda.device_of(x[0]):
        for i, block in enumerate(x):
            target = block  # never written when dx is not needed
            if needs_dx:
                target = block.new_zeros((n_edges, *block.shape[1:])) if deterministic else dx[i]
            for launch in planned:
                if launch.step.group.input != i:
                    continue
                launch.kernel[(n_receivers, launch.step.n_blocks)](
                    block,
                    *edges.pointers,
                    *[g[o] for o in launch.outputs],
                    target,
                    *edge_gradients,
                    *edges.numbers,
                    launch.step.slot,
                    slots,
                    NEEDS_DX=needs_dx,
                    DETERMINISTIC=deterministic,
                    **flags,
                    **_options_for(block),
                )
            if needs_dx and deterministic:
                _sum_by_sender(target, edges.sender, dx[i])
    return dx


def n_slots(steps: Sequence[Step]) -> int:
    """Programs that add to the same edge, over all launches."""
    return sum(step.n_blocks for step in steps)


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
    launch(per_edge, order, start_of, total, WIDTH=width, BLOCK=block, **_options_for(total))


if __name__ == "__main__":
    irreps, l_max, parity, wanted = sys.argv[1:5]
    edge_parity: EdgeParity = "even" if parity == "even" else "natural"
    shown = make_instructions(Irreps.parse(irreps), int(l_max), edge_parity, Irreps.parse(wanted))
    print(print_source(shown), print_source(shown, backward=True), sep="\n\n")
