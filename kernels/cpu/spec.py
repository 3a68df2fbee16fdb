"""What a kernel of the convolution is: its operation, its source of weights, its arguments."""

from dataclasses import dataclass
from typing import Literal

import torch

from fastequi.kernels.llvm.arguments import REALS, Arguments, Kind

#: W and dW/dr from a radial table, or given for each pair of atoms.
Source = Literal["table", "pair_weights"]
#: As in convolution/definitions.py; those of changes are given weights of pairs.
Operation = Literal["forward", "vjp", "jvp", "jvp_vjp"]


@dataclass(frozen=True, slots=True)
class KernelSpec:
    """What a kernel's code depends on.

    l1                degree of the input irrep
    paths             (l2, l3) of each path
    lanes             channels per vector; edge_lanes edges per vector
    wants_dx          whether a vjp gives the gradient of features too
    has_tangents      whether the features of a jvp change, or only edges do
    has_cutoff_scale  whether edges carry a factor of their length, for the table
    """

    l1: int
    paths: tuple[tuple[int, int], ...]
    dtype: torch.dtype
    lanes: int
    edge_lanes: int
    source: Source
    operation: Operation
    wants_dx: bool = False
    has_tangents: bool = False
    has_cutoff_scale: bool = False

    @property
    def l_max(self) -> int:
        return max(l2 for l2, _ in self.paths)

    @property
    def is_dual(self) -> bool:
        """Whether numbers come with their change along displacements of the edges."""
        return self.operation in ("jvp", "jvp_vjp")

    @property
    def name(self) -> str:
        paths = "_".join(f"{l2}{l3}" for l2, l3 in self.paths)
        more = "".join(
            f"_{what}"
            for what in ("wants_dx", "has_tangents", "has_cutoff_scale")
            if getattr(self, what)
        )
        shape = f"{self.l1}_{paths}_{REALS[self.dtype]}{self.lanes}"
        return f"{self.source}_{self.operation}_{shape}{more}"

    @property
    def arguments(self) -> Arguments:
        """For each path: its block of the output, or of its gradient, and strides in reals.

        vectors, displacements  [3, edge_stride]; cutoff_scale [edge_stride]
        block       receivers whose edges are made ready at a time; scratch_stride edges at most
        local       1 where blocks of outputs begin with the first receiver of the call, else 0
        n_senders   behind so many rows of x, and n_receivers of blocks, lie their tangents
        accumulate  0 for the first edge of a pair, which stores its gradient where later ones add
        """
        kinds: dict[str, Kind] = {"row_start": "int64s", "sender": "int64s"}
        kinds |= dict.fromkeys(("vectors", "x", "scratch"), "reals")
        sizes = ("edge_stride", "channels", "n_weights", "weight_offset", "scratch_stride", "block")
        kinds |= dict.fromkeys((*sizes, "local"), "integer")
        if self.source == "table":
            kinds |= {"constants": "reals", "table": "reals", "intervals": "int32s"}
        else:
            kinds |= {"pair_weights": "reals", "pair": "int64s"}
        if self.has_cutoff_scale:
            kinds["cutoff_scale"] = "reals"
        if self.wants_dx or self.operation == "jvp_vjp":
            kinds["dx"] = "reals"
        if self.operation == "vjp":
            kinds["dvectors"] = "reals"
        if self.is_dual:
            kinds |= {"displacements": "reals", "n_senders": "integer", "n_receivers": "integer"}
        if self.operation == "jvp_vjp":
            kinds |= {"d_pair_weights": "reals", "accumulate": "int64s"}
        for p in range(len(self.paths)):
            kinds |= {f"block{p}": "reals", f"row_stride{p}": "integer"}
            kinds[f"component_stride{p}"] = "integer"
        return Arguments(self.dtype, kinds)
