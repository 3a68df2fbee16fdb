"""Peak memory of a calculation in a process of its own, above what its imports take.

    python -m benchmarks.memory MODULE FUNCTION ARGUMENT...

imports MODULE and calls FUNCTION(ARGUMENT...), which imports all that it needs and returns the
calculation; prints, as JSON, memory before the calculation and the peak during it.
"""

import gc
import json
import resource
import subprocess
import sys
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from benchmarks.common import ROOT


@dataclass(frozen=True)
class PeakMemory:
    """Resident memory in MB after the imports, and at its highest during the calculation."""

    after_import_MB: float
    peak_MB: float

    @property
    def above_import_MB(self) -> float:
        return self.peak_MB - self.after_import_MB


def peak_memory(module: str, function: str, *arguments: object) -> PeakMemory:
    """Measure in a new process. Raises RuntimeError with its last words when it fails."""
    words = [sys.executable, "-m", "benchmarks.memory", module, function, *map(str, arguments)]
    run = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    if run.returncode:
        raise RuntimeError(run.stderr.strip().splitlines()[-1] if run.stderr else "no output")
    return PeakMemory(**json.loads(run.stdout.strip().splitlines()[-1]))


def main(module: str, function: str, *arguments: str) -> None:
    calculation = getattr(import_module(module), function)(*arguments)
    gc.collect()
    before_MB = _status_MB("VmRSS")
    _forget_peak()
    calculation()
    print(json.dumps({"after_import_MB": before_MB, "peak_MB": _status_MB("VmHWM")}))


def _status_MB(name: str) -> float:
    """A line of /proc/self/status; elsewhere the peak that the system reports."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        scale = 1 if sys.platform == "darwin" else 1024  # bytes there, KiB here
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale / 1e6
    line = next(line for line in lines if line.startswith(f"{name}:"))
    return int(line.split()[1]) * 1024 / 1e6


def _forget_peak() -> None:
    """Start the high-water mark anew, so that imports do not count; not possible everywhere."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return


if __name__ == "__main__":
    main(*sys.argv[1:])
