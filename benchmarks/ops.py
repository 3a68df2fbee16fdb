"""The convolution alone: time per edge of every provider, for the layers that people run.

    python -m benchmarks.ops --edges 5000 50000 --layers sevennet-0 nequip-m

Each provider is held to the reference in float64 on a small problem first; one that is wrong
reports no speed. Rows: ns/edge, GFLOP/s and GB/s by the model in `work.py`, share of the floor.
"""

import argparse
from collections.abc import Callable

import torch
from torch import Tensor

from benchmarks.common import RESULTS, Results, add_common_options, free_memory, row, say, start
from benchmarks.layers import LayerProblem, layer_problem
from benchmarks.parity import faults
from benchmarks.providers import PROVIDERS, Forms, Provider
from benchmarks.timing import interleaved, ratio
from benchmarks.work import (
    BOTH_PASSES,
    LAYERS,
    MODES,
    TRAINING,
    Peaks,
    Work,
    count,
    peaks,
)

PARITY_EDGES = 1500


def main(arguments: list[str] | None = None) -> None:
    options = _parser().parse_args(arguments)
    results = start(options)
    run(results, options.layers, options.edges, options.providers, options.modes, options.budget)


def run(
    results: Results,
    layers: list[str],
    sizes: list[int],
    providers: list[str],
    modes: list[str],
    budget_s: float = 20.0,
) -> None:
    """All combinations; `budget_s` bounds the timed rounds of each layer, size and mode."""
    device = results.device
    machine_peaks = peaks(device)
    print(
        f"floor     {machine_peaks.cache_GB_s:.0f} GB/s from the cache, "
        f"{machine_peaks.GFLOP_s:.0f} GFLOP/s ({machine_peaks.source})"
    )
    usable = [PROVIDERS[name] for name in providers if _can_run(PROVIDERS[name], device)]
    for layer in layers:
        small = layer_problem(layer, PARITY_EDGES, torch.float32, device)
        sound = [provider for provider in usable if _is_sound(provider, small)]
        for n_edges in sizes:
            problem = layer_problem(layer, n_edges, torch.float32, device)
            for mode in modes:
                _time(results, problem, sound, mode, machine_peaks, budget_s)


def _can_run(provider: Provider, device: torch.device) -> bool:
    if obstacle := provider.obstacle(device):
        say(f"{provider.name} is skipped: {obstacle}")
    return not obstacle


def _is_sound(provider: Provider, small: LayerProblem) -> bool:
    try:
        wrong = faults(provider.bind(small), small)
    except Exception as error:  # another package's, of any kind: say it and go on with the rest
        wrong = [f"{type(error).__name__}: {error}"]
    for fault in wrong:
        say(f"{provider.name}, {small.name}: no speed is reported: {fault}")
    return not wrong


def _lacks_memory(provider: str, problem: LayerProblem, work: Work, mode: str) -> str:
    """What a provider cannot hold: every edge's messages, or its weights; '' if it fits."""
    per_edge = 0
    if mode in TRAINING or provider not in ("cpu", "triton"):
        per_edge += 3 * work.weights
    if provider == "reference":
        per_edge += 3 * (work.messages + work.features)
    needed, free = per_edge * problem.n_edges * problem.dtype.itemsize, free_memory(problem.device)
    return f"skipped: needs {needed / 1e9:.0f} GB of {free / 1e9:.0f}" if needed > free else ""


def _time(
    results: Results,
    problem: LayerProblem,
    providers: list[Provider],
    mode: str,
    machine_peaks: Peaks,
    budget_s: float,
) -> None:
    work = count(problem.instructions)
    calls: dict[str, Callable[[], object]] = {}
    for provider in providers:
        if too_much := _lacks_memory(provider.name, problem, work, mode):
            say(f"{provider.name}, {problem.name}, {problem.n_edges} edges, {mode}: {too_much}")
            continue
        forms = provider.bind(problem)
        if mode in TRAINING and forms.training is None:
            say(f"{provider.name} has no form for {mode}")
            continue
        calls[provider.name] = call_of(forms, problem, mode)
    timings = interleaved(calls, problem.device, budget_s=budget_s)
    for name, timing in timings.items():
        per_edge_ns = timing.per(problem.n_edges * 1e-9)
        place = (problem.name, name, mode)
        results.add(row(*place, "time", "ns/edge", problem.n_edges, per_edge_ns))
        rate = {"GFLOP/s": work.flop(mode), "GB/s": work.bytes(mode)}
        for unit, amount in rate.items():
            results.add(row(*place, "rate", unit, problem.n_edges, amount / per_edge_ns.p50))
        floor = work.floor_ns(mode, machine_peaks)
        share = 100 * floor / per_edge_ns.p50
        results.add(row(*place, "share of the floor", "%", problem.n_edges, share))
    for name in timings.keys() - {"reference"} if "reference" in timings else ():
        faster = ratio(timings["reference"], timings[name])
        what = (problem.name, name, mode, "faster than the reference", "x")
        results.add(row(*what, problem.n_edges, faster))


def call_of(forms: Forms, problem: LayerProblem, mode: str) -> Callable[[], object]:
    """A function of no arguments that computes one mode."""
    x = [t.detach() for t in forms.layout.encode_features(problem.x)]
    g = [t.detach() for t in forms.layout.encode_messages(problem.g)]
    if mode in TRAINING:
        assert forms.training is not None
        edge_inputs, form = [problem.harmonics.detach(), problem.weights.detach()], forms.training
    else:
        edge_inputs, form = [problem.vectors.detach()], forms.inference

    def forward() -> list[Tensor]:
        with torch.no_grad():
            return form(x, *edge_inputs)

    def both() -> tuple[Tensor, ...]:
        leaves = [t.detach().requires_grad_(True) for t in (*x, *edge_inputs)]
        out = form(leaves[: len(x)], *leaves[len(x) :])
        return torch.autograd.grad(out, leaves, g)

    return both if mode in BOTH_PASSES else forward


RAW = argparse.RawDescriptionHelpFormatter


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--layers", nargs="+", choices=LAYERS, default=list(LAYERS))
    parser.add_argument("--edges", nargs="+", type=int, default=[5_000, 50_000])
    parser.add_argument("--providers", nargs="+", choices=PROVIDERS, default=list(PROVIDERS))
    parser.add_argument("--modes", nargs="+", choices=MODES, default=list(MODES))
    parser.add_argument("--budget", type=float, default=10.0, help="s per layer, size and mode")
    add_common_options(parser, RESULTS / "ops.jsonl")
    return parser


if __name__ == "__main__":
    main()
