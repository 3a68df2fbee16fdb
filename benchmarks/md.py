"""Molecular dynamics: steps per second, time outside the model, memory, start-up, against size;
and the share of the processor's peak that a force call reaches (`force_call.py`).

    python -m benchmarks.md --sizes 64 216 512 1000 4096 8000 --thread-counts 1 2

Silicon, timestep 1 fs, 300 K, neighbours included, no output. `zero cost` is a potential without
forces: what remains is the engine. A start is the first step of a new process, with and without
compiled kernels on disk, less the time to import torch.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from time import perf_counter

import torch

from benchmarks import force_call
from benchmarks.common import (
    RESULTS,
    ROOT,
    Results,
    add_common_options,
    row,
    say,
    silicon,
    start,
    title,
)
from benchmarks.memory import peak_memory
from benchmarks.timing import Timing, synchronize
from fastequi.importers import load_model
from fastequi.md.integrators import Integrator, LangevinBAOAB, VelocityVerlet
from fastequi.md.simulation import Simulation
from fastequi.md.state import state_from_atoms
from fastequi.md.testing import NoForces
from fastequi.md.velocities import maxwell_boltzmann_
from fastequi.potential import Potential

SIZES = (64, 216, 512, 1000, 4096, 8000)
TEMPERATURE_K = 300.0
ENSEMBLES: dict[str, Callable[[], Integrator]] = {
    "nve": lambda: VelocityVerlet(1.0),
    "nvt-langevin": lambda: LangevinBAOAB(1.0, TEMPERATURE_K, seed=1),
}
ZERO_COST = "zero cost"
#: The cost per atom is called flat from here on.
FLAT_FROM = 500


def main(arguments: list[str] | None = None) -> None:
    options = _parser().parse_args(arguments)
    results = start(options)
    run(results, options.models, options.sizes, options.ensembles, options.budget)
    models = [model for model in options.models if model != ZERO_COST]
    if results.device.type == "cpu":
        for model in models:
            force_call.run(results, model, options.thread_atoms)
            if options.thread_counts:
                threads(results, model, options.thread_atoms, options.thread_counts, options.budget)
    if options.starts:
        starts(results, models)


def run(
    results: Results,
    models: list[str],
    sizes: list[int],
    ensembles: list[str],
    budget_s: float = 10.0,
    memory: bool = True,
) -> None:
    """Speed against size, for all models and ensembles."""
    for model in models:
        potential = _potential(model, results.device)
        for ensemble in ensembles:
            costs: dict[int, float] = {}
            for size in sizes:
                try:
                    seconds = _speed(results, model, potential, ensemble, size, budget_s)
                except torch.OutOfMemoryError as error:
                    say(f"{model}, {ensemble}, {size} atoms: {str(error).splitlines()[0]}")
                    break
                costs[size] = seconds / size
            _flatness(results, (title(model), _provider(potential), ensemble), costs)
        if memory and model != ZERO_COST and results.device.type == "cpu":
            _memory(results, model, _provider(potential), sizes)


def _potential(model: str, device: torch.device) -> Potential:
    if model == ZERO_COST:
        return NoForces(device=device)
    return load_model(model, str(device))


def _provider(potential: Potential) -> str:
    return getattr(potential, "kernels", "fastequi")


def _simulation(potential: Potential, ensemble: str, n_atoms: int) -> Simulation:
    state = state_from_atoms(silicon(n_atoms, rattle_A=0.02), potential.device)
    maxwell_boltzmann_(state, TEMPERATURE_K, seed=0)
    return Simulation(state, potential, ENSEMBLES[ensemble]())


def _speed(
    results: Results,
    model: str,
    potential: Potential,
    ensemble: str,
    size: int,
    budget_s: float,
) -> float:
    """Rows of one simulation; the median time of a step in s."""
    simulation = _simulation(potential, ensemble, size)
    n_atoms = simulation.state.n_atoms
    device = potential.device
    simulation.run(3)
    before = dict(simulation.phases_s)
    timing = _steps(simulation, device, budget_s)
    spent = {name: s - before[name] for name, s in simulation.phases_s.items()}
    what = (title(model), _provider(potential), ensemble)
    results.add(row(*what, "time", "ms/step", n_atoms, timing.per(1e-3)))
    results.add(row(*what, "time", "us/atom/step", n_atoms, timing.per(n_atoms * 1e-6)))
    rates = timing.reciprocal()
    results.add(row(*what, "speed", "steps/s", n_atoms, rates))
    results.add(row(*what, "speed", "atom-steps/s", n_atoms, rates.per(1 / n_atoms)))
    if model != ZERO_COST:
        outside = 100 * (1 - spent["model"] / sum(spent.values()))
        results.add(row(*what, "outside the model", "%", n_atoms, outside))
    if device.type == "cuda":
        peak = torch.cuda.max_memory_allocated(device) / 1e6
        results.add(row(*what, "memory", "MB", n_atoms, peak))
        torch.cuda.reset_peak_memory_stats(device)
    return timing.p50


def _steps(simulation: Simulation, device: torch.device, budget_s: float) -> Timing:
    """Time per step in blocks of up to eight: at least three, up to 25 within the budget."""
    synchronize(device)
    began = perf_counter()
    simulation.run(1)
    synchronize(device)
    block = max(1, min(8, int(budget_s / 8 / (perf_counter() - began))))
    samples: list[float] = []
    while len(samples) < 3 or (perf_counter() - began < budget_s and len(samples) < 25):
        synchronize(device)
        started = perf_counter()
        simulation.run(block)
        synchronize(device)
        samples.append((perf_counter() - started) / block)
    return Timing(tuple(samples))


def _flatness(results: Results, what: tuple[str, str, str], costs: dict[int, float]) -> None:
    """How far the cost per atom of large systems strays from the cheapest of them."""
    large = [cost for size, cost in costs.items() if size >= FLAT_FROM]
    if len(large) > 1 and what[0] != ZERO_COST:
        spread = 100 * (max(large) / min(large) - 1)
        metric = f"cost per atom varies above {FLAT_FROM} atoms"
        results.add(row(*what, metric, "%", max(costs), spread))


def _memory(results: Results, model: str, provider: str, sizes: list[int]) -> None:
    for size in sizes:
        peak = peak_memory("benchmarks.md", "memory_case", model, size, torch.get_num_threads())
        what = (title(model), provider, "nve", "memory above import", "MB", size)
        results.add(row(*what, peak.above_import_MB))


def memory_case(model: str, n_atoms: str, threads: str) -> Callable[[], object]:
    """For `memory.py`: loads the model and does three steps."""
    torch.set_num_threads(int(threads))

    def calculation() -> None:
        _simulation(load_model(model, "cpu"), "nve", int(n_atoms)).run(3)

    return calculation


def threads(results: Results, model: str, n_atoms: int, counts: list[int], budget_s: float) -> None:
    """The same simulation on several numbers of threads, in turns; ratios to the first number."""
    before = torch.get_num_threads()
    samples: dict[int, list[float]] = {count: [] for count in counts}
    simulation = _simulation(load_model(model, "cpu"), "nve", n_atoms)
    try:
        for _ in range(5):
            for count in counts:
                torch.set_num_threads(count)
                simulation.run(1)
                samples[count] += _steps(simulation, torch.device("cpu"), budget_s / 25).samples
    finally:
        torch.set_num_threads(before)
    first = Timing(tuple(samples[counts[0]])).p50
    for count in counts:
        timing = Timing(tuple(samples[count]))
        what = (model, f"{count} threads", "nve")
        results.add(row(*what, "time", "ms/step", n_atoms, timing.per(1e-3)))
        results.add(row(*what, f"faster than {counts[0]} thread", "x", n_atoms, first / timing.p50))


# -- start-up ------------------------------------------------------------------------------------

_START = """
import time
began = time.perf_counter()
import torch
imported = time.perf_counter()
from benchmarks.md import first_step
first_step({model!r}, {n_atoms})
print(imported - began, time.perf_counter() - imported)
"""


def first_step(model: str, n_atoms: int) -> None:
    """Load a model and do one step."""
    _simulation(load_model(model, "cpu"), "nve", n_atoms).run(1)


def starts(results: Results, models: list[str], n_atoms: int = 216) -> None:
    """First step of a new process: without compiled kernels on disk, then twice with them."""
    for model in models:
        with tempfile.TemporaryDirectory() as cache:
            for mode in ("first start, nothing compiled", "later start", "later start"):
                import_s, rest_s = _start(model, n_atoms, cache)
                what = (model, "fastequi", mode)
                results.add(row(*what, "beyond importing torch", "s", n_atoms, rest_s))
                results.add(row(*what, "importing torch", "s", n_atoms, import_s))


def _start(model: str, n_atoms: int, cache: str) -> tuple[float, float]:
    code = _START.format(model=model, n_atoms=n_atoms)
    environment = {**os.environ, "FASTEQUI_CACHE": cache, "TRITON_CACHE_DIR": cache}
    words = [sys.executable, "-c", code]
    out = subprocess.run(
        words, cwd=ROOT, env=environment, check=True, stdout=subprocess.PIPE, text=True
    )
    import_s, rest_s = (float(word) for word in out.stdout.split()[-2:])
    return import_s, rest_s


def _parser() -> argparse.ArgumentParser:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("--models", nargs="+", default=["sevennet-0", ZERO_COST])
    parser.add_argument("--sizes", nargs="+", type=int, default=list(SIZES), help="atoms")
    parser.add_argument("--ensembles", nargs="+", choices=ENSEMBLES, default=list(ENSEMBLES))
    parser.add_argument("--budget", type=float, default=10.0, help="s per simulation")
    parser.add_argument("--thread-counts", nargs="*", type=int, default=[1, 2])
    parser.add_argument("--thread-atoms", type=int, default=1000)
    parser.add_argument("--no-starts", dest="starts", action="store_false")
    add_common_options(parser, RESULTS / "md.jsonl")
    return parser


if __name__ == "__main__":
    main()
