"""Plans the kernels of a pass: which paths, how many channels, one warp each.

A plan is made from the instruction tables alone; the numbers in it come from compiling every kernel
offline (registers.json, README.md). No kernel of a plan spills.
"""

from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import Any

import torch

from fastequi.kernels.instructions import Instructions
from fastequi.kernels.triton.form import Form, Group, Operation

#: Threads of a warp: a program is one warp, so that no reduction needs shared memory.
LANES = 64 if torch.version.hip else 32

#: Numbers of 4 bytes that a thread may hold by the count of `_alive`, before paths are split into
#: groups, and before a thread takes several channels. Read off registers.json: beyond these,
#: kernels need more than 168 registers (fewer than 12 warps fit) or spill.
MOST: dict[Operation, int] = {"forward": 130, "vjp": 130, "jvp": 112, "jvp_vjp": 100}
WIDE: dict[Operation, int] = {"forward": 100, "vjp": 145, "jvp": 110, "jvp_vjp": 110}


#: Receivers up to which the steps of a pass are one launch. That takes the registers of the largest
#: for all, so it is for systems that do not fill a GPU anyway: an H100 has room for about as many
#: warps of 128 registers at a time. Not measured yet.
TOGETHER_UP_TO = 2112
#: Paths up to which that is compiled at all.
PATHS_TOGETHER = 16


def options(capability: int | None) -> dict[str, Any]:
    """How Triton compiles; capability is 90 for sm_90, None for what is not NVIDIA's.

    FP fusion is set because its default differs between versions of Triton. For Blackwell, ptxas
    keeps to 168 registers and spills a few; allowed 192, it spills nothing.
    """
    limit = {"maxnreg": 192} if capability is not None and capability >= 100 else {}
    return {"num_warps": 1, "enable_fp_fusion": True, **limit}


@dataclass(frozen=True, slots=True)
class Step:
    """One launch: a group, its first slot in buffers of partial sums, its blocks of channels."""

    group: Group
    slot: int
    n_blocks: int


@cache
def plan(
    instructions: Instructions, form: Form, dtype: torch.dtype, lanes: int = LANES
) -> tuple[Step, ...]:
    """The launches that make up one pass."""
    steps, slot, size = [], 0, dtype.itemsize // 4
    for i, (channels, _) in enumerate(instructions.irreps_in):
        columns = -(-channels // lanes)
        for part in _split(instructions, i, form, MOST[form.operation] // size):
            n = next(
                n
                for n in (4, 2, 1)
                if n == 1
                or (
                    columns % n == 0
                    and size * _alive(instructions, part, form, n) <= WIDE[form.operation]
                )
            )
            steps.append(Step(Group(i, part, lanes * n), slot, columns // n))
            slot += columns // n
    return tuple(steps)


def can_be_together(
    instructions: Instructions, form: Form, dtype: torch.dtype, lanes: int = LANES
) -> bool:
    """Whether the steps of a plan may be one launch, side by side.

    In dynamics, where no two of them add to the same features, and with few paths: with more it
    would compile for longer than a start may take.
    """
    n_inputs, n_steps = len(instructions.irreps_in), len(plan(instructions, form, dtype, lanes))
    few = len(instructions.paths) <= PATHS_TOGETHER
    return form.source == "table" and 1 < n_inputs == n_steps and few


def n_slots(steps: tuple[Step, ...]) -> int:
    """Programs that add to the same edge, over all launches."""
    return sum(step.n_blocks for step in steps)


def _alive(instructions: Instructions, paths: tuple[int, ...], form: Form, channels: int) -> int:
    """Numbers that a thread of this many channels holds while it computes an edge."""
    chosen = [instructions.paths[p] for p in paths]
    harmonics = sum(2 * l2 + 1 for l2 in {path.l2 for path in chosen} - {0})
    inputs = 2 * chosen[0].l1 + 1
    coupling = 2 * max(2 * path.l3 + 1 for path in chosen)  # a row of M, of x g
    sums = sum(2 * path.l3 + 1 for path in chosen)
    if form.operation == "vjp":
        sums += inputs + harmonics  # dx, dY
    if form.operation in ("jvp", "jvp_vjp"):
        sums, harmonics = 2 * sums, 2 * harmonics
        coupling = min(2 * coupling, 4 * inputs)
        inputs *= 1 + form.has_tangents
        inputs *= 1 + (form.operation == "jvp_vjp")  # dx
    return channels * (sums + inputs) + harmonics + coupling


def _split(instructions: Instructions, input: int, form: Form, most: int) -> list[tuple[int, ...]]:
    """All paths of an input irrep, consecutive, in as few even groups as stay below `most`."""
    paths = tuple(p for p, path in enumerate(instructions.paths) if path.input == input)
    for n_groups in range(1, len(paths) + 1):
        bounds = [len(paths) * g // n_groups for g in range(n_groups + 1)]
        groups = [paths[a:b] for a, b in pairwise(bounds)]
        if all(_alive(instructions, group, form, 1) <= most for group in groups):
            return groups
    return [(p,) for p in paths]
