"""report.html of a training: learning curves, errors, parity, and the frames that it gets wrong."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from fastequi._version import __version__
from fastequi.errors import InputError
from fastequi.md.analysis.document import panel_data, rounded, write_document
from fastequi.md.analysis.panels import Panel
from fastequi.settings import read_toml
from fastequi.training import directory as names
from fastequi.training.evaluate import Evaluation
from fastequi.training.gallery import gallery_of
from fastequi.training.metrics import KINDS, MEV_PER_EV
from fastequi.training.plots import (
    ERROR_UNITS,
    VALUE_UNITS,
    Points,
    error_column,
    has_errors,
    largest_first,
    parity_points,
    read_metrics,
)
from fastequi.training.status import summary_of, training_status

#: Points of a parity plot and groups in its legend; of more, some are drawn at random.
MOST_POINTS, MOST_GROUPS = 3000, 7

#: Heading of a column of errors, and its key in results.
_ERRORS = (
    ("energy MAE, meV/atom", "energy_mae_meV_per_atom"),
    ("RMSE", "energy_rmse_meV_per_atom"),
    ("offset-free MAE", "energy_mae_beside_shifts_meV_per_atom"),
    ("RMSE", "energy_rmse_beside_shifts_meV_per_atom"),
    ("force MAE, meV/Å", "force_mae_meV_per_A"),
    ("RMSE", "force_rmse_meV_per_A"),
    ("stress MAE, meV/Å³", "stress_mae_meV_per_A3"),
    ("RMSE", "stress_rmse_meV_per_A3"),
)


def write_training_page(folder: Path, found: Mapping[str, Evaluation]) -> Path:
    """Write the page of a finished training; `found` are the evaluations of its sets."""
    path = folder / names.REPORT
    write_document(training_data(folder, found), path)
    return path


def training_data(folder: Path, found: Mapping[str, Evaluation] | None = None) -> dict[str, Any]:
    """All that the page is told, see `md/analysis/document.py`.

    found  evaluations of the best model; without them only what the files of the folder hold
    """
    status, summary = training_status(folder, is_done=found is not None), summary_of(folder)
    which = "test" if "test" in summary else "validation"
    judged = found.get(which) if found else None
    state = status.state
    page = {
        "title": folder.resolve().name,
        "subtitle": f"training · {', '.join(_frames(summary))}" if summary else "training",
        "progress": {"state": state, "text": status.text, "share": status.share},
        "checks": _checks(summary) if state == "done" else [],
        "tables": list(_tables(summary, which)) if state == "done" else [],
        "plots": list(_learning_curves(folder / names.METRICS)),
        "facts": _facts(folder, summary),
    }
    if judged:
        page["gallery"] = gallery_of(judged, which)
        page["plots"] += parity_plots(judged)
    return page


def evaluation_data(title: str, subtitle: str, evaluation: Evaluation) -> dict[str, Any]:
    """The page of `fastequi evaluate`: errors, parity, and the frames with the largest errors."""
    return {
        "title": title,
        "subtitle": subtitle,
        "tables": list(_tables({"data": evaluation.results, "frames": {"data": 0}}, "data")),
        "plots": parity_plots(evaluation),
        "gallery": gallery_of(evaluation, "evaluated"),
    }


def _frames(summary: Mapping[str, Any]) -> list[str]:
    return [f"{count} {name} frames" for name, count in summary.get("frames", {}).items()]


def _checks(summary: Mapping[str, Any]) -> list[dict[str, Any]]:
    remarks = [{"text": text, "good": False} for text in summary.get("remarks", [])]
    return remarks or [{"text": "no sign that something is amiss", "good": True}]


# -- tables ----------------------------------------------------------------------------------------


def _tables(summary: Mapping[str, Any], which: str) -> Iterator[dict[str, Any]]:
    """Errors of all sets; then, of one of them, by element and by configuration type."""
    if which not in summary:
        return
    yield _table("Errors", {name: summary[name] for name in summary["frames"]})
    for key, title in (("per_species", "element"), ("per_config_type", "configuration")):
        rows = {name or "unnamed": errors for name, errors in summary[which].get(key, {}).items()}
        if len(rows) > 1:
            yield _table(f"Errors by {title} ({which} frames)", rows)


def _table(title: str, rows: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    shown = [(head, key) for head, key in _ERRORS
             if any(errors.get(key) is not None for errors in rows.values())]  # fmt: skip
    cells = [[name, *(_cell(errors.get(key)) for _, key in shown)] for name, errors in rows.items()]
    numbers = list(range(1, 1 + len(shown)))
    return {"title": title, "head": ["", *(h for h, _ in shown)], "rows": cells, "numbers": numbers}


def _cell(value: float | None) -> str:
    return "–" if value is None else f"{value:.4g}" if value < 1000 else f"{value:,.0f}"


# -- curves ----------------------------------------------------------------------------------------


def _learning_curves(metrics: Path) -> Iterator[dict[str, Any]]:
    """Errors and learning rate over epochs, as far as there are any."""
    try:
        columns = read_metrics(metrics)
    except InputError:
        return
    for kind in ("forces", "energy", "stress"):
        if has_errors(columns, kind):
            of = {which: columns[error_column(kind, which)] for which in ("train", "validation")}
            title = f"{KINDS[kind][0]} MAE ({ERROR_UNITS[kind]})"
            yield {"title": f"{KINDS[kind][0]} errors", "panels": [_by_epoch(columns, title, of)]}
    rates = {"learning rate": columns["learning_rate"]}
    yield {"title": "learning rate", "panels": [_by_epoch(columns, "learning rate", rates)]}


def _by_epoch(
    columns: Mapping[str, np.ndarray], title: str, curves: Mapping[str, np.ndarray]
) -> dict[str, Any]:
    known = {name: np.where(y > 0.0, y, np.nan) for name, y in curves.items()}
    panel = Panel("epoch", title, columns["epoch"], known, {}, np.inf)
    return panel_data(panel, 280, log=True, whole=True, marks=len(columns["epoch"]) < 30)


def parity_plots(evaluation: Evaluation) -> list[dict[str, Any]]:
    """Predicted beside reference values, and errors below, of each kind that has labels."""
    return [_parity(kind, points) for kind, points in parity_points(evaluation).items()]


def _parity(kind: str, points: Points) -> dict[str, Any]:
    """Some of the points, the largest errors among them, by group."""
    reference, predicted, group = points
    order = _sample(np.abs(predicted - reference))
    order = order[np.argsort(reference[order], kind="stable")]
    names_of = largest_first(group)
    shown = dict.fromkeys(names_of[:MOST_GROUPS])
    label = np.array([str(n) if str(n) in shown else "others" for n in group[order]])
    x, y = reference[order], predicted[order]
    begin, unit = KINDS[kind][0], VALUE_UNITS[kind]
    drawn = f"{len(order)} of {len(reference)} values" if len(order) < len(reference) else ""
    common = {"x": rounded(x), "points": True}
    return {
        "title": f"{begin}, predicted beside reference",
        "panels": [
            {**common, "x_title": f"reference {begin} ({unit})", "height": 320, "diagonal": True,
             "y_title": f"predicted {begin} ({unit})", "curves": _by_group(y, label)},
            {**common, "x_title": f"reference {begin} ({unit})", "height": 200,
             "y_title": f"error ({ERROR_UNITS[kind]})",
             "curves": _by_group(MEV_PER_EV * (y - x), label)},
        ],
        "remarks": [f"{drawn}, the largest errors among them"] if drawn else [],
    }  # fmt: skip


def _sample(errors: np.ndarray) -> np.ndarray:
    """Indices of at most `MOST_POINTS` values: a tenth are the largest errors, the rest any."""
    if len(errors) <= MOST_POINTS:
        return np.arange(len(errors))
    largest = np.argsort(-errors)[: MOST_POINTS // 10]
    rest = np.setdiff1d(np.arange(len(errors)), largest)
    some = np.random.default_rng(0).choice(rest, MOST_POINTS - len(largest), replace=False)
    return np.concatenate([largest, some])


def _by_group(values: np.ndarray, label: np.ndarray) -> dict[str, list[float | None]]:
    names_of = dict.fromkeys(label.tolist())
    return {name or "all": rounded(np.where(label == name, values, np.nan)) for name in names_of}


# -- what was asked for --------------------------------------------------------------------------


def _facts(folder: Path, summary: Mapping[str, Any]) -> list[list[str]]:
    run = next(d for d in (folder, folder.parent) if (d / names.RESOLVED_CONFIG).is_file())
    config = read_toml(run / names.RESOLVED_CONFIG)
    rows: dict[str, Any] = {"directory": folder}
    for section in ("data", "model", "training"):
        rows |= {f"{section}.{key}": value for key, value in config.get(section, {}).items()}
    for key in ("parameters", "kernels", "dtype", "device", "wall_s", "steps", "best_epoch",
                "peak_memory_MB", "model_sha256"):  # fmt: skip
        rows[key.replace("_", " ")] = summary.get(key)
    rows["trained with fastequi"] = __version__
    return [[name, _fact(value)] for name, value in rows.items() if value not in (None, [], {})]


def _fact(value: object) -> str:
    return f"{value:.5g}" if isinstance(value, float) else str(value)
