"""What one step of dynamics asks of a GPU: operators, Triton launches, questions to the host.

    python -m benchmarks.launches --json FILE       all models and ensembles, 1 min
    python -m benchmarks.launches --models sevennet-0

Counted on the CPU without a GPU: the step runs with `kernels = "triton"`, and in the place of each
launch the plan of the pass says how many kernels it has; zeros come out. Counts do not depend on
the number of atoms up to 12,500, nor on the machine. A step is one of a chunk, between two looks
at the device.

    torch_operators   of ATen that compute or move; views and allocations are none
    triton_launches   kernels of fastequi
    host_questions    what makes the host wait for the device: a number that is read, sizes that
                      depend on data, a tensor made of numbers there
    nodes             operators and launches: what a captured graph would hold at least. A few
                      operators are several kernels.
    force_call_*      of these, from positions to forces, energies and stress
"""

import argparse
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from ase.build import bulk
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from benchmarks.common import RESULTS
from fastequi.engine import fused
from fastequi.graph import Graph
from fastequi.importers import read_any
from fastequi.kernels.radial_table import RadialTable
from fastequi.kernels.testing import GRID
from fastequi.kernels.triton import launch
from fastequi.kernels.triton.plan import TOGETHER_UP_TO, can_be_together, plan
from fastequi.kernels.triton.step import kernels
from fastequi.kernels.triton.step.kernels import KERNELS
from fastequi.md.integrators import (
    Integrator,
    LangevinBAOAB,
    MartynaTobiasKlein,
    VelocityVerlet,
)
from fastequi.md.simulation import Simulation
from fastequi.model.file import build_model
from fastequi.model.nequip import NequIP
from fastequi.model.spec import new_spec
from fastequi.potential import force_call

RECORD = RESULTS / "launches.json"

#: Operators of ATen that launch nothing.
FREE = {
    "alias", "as_strided", "detach", "diagonal", "empty", "empty_like", "empty_strided", "expand",
    "is_same_size", "lift_fresh", "narrow", "new_empty", "new_empty_strided", "permute", "reshape",
    "_reshape_alias", "resolve_conj", "select", "slice", "split", "split_with_sizes", "squeeze",
    "t", "transpose", "unbind", "unfold", "_unsafe_view", "unsqueeze", "view", "view_as_real",
}  # fmt: skip
#: How often an operator waits for the device; bincount reads back the smallest and the largest.
QUESTIONS = {
    "_local_scalar_dense": 1, "nonzero": 1, "equal": 1, "bincount": 2, "_unique2": 1,
    "masked_select": 1, "repeat_interleave": 1,
}  # fmt: skip


@dataclass(frozen=True)
class Count:
    """Of one step."""

    model: str
    ensemble: str
    torch_operators: int
    triton_launches: int
    host_questions: int
    nodes: int
    force_call_nodes: int
    force_call_questions: int


class Counting(TorchDispatchMode):
    """Counts operators and questions inside."""

    def __init__(self) -> None:
        super().__init__()
        self.operators: Counter[str] = Counter()
        self.questions = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.name().split("::")[1].split(".")[0]
        if func.namespace == "aten" and name not in FREE:
            self.operators[name] += 1
        self.questions += QUESTIONS.get(name, 0)
        if name in ("index", "index_put_", "index_put"):
            self.questions += any(_is_mask(index) for index in args[1])
        return func(*args, **(kwargs or {}))


class CountingTensors(TorchFunctionMode):
    """Counts tensors that are made of numbers for a device: copies that the host waits for."""

    def __init__(self) -> None:
        super().__init__()
        self.questions = 0

    def __torch_function__(self, func, types, args=(), kwargs=None):
        named: Mapping[str, Any] = kwargs or {}
        self.questions += func is torch.tensor and "device" in named
        return func(*args, **named)


def _is_mask(index: Any) -> bool:
    return isinstance(index, Tensor) and index.dtype == torch.bool


@contextmanager
def stubbed_launches() -> Iterator[Counter[str]]:
    """Inside, passes write zeros and count the kernels of their plans, by operation."""
    launched: Counter[str] = Counter()

    def run(instructions, form, named: Mapping[str, Tensor], numbers, deterministic) -> None:
        if n_receivers := len(named["row_start"]) - 1:
            of_plan = instructions, form, named["x0"].dtype, 32
            together = n_receivers <= TOGETHER_UP_TO and can_be_together(*of_plan)
            launched[form.operation] += 1 if together else len(plan(*of_plan))
        for name, tensor in named.items():
            if name.startswith("out"):
                tensor.zero_()

    def run_small(name: str, arguments: Mapping[str, Any], grid: Sequence[int]) -> None:
        launched[name] += 1
        for written in KERNELS[name].written:
            arguments[written].zero_()

    def as_on_a_gpu(device: torch.device) -> bool:
        return True

    with (
        patch.object(launch, "run", run), patch.object(launch, "run_small", run_small),
        patch.object(kernels, "run_on", as_on_a_gpu),
    ):  # fmt: skip
        yield launched


def _sevennet(name: str) -> Callable[[], NequIP]:
    return lambda: build_model(read_any(name), torch.float32, torch.device("cpu"))


def _preset(layers: int, channels: tuple[int, ...]) -> Callable[[], NequIP]:
    """Of NequIP, for silicon, with random weights."""
    spec = new_spec(
        [14], layers=layers, l_max=len(channels) - 1, channels=channels, parity="natural",
        embedding_channels=32,
    )  # fmt: skip
    return lambda: NequIP(spec).to(torch.float32)


MODELS: dict[str, Callable[[], NequIP]] = {
    "sevennet-0": _sevennet("sevennet-0"),
    "sevennet-l3i5": _sevennet("sevennet-l3i5"),
    "nequip-m": _preset(4, (128, 64, 32)),
    "nequip-l": _preset(6, (128, 64, 32, 32)),
}
ENSEMBLES: dict[str, Callable[[], Integrator]] = {
    "nve": lambda: VelocityVerlet(1.0),
    "nvt-langevin": lambda: LangevinBAOAB(1.0, 300.0, seed=1),
    "npt-mtk": lambda: MartynaTobiasKlein(1.0, 300.0),
}


def count(model: str, ensembles: Sequence[str] = tuple(ENSEMBLES)) -> list[Count]:
    """A row for each ensemble."""
    network = MODELS[model]().eval().requires_grad_(False)
    with patch.object(fused, "cached_tables", _zero_tables):
        potential = fused.FusedNequIP(network, "triton")
    return [_count_step(model, ensemble, potential) for ensemble in ensembles]


def _count_step(model: str, ensemble: str, potential: fused.FusedNequIP) -> Count:
    atoms = bulk("Si", cubic=True)
    atoms.rattle(0.02, seed=0)
    with stubbed_launches() as launched:
        simulation = Simulation(atoms, potential, ENSEMBLES[ensemble](), chunk_steps=2)
        simulation.run(2)
        step_ = simulation.chunks.one_more_step()
        operators, launches, questions = _counted(step_, launched)
        call, state = force_call(potential, _list_of(simulation)), simulation.state
        call(state.positions, state.cell)  # what is made once
        of_call = _counted(lambda: call(state.positions, state.cell), launched)
    nodes = operators + launches, of_call[0] + of_call[1]
    return Count(model, ensemble, operators, launches, questions, *nodes, of_call[2])


def _counted(function: Callable[[], Any], launched: Counter[str]) -> tuple[int, int, int]:
    """Operators, launches and questions of what a function does."""
    before = launched.total()
    with CountingTensors() as tensors, Counting() as counting:
        function()
    questions = counting.questions + tensors.questions
    return counting.operators.total(), launched.total() - before, questions


def _list_of(simulation: Simulation) -> Graph:
    s = simulation.state
    return simulation.neighbors.graph_with_skin(
        s.positions, s.atomic_numbers, s.cell, s.pbc, s.system_idx
    )


def _zero_tables(network: NequIP) -> list[RadialTable]:
    """Their numbers are not counted."""
    grid = replace(GRID, cutoff=network.cutoff)
    layers = network.interactions()
    return [
        RadialTable(torch.zeros(grid.n_rows, 2, layer.shapes.instructions.n_weights), grid)
        for layer in layers
    ]


def main(arguments: list[str] | None = None) -> None:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--json", type=Path, help=f"where the rows go; kept is {RECORD.name}")
    options = parser.parse_args(arguments)
    rows = []
    for model in options.models:
        for found in count(model):
            rows.append(asdict(found))
            print(json.dumps(rows[-1]), flush=True)
    if options.json is not None:
        options.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
