"""Registers, spills and instructions of the printed kernels, compiled without a GPU.

    python -m fastequi.kernels.offline                        compare all with registers.json
    python -m fastequi.kernels.offline nequip-m table sm_90   compare the rows with these words
    python -m fastequi.kernels.offline --write                rewrite registers.json and README.md

Triton compiles for an architecture that is not here, and the disassembler in its wheel says what
came out. Instructions are those of the loop over edges: one trip is one edge for `block` channels.
"""

import json
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import torch

from fastequi.kernels.offline_compile import TARGETS, Usage, compile_for
from fastequi.kernels.offline_step import StepRow, step_rows, step_table
from fastequi.kernels.presets import PRESETS, middle_layer
from fastequi.kernels.recorded import README, readme_with
from fastequi.kernels.triton.form import Form
from fastequi.kernels.triton.launch import build
from fastequi.kernels.triton.plan import Step, can_be_together, plan
from fastequi.kernels.triton.printer import FORMS, print_kernel, print_together

RECORD = Path(__file__).with_name("registers.json")
#: How much more of anything than recorded is a regression.
ALLOWED = 1.05

_INTEGER_POINTERS = ("sender", "row_start", "pair")
_SIZES = ("slot", "n_slots", "x_half", "dx_half")


@dataclass(frozen=True, slots=True)
class Row:
    """One kernel of one preset for one target: of a step, or of all side by side."""

    preset: str
    form: Form
    dtype: torch.dtype
    target: str
    step: Step | None

    @property
    def irrep(self) -> str:
        assert self.step is not None
        return str(middle_layer(self.preset).irreps_in.blocks[self.step.group.input][1])

    @property
    def name(self) -> str:
        dtype = str(self.dtype).removeprefix("torch.")
        common = f"{self.preset} {self.form} {dtype} {self.target}"
        if self.step is None:
            return f"{common} together"
        paths = self.step.group.paths
        return f"{common} {self.irrep} paths {paths[0]}-{paths[-1]}"

    def compile(self) -> Usage:
        layer, lanes = middle_layer(self.preset), TARGETS[self.target][1]
        if self.step is None:
            text = print_together(layer, plan(layer, self.form, self.dtype, lanes), self.form)
        else:
            text = print_kernel(layer, self.step.group, self.form)
        kernel = build(text)
        return compile_for(self.target, kernel, *_types(kernel, self.dtype))


def rows() -> list[Row | StepRow]:
    """All kernels there are."""
    return [*_convolutions(), *step_rows()]


def _convolutions() -> Iterator[Row]:
    """In float32 for every target; in float64 for sm_90."""
    for preset in PRESETS:
        for target, (_, lanes) in TARGETS.items():
            for dtype in (torch.float32, torch.float64):
                if dtype == torch.float64 and target != "sm_90":
                    continue
                for form in FORMS:
                    of_plan = middle_layer(preset), form, dtype, lanes
                    together = [None] * can_be_together(*of_plan)
                    for step in [*plan(*of_plan), *together]:
                        yield Row(preset, form, dtype, target, step)


def _types(kernel: Any, dtype: torch.dtype) -> tuple[dict[str, str], dict[str, Any]]:
    """Types and constants as `launch.py` launches it, all gradients asked for."""
    number = "fp64" if dtype == torch.float64 else "fp32"
    types: dict[str, str] = {}
    constants: dict[str, Any] = {}
    for parameter in kernel.params:
        name = parameter.name
        if parameter.is_constexpr:
            constants[name] = name != "DETERMINISTIC"
        elif name == "cutoff_scale":
            constants[name] = None
        elif parameter.annotation_type:
            types[name] = parameter.annotation_type
        elif name in _SIZES:
            types[name] = "i32"
        else:
            types[name] = "*i64" if name in _INTEGER_POINTERS else f"*{number}"
    return types, constants


# -- comparing -----------------------------------------------------------------------------------


def faults(name: str, got: Usage, recorded: Usage | None, same_version: bool) -> list[str]:
    """What is worse than recorded; spills are a fault whatever the record says."""
    found = [f"{name}: spills {got.spills} bytes"] if got.spills else []
    if recorded is None:
        return [*found, f"{name}: not in {RECORD.name}; run with --write"]
    if same_version:  # another compiler gives other numbers
        for kind in ("registers", "instructions", "shared"):
            now, before = getattr(got, kind), getattr(recorded, kind)
            if now > ALLOWED * before:
                found.append(f"{name}: {kind} {before} -> {now}")
    return found


def table(record: dict[str, Any]) -> str:
    """The kernels on sm_90 in float32 as Markdown: all of dynamics, and the sums of every pass."""
    shown = [
        (row, Usage(**record["kernels"][row.name]))
        for row in _convolutions()
        if row.target == "sm_90" and row.dtype == torch.float32
    ]
    of_step = step_table(record["kernels"])
    return "\n".join([*_kernels_of_dynamics(shown), "", *_passes(shown), "", *of_step])


def _kernels_of_dynamics(shown: list[tuple[Row, Usage]]) -> list[str]:
    """The last column multiplies by the blocks of channels."""
    lines = [
        "| model (middle layer) | pass | input | paths | channels | registers | spills | "
        "instructions per edge | of these loads | times blocks |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row, usage in shown:
        step = row.step
        if row.form.source == "table" and step is not None:
            cells = (
                row.preset, row.form.operation, row.irrep, len(step.group.paths), step.group.block,
                usage.registers, usage.spills, usage.instructions, usage.loads,
                usage.instructions * step.n_blocks,
            )  # fmt: skip
            lines.append("| " + " | ".join(map(str, cells)) + " |")
    return lines


def _passes(shown: list[tuple[Row, Usage]]) -> list[str]:
    """Warp instructions of an edge, all kernels and blocks of channels together."""
    lines = [
        "| model (middle layer) | weights | pass | kernels | most registers | "
        "instructions per edge |",
        "|---|---|---|---|---|---|",
    ]
    for (preset, form), group in groupby(shown, key=lambda pair: (pair[0].preset, pair[0].form)):
        of_pass = [(row.step, usage) for row, usage in group if row.step is not None]
        registers = max(usage.registers for _, usage in of_pass)
        total = sum(usage.instructions * step.n_blocks for step, usage in of_pass)
        cells = (preset, form.source, form.operation, len(of_pass), registers, total)
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return lines


def main(arguments: list[str]) -> int:
    import triton

    write, words = "--write" in arguments, {word for word in arguments if word != "--write"}
    record = json.loads(RECORD.read_text()) if RECORD.exists() else {"kernels": {}}
    kernels: dict[str, Any] = record["kernels"]
    found: list[str] = []
    chosen = [row for row in rows() if words <= set(row.name.split())]
    for row in chosen:
        usage = row.compile()
        print(f"{row.name}: {usage}", flush=True)
        before = None if write or row.name not in kernels else Usage(**kernels[row.name])
        if write:
            kernels[row.name] = asdict(usage)
            before = usage
        found += faults(row.name, usage, before, record.get("triton") == triton.__version__)
    if write:
        names = {row.name for row in rows()}
        kernels = {name: kernels[name] for name in sorted(names & set(kernels))}
        RECORD.write_text(json.dumps({"triton": triton.__version__, "kernels": kernels}, indent=1))
        README.write_text(readme_with(RECORD, table({"kernels": kernels})))
    print("\n".join(found or [f"{len(chosen)} kernels: no spills, none worse than recorded"]))
    return 1 if found or not chosen else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
