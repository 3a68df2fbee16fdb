"""Steps of training, fastequi beside NequIP: time, frames per second, memory, agreement.

    python -m benchmarks.training

needs an environment with nequip (pip install 'fastequi[peers]') and the data (training_cases.py);
what is missing is named and skipped. Same architecture, weights, batches and loss, float32, taking
turns in one process. NequIP's step is its own module, loss, Adam and moving average with batches
and neighbour lists ready, and nothing of Lightning's loop counted; fastequi's is
`Trainer.train_step`, putting the batch together and the statistics of errors included. A turn is
one step on every batch: steps follow each other as in a training, not one by one on caches that
the other has filled. No speed is printed unless the first losses and gradients agree.
"""

import argparse
from collections.abc import Callable
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from benchmarks.common import RESULTS, Results, Row, add_common_options, row, say, start
from benchmarks.memory import peak_memory
from benchmarks.timing import Timing, interleaved, ratio
from benchmarks.training_cases import CASES, N_BATCHES, Case, Stepper, fastequi, nequip, start_of
from fastequi.model.file import ModelData, read_model, save_model

#: Relative differences of the first loss, and of all gradients as one vector, in float32.
TOLERANCE = 1e-3
OURS, EAGER, COMPILED = "fastequi", "nequip, eager", "nequip, compiled"


def main(arguments: list[str] | None = None) -> None:
    options = _parser().parse_args(arguments)
    if find_spec("nequip") is None:
        say("nothing is measured: nequip is not installed: pip install 'fastequi[peers]'")
        return
    results = start(options)
    peers = [EAGER, COMPILED] if options.compile else [EAGER]
    for name in options.cases:
        run(results, name, peers, options)


def run(results: Results, name: str, peers: list[str], options: argparse.Namespace) -> None:
    """One case: agreement, then time, then memory."""
    case = CASES[name]
    if obstacle := case.obstacle():
        say(f"{name} is skipped: {obstacle}")
        return
    begin = start_of(case)
    steppers = {OURS: fastequi(case, options.device, begin)}
    steppers |= {peer: _peer(peer, case, options.device) for peer in peers}
    sound = _those_who_agree(results, name, steppers)
    if len(sound) == 1:
        return
    _time(results, name, sound, options.repeats)
    if options.memory:
        _measure_memory(results, name, list(sound), begin, options.device)


def _peer(who: str, case: Case, device: str) -> Stepper:
    return nequip(case, device, **({"compile_mode": "compile"} if who == COMPILED else {}))


def _those_who_agree(
    results: Results, name: str, steppers: dict[str, Stepper]
) -> dict[str, Stepper]:
    """Ours and the peers whose first loss and gradients are ours; the deviations are rows."""
    expected = _first_step(steppers[OURS])
    sound = {OURS: steppers[OURS]}
    for peer in steppers:
        if peer == OURS:
            continue
        try:
            loss, gradients = _first_step(steppers[peer])
        except Exception as error:  # whatever torch.compile raises: go on with the others
            say(f"{name}, {peer} is skipped: {type(error).__name__}: {str(error)[:200]}")
            continue
        differs = {"loss differs by": abs(loss / expected[0] - 1), "gradient differs by":
                   _apart(expected[1], gradients)}  # fmt: skip
        for metric, value in differs.items():
            results.add(_row(name, peer, metric, "relative", value))
        if max(differs.values()) <= TOLERANCE:
            sound[peer] = steppers[peer]
        else:
            say(f"{name}, {peer}: NO SPEED, {differs} beyond {TOLERANCE}")
    return sound


def _first_step(stepper: Stepper) -> tuple[float, dict[str, torch.Tensor]]:
    loss = stepper.step()
    return loss, {name: g.detach().clone() for name, g in stepper.gradients().items()}


def _apart(ours: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor]) -> float:
    """|g - g'| / |g| over all weights."""
    squares = [
        torch.stack([(g - theirs[name]).double().square().sum(), g.double().square().sum()])
        for name, g in ours.items()
    ]
    difference, size = torch.stack(squares).sum(0).tolist()
    return (difference / size) ** 0.5


def _time(results: Results, name: str, steppers: dict[str, Stepper], repeats: int) -> None:
    def turn(stepper: Stepper) -> None:
        for _ in range(N_BATCHES):
            stepper.step()

    calls = {who: partial(turn, stepper) for who, stepper in steppers.items()}
    turns = interleaved(calls, results.device, repeats, warmup=1, budget_s=180.0)
    timings = {who: timing.per(N_BATCHES) for who, timing in turns.items()}
    for who, timing in timings.items():
        results.add(_row(name, who, "time", "ms/step", timing.per(1e-3)))
        rate = timing.per(CASES[name].batch_size)
        results.add(_row(name, who, "speed", "frames/s", rate.reciprocal()))
    for who in timings.keys() - {OURS}:
        faster = ratio(timings[who], timings[OURS])
        results.add(_row(name, who, "fastequi is faster", "x", faster))


def _measure_memory(
    results: Results, name: str, who: list[str], begin: ModelData, device: str
) -> None:
    above = {}
    with TemporaryDirectory() as folder:
        model = Path(folder) / "start.safetensors"
        save_model(model, begin)
        for provider in who:
            where = (name, provider, device, torch.get_num_threads(), model)
            peak = peak_memory("benchmarks.training", "memory_case", *where)
            above[provider] = peak.above_import_MB
            metric = ("memory above import", "MB")
            results.add(_row(name, provider, *metric, peak.above_import_MB))
    for provider in above.keys() - {OURS}:
        share = above[provider] / above[OURS]
        results.add(_row(name, provider, "fastequi needs less memory", "x", share))


def memory_case(
    name: str, provider: str, device: str, threads: str, model: str
) -> Callable[[], object]:
    """For `memory.py`: imports the package; then the model is made and takes four steps."""
    torch.set_num_threads(int(threads))
    import_module("nequip.train" if provider != OURS else "fastequi.training.trainer")
    case = CASES[name]
    _ = case.dataset

    def calculation() -> None:
        if provider == OURS:
            stepper = fastequi(case, device, read_model(model))
        else:
            stepper = _peer(provider, case, device)
        for _ in range(4):
            stepper.step()

    return calculation


def _row(name: str, who: str, metric: str, unit: str, value: Timing | float) -> Row:
    case = CASES[name]
    mode = f"batch of {case.batch_size}, {', '.join(case.weights)}"
    return row(name, who, mode, metric, unit, case.batch_size * case.n_atoms, value)


def _parser() -> argparse.ArgumentParser:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--no-memory", dest="memory", action="store_false")
    parser.add_argument("--compile", action="store_true", help="NequIP by torch.compile too")
    add_common_options(parser, RESULTS / "training.jsonl")
    return parser


if __name__ == "__main__":
    main()
