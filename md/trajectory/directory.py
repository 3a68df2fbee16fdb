"""The output directory of a run: which names in it are fastequi's."""

import json
from pathlib import Path

from fastequi.errors import InputError
from fastequi.storage.checkpoint import own_checkpoints
from fastequi.storage.durable import naming_files

RESOLVED_CONFIG = "md.resolved.toml"
LOG = "log.csv"
TRAJECTORIES = {"extxyz": "trajectory.extxyz", "h5md": "trajectory.h5"}
FINAL = "final.extxyz"
LAST_GOOD = "last_good.extxyz"
UNCERTAIN = "uncertain.extxyz"
SUMMARY = "summary.json"
CHECKPOINTS = "checkpoints"
ANALYSIS = "analysis"
ANALYSIS_JSON = "analysis.json"
REPORT = "report.html"

_FILES = (
    RESOLVED_CONFIG, LOG, *TRAJECTORIES.values(), FINAL, LAST_GOOD, UNCERTAIN, SUMMARY, REPORT,
)  # fmt: skip


def own_files(directory: Path) -> list[Path]:
    """The files in a run's directory that fastequi wrote."""
    named = [directory / f"{name}{end}" for name in _FILES for end in ("", ".tmp")]
    return [*(path for path in named if path.is_file()), *own_checkpoints(directory / CHECKPOINTS)]


def own_analysis_files(directory: Path) -> list[Path]:
    """What `fastequi analyze` wrote about a run: what its analysis.json names, and that itself."""
    index = directory / ANALYSIS / ANALYSIS_JSON
    try:
        named = json.loads(index.read_bytes())["files"]
    except (OSError, ValueError, KeyError, TypeError):
        return []
    paths = [index.with_name(Path(str(name)).name) for name in named if name != REPORT]
    return [*(path for path in paths if path.is_file()), index]


def check_is_run(directory: Path) -> None:
    """Raise InputError if a folder holds files but none that marks it as a run of fastequi."""
    if directory.is_dir() and any(directory.iterdir()):
        if not (directory / RESOLVED_CONFIG).is_file():
            raise InputError(
                f"{directory}: does not look like a run of fastequi (it has no "
                f"{RESOLVED_CONFIG}), so nothing in it is touched; choose another output.directory"
            )


def empty_run_directory(directory: Path) -> None:
    """Remove from a folder what an earlier run wrote; all other files stay."""
    check_is_run(directory)
    with naming_files(directory):
        # The mark of a run goes last: killed half-way, the folder can still be overwritten.
        for path in [*own_analysis_files(directory), *reversed(own_files(directory))]:
            path.unlink()
        (directory / CHECKPOINTS).mkdir(exist_ok=True)
