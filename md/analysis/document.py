"""A page that needs nothing but a browser: what there is to say, in a skeleton that shows it.

The parts are in `web/`: the skeleton, its style and its program, and in `web/vendor` 3Dmol.js and
uPlot as their authors publish them, with their licences. Everything is written into the one file.

What a page is told, each part optional but the title:

    title, subtitle, note     words; the note is about the curves
    progress                  how far it is, as `md.trajectory.status` says
    checks                    sentences, each good or not
    movie, gallery            structures: the frames of one (`movie.py`), or several (`gallery.py`)
    tables                    title, head, rows of cells, which columns are numbers, a note
    plots                     title, panels of curves or points, findings, remarks
    left_out, phases, facts   what is missing and why, where the time went, what was asked for
"""

import json
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastequi.md.analysis.panels import Panel
from fastequi.storage.durable import naming_files, write_durably

#: Points of a curve beyond which a page takes every k-th.
MOST_POINTS = 1500
#: Digits of numbers in curves.
_DIGITS = 6

_SCRIPTS = ("vendor/3Dmol-min.js", "vendor/uPlot.iife.min.js")
_PROGRAM = ("words.js", "plots.js", "viewer.js", "page.js")
_STYLES = ("vendor/uPlot.min.css", "page.css")


def write_document(data: Mapping[str, Any], path: Path) -> None:
    """Write a page, durably."""
    with naming_files(path):
        write_durably(path, document(data).encode())


def document(data: Mapping[str, Any], refresh_s: float = 0.0) -> str:
    """The text of a page. With refresh_s above 0 it asks its server for `data.json` so often."""
    parts = files("fastequi.md.analysis") / "web"
    read = {name: (parts / name).read_text(encoding="utf-8")
            for name in ("page.html", *_SCRIPTS, *_PROGRAM, *_STYLES)}  # fmt: skip
    return Template(read["page.html"]).substitute(
        title=_escaped(str(data["title"])),
        connect="connect-src 'self'" if refresh_s else "connect-src 'none'",
        styles="\n".join(read[name] for name in _STYLES),
        scripts="\n".join(read[name].replace("</script", "<\\/script") for name in _SCRIPTS),
        data=as_json({**data, "refresh_s": refresh_s}).replace("<", "\\u003c"),
        program="\n".join(read[name] for name in _PROGRAM),
    )


def as_json(data: Mapping[str, Any]) -> str:
    """As a browser reads it: NaN and infinity are no JSON."""
    return json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;")


def panel_data(panel: Panel, height: int, **options: Any) -> dict[str, Any]:
    """A panel as the page is told it; options: `log` or `points`, see plots.js."""
    step = max(1, -(-len(panel.x) // MOST_POINTS))
    return {
        "x_title": panel.x_title,
        "y_title": panel.y_title,
        "x": rounded(panel.x[::step]),
        "curves": {label: rounded(y[::step]) for label, y in panel.curves.items()},
        "top": panel.top if np.isfinite(panel.top) else None,
        "height": height,
        **options,
    }


def rounded(values: NDArray[np.float64]) -> list[float | None]:
    """Numbers in six digits; null for what is none."""
    return [float(f"{x:.{_DIGITS}g}") if np.isfinite(x) else None for x in values.tolist()]
