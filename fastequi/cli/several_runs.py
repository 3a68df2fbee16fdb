"""Several md.tomls in one command: one after the other, or one on each GPU, and a table of all."""

import json
import os
import queue
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from fastequi.cli.walltime import seconds_left, written
from fastequi.device import accelerators
from fastequi.errors import FastEquiError, InputError, Stopped
from fastequi.md.trajectory.directory import SUMMARY
from fastequi.settings import absolute, read_toml

#: Exit codes from the worst down, with what they mean in a word or two; others are bugs.
_WORST_FIRST = {1: "bug", 2: "wrong input", 74: "disk", 3: "physics failed", 75: "stopped"}


@dataclass
class Outcome:
    """What came of one file: its exit code (None: not started) and its error."""

    config: Path
    code: int | None = None
    error: str = ""
    summary: dict[str, Any] = field(default_factory=dict)

    @property
    def word(self) -> str:
        """What the code means."""
        if self.code is None:
            return "not started"
        return "done" if self.code == 0 else _WORST_FIRST.get(self.code, f"exit code {self.code}")


def run_several(
    configs: Sequence[Path],
    run_one: Callable[..., int],
    options: Mapping[str, bool],
    device: str | None,
    deadline_s: float | None,
) -> int:
    """Run every file, whatever becomes of the others; returns the worst exit code.

    After one that was asked to stop, no other is started.
    """
    outcomes = [Outcome(config) for config in configs]
    gpus = list(accelerators()) if device in (None, "auto", "cuda") else []
    if len(gpus) > 1:
        _on_gpus(outcomes, gpus, options, deadline_s)
    else:
        _one_after_the_other(outcomes, run_one, options, device, deadline_s)
    for outcome in outcomes:
        outcome.summary = summary_of(outcome.config) if outcome.code in (0, 3) else {}
    print_table([(o.config, o.word, o.summary, o.error) for o in outcomes])
    return worst([75 if outcome.code is None else outcome.code for outcome in outcomes])


def worst(codes: Sequence[int]) -> int:
    """The exit code of all: of bugs, wrong input, disks, physics and stops the first there is."""
    order = list(_WORST_FIRST)
    bad = [code for code in codes if code]
    return min(bad, key=lambda c: order.index(c) if c in order else -1) if bad else 0


def _one_after_the_other(
    outcomes: list[Outcome],
    run_one: Callable[..., int],
    options: Mapping[str, bool],
    device: str | None,
    deadline_s: float | None,
) -> None:
    for k, outcome in enumerate(outcomes):
        if seconds_left(deadline_s) <= 0:
            return
        print(f"\n[{k + 1} of {len(outcomes)}] {outcome.config}")
        try:
            outcome.code = run_one(outcome.config, **options, device=device, deadline_s=deadline_s)
        except FastEquiError as error:
            print(f"fastequi: {error}", file=sys.stderr)
            outcome.code, outcome.error = error.exit_code, str(error).splitlines()[0]
            if isinstance(error, Stopped):
                return
        except Exception as error:  # a bug in one run is no reason to lose the others
            traceback.print_exc()
            outcome.code, outcome.error = 1, f"{type(error).__name__}: {error}"


# -- on several GPUs -----------------------------------------------------------------------------


def command_of(
    config: Path, gpu: str, options: Mapping[str, bool], deadline_s: float | None
) -> list[str]:
    """The command line of one file on one GPU."""
    flags = [f"--{name}" for name, is_set in options.items() if is_set]
    limit = (
        []
        if deadline_s is None
        else ["--max-walltime", written(max(1.0, seconds_left(deadline_s)))]
    )
    program = [sys.executable, "-m", "fastequi.cli.main", "run", str(config)]
    return [*program, "--device", gpu, *flags, *limit]


def _on_gpus(
    outcomes: list[Outcome],
    gpus: Sequence[str],
    options: Mapping[str, bool],
    deadline_s: float | None,
) -> None:
    """A process per file, one at a time on each GPU; what they print is behind their names."""
    waiting: queue.Queue[Outcome] = queue.Queue()
    for outcome in outcomes:
        waiting.put(outcome)
    stopped = threading.Event()
    threads = [
        threading.Thread(target=_work, args=(waiting, gpu, options, deadline_s, stopped))
        for gpu in gpus
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _work(
    waiting: "queue.Queue[Outcome]",
    gpu: str,
    options: Mapping[str, bool],
    deadline_s: float | None,
    stopped: threading.Event,
) -> None:
    while not stopped.is_set():
        try:
            outcome = waiting.get_nowait()
        except queue.Empty:
            return
        process = subprocess.Popen(
            command_of(outcome.config, gpu, options, deadline_s),
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env={**os.environ},
        )  # fmt: skip
        assert process.stdout is not None
        for line in process.stdout:
            print(f"{outcome.config}: {line}", end="", flush=True)
            outcome.error = line.strip() if line.startswith("fastequi: ") else outcome.error
        outcome.code = process.wait()
        if outcome.code == Stopped.exit_code:
            stopped.set()


# -- the table -----------------------------------------------------------------------------------


def directory_of(config: Path) -> Path:
    """Where a file's run is. Raises InputError for a file that cannot be read."""
    output = read_toml(config).get("output", {})
    return Path(absolute(output.get("directory", "fastequi-run"), config.absolute().parent))


def summary_of(config: Path) -> dict[str, Any]:
    """summary.json of a file's run; empty where there is none."""
    try:
        found = json.loads((directory_of(config) / SUMMARY).read_bytes())
    except (InputError, OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def print_table(rows: Sequence[tuple[Path, str, Mapping[str, Any], str]]) -> None:
    """A row for each file: what became of it in a word, its summary, its error."""
    table = Table(box=box.SIMPLE_HEAD)
    for head in ("file", "", "atoms", "steps", "ns/day", ""):
        is_number = head in ("atoms", "steps", "ns/day")
        table.add_column(head, justify="right" if is_number else "left", overflow="fold")
    for config, word, found, error in rows:
        numbers = [found.get(key) for key in ("atoms", "steps", "ns_per_day")]
        cells = ["-" if n is None else f"{n:.4g}" if isinstance(n, float) else str(n)
                 for n in numbers]  # fmt: skip
        table.add_row(str(config), word, *cells, error)
    Console().print(table)
