"""The kernels by name: where they are, what they write, their constants. Nothing imports Triton."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

#: Atoms of a part of a system, summed by one program.
ATOMS_PER_PART = 1024
#: Numbers that a program of `sum_blocks` adds.
SUM_BLOCK = 256


@dataclass(frozen=True, slots=True)
class StepKernel:
    """module below `step`; the tensors that are written; constants besides BLOCK.

    lanes  how many elements a program holds, in warps; 0: no BLOCK
    """

    module: str
    written: tuple[str, ...]
    constants: Mapping[str, int] = field(default_factory=dict)
    lanes: int = 1

    def function(self, name: str) -> Any:
        """What Triton made of it, imported when first asked for."""
        return getattr(import_module(f"fastequi.kernels.triton.step.{self.module}"), name)

    def constexprs(self, lanes: int) -> dict[str, int]:
        """For warps of so many lanes."""
        block = {"BLOCK": self.lanes * lanes} if self.lanes else {}
        return block | dict(self.constants)


_PARTS = {"ATOMS": ATOMS_PER_PART}
_SUM = {"BLOCK": SUM_BLOCK}

KERNELS: dict[str, StepKernel] = {
    "sum_moves": StepKernel("motion", ("moves",), _PARTS, 2),
    "check_moves": StepKernel("motion", ("last_positions", "flags"), _PARTS, 2),
    "deform": StepKernel("motion", ("deformation", "allowance"), lanes=0),
    "edge_vectors": StepKernel("motion", ("vectors",)),
    "sum_forces": StepKernel("forces", ("forces", "virials", "flags"), {"UNROLL": 4}),
    "sum_atoms": StepKernel("forces", ("totals",), _PARTS, 2),
    "sum_systems": StepKernel("forces", ("energy", "stress", "flags")),
    "draw_noise": StepKernel("noise", ("noise",)),
    "make_frame": StepKernel("cells", ("frame", "inverse", "bins"), lanes=0),
    "put_into_bins": StepKernel(
        "cells", ("bin", "image", "occupants", "place_in_bin", "flags")
    ),
    "list_by_bin": StepKernel("cells", ("atoms",)),
    "sum_blocks": StepKernel("cells", ("sums",), _SUM, 0),
    "running_sum": StepKernel("cells", ("starts", "needed", "flags"), _SUM, 0),
    "count_neighbors": StepKernel("neighbors", ("counts",)),
    "fill_neighbors": StepKernel("neighbors", ("found_sender", "found_shift")),
    "sort_rows": StepKernel("neighbors", ("sender", "shift", "image_vectors")),
    "find_reverses": StepKernel("neighbors", ("reverse", "flags")),
    "shift_images": StepKernel("neighbors", ("image_vectors",)),
}  # fmt: skip
