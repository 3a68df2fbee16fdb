"""`fastequi analyze`: what a run says, as tables, pictures and numbers with errors."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter
from rich import box
from rich.console import Console
from rich.table import Table

from fastequi._version import __version__
from fastequi.cli.counter import Counter
from fastequi.errors import InputError
from fastequi.md.analysis import ANALYSES, LOG_ANALYSES
from fastequi.md.analysis.analysis import Finding, in_digits
from fastequi.md.analysis.files import as_json, average_rows, write_results, write_rows
from fastequi.md.analysis.run import Progress, Results, systems_of
from fastequi.md.analysis.run import analyze as analyze_system
from fastequi.md.analysis.systems import System, compared, system_of, write_systems_page
from fastequi.md.analysis.trust import checks_of
from fastequi.md.trajectory.directory import ANALYSIS
from fastequi.plotting import why_no_plots
from fastequi.storage.durable import naming_files, write_json


def analyze(
    directory: Path,
    /,
    *,
    from_ps: Annotated[float, Parameter(name="--from")] = 0.0,
    to_ps: Annotated[float, Parameter(name="--to")] = math.inf,
    stage: str | None = None,
    json: Path | None = None,
) -> int:
    """Analyze a run: structure, diffusion, vibrations, means with errors, drift.

    Writes a table (csv) and a picture (png) of each into DIRECTORY/analysis, and a page with all
    of it and the structure in motion, DIRECTORY/report.html, which any browser opens offline.

    Parameters
    ----------
    directory
        the output directory of a run, or one with 0000/, 0001/, ... for several systems
    from_ps
        time in ps from which frames and rows of the log are used
    to_ps
        time in ps up to which they are used
    stage
        of a run with several stages; the last one if none is named
    json
        a file for all numbers
    """
    _check_options(from_ps, to_ps, json)
    systems = systems_of(directory)
    every = []
    for system in systems:
        with _counting() as progress:
            results = analyze_system(system, from_ps, to_ps, progress, stage=stage)
        _print_results(results)
        files = write_results(results)
        print(f"wrote {len(files) - 1} files to {files[1].parent}, and {files[0]}")
        every.append(results)
    if why_no_plots():
        print(why_no_plots())
    if systems != [directory]:
        summaries = [system_of(results) for results in every]
        _print_systems(summaries)
        page = write_systems_page(directory, summaries)
        print(f"wrote {_write_systems(directory, every)}, and {page}")
    if json:
        facts = {"fastequi": __version__, "directory": str(directory)}
        with naming_files(json):
            write_json(json, facts | {"systems": [as_json(results) for results in every]})
        print(f"wrote {json}")
    return 0


def _check_options(from_ps: float, to_ps: float, json: Path | None) -> None:
    if math.isnan(from_ps) or math.isnan(to_ps) or not from_ps <= to_ps:
        raise InputError(f"--from must be at most --to; got {from_ps:g} and {to_ps:g} ps")
    if json and not json.absolute().parent.is_dir():
        raise InputError(f"{json}: there is no folder {json.absolute().parent}")
    if json and json.is_dir():
        raise InputError(f"{json} is a folder; name a file in it")


@contextmanager
def _counting() -> Iterator[Progress]:
    """A counter for each thing that is being done, one at a time."""
    counters: dict[str, Counter] = {}

    def progress(what: str, done: int, total: int) -> None:
        if what not in counters:
            _close(counters)
            counters[what] = Counter(what.replace("_", " ")).__enter__()
        counters[what](done, total)

    try:
        yield progress
    finally:
        _close(counters)


def _close(counters: dict[str, Counter]) -> None:
    while counters:
        counters.popitem()[1].__exit__(None, None, None)


# -- what is printed -----------------------------------------------------------------------------


def _print_results(results: Results) -> None:
    begin, end = results.times_ps
    facts = results.facts
    staged = f"stage {facts['stage']}" if facts.get("stage") else ""
    what = [facts.get("formula"), staged, facts.get("ensemble"), facts.get("model")]
    print(f"{results.directory}: {', '.join(str(fact) for fact in what if fact)}")
    print(f"{begin:g} to {end:g} ps, {len(results.frames)} frames")
    _print_averages(results)
    for name, analysis in (LOG_ANALYSES | ANALYSES).items():
        findings, remarks = results.findings.get(name, []), results.remarks.get(name, [])
        if findings or remarks:
            print(f"\n{analysis.title}")
        for line in [
            *map(_line, (item for item in findings if item.text)),
            *(f"  note: {remark}" for remark in remarks),
        ]:
            print(line)
    print()
    for name, reason in results.left_out.items():
        print(f"left out: {name.replace('_', ' ')}: {reason}")


def _print_averages(results: Results) -> None:
    if not results.averages:
        return
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("", no_wrap=True)
    for head in ("mean ± error", "unit", "spread", "tau, ps", "from, ps"):
        table.add_column(head, justify="left" if head == "unit" else "right", no_wrap=True)
    for name, average in results.averages.items():
        column = LOG_ANALYSES["thermodynamics"].column(name)
        assert column is not None
        mean = average.mean
        tau = f"{average.tau_ps:.2g}" if mean.spread else "-"
        error = in_digits(mean.mean, mean.error) if mean.spread else f"{mean.mean:.6g}"
        table.add_row(column.meaning, error, column.unit, f"{mean.spread:.3g}", tau,
                      f"{average.from_ps:g}")  # fmt: skip
    Console().print(table)
    print("tau: autocorrelation time; from: where a column is steady, its mean begins")
    for check in checks_of(results):
        print(f"{'ok' if check.good else '! '}  {check.text}")


def _line(finding: Finding) -> str:
    return f"  {finding.text}: {in_digits(finding.value, finding.error)} {finding.unit}".rstrip()


# -- several systems -----------------------------------------------------------------------------


def _print_systems(systems: list[System]) -> None:
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("system")
    heads, rows = compared(systems)
    for head in heads:
        table.add_column(head, justify="right")
    for system, cells in zip(systems, rows, strict=True):
        table.add_row(system.name, *cells)
    Console().print(table)


def _write_systems(directory: Path, every: list[Results]) -> Path:
    """averages.csv of all systems: the rows of each, after its name."""
    rows: list[dict[str, Any]] = [
        {"system": results.directory.name, **row}
        for results in every
        for row in average_rows(results)
    ]
    folder = directory / ANALYSIS
    with naming_files(folder):
        folder.mkdir(exist_ok=True)
    path = folder / "averages.csv"
    write_rows(path, rows or [{"system": ""}])
    return path
