"""Everything that needs a GPU, in one go and one file, in less than nine minutes.

    python -m benchmarks.gpu_report [OUTPUT]

Parity of the kernels, the operator against its floor, dynamics from 64 to a million atoms, what the
parts of a step gain (`gpu_step.py`), and the peers that are installed. Each part has its own share
of time and stops there; a part that fails is recorded and the next one runs. Exit code 2 without a
GPU; --dry-run does every part on the CPU at tiny sizes. Needs torch, Triton, numpy, ase and vesin;
fastequi need not be installed.
"""

import argparse
import json
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter
from typing import Any

import torch

from benchmarks import gpu_step, md, ops, peers
from benchmarks.calculators import COMPARISONS, Setting
from benchmarks.common import RESULTS, Results, print_circumstances, say
from benchmarks.providers import PROVIDERS
from benchmarks.work import FORCES, FORWARD, LAYERS, MODES, TRAINING_BOTH
from fastequi.importers import load_model
from fastequi.kernels.backend import BACKENDS
from fastequi.kernels.testing import problems
from fastequi.kernels.testing_operations import assert_forward_parity, assert_jvp_parity
from fastequi.model.file import model_data, save_model
from fastequi.model.nequip import NequIP
from fastequi.model.spec import new_spec

#: Seconds for each part on a GPU; together below nine minutes.
BUDGETS_S = {
    "parity": 110.0, "operator": 120.0, "dynamics": 130.0, "step": 70.0, "peers": 90.0,
}  # fmt: skip

MD_SIZES = [64, 216, 512, 1000, 4096, 8000, 32768, 110592, 262144, 512000, 1000000]


class OutOfTime(BaseException):
    """A part has used up its share; no handler of ordinary errors may take it."""


def main(arguments: list[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    if not torch.cuda.is_available() and not options.dry_run:
        print("there is no GPU that torch can use; --dry-run tries every part on the CPU")
        return 2
    device = torch.device("cpu" if options.dry_run else "cuda")
    results = Results(None, device)
    print_circumstances(results.circumstances)
    path = options.output or RESULTS / f"gpu-{_file_name(results.circumstances['device'])}.json"
    report: dict[str, Any] = {**results.circumstances, "dry_run": options.dry_run, "parts": {}}
    for name, part in PARTS.items():
        report["parts"][name] = _run(name, part, results, options.dry_run)
        report["rows"] = results.rows
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(report, indent=1) + "\n")
    print(f"written to {path}")
    return 0


def _run(
    name: str,
    part: Callable[[Results, bool, dict[str, str]], None],
    results: Results,
    dry_run: bool,
) -> dict[str, Any]:
    """Run a part within its time; what it found, or how it failed."""
    print(f"\n== {name}", flush=True)
    began, rows = perf_counter(), len(results.rows)
    outcome: dict[str, Any] = {"error": None, "found": {}}
    try:
        with _limited(BUDGETS_S[name]):
            part(results, dry_run, outcome["found"])
    except OutOfTime:
        outcome["error"] = f"stopped after {BUDGETS_S[name]:.0f} s; the rows until then are kept"
    except Exception as error:  # recorded: the other parts must run
        outcome["error"] = f"{type(error).__name__}: {error}"
        outcome["traceback"] = traceback.format_exc()
    if outcome["error"]:
        say(f"{name}: {outcome['error']}")
    for entry in results.rows[rows:]:
        entry["part"] = name
    return outcome | {"seconds": perf_counter() - began, "rows": len(results.rows) - rows}


@contextmanager
def _limited(seconds: float) -> Iterator[None]:
    """Raise OutOfTime inside when the time is up (between two steps of the interpreter)."""

    def stop(number: int, frame: Any) -> None:
        raise OutOfTime

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


# -- the parts -----------------------------------------------------------------------------------


def _parity(results: Results, dry_run: bool, found: dict[str, str]) -> None:
    """Every problem of the parity kit, all operations: '' or what deviates."""
    operations = BACKENDS["reference" if dry_run else "triton"].operations
    cases = [
        (dtype, problem, form)
        for dtype in (torch.float32, torch.float64)
        for problem in problems()[: 2 if dry_run else None]
        for form in ("table", "pair_weights", "jvp")
    ]
    for dtype, problem, form in cases:
        name = f"{problem}, {form}, {dtype}"
        try:
            if form == "jvp":
                assert_jvp_parity(operations, problem, dtype, results.device)
            else:
                assert_forward_parity(operations, problem, dtype, results.device, form)
            found[name] = ""
        except AssertionError as error:
            found[name] = str(error)
            say(f"{name}: {error}")
    wrong = sum(bool(fault) for fault in found.values())
    print(f"{len(found)} checks, {wrong} deviate", flush=True)


def _operator(results: Results, dry_run: bool, found: dict[str, str]) -> None:
    """Middle layers: the two most used at every size, then the others."""
    providers = list(PROVIDERS)
    if dry_run:
        ops.run(results, ["nequip-m"], [500], providers, [FORWARD, TRAINING_BOTH], 0.1)
        return
    first = ["sevennet-0", "nequip-m"]
    ops.run(results, first, [50_000, 500_000], providers, list(MODES), 2.0)
    rest = [layer for layer in LAYERS if layer not in first]
    ops.run(results, rest, [50_000], providers, [FORWARD, FORCES], 1.0)
    ops.run(results, first, [5_000, 5_000_000], providers, [FORWARD, FORCES], 2.0)


def _dynamics(results: Results, dry_run: bool, found: dict[str, str]) -> None:
    """Steps of SevenNet-0 where its weights are, and of NequIP's L preset with random weights."""
    with tempfile.TemporaryDirectory() as folder:
        models = [*_available("sevennet-0"), _random_model(Path(folder), dry_run)]
        sizes = [8, 64] if dry_run else MD_SIZES
        budget_s = 0.1 if dry_run else 2.0
        ensembles = ["nve"]
        md.run(results, [md.ZERO_COST], sizes[:6], ensembles, budget_s, memory=False)
        for some in (sizes[:6], sizes[6:]):
            for model in models:
                md.run(results, [model], some, ensembles, budget_s, memory=False)


def _step(results: Results, dry_run: bool, found: dict[str, str]) -> None:
    """What the list on the device, chunks, and sums in a fixed order make of a step."""
    with tempfile.TemporaryDirectory() as folder:
        models = [*_available("sevennet-0"), _random_model(Path(folder), dry_run)]
        if dry_run:
            gpu_step.run(results, models[-1:], [8], turns=1)
        else:
            gpu_step.run(results, models, [64, 1000, 4096])


def _available(name: str) -> list[str]:
    try:
        load_model(name, "cpu", kernels="reference")
    except ValueError as error:
        say(f"{name} is skipped: {error}")
        return []
    return [name]


def _random_model(folder: Path, dry_run: bool) -> str:
    """NequIP's L preset for silicon; weak forces, so that the crystal stays one."""
    torch.manual_seed(0)
    size: dict[str, Any] = {"layers": 6, "l_max": 3, "channels": (128, 64, 32, 32)}
    if dry_run:
        size = {"layers": 2, "l_max": 1, "channels": (4, 2)}
    network = NequIP(new_spec([14], parity="natural", embedding_channels=32, **size))
    network.scale.fill_(1e-3)
    path = folder / "nequip-l.safetensors"
    save_model(path, model_data(network))
    return str(path)


def _peers(results: Results, dry_run: bool, found: dict[str, str]) -> None:
    """Whole models beside their packages, where those are installed."""
    with tempfile.TemporaryDirectory() as cache:
        setting = Setting(Path(cache), results.device.type)
        for name in COMPARISONS:
            if name.startswith("nequip"):
                say(f"{name} is skipped: making its compiled form takes minutes")
                continue
            peers.run(results, name, setting, quick=dry_run, memory=False)


PARTS = {
    "parity": _parity, "operator": _operator, "dynamics": _dynamics, "step": _step, "peers": _peers,
}  # fmt: skip


def _file_name(device: str) -> str:
    return "".join(c if c.isalnum() else "-" for c in device.lower()).strip("-")


def _parser() -> argparse.ArgumentParser:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("output", nargs="?", type=Path)
    parser.add_argument("--dry-run", action="store_true", help="every part, tiny, on the CPU")
    return parser


if __name__ == "__main__":
    sys.exit(main())
