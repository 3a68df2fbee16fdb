"""Steps of LAMMPS on 1 and 2 ranks of one core each, in turns, and where their time goes.

    python -m benchmarks.lammps                   # silicon and SevenNet-0, 1000 and 8000 atoms
    python -m benchmarks.lammps --models silicon --atoms 1000 --rounds 2 --output /dev/null

Runs `mpiexec -n N fastequi run --engine lammps`; a step takes all phases but output,
without start-up. Needs a machine on which nothing else runs.
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from benchmarks.common import RESULTS, ROOT, Results, add_common_options, row, silicon, start
from benchmarks.timing import Timing, ratio

TOML = """
[system]
structure = "atoms.extxyz"
[model]
name = "{model}"
[dynamics]
ensemble = "nve"
timestep_fs = 1.0
steps = {steps}
temperature_K = 300.0
seed = 1
device = "cpu"
[output]
directory = "run"
log_every = {steps}
trajectory_every = {steps}
checkpoint_every = {steps}
report = false
"""
RANKS = (1, 2)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--models", nargs="+", default=["silicon", "sevennet-0"])
    parser.add_argument("--atoms", nargs="+", type=int, default=[1000, 8000])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=10, help="of each run")
    add_common_options(parser, RESULTS / "lammps.jsonl")
    options = parser.parse_args(arguments)
    options.threads = 1
    results = start(options)
    for model in options.models:
        for n_atoms in options.atoms:
            _measure(results, model, n_atoms, options.steps, options.rounds)


def _measure(results: Results, model: str, n_atoms: int, steps: int, rounds: int) -> None:
    found: dict[int, list[dict[str, float]]] = {ranks: [] for ranks in RANKS}
    for _ in range(rounds):
        for ranks, runs in found.items():
            runs.append(_run(model, n_atoms, ranks, steps))
    times = {
        ranks: Timing(tuple(1e3 * run["step"] for run in runs)) for ranks, runs in found.items()
    }
    for ranks, runs in found.items():
        mode = f"nve, {ranks} rank{'s' * (ranks > 1)}"

        def add(metric: str, unit: str, value: Timing, mode: str = mode) -> None:
            results.add(row(model, "lammps", mode, metric, unit, n_atoms, value))

        add("time", "ms/step", times[ranks])
        for phase in ("communication", "outside the model"):
            add(phase, "%", Timing(tuple(100 * run[phase] for run in runs)))
        if ranks > 1:
            add("of the time on 1 rank", "x", ratio(times[ranks], times[1]))


def _run(model: str, n_atoms: int, ranks: int, steps: int) -> dict[str, float]:
    """Seconds of a step, and shares of the time of all steps on rank 0."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        silicon(n_atoms).write(folder / "atoms.extxyz")
        (folder / "md.toml").write_text(TOML.format(model=model, steps=steps))
        launcher = Path(sys.executable).with_name("mpiexec")
        command = [launcher, "-n", ranks, sys.executable, "-m", "fastequi.cli.main", "run",
                   folder / "md.toml", "--engine", "lammps"]  # fmt: skip
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        done = subprocess.run(
            list(map(str, command)), cwd=ROOT, capture_output=True, text=True, env=environment
        )
        if done.returncode:
            raise RuntimeError(done.stderr)
        phases: dict[str, float] = json.loads((folder / "run/summary.json").read_bytes())[
            "phases_s"
        ]
    phases.pop("output")
    whole = sum(phases.values())
    # The forces at step 0 are a step's as well.
    return {
        "step": whole / (steps + 1),
        "communication": phases["communication"] / whole,
        "outside the model": 1.0 - phases["model"] / whole,
    }


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
