"""The small kernels of a step, for `offline.py`: which there are, and how they are compiled."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from fastequi.kernels.offline_compile import TARGETS, Usage, compile_for
from fastequi.kernels.triton.step.kernels import KERNELS

#: Types of parameters by their names, the same in all kernels; others are pointers to float64.
_TYPES = {
    "pbc": "*i1", "flags": "*i32", "bit": "i32", "stream": "i32",
    **dict.fromkeys(("sender", "reverse"), "*i32"),
    **dict.fromkeys(("n", "n_atoms", "n_parts", "n_places", "capacity", "most"), "i32"),
    **dict.fromkeys(("radius", "skin", "furthest"), "fp64"),
    **dict.fromkeys(
        (
            "row_start", "shift", "system_idx", "first_atom", "needed", "bins", "bin", "image",
            "occupants", "place_in_bin", "first_occupant", "atoms", "counts", "sums", "values",
            "starts", "found_sender", "found_shift", "step", "key", "atom", "replica",
        ),
        "*i64",
    ),
}  # fmt: skip
#: In the arithmetic of the model.
_OF_MODEL = {"edge_vectors": ("vectors",), "sum_forces": ("vectors", "gradients")}


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
        """Senders are 32-bit; state is float64 and products are not fused with sums."""
        kernel = KERNELS[self.kernel]
        function: Any = kernel.function(self.kernel)
        constants = kernel.constexprs(TARGETS[self.target][1])
        pointer = "*fp64" if self.number == "float64" else "*fp32"
        of_model = dict.fromkeys(_OF_MODEL.get(self.kernel, ()), pointer)
        types = {
            p.name: of_model.get(p.name, _TYPES.get(p.name, "*fp64"))
            for p in function.params
            if p.name not in constants
        }
        return compile_for(self.target, function, types, constants, fp_fusion=False)


def step_rows() -> Iterator[StepRow]:
    """In float32 for every target; in float64 for sm_90."""
    for kernel in KERNELS:
        for target in TARGETS:
            yield StepRow(kernel, "float32" if kernel in _OF_MODEL else "", target)
        if kernel in _OF_MODEL:
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
