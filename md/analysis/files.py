"""The files of an analysis: analysis/NAME.csv and NAME.png, averages.csv, analysis.json."""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fastequi._version import __version__
from fastequi.md.analysis import ANALYSES, LOG_ANALYSES
from fastequi.md.analysis.page import write_page
from fastequi.md.analysis.pictures import draw
from fastequi.md.analysis.run import Results
from fastequi.md.analysis.table import write_csv
from fastequi.md.trajectory.directory import ANALYSIS, ANALYSIS_JSON, REPORT, own_analysis_files
from fastequi.plotting import why_no_plots
from fastequi.storage.durable import naming_files, write_durably, write_json

AVERAGES = "averages.csv"


def write_results(results: Results) -> list[Path]:
    """Write report.html, and all else into the folder `analysis`; an earlier analysis goes.

    Returns the files: report.html, analysis.json, which names the others, and these.
    """
    folder = results.directory / ANALYSIS
    with naming_files(folder):
        folder.mkdir(exist_ok=True)
        for path in own_analysis_files(results.directory):
            path.unlink()
    names: list[str] = []
    for name, columns in results.columns.items():
        names.append(f"{name}.csv")
        write_csv(folder / names[-1], columns)
        if not why_no_plots():
            names.append(f"{name}.png")
            analysis = (ANALYSES | LOG_ANALYSES)[name]
            means = results.averages if name == "thermodynamics" else {}
            draw(analysis, columns, folder / names[-1], means)
    if results.averages:
        names.append(AVERAGES)
        write_rows(folder / AVERAGES, average_rows(results))
    report = results.directory / REPORT
    write_page(results, report)
    facts = {"fastequi": __version__, **as_json(results), "files": [*names, REPORT]}
    with naming_files(folder):
        write_json(folder / ANALYSIS_JSON, facts)
    return [report, *(folder / name for name in (ANALYSIS_JSON, *names))]


def write_rows(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """A table with text in it, from rows that all have the same keys."""
    text = io.StringIO()
    table = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    table.writeheader()
    table.writerows(rows)
    with naming_files(path):
        write_durably(path, text.getvalue().encode())


def average_rows(results: Results) -> list[dict[str, Any]]:
    """A row for each average; its quantity is named with the unit of all but the last four."""
    return [
        {
            "quantity": name,
            "mean": average.mean.mean,
            "error": average.mean.error,
            "spread": average.mean.spread,
            "autocorrelation_time_ps": average.tau_ps,
            "from_ps": average.from_ps,
            "rows": average.mean.values,
            "is_steady": average.is_steady,
        }
        for name, average in results.averages.items()
    ]


def as_json(results: Results) -> dict[str, Any]:
    """Results of a system without the columns; null for what is not a number."""
    averages = {
        row["quantity"]: {key: value for key, value in row.items() if key != "quantity"}
        for row in average_rows(results)
    }
    findings = {
        name: {item.key: {"value": item.value, "error": item.error, "unit": item.unit}
               for item in items}
        for name, items in results.findings.items()
    }  # fmt: skip
    return _json_numbers(
        {
            "directory": str(results.directory),
            **results.facts,
            "frames": len(results.frames),
            "from_ps": results.times_ps[0],
            "to_ps": results.times_ps[1],
            "settled_ps": results.settled_ps,
            "averages": averages,
            "findings": findings,
            "remarks": {name: items for name, items in results.remarks.items() if items},
            "left_out": results.left_out,
        }
    )


def _json_numbers(value: Any) -> Any:
    """The same without NaN and infinity, which JSON does not have."""
    if isinstance(value, Mapping):
        return {key: _json_numbers(item) for key, item in value.items()}
    return None if isinstance(value, float) and not np.isfinite(value) else value
