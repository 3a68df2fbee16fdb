"""report.html of a run of several systems: a row for each, beside the pages of their own."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fastequi.md.analysis import LOG_ANALYSES
from fastequi.md.analysis.analysis import Columns, Finding, in_digits
from fastequi.md.analysis.document import panel_data, write_document
from fastequi.md.analysis.page import progress_data
from fastequi.md.analysis.panels import Panel
from fastequi.md.analysis.run import Results
from fastequi.md.analysis.thermodynamics import Average
from fastequi.md.analysis.trust import checks_of
from fastequi.md.trajectory.directory import REPORT
from fastequi.md.trajectory.status import Status

#: What systems are compared by, in a table.
COMPARED = ("temperature_K", "pressure_GPa", "density_g_per_cm3", "potential_energy_eV")
#: Of which columns of the log there are pictures, with a curve for each of so many systems.
_DRAWN = ("temperature_K", "potential_energy_eV", "pressure_GPa", "volume_A3")
MOST_CURVES = 14
#: Systems whose checks are told one by one.
_MOST_NAMED = 12


@dataclass(frozen=True)
class System:
    """What is kept of a system when its own page is written.

    rows     the columns of its log, over time_ps
    ends     of a minimisation, what its last row says
    amiss    what its checks found not to be as it should
    """

    name: str
    facts: Mapping[str, Any]
    status: Status
    averages: Mapping[str, Average]
    rows: Columns
    ends: Sequence[Finding]
    amiss: list[str]
    has_page: bool


def system_of(results: Results, has_page: bool = True) -> System:
    """Of the results of one system."""
    return System(
        results.directory.name, results.facts, results.status, results.averages,
        results.columns.get("thermodynamics", {}), results.findings.get("minimization", ()),
        [check.text for check in checks_of(results) if not check.good], has_page,
    )  # fmt: skip


def compared(systems: Sequence[System]) -> tuple[list[str], list[list[str]]]:
    """Headings, and the cells of each system: means with their errors, ends of minimisations."""
    names = [name for name in COMPARED if any(name in system.averages for system in systems)]
    columns = [LOG_ANALYSES["thermodynamics"].column(name) for name in names]
    heads = [column.title for column in columns if column]
    ends = list(dict.fromkeys((end.key, end.text, end.unit) for s in systems for end in s.ends))
    heads += [f"{text} ({unit})" for _, text, unit in ends]
    rows = []
    for system in systems:
        means = [system.averages.get(name) for name in names]
        values = {end.key: in_digits(end.value) for end in system.ends}
        rows.append(
            [in_digits(a.mean.mean, a.mean.error) if a else "-" for a in means]
            + [values.get(key, "-") for key, *_ in ends]
        )
    return heads, rows


def write_systems_page(directory: Path, systems: Sequence[System], remark: str = "") -> Path:
    """Write the page of all systems beside their folders; returns its path."""
    path = directory / REPORT
    write_document(systems_data(directory, systems, remark), path)
    return path


def systems_data(directory: Path, systems: Sequence[System], remark: str = "") -> dict[str, Any]:
    """All that the page is told, see `document.py`; `remark` is for below the table."""
    facts = systems[0].facts
    words = [facts.get("ensemble"), facts.get("model"), f"{len(systems)} systems"]
    return {
        "title": directory.resolve().name,
        "subtitle": " · ".join(str(word) for word in words if word),
        "note": f"Those of the first {MOST_CURVES} systems." if len(systems) > MOST_CURVES else "",
        "progress": progress_data(systems[0].status),
        "checks": list(_checks(systems)),
        "tables": [_table(systems, remark)],
        "plots": list(_plots(systems[:MOST_CURVES])),
    }


def _checks(systems: Sequence[System]) -> Iterator[dict[str, Any]]:
    amiss = [system for system in systems if system.amiss]
    if not amiss:
        yield {"text": f"nothing amiss with any of the {len(systems)} systems", "good": True}
    for system in amiss[:_MOST_NAMED]:
        yield {"text": f"{system.name}: {'; '.join(system.amiss)}", "good": False}
    if len(amiss) > _MOST_NAMED:
        yield {"text": f"and {len(amiss) - _MOST_NAMED} more systems, see below", "good": False}


def _table(systems: Sequence[System], remark: str) -> dict[str, Any]:
    heads, cells = compared(systems)
    head = ["system", "formula", *heads, "checks"]
    rows = []
    for system, own in zip(systems, cells, strict=True):
        link = {"text": system.name, "link": f"{system.name}/{REPORT}"}
        rows.append([
            link if system.has_page else system.name,
            str(system.facts.get("formula", "")),
            *own,
            f"{len(system.amiss)} amiss" if system.amiss else "good",
        ])  # fmt: skip
    numbers = list(range(2, 2 + len(heads)))
    return {"title": "Systems", "head": head, "rows": rows, "numbers": numbers, "note": remark}


def _plots(systems: Sequence[System]) -> Iterator[dict[str, Any]]:
    """A picture for each of `_DRAWN`, with a curve for each system."""
    for name in _DRAWN:
        curves = {s.name: (s.rows["time_ps"], s.rows[name]) for s in systems if name in s.rows}
        moves = any(np.ptp(y) > 1e-9 * np.abs(y).max() for _, y in curves.values())
        column = LOG_ANALYSES["thermodynamics"].column(name)
        if moves and column:
            yield {"title": column.meaning, "panels": [_panel(column.title, curves)]}


def _panel(title: str, curves: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> dict[str, Any]:
    """Curves over the times of all of them; NaN where one has no value."""
    times = np.unique(np.concatenate([t for t, _ in curves.values()]))
    values = {}
    for name, (t, y) in curves.items():
        values[name] = np.full(len(times), np.nan)
        values[name][np.searchsorted(times, t)] = y
    return panel_data(Panel("time (ps)", title, times, values, {}, np.inf), 260)
