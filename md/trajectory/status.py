"""How far a run is, and whether it goes on: from what is in its directory, while it is written."""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastequi.md.trajectory.directory import LAST_GOOD, LOG, RESOLVED_CONFIG, SUMMARY
from fastequi.settings import read_toml
from fastequi.storage.lock import is_written


@dataclass(frozen=True)
class Status:
    """How far it is.

    state        running, done, failed or stopped
    step, steps  done, and in all; steps is 0 where it is not known
    """

    state: str
    step: int
    steps: int

    @property
    def text(self) -> str:
        """In a sentence."""
        of = f" of {self.steps}" if self.steps else ""
        return {
            "running": f"running: step {self.step}{of}",
            "done": f"finished at step {self.step}",
            "failed": f"failed after step {self.step}{of}; the last good frame is in {LAST_GOOD}",
            "stopped": f"stopped at step {self.step}{of}; --resume goes on",
        }[self.state]

    @property
    def share(self) -> float:
        """0 to 1."""
        return min(1.0, self.step / self.steps) if self.steps else float(self.state == "done")


def status_of(directory: Path) -> Status:
    """Of one system's directory; of several in one run, the folder above is that of the run."""
    runs = [d for d in (directory, directory.parent) if (d / RESOLVED_CONFIG).is_file()]
    step = last_step(directory / LOG)
    if not runs:
        return Status("done", step, 0)
    steps = _all_steps(read_toml(runs[0] / RESOLVED_CONFIG))
    if any(map(is_written, runs)):
        return Status("running", step, steps)
    if _summary(directory / SUMMARY).get("status") == "failed":  # one of several
        return Status("failed", step, steps)
    told = max(_summary(folder / SUMMARY).get("steps", -1) for folder in (directory, runs[0]))
    if told >= step:  # the log may end a few steps before the run
        return Status("done", told, steps)
    return Status(_how_it_ended(directory, step, steps), step, steps)


def _how_it_ended(directory: Path, step: int, steps: int) -> str:
    """Of a run without a summary of its last step."""
    if _step_of_frame(directory / LAST_GOOD) >= step:
        return "failed"
    return "stopped" if not steps or step < steps else "done"


def _step_of_frame(path: Path) -> int:
    """The step that an extxyz file of one frame is of; -1 where there is none."""
    try:
        with path.open(encoding="utf-8") as file:
            found = re.search(r"\bstep=(\d+)", [file.readline(), file.readline()][1])
    except (OSError, ValueError):
        return -1
    return int(found[1]) if found else -1


def _all_steps(config: dict[str, Any]) -> int:
    """Of all stages together, in a resolved TOML; 0 where it does not say."""
    stages = config.get("stage") or [config.get("dynamics", {})]
    return sum(stage.get("steps", 0) for stage in stages)


def _summary(path: Path) -> dict[str, Any]:
    """What a summary.json says; nothing where there is none."""
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def last_step(log: Path) -> int:
    """The step of the last whole row of a log.csv; 0 without one."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - 4096))
            rows = file.read().split(b"\n")[:-1]
        return int(rows[-1].split(b",")[0])
    except (OSError, ValueError, IndexError):
        return 0
