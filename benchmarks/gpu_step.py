"""What a step on a GPU gains by each of its parts, for `gpu_report.py`.

list            built on the device and on the host: ms of a rebuild, and edges that differ
chunk           steps of a chunk beside steps that are looked at one by one: ms per step
deterministic   in a fixed order or in any: ms per step, and by how much two equal runs differ
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from time import perf_counter
from unittest.mock import patch

import torch

from benchmarks.common import Results, row, silicon, title
from benchmarks.md import TEMPERATURE_K
from benchmarks.timing import Timing, synchronize
from fastequi.importers import load_model
from fastequi.kernels.triton.step import kernels
from fastequi.md.integrators import VelocityVerlet
from fastequi.md.neighbors import NeighborList
from fastequi.md.simulation import Simulation
from fastequi.md.state import State, state_from_atoms
from fastequi.md.velocities import maxwell_boltzmann_
from fastequi.potential import Potential
from fastequi.process import reproducible

SKIN_A = 1.0


def run(results: Results, models: Sequence[str], sizes: Sequence[int], turns: int = 5) -> None:
    """All three, at every size."""
    for size in sizes:
        state = _state(size, results.device)
        _lists(results, state, turns)
        for model in models:
            potential = load_model(model, str(results.device))
            _chunks(results, model, potential, size, turns)
            _orders(results, model, potential, size, turns)


def _lists(results: Results, state: State, turns: int, cutoff_A: float = 5.0) -> None:
    """In turns, of a crystal of silicon with 28 edges per atom within the cutoff."""
    topology = state.positions, state.cell, state.pbc, state.system_idx
    with patch.object(kernels, "run_on", lambda device: False):
        of_host = NeighborList(cutoff_A, SKIN_A)
        of_host.update(*topology)
    of_device = NeighborList(cutoff_A, SKIN_A)
    of_device.update(*topology)
    lists = {"host": of_host, "device": of_device}
    rebuilds = {name: partial(one.update, *topology, anew=True) for name, one in lists.items()}
    for name, timing in _in_turns(rebuilds, turns, state.device).items():
        results.add(row("list", name, "rebuild", "time", "ms", state.n_atoms, timing.per(1e-3)))
    host, device = (
        one.graph_with_skin(topology[0], state.atomic_numbers, *topology[1:])
        for one in lists.values()
    )
    differ = abs(host.n_edges - device.n_edges)
    if not differ:
        pairs = [(getattr(host, k), getattr(device, k)) for k in ("edge_src", "edge_dst")]
        is_other = (host.edge_shift != device.edge_shift).any(dim=1)
        differ = int(sum((a != b for a, b in pairs), is_other).count_nonzero())
    results.add(row("list", "device", "rebuild", "edges that differ", "", state.n_atoms, differ))


def _chunks(
    results: Results, model: str, potential: Potential, size: int, turns: int, steps: int = 8
) -> None:
    simulations = {
        "looked at": _simulation(potential, size, 1), "chunk": _simulation(potential, size, None)
    }  # fmt: skip
    advances = {name: partial(one.run, steps) for name, one in simulations.items()}
    for name, timing in _in_turns(advances, turns, potential.device).items():
        per_step = timing.per(steps * 1e-3)
        results.add(row(title(model), name, "nve", "time", "ms/step", size, per_step))


def _orders(
    results: Results, model: str, potential: Potential, size: int, turns: int, steps: int = 8
) -> None:
    for asked in (True, False):
        name = "fixed order" if asked else "any order"
        with reproducible(potential.device, asked):
            first, second = (_simulation(potential, size, None) for _ in range(2))
            timing = _in_turns({name: lambda one=first: one.run(steps)}, turns, potential.device)
            second.run(first.state.step - second.state.step)
        per_step = timing[name].per(steps * 1e-3)
        results.add(row(title(model), name, "nve", "time", "ms/step", size, per_step))
        apart = float((first.state.positions - second.state.positions).abs().max())
        results.add(row(title(model), name, "nve", "two runs differ by", "Å", size, apart))


def _simulation(potential: Potential, size: int, chunk_steps: int | None) -> Simulation:
    """That has had the steps after which a chunk is captured."""
    state = _state(size, potential.device)
    simulation = Simulation(
        state, potential, VelocityVerlet(1.0), skin_A=SKIN_A, chunk_steps=chunk_steps
    )
    simulation.run(4)
    return simulation


def _state(size: int, device: torch.device) -> State:
    state = state_from_atoms(silicon(size, rattle_A=0.02), device)
    maxwell_boltzmann_(state, TEMPERATURE_K, seed=0)
    return state


def _in_turns(
    functions: Mapping[str, Callable[[], object]], turns: int, device: torch.device
) -> dict[str, Timing]:
    """Seconds of each, one after the other, several times; a first time is not counted."""
    seconds: dict[str, list[float]] = {name: [] for name in functions}
    for turn in range(turns + 1):
        for name, function in functions.items():
            synchronize(device)
            began = perf_counter()
            function()
            synchronize(device)
            if turn:
                seconds[name].append(perf_counter() - began)
    return {name: Timing(tuple(samples)) for name, samples in seconds.items()}
