"""`fastequi collect`: what became of many runs, in one table."""

from pathlib import Path

from fastequi.cli.several_runs import directory_of, print_table, summary_of, worst
from fastequi.errors import InputError
from fastequi.md.trajectory.directory import RESOLVED_CONFIG
from fastequi.md.trajectory.status import Status, status_of

#: State of a run -> the exit code that it would have had.
_CODES = {"done": 0, "failed": 3}


def collect(*configs: Path) -> int:
    """Say in one table what became of runs; nothing is run or written.

    Exit codes: 0 if all are done, 3 if one failed, 2 if one never started, 75 if some go on.

    Parameters
    ----------
    configs
        their md.tomls
    """
    if not configs:
        raise InputError("name the md.tomls of runs")
    rows, codes = [], []
    for config in configs:
        directory = directory_of(config)
        if not (directory / RESOLVED_CONFIG).is_file():
            rows.append((config, "not started", {}, f"nothing in {directory}"))
            codes.append(2)
            continue
        status, summary = status_of(directory), summary_of(config)
        state = "failed" if summary.get("n_failed") else status.state
        rows.append((config, state, {"steps": status.step} | summary, _remark(status, state)))
        codes.append(_CODES.get(state, 75))
    print_table(rows)
    return worst(codes)


def _remark(status: Status, state: str) -> str:
    return "" if state == "done" else status.text
