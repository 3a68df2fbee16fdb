"""Everything that the directory of a run says: `ANALYSES` of its frames, `LOG_ANALYSES` of its log.

What an analysis cannot use is left out with its reason; the others go on.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, overload

import numpy as np
from ase import Atoms

from fastequi.errors import FastEquiError, InputError
from fastequi.md.analysis import ANALYSES, LOG_ANALYSES
from fastequi.md.analysis.analysis import Analysis, Columns, Finding
from fastequi.md.analysis.frames import spread_over
from fastequi.md.analysis.minimization import NO_MEANS
from fastequi.md.analysis.table import read_csv
from fastequi.md.analysis.thermodynamics import Average, averages, settled_ps
from fastequi.md.disagreement import COLUMN
from fastequi.md.trajectory.directory import (
    ANALYSIS,
    LOG,
    ON_THE_FLY,
    RESOLVED_CONFIG,
    SUMMARY,
    TRAJECTORIES,
)
from fastequi.md.trajectory.log import read_log, stages_of_log
from fastequi.md.trajectory.reader import each_frame, spread_frames
from fastequi.md.trajectory.status import Status, status_of
from fastequi.settings import read_toml

#: Called with what is being done, how much of it is done, and of how much.
Progress = Callable[[str, int, int], None]

#: What pairs of atoms or waves cost at a glance: atoms beyond which it is left out, and how many
#: times fewer frames it gets.
_COSTLY = {"rdf": 20_000, "coordination": 20_000, "adf": 20_000, "structure_factor": 2_000}
_SPARED = 8
#: What a minimisation has not.
_OF_TIME = ("msd", "vacf", "spectrum", "viscosity")
#: Times of frames and rows are multiples of the timestep; this is less than any, in ps.
_SAME_TIME_PS = 1e-9


@dataclass(frozen=True)
class Results:
    """What the directory of one system comes down to.

    facts       formula, atoms, model, ensemble: what is known without looking at numbers
    config      of md.resolved.toml; empty where there is none
    summary     of summary.json; empty before the end
    status      how far the run is
    frames      that were used; `frames_there` in the same time may be more
    times_ps    of the first and the last frame or row
    settled_ps  from when on energy and volume are steady; None if they are not, or without a log
    disagreement_eV_per_A   the largest of a committee's on forces; None where there is none
    averages    of the log, by column
    columns     of each analysis that could be made, by its name
    findings    of these, and remarks for people
    on_the_fly  columns that the run itself has accumulated ([[analysis]]), by the names of files
    left_out    why an analysis could not be made
    """

    directory: Path
    facts: Mapping[str, Any]
    config: Mapping[str, Any]
    summary: Mapping[str, Any]
    status: Status
    frames: Sequence[Atoms]
    frames_there: int
    times_ps: tuple[float, float]
    settled_ps: float | None = None
    disagreement_eV_per_A: float | None = None
    averages: Mapping[str, Average] = field(default_factory=dict)
    columns: dict[str, Columns] = field(default_factory=dict)
    findings: dict[str, list[Finding]] = field(default_factory=dict)
    remarks: dict[str, list[str]] = field(default_factory=dict)
    on_the_fly: dict[str, Columns] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)

    @property
    def is_minimization(self) -> bool:
        """Whether steps are no time, and frames no ensemble."""
        return self.facts.get("ensemble") == "minimize"


def systems_of(directory: Path) -> list[Path]:
    """The directory itself if it is that of one system, else its 0000/, 0001/, ...

    Raises InputError if it is neither.
    """
    if not directory.is_dir():
        what = "is not a folder" if directory.exists() else "there is no such folder"
        raise InputError(
            f"{directory}: {what}; fastequi analyze takes the output directory of a run"
        )
    if _is_run(directory):
        return [directory]
    inner = [path for path in directory.iterdir() if path.name.isdecimal() and _is_run(path)]
    if inner:
        return sorted(inner, key=lambda path: int(path.name))
    raise InputError(
        f"{directory}: no run of fastequi: there is no {LOG}, no "
        f"{' or '.join(TRAJECTORIES.values())}, and no folder 0000 that has them"
    )


def _is_run(directory: Path) -> bool:
    return any((directory / name).is_file() for name in (LOG, *TRAJECTORIES.values()))


def analyze(
    directory: Path,
    from_ps: float = 0.0,
    to_ps: float = float("inf"),
    progress: Progress = lambda what, done, total: None,
    most_positions: int | None = None,
    stage: str | None = None,
) -> Results:
    """Every analysis of one system's frames and rows with from_ps <= time <= to_ps.

    stage           of a run that has some; the last that has begun, unless named: means over
                    several would be of nothing
    most_positions  of all frames together: of longer trajectories every k-th frame is used (of all
                    times), none if it is 0; what takes longest gets fewer of them, or is left out

    Raises InputError for files that are not those of a run, and if nothing is left to analyze.
    """
    stage = _chosen_stage(directory, stage)
    log = _log(directory, stage)
    if most_positions is None:
        frames = _of_stage(list(_frames(directory, progress)), stage)
        there = len(frames)
    else:
        found, there = _some_frames(directory, most_positions)
        frames = _of_stage(found, stage)
        there = there * len(frames) // max(1, len(found))  # of this stage, as good as known
    times = [*(frame.info["time_ps"] for frame in frames), *log.get("time_ps", [])]
    if not times:
        raise InputError(f"{directory}: the run has not written a frame or a row of the log yet")
    begin, end = from_ps - _SAME_TIME_PS, to_ps + _SAME_TIME_PS
    used = [frame for frame in frames if begin <= frame.info["time_ps"] <= end]
    rows = {name: values[_between(log["time_ps"], begin, end)] for name, values in log.items()}
    left = [*(frame.info["time_ps"] for frame in used), *rows.get("time_ps", [])]
    if not left:
        raise InputError(
            f"{directory}: nothing between {from_ps:g} and {to_ps:g} ps; the run has "
            f"{min(times):g} to {max(times):g} ps"
        )
    config = _config(directory, stage)
    results = Results(
        directory, _facts(config, frames), config, _summary(directory), status_of(directory),
        used, there if len(used) == len(frames) else len(used),
        (float(min(left)), float(max(left))),
    )  # fmt: skip
    for path in sorted((directory / ANALYSIS).glob(f"*{ON_THE_FLY}")):
        results.on_the_fly[path.name.removesuffix(ON_THE_FLY)] = read_csv(path)
    if results.is_minimization:
        _add_minimization(results, rows)
        used = used[-1:]
    else:
        results = _add_log(results, rows, frames)
    for name, analysis in ANALYSES.items():
        if results.is_minimization and name in _OF_TIME:
            continue
        if analysis.wants_on_the_fly and name in results.on_the_fly:
            _add(results, name, analysis, used, results.on_the_fly[name])
            if name in results.columns:
                results.remarks[name].append(f"of the whole run, as {name}{ON_THE_FLY} has it")
                del results.on_the_fly[name]
            continue
        if most_positions is not None and name in _COSTLY:
            limit = _COSTLY[name]
            if used and len(used[0]) > limit:
                results.left_out[name] = _takes_a_while(directory, used)
                continue
            chosen = spread_over(used, max(1, most_positions // _SPARED // _atoms_in(used)))
        else:
            chosen = used
        counted = Counted(chosen, lambda done, total, name=name: progress(name, done, total))
        _add(results, name, analysis, counted)
    return results


def _atoms_in(frames: Sequence[Atoms]) -> int:
    return max(1, len(frames[0])) if frames else 1


def _takes_a_while(directory: Path, frames: Sequence[Atoms]) -> str:
    return f"{len(frames[0])} atoms take a while: fastequi analyze {directory.name} has it"


def _between(times: np.ndarray, begin: float, end: float) -> np.ndarray:
    return (times >= begin) & (times <= end)


def _chosen_stage(directory: Path, stage: str | None) -> str | None:
    """The stage that is asked for, or the last; None for a run without. InputError for another."""
    path = directory / LOG
    stages = stages_of_log(path) if path.is_file() else []
    if stage is not None and stage not in stages:
        there = f"the run has {', '.join(stages)}" if stages else "the run has none"
        raise InputError(f"{directory}: there is no stage {stage}; {there}")
    return stage if stage or not stages else stages[-1]


def _of_stage(frames: list[Atoms], stage: str | None) -> list[Atoms]:
    return [frame for frame in frames if stage is None or str(frame.info.get("stage")) == stage]


def _log(directory: Path, stage: str | None) -> Columns:
    path = directory / LOG
    return read_log(path, stage) if path.is_file() else {}


def _frames(directory: Path, progress: Progress) -> Iterator[Atoms]:
    """Frames of either format that have a time; those of other programs need not."""
    for name in TRAJECTORIES.values():
        path = directory / name
        if path.is_file():
            for k, frame in enumerate(each_frame(path, lambda *n: progress("reading", *n))):
                if "time_ps" not in frame.info:
                    raise InputError(f"{path}: frame {k} has no time_ps; not a trajectory of a run")
                yield frame
            return


def _some_frames(directory: Path, most_positions: int) -> tuple[list[Atoms], int]:
    paths = [directory / name for name in TRAJECTORIES.values()]
    path = next((path for path in paths if path.is_file()), None)
    if path is None or most_positions == 0:
        return [], 0
    frames, there = spread_frames(path, most_positions)
    for k, frame in enumerate(frames):
        if "time_ps" not in frame.info:
            raise InputError(f"{path}: frame {k} has no time_ps; not a trajectory of a run")
    return frames, there


def _facts(config: Mapping[str, Any], frames: Sequence[Atoms]) -> dict[str, Any]:
    facts: dict[str, Any] = {}
    if frames:
        facts |= {"formula": frames[0].get_chemical_formula(), "atoms": len(frames[0])}
        facts["periodic"] = "".join(np.array(list("abc"))[frames[0].pbc]) or "no"
    if config:
        facts["model"] = config.get("model", {}).get("name")
        facts["ensemble"] = config.get("dynamics", {}).get("ensemble")
        facts["timestep_fs"] = config.get("dynamics", {}).get("timestep_fs")
        facts["stage"] = config.get("dynamics", {}).get("name")
    return facts


def _config(directory: Path, stage: str | None) -> dict[str, Any]:
    """What the run was told, with the dynamics of the stage; of several systems the folder above
    may have it."""
    paths = [folder / RESOLVED_CONFIG for folder in (directory, directory.parent)]
    path = next((path for path in paths if path.is_file()), None)
    config = read_toml(path) if path else {}
    own = [table for table in config.get("stage", ()) if table.get("name") == stage]
    return config | {"dynamics": own[0]} if own else config


def _summary(directory: Path) -> dict[str, Any]:
    path = directory / SUMMARY
    try:
        found = json.loads(path.read_bytes()) if path.is_file() else {}
    except ValueError as error:
        raise InputError(f"{path}: not valid JSON: {error}") from error
    return found if isinstance(found, dict) else {}


def _add_minimization(results: Results, rows: Columns) -> None:
    results.left_out["means"] = NO_MEANS
    if len(rows.get("step", [])):
        _add(results, "minimization", LOG_ANALYSES["minimization"], rows)


def _add_log(results: Results, rows: Columns, frames: Sequence[Atoms]) -> Results:
    """What the log says, added; averages need the mass of the atoms, which the frames know."""
    if len(rows.get("time_ps", [])) == 0:
        for name in ("thermodynamics", "drift"):
            results.left_out[name] = f"no rows of a {LOG}"
        return results
    mass_amu = float(frames[0].get_masses().sum()) if frames else None
    atoms = len(frames[0]) if frames else 1
    settings = {"thermodynamics": {"mass_amu": mass_amu}, "drift": {"atoms": atoms}}
    for name in ("thermodynamics", "drift"):
        _add(results, name, LOG_ANALYSES[name], rows, **settings.get(name, {}))
    found = averages(results.columns["thermodynamics"])
    return replace(
        results,
        averages=found,
        settled_ps=settled_ps(found),
        disagreement_eV_per_A=float(rows[COLUMN].max()) if COLUMN in rows else None,
    )


def _add(
    results: Results,
    name: str,
    analysis: Analysis,
    source: Any,
    accumulated: Columns | None = None,
    **settings: object,
) -> None:
    """The columns of one analysis and what they come down to, or why there are none.

    accumulated: its columns, where a run has made them itself.
    """
    try:
        columns = analysis(source, **settings) if accumulated is None else accumulated
        read = list(analysis.findings(source, columns))
    except FastEquiError as error:
        results.left_out[name] = str(error)
        return
    results.columns[name] = columns
    results.findings[name] = [item for item in read if isinstance(item, Finding)]
    results.remarks[name] = [item for item in read if isinstance(item, str)]


class Counted(Sequence[Atoms]):
    """Frames that say how far whoever goes through them is."""

    def __init__(self, frames: Sequence[Atoms], progress: Callable[[int, int], None]) -> None:
        self._frames, self._progress = frames, progress

    def __len__(self) -> int:
        return len(self._frames)

    @overload
    def __getitem__(self, index: int) -> Atoms: ...
    @overload
    def __getitem__(self, index: slice) -> "Counted": ...
    def __getitem__(self, index: int | slice) -> "Atoms | Counted":
        if isinstance(index, slice):
            return Counted(self._frames[index], self._progress)
        return self._frames[index]

    def __iter__(self) -> Iterator[Atoms]:
        for k, frame in enumerate(self._frames, start=1):
            yield frame
            self._progress(k, len(self._frames))
