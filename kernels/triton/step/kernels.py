"""The kernels by name: where they are, what they write, their constants. Nothing imports Triton."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import torch

#: Atoms of a part of a system, summed by one program.
ATOMS_PER_PART = 1024
#: Thermostats of a chain, at most, and chains that a program holds: a lane for each thermostat.
LONGEST_CHAIN, CHAIN_BLOCK = 8, 4
#: Numbers that a program of `sum_blocks` adds.
SUM_BLOCK = 256


@dataclass(frozen=True, slots=True)
class StepKernel:
    """module below `step`; the tensors that are written; constants besides BLOCK.

    lanes  how many elements a program holds, in warps; 0: no BLOCK
    warps  of a program
    fused  whether products may be fused with sums: not where state is computed
    ahead  whether any dynamics launches it, so that it is compiled before the first step
    """

    module: str
    written: tuple[str, ...]
    constants: Mapping[str, int] = field(default_factory=dict)
    lanes: int = 1
    warps: int = 1
    fused: bool = False
    ahead: bool = False

    def function(self, name: str) -> Any:
        """What Triton made of it, imported when first asked for."""
        return getattr(import_module(f"fastequi.kernels.triton.step.{self.module}"), name)

    @property
    def options(self) -> dict[str, Any]:
        """How Triton compiles it; only programs of one warp need a limit to their registers."""
        limit = {} if self.warps == 1 else {"maxnreg": None}
        return {"enable_fp_fusion": self.fused, "num_warps": self.warps, **limit}

    def constexprs(self, lanes: int) -> dict[str, int]:
        """For warps of so many lanes."""
        block = {"BLOCK": self.lanes * lanes} if self.lanes else {}
        return block | dict(self.constants)


_PARTS = {"ATOMS": ATOMS_PER_PART}
_CHAINS = {"LONGEST": LONGEST_CHAIN, "BLOCK": CHAIN_BLOCK}
_SUM = {"BLOCK": SUM_BLOCK}
_ATOMS = {"ATOMS": 4}
_TILE = {"ROWS": 32, "COLUMNS": 32, "DEPTH": 32}

KERNELS: dict[str, StepKernel] = {
    "sum_moves": StepKernel("motion", ("moves",), _PARTS, 2, ahead=True),
    "check_moves": StepKernel("motion", ("last_positions", "flags"), _PARTS, 2, ahead=True),
    "deform": StepKernel("motion", ("deformation", "allowance"), lanes=0, ahead=True),
    "edge_vectors": StepKernel("neighbors", ("vectors",), ahead=True),
    "repel": StepKernel("repulsion", ("energies", "gradients"), ahead=True),
    "multiply": StepKernel("products", ("y",), _TILE, lanes=0, warps=4, fused=True, ahead=True),
    "gate": StepKernel("gates", ("x",), _ATOMS, fused=True, ahead=True),
    "gate_vjp": StepKernel("gates", ("gy0", "gv"), _ATOMS, fused=True, ahead=True),
    "activate": StepKernel("gates", ("y", "slope"), fused=True),
    "sum_forces": StepKernel("forces", ("forces", "virials", "flags"), {"UNROLL": 4}, ahead=True),
    "sum_atoms": StepKernel("forces", ("totals",), _PARTS, 2, ahead=True),
    "sum_systems": StepKernel("forces", ("energy", "stress", "flags"), ahead=True),
    "draw_noise": StepKernel("noise", ("noise",)),
    "advance_chain": StepKernel(
        "chains", ("position", "velocity", "factor"), _CHAINS, 0
    ),
    "make_frame": StepKernel("cells", ("frame", "inverse", "bins"), lanes=0, ahead=True),
    "put_into_bins": StepKernel(
        "cells", ("bin", "image", "occupants", "place_in_bin", "flags"), ahead=True
    ),
    "list_by_bin": StepKernel("cells", ("atoms",), ahead=True),
    "sum_blocks": StepKernel("cells", ("sums",), _SUM, 0, ahead=True),
    "running_sum": StepKernel("cells", ("starts", "needed", "flags"), _SUM, 0, ahead=True),
    "count_neighbors": StepKernel("neighbors", ("counts",), ahead=True),
    "fill_neighbors": StepKernel("neighbors", ("found_sender", "found_shift"), ahead=True),
    "sort_rows": StepKernel("neighbors", ("sender", "shift"), ahead=True),
    "find_reverses": StepKernel("neighbors", ("reverse", "flags"), ahead=True),
}  # fmt: skip

#: Types of parameters by their names, the same in all kernels; others are pointers to float64.
_TYPES = {
    "pbc": "*i1", "flags": "*i32", "tiles": "*i32",
    **dict.fromkeys(("sender", "sender_atom", "reverse"), "*i32"),
    **dict.fromkeys(
        (
            "n", "n_atoms", "n_systems", "n_parts", "n_places", "capacity", "most", "length",
            "n_species", "power", "bit", "stream", "is_tanh",
        ),
        "i32",
    ),
    **dict.fromkeys(
        (
            "radius", "skin", "furthest", "scale", "time_fs", "step_fs",
            *(f"{of}{k}" for of in ("amplitude", "decay") for k in range(4)),
        ),
        "fp64",
    ),
    **dict.fromkeys(
        (
            "row_start", "shift", "system_idx", "first_atom", "needed", "bins", "bin", "image",
            "occupants", "place_in_bin", "first_occupant", "atoms", "counts", "sums", "values",
            "starts", "found_sender", "found_shift", "step", "key", "atom", "replica", "entries",
            "blocks", "species", "sender_species",
        ),
        "*i64",
    ),
}  # fmt: skip
#: In the arithmetic of the model.
OF_MODEL = {
    "edge_vectors": ("vectors",), "repel": ("vectors", "gradients"),
    "sum_forces": ("vectors", "gradients"),
    "multiply": ("x", "matrices", "y"), "gate": ("y0", "v", "x"),
    "gate_vjp": ("y0", "v", "g", "gy0", "gv"), "activate": ("a", "y", "slope"),
}  # fmt: skip


def run_on(device: torch.device) -> bool:
    """Whether these kernels do the work there; not on a CPU, and not without Triton."""
    return device.type != "cpu" and find_spec("triton") is not None


def parameter_type(kernel: str, name: str, dtype: torch.dtype) -> str:
    """Triton's name for the type of a parameter, for a model in this arithmetic."""
    if name in OF_MODEL.get(kernel, ()):
        return "*fp64" if dtype == torch.float64 else "*fp32"
    return _TYPES.get(name, "*fp64")
