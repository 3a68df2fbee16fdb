"""What the printed CPU kernels keep on the stack, compiled for processors that are not here.

    python -m fastequi.kernels.offline_cpu                     compare all with spills.json
    python -m fastequi.kernels.offline_cpu nequip-m x86-64-v3  compare the rows with these words
    python -m fastequi.kernels.offline_cpu --write             rewrite spills.json and README.md

LLVM says in the assembly what it spills. What counts is the deepest loop: one trip is an edge and a
vector of channels (in products, a row of the matrix). Scalars that wait on the stack for the end of
a loop are left out; so is what a function saves for its caller.
"""

import json
import re
import sys
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import llvmlite.binding as llvm
import torch

from fastequi.kernels.cpu.kernels import print_kernel
from fastequi.kernels.cpu.product import ProductSpec, print_product
from fastequi.kernels.cpu.spec import KernelSpec, Operation, Source
from fastequi.kernels.llvm.compiler import optimized
from fastequi.kernels.llvm.target import OFFLINE, Target, offline
from fastequi.kernels.presets import middle_layer
from fastequi.kernels.recorded import README, readme_with

PRESETS = ("sevennet-0", "nequip-m")
RECORD = Path(__file__).with_name("spills.json")
#: How many more instructions than recorded are a regression.
ALLOWED = 1.05

_SCALAR_BYTES = 8
#: Of dynamics, then of training.
_KERNELS: tuple[tuple[Source, Operation], ...] = (
    ("table", "forward"),
    ("table", "vjp"),
    ("pair_weights", "forward"),
    ("pair_weights", "vjp"),
    ("pair_weights", "jvp"),
    ("pair_weights", "jvp_vjp"),
)


@dataclass(frozen=True, slots=True)
class Usage:
    """Of the deepest loop: instructions, and vectors stored to and loaded from the stack."""

    instructions: int
    spills: int
    reloads: int


@dataclass(frozen=True, slots=True)
class Row:
    """One kernel of one preset, in float32; products belong to none."""

    model: str
    kind: str
    input: str
    target: str
    source: str

    @property
    def name(self) -> str:
        return f"{self.model} {self.kind} {self.input} {self.target}"

    def compile(self) -> Usage:
        return usage(assembly(self.source, offline(self.target)))


def rows() -> Iterator[Row]:
    """Every kernel for every target."""
    for name in OFFLINE:
        target = offline(name)
        lanes = target.vector_bytes // 4
        for model in PRESETS:
            for irrep, kinds in _kernels(model, target).items():
                for kind, source in kinds.items():
                    yield Row(model, kind, irrep, name, source)
        for vectors in (1, 2, 4):
            spec = ProductSpec(torch.float32, lanes, vectors, True, target.vector_count)
            yield Row("any", "product", f"{vectors}-vectors", name, print_product(spec))


def _kernels(model: str, target: Target) -> dict[str, dict[str, str]]:
    """Input irrep -> kind of kernel -> its IR."""
    found: dict[str, dict[str, str]] = {}
    instructions, lanes = middle_layer(model), target.vector_bytes // 4
    for i, (_, ir) in enumerate(instructions.irreps_in):
        paths = tuple((p.l2, p.l3) for p in instructions.paths if p.input == i)
        shape = ir.l, paths, torch.float32, lanes, lanes
        found[str(ir)] = {
            f"{source}-{operation}": print_kernel(
                KernelSpec(
                    *shape, source, operation,
                    wants_dx=operation == "vjp", has_tangents=operation in ("jvp", "jvp_vjp"),
                )
            )
            for source, operation in _KERNELS
        }  # fmt: skip
    return found


def assembly(source: str, target: Target) -> str:
    """With LLVM's comments."""
    machine = target.compiling_machine
    machine.set_asm_verbosity(True)
    return machine.emit_assembly(optimized(source, target))


def usage(text: str) -> Usage:
    """What the comments of an assembly say of its deepest loop."""
    loop = _deepest_loop(text)
    stack = [re.search(r"(\d+)-byte (?:Folded )?(Spill|Reload)", line) for line in loop]
    kinds = [found[2] for found in stack if found and int(found[1]) > _SCALAR_BYTES]
    return Usage(len(loop), kinds.count("Spill"), kinds.count("Reload"))


def _deepest_loop(text: str) -> list[str]:
    """Instructions at the greatest depth."""
    by_depth: dict[int, list[str]] = defaultdict(list)
    depth = 0
    for line in text.splitlines():
        if re.match(r"\S+:", line):
            depth = 0  # a block; its loop stands in its comments
        if found := re.search(r"(?:Loop Header: |in Loop: .*)Depth=(\d+)", line):
            depth = int(found[1])
        elif re.match(r"\s+[a-z]", line):
            by_depth[depth].append(line)
    return by_depth[max(by_depth)]


# -- comparing -----------------------------------------------------------------------------------


def faults(name: str, got: Usage, recorded: Usage | None, same_version: bool) -> list[str]:
    """What is worse than recorded; another LLVM gives other numbers."""
    if recorded is None:
        return [f"{name}: not in {RECORD.name}; run with --write"]
    if not same_version:
        return []
    found = []
    for kind, allowed in (("instructions", ALLOWED), ("spills", 1), ("reloads", 1)):
        now, before = getattr(got, kind), getattr(recorded, kind)
        if now > allowed * before:
            found.append(f"{name}: {kind} {before} -> {now}")
    return found


def table(record: dict[str, Any]) -> str:
    """Spills and reloads per edge and vector of channels as Markdown."""
    cells: dict[tuple[str, str, str], dict[str, str]] = defaultdict(dict)
    for name, numbers in record["kernels"].items():
        model, kind, irrep, target = name.split()
        got = Usage(**numbers)
        spilled = f"{got.spills} / {got.reloads}" if got.spills or got.reloads else "0"
        cells[model, irrep, kind][target] = f"{spilled} of {got.instructions}"
    lines = [
        f"| model | input | kernel | {' | '.join(OFFLINE)} |",
        "|---|---|---|" + "---|" * len(OFFLINE),
    ]
    for (model, irrep, kind), by_target in sorted(cells.items()):
        shown = [by_target[target] for target in OFFLINE]
        lines.append(f"| {model} | {irrep} | {kind} | {' | '.join(shown)} |")
    return "\n".join(lines)


def llvm_version() -> str:
    return ".".join(map(str, llvm.llvm_version_info))


def main(arguments: list[str]) -> int:
    write, words = "--write" in arguments, {word for word in arguments if word != "--write"}
    record = json.loads(RECORD.read_text()) if RECORD.exists() and not write else {"kernels": {}}
    same_version = record.get("llvm") == llvm_version()
    chosen = [row for row in rows() if write or words <= set(row.name.split())]
    found, kernels = [], {}
    for row in chosen:
        got = row.compile()
        print(f"{row.name}: {got}", flush=True)
        kernels[row.name] = asdict(got)
        before = kernels[row.name] if write else record["kernels"].get(row.name)
        found += faults(row.name, got, Usage(**before) if before else None, same_version)
    if write:
        kernels = dict(sorted(kernels.items()))
        RECORD.write_text(json.dumps({"llvm": llvm_version(), "kernels": kernels}, indent=1) + "\n")
        README.write_text(readme_with(RECORD, table({"kernels": kernels})))
    print("\n".join(found or [f"{len(chosen)} kernels: none worse than recorded"]))
    return 1 if found or not chosen else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
