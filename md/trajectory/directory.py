"""The output directory of a run: which names in it are fastequi's."""

import json
import re
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
ERROR = "error.txt"
SUMMARY = "summary.json"
CHECKPOINTS = "checkpoints"
ANALYSIS = "analysis"
#: Where PLUMED works; everything in it is its own.
PLUMED = "plumed"
ANALYSIS_JSON = "analysis.json"
REPORT = "report.html"
#: How the files of [[analysis]] end, after the name of the analysis.
ON_THE_FLY = "-on-the-fly.csv"

_FILES = (
    RESOLVED_CONFIG, LOG, *TRAJECTORIES.values(), FINAL, LAST_GOOD, UNCERTAIN, ERROR, SUMMARY,
    REPORT,
)  # fmt: skip

#: A folder of one of several systems; of the checkpoints of some of them, from the first to the
#: last.
_SYSTEM, _BATCH = re.compile(r"\d{4,}"), re.compile(r"(\d{4,})-(\d{4,})")


def system_folder(index: int) -> str:
    """The name of the folder of a system among several."""
    return f"{index:04d}"


def batch_folder(first: int, last: int) -> str:
    """The name of the folder, in `checkpoints`, of systems that run together."""
    return f"{first:04d}-{last:04d}"


def batches_of(directory: Path) -> list[tuple[int, int]]:
    """First and last system of each of the batches that have checkpoints of their own."""
    folders = _folders(directory / CHECKPOINTS, _BATCH)
    found = [_BATCH.fullmatch(folder.name) for folder in folders]
    return sorted((int(match[1]), int(match[2])) for match in found if match)


def own_files(directory: Path) -> list[Path]:
    """The files in a run's directory that fastequi wrote, those of its systems among them."""
    own = _own_files_here(directory)
    for folder in _folders(directory, _SYSTEM):
        own += _own_files_here(folder)
    return own


def _own_files_here(directory: Path) -> list[Path]:
    named = [directory / f"{name}{end}" for name in _FILES for end in ("", ".tmp")]
    folders = [directory / CHECKPOINTS, *_folders(directory / CHECKPOINTS, _BATCH)]
    checkpoints = [path for folder in folders for path in own_checkpoints(folder)]
    on_the_fly = sorted((directory / ANALYSIS).glob(f"*{ON_THE_FLY}"))
    of_plumed = sorted(path for path in (directory / PLUMED).rglob("*") if path.is_file())
    return [*(path for path in named if path.is_file()), *on_the_fly, *of_plumed, *checkpoints]


def _folders(directory: Path, name: re.Pattern[str]) -> list[Path]:
    inner = directory.iterdir() if directory.is_dir() else ()
    return sorted(path for path in inner if name.fullmatch(path.name) and path.is_dir())


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
    first = RESOLVED_CONFIG + ".tmp"  # all there is after a kill in the first moment of a run
    if directory.is_dir() and any(path.name != first for path in directory.iterdir()):
        if not (directory / RESOLVED_CONFIG).is_file():
            raise InputError(
                f"{directory}: does not look like a run of fastequi (it has no "
                f"{RESOLVED_CONFIG}), so nothing in it is touched; choose another output.directory"
            )


def empty_run_directory(directory: Path) -> None:
    """Remove from a folder what an earlier run wrote; all other files stay.

    So does the mark of a run, which the next one replaces: killed half-way, the folder can still be
    overwritten.
    """
    check_is_run(directory)
    with naming_files(directory):
        systems = _folders(directory, _SYSTEM)
        for folder in systems:
            for path in [*own_analysis_files(folder), *reversed(_own_files_here(folder))]:
                path.unlink()
        mark = directory / RESOLVED_CONFIG
        for path in [*own_analysis_files(directory), *reversed(_own_files_here(directory))]:
            if path != mark:
                path.unlink()
        emptied = [*(folder / ANALYSIS for folder in systems), *systems]
        for folder in [*emptied, *_folders(directory / CHECKPOINTS, _BATCH)]:
            if folder.is_dir() and not any(folder.iterdir()):
                folder.rmdir()
