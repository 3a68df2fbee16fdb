"""report.html of one system: what its run says, whether to trust it, and its atoms in motion."""

from pathlib import Path
from typing import Any

from fastequi._version import __version__
from fastequi.md.analysis import ANALYSES, LOG_ANALYSES
from fastequi.md.analysis.analysis import Analysis, Columns, Finding, in_digits
from fastequi.md.analysis.document import panel_data, write_document
from fastequi.md.analysis.movie import MOST_POSITIONS, movie_of
from fastequi.md.analysis.panels import panels_of
from fastequi.md.analysis.run import Results
from fastequi.md.analysis.trust import checks_of
from fastequi.md.trajectory.status import Status

_MEANS_NOTE = (
    "Errors are one standard deviation, by blocking; tau is the autocorrelation time; what is "
    "before “from” is left out, as not yet steady."
)


def write_page(results: Results, path: Path) -> None:
    """Write the page of one system."""
    write_document(page_data(results), path)


def page_data(results: Results, most_positions: int = MOST_POSITIONS) -> dict[str, Any]:
    """All that the page is told, see `document.py`; most_positions are for the viewer."""
    begin, end = results.times_ps
    facts, frames = results.facts, results.frames
    words = [
        facts.get("stage"),
        facts.get("ensemble"),
        facts.get("model"),
        f"{begin:g} to {end:g} ps",
    ]
    return {
        "title": _title(results),
        "subtitle": " · ".join(str(word) for word in words if word),
        "note": _note(results),
        "progress": progress_data(results.status),
        "checks": [vars(check) for check in checks_of(results)],
        "movie": movie_of(frames, results.frames_there, most_positions) if frames else None,
        "tables": _tables(results),
        "plots": _plots(results),
        "left_out": [[name.replace("_", " "), why] for name, why in results.left_out.items()],
        "phases": _phases(results),
        "facts": _facts(results),
    }


def progress_data(status: Status) -> dict[str, Any] | None:
    """How far a run is; nothing where that is not known."""
    if not status.steps:
        return None
    return {"state": status.state, "text": status.text, "share": status.share}


def _note(results: Results) -> str:
    used, there = len(results.frames), results.frames_there
    if used == there:
        return ""
    return (
        f"Curves of frames are made of at most {used} of {there}, evenly spaced; fastequi analyze "
        f"{results.directory.name} takes all of them."
    )


def _tables(results: Results) -> list[dict[str, Any]]:
    if not results.averages:
        return []
    head = ["", "mean ± error", "unit", "spread", "tau, ps", "from, ps"]
    return [{"title": "Means", "head": head, "rows": _means(results), "numbers": [1, 3, 4, 5],
             "note": _MEANS_NOTE}]  # fmt: skip


def _title(results: Results) -> str:
    return str(results.facts.get("formula") or results.directory.resolve().name)


def _means(results: Results) -> list[list[str]]:
    rows = []
    for name, average in results.averages.items():
        column, mean = LOG_ANALYSES["thermodynamics"].column(name), average.mean
        assert column is not None
        error = in_digits(mean.mean, mean.error) if mean.spread else f"{mean.mean:.6g}"
        tau = f"{average.tau_ps:.2g}" if mean.spread else "–"
        rows.append([column.meaning, error, column.unit, f"{mean.spread:.3g}", tau,
                     f"{average.from_ps:g}"])  # fmt: skip
    return rows


def _plots(results: Results) -> list[dict[str, Any]]:
    """What frames say, and then the log; the other way round while the run goes on."""
    tables = [ANALYSES, LOG_ANALYSES]
    if results.status.state == "running":
        tables.reverse()
    every = [item for table in tables for item in table.items()]
    made = [_plot(results, name, one) for name, one in every if name in results.columns]
    accumulated = [
        _plot_of(ANALYSES[name.split("-")[0]], columns, f", on the fly ({name}-on-the-fly.csv)")
        for name, columns in results.on_the_fly.items()
    ]
    return made + accumulated


def _plot_of(analysis: Analysis, columns: Columns, title: str = "") -> dict[str, Any]:
    panels = panels_of(analysis, columns)
    return {
        "title": analysis.title + title,
        "panels": [panel_data(panel, 300 if len(panels) == 1 else 170) for panel in panels],
    }


def _plot(results: Results, name: str, analysis: Analysis) -> dict[str, Any]:
    return _plot_of(analysis, results.columns[name]) | {
        "findings": [_sentence(item) for item in results.findings[name] if item.text],
        "remarks": results.remarks[name],
    }


def _sentence(finding: Finding) -> str:
    return f"{finding.text}: {in_digits(finding.value, finding.error)} {finding.unit}".rstrip()


def _phases(results: Results) -> list[list[Any]]:
    """Where the time went; what no phase has is `other`."""
    phases = dict(results.summary.get("phases_s", {}))
    other = results.summary.get("wall_s", 0.0) - sum(phases.values())
    every = phases | ({"other": other} if other > 0 else {})
    return [[name, seconds] for name, seconds in every.items() if seconds > 0]


def _facts(results: Results) -> list[list[str]]:
    """Settings and how the run went, as rows of two cells."""
    dynamics, summary = results.config.get("dynamics", {}), results.summary
    rows = {
        "directory": results.directory,
        "atoms": results.facts.get("atoms"),
        "periodic along": results.facts.get("periodic"),
        "frames": results.frames_there,
        **{name.replace("_", " "): value for name, value in dynamics.items()},
        **{name.replace("_", " "): summary.get(name)
           for name in ("model", "model_sha256", "dtype", "kernels", "device", "wall_s",
                        "steps_per_s", "ns_per_day", "peak_memory_MB")},
        "analyzed with fastequi": __version__,
    }  # fmt: skip
    return [[name, _fact(value)] for name, value in rows.items() if value is not None]


def _fact(value: object) -> str:
    return f"{value:.5g}" if isinstance(value, float) else str(value)
