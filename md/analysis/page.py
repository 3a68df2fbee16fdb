"""report.html: a run on one page that needs nothing but a browser.

The parts are in `web/`: a skeleton, its style and its program, and in `web/vendor` 3Dmol.js and
uPlot as their authors publish them, with their licences. Everything is written into the one file.
"""

import base64
import json
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from fastequi._version import __version__
from fastequi.md.analysis import ANALYSES, LOG_ANALYSES
from fastequi.md.analysis.analysis import Analysis, Finding, in_digits
from fastequi.md.analysis.frames import spread_over
from fastequi.md.analysis.panels import Panel, panels_of
from fastequi.md.analysis.run import Results
from fastequi.md.analysis.trust import checks_of
from fastequi.storage.durable import naming_files, write_durably

#: Points of a curve, and positions of all frames together, beyond which a page takes every k-th.
MOST_POINTS, MOST_POSITIONS = 1500, 120_000
#: Frames that a slider has room for.
MOST_FRAMES = 200
#: Positions on the page are whole multiples of this.
_UNIT_A = 1e-3
#: Digits of numbers in curves.
_DIGITS = 6

_SCRIPTS = ("vendor/3Dmol-min.js", "vendor/uPlot.iife.min.js")
_STYLES = ("vendor/uPlot.min.css", "page.css")


def write_page(results: Results, path: Path) -> None:
    """Write the page of one system."""
    parts = files("fastequi.md.analysis") / "web"
    read = {name: (parts / name).read_text(encoding="utf-8")
            for name in ("page.html", "page.js", *_SCRIPTS, *_STYLES)}  # fmt: skip
    data = json.dumps(page_data(results), ensure_ascii=False, separators=(",", ":"))
    page = Template(read["page.html"]).substitute(
        title=_title(results),
        styles="\n".join(read[name] for name in _STYLES),
        scripts="\n".join(read[name].replace("</script", "<\\/script") for name in _SCRIPTS),
        data=data.replace("<", "\\u003c"),
        program=read["page.js"],
    )
    with naming_files(path):
        write_durably(path, page.encode())


def page_data(results: Results) -> dict[str, Any]:
    """All that the program of the page is told, as JSON can hold it."""
    begin, end = results.times_ps
    facts = results.facts
    words = [facts.get("ensemble"), facts.get("model"), f"{begin:g} to {end:g} ps"]
    return {
        "title": _title(results),
        "subtitle": " · ".join(str(word) for word in words if word),
        "checks": [vars(check) for check in checks_of(results)],
        "movie": _movie(results.frames) if results.frames else None,
        "means": _means(results),
        "plots": [
            _plot(results, name, analysis)
            for name, analysis in (ANALYSES | LOG_ANALYSES).items()
            if name in results.columns
        ],
        "left_out": [[name.replace("_", " "), why] for name, why in results.left_out.items()],
        "phases": _phases(results),
        "facts": _facts(results),
    }


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


def _plot(results: Results, name: str, analysis: Analysis) -> dict[str, Any]:
    panels = panels_of(analysis, results.columns[name])
    return {
        "title": analysis.title,
        "panels": [_panel(panel, 300 if len(panels) == 1 else 170) for panel in panels],
        "findings": [_sentence(item) for item in results.findings[name] if item.text],
        "remarks": results.remarks[name],
    }


def _panel(panel: Panel, height: int) -> dict[str, Any]:
    step = max(1, -(-len(panel.x) // MOST_POINTS))
    return {
        "x_title": panel.x_title,
        "y_title": panel.y_title,
        "x": _rounded(panel.x[::step]),
        "curves": {label: _rounded(y[::step]) for label, y in panel.curves.items()},
        "top": panel.top if np.isfinite(panel.top) else None,
        "height": height,
    }


def _rounded(values: NDArray[np.float64]) -> list[float | None]:
    return [float(f"{x:.{_DIGITS}g}") if np.isfinite(x) else None for x in values.tolist()]


def _sentence(finding: Finding) -> str:
    return f"{finding.text}: {in_digits(finding.value, finding.error)} {finding.unit}".rstrip()


def _movie(frames: Sequence[Atoms]) -> dict[str, Any]:
    """Frames for the viewer, thinned; atoms back in the cell along periodic directions."""
    atoms = len(frames[0])
    used = spread_over(frames, max(1, min(MOST_FRAMES, MOST_POSITIONS // atoms)))
    wrapped = np.array([frame.get_positions(wrap=True) for frame in used])
    grid = np.round(wrapped / _UNIT_A).astype("<i4")
    remark = f"{len(used)} of {len(frames)} frames" if len(used) < len(frames) else ""
    return {
        "symbols": frames[0].get_chemical_symbols(),
        "times_ps": [frame.info["time_ps"] for frame in used],
        "cells": [_cell(frame) for frame in used],
        "unit_A": _UNIT_A,
        "positions": base64.b64encode(grid.tobytes()).decode(),
        "remark": f"{remark}; atoms are shown in the cell" if remark else "",
    }


def _cell(frame: Atoms) -> list[list[float]] | None:
    return np.round(frame.cell.array, 4).tolist() if frame.pbc.all() else None


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
        "frames": len(results.frames),
        **{name.replace("_", " "): value for name, value in dynamics.items()},
        **{name.replace("_", " "): summary.get(name)
           for name in ("model", "model_sha256", "dtype", "kernels", "device", "wall_s",
                        "steps_per_s", "ns_per_day", "peak_memory_MB")},
        "analyzed with fastequi": __version__,
    }  # fmt: skip
    return [[name, _fact(value)] for name, value in rows.items() if value is not None]


def _fact(value: object) -> str:
    return f"{value:.5g}" if isinstance(value, float) else str(value)
