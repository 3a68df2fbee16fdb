"""Pictures of a training: the learning curve, and predictions beside reference values."""

import csv
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from ase.data import chemical_symbols
from numpy.typing import NDArray

from fastequi.errors import InputError
from fastequi.plotting import COLOURS, label_axes, new_figure, save_figure
from fastequi.training.evaluate import Evaluation
from fastequi.training.metrics import KINDS, MEV_PER_EV

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: Of more points than this some are drawn, and the picture says so.
MOST_POINTS = 200_000
#: Groups in a legend.
MOST_NAMES = 12
#: Up to so many points are drawn as discs; more as dots that show where they overlap.
FEW_POINTS = 2_000

_TRAINING, _VALIDATION, _BEST = "#9a9a9a", "#1f6fb4", "#c44e28"
#: Units of errors, and of what they are errors of.
ERROR_UNITS = {"energy": "meV/atom", "forces": "meV/Å", "stress": "meV/Å³"}
VALUE_UNITS = {"energy": "eV/atom", "forces": "eV/Å", "stress": "eV/Å³"}


# -- learning curve ------------------------------------------------------------------------------


def plot_learning_curve(metrics: Path, out: Path) -> None:
    """Errors and learning rate by epoch, from a metrics.csv, as a PNG."""
    columns = read_metrics(metrics)
    panels = [kind for kind in ("forces", "energy", "stress") if has_errors(columns, kind)]
    heights = [3.0] * len(panels) + [1.1]
    figure = new_figure(7.0, sum(heights) * 0.8 + 0.5)
    every = figure.subplots(
        len(heights), sharex=True, squeeze=False, gridspec_kw={"height_ratios": heights}
    )[:, 0]
    best = int(columns["best_epoch"][-1]) if "best_epoch" in columns else 0
    for axes, kind in zip(every, panels, strict=False):
        _draw_errors(axes, columns, kind, best)
    every[0].legend(loc="upper right", frameon=False)
    marker = _marker(columns["epoch"])
    every[-1].plot(columns["epoch"], columns["learning_rate"], "k-", lw=1.0, marker=marker, ms=3)
    every[-1].set_yscale("log")
    every[-1].xaxis.get_major_locator().set_params(integer=True)
    label_axes(every[-1], "epoch", "learning\nrate")
    figure.align_ylabels()
    save_figure(figure, out)


def read_metrics(path: Path) -> dict[str, NDArray[np.float64]]:
    """The columns of a metrics.csv; NaN where a cell is empty.

    A last row that is half written is left out. Raises InputError without a row.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            whole = file.read().rpartition("\n")[0]
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
    rows = list(csv.DictReader(whole.splitlines()))
    if not rows:
        raise InputError(f"{path}: no epoch is finished, there is nothing to draw")
    return {name: np.array([float(row[name] or "nan") for row in rows]) for name in rows[0]}


def error_column(kind: str, which: str) -> str:
    begin, end = KINDS[kind]
    return f"{which}_{begin}_mae_{end}"


def has_errors(columns: dict[str, NDArray[np.float64]], kind: str) -> bool:
    names = (error_column(kind, which) for which in ("train", "validation"))
    return any(name in columns and np.isfinite(columns[name]).any() for name in names)


def _marker(epoch: NDArray[np.float64]) -> str:
    """A line through one epoch is invisible."""
    return "o" if len(epoch) < 30 else ""


def _draw_errors(
    axes: "Axes", columns: dict[str, NDArray[np.float64]], kind: str, best: int
) -> None:
    epoch = columns["epoch"]
    marker = _marker(epoch)
    for which, label, colour in (
        ("train", "training, during the epoch", _TRAINING),
        ("validation", "validation, averaged weights", _VALIDATION),
    ):
        values = columns.get(error_column(kind, which))
        if values is None:
            continue
        axes.plot(epoch, values, color=colour, lw=1.2, marker=marker, ms=3, label=label)
        if which == "validation" and best in epoch:
            _mark_best(axes, best, float(values[epoch == best][0]), kind)
    _logarithmic(axes)
    label_axes(axes, "", f"{KINDS[kind][0]} MAE ({ERROR_UNITS[kind]})")


def _mark_best(axes: "Axes", best: int, value: float, kind: str) -> None:
    """A dot, and its value where a falling curve leaves room: on the right, below the legend."""
    axes.plot([best], [value], color=_BEST, marker="o", ms=5, ls="", label="kept", zorder=3)
    text = f"kept: {_number(value)} {ERROR_UNITS[kind]}, epoch {best}"
    axes.text(0.98, 0.56, text, color=_BEST, transform=axes.transAxes, ha="right")


def _logarithmic(axes: "Axes") -> None:
    """A logarithmic scale whose ticks are numbers as people write them."""
    from matplotlib.ticker import LogLocator, NullFormatter

    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter(NullFormatter())


# -- parity --------------------------------------------------------------------------------------


def plot_parity(evaluation: Evaluation, folder: Path) -> list[Path]:
    """Predicted beside reference energies, forces and stress: a PNG for each that has labels."""
    written = []
    for kind, points in parity_points(evaluation).items():
        written.append(folder / f"parity-{kind}.png")
        _draw_parity(kind, *points, evaluation.errors.results(), written[-1])
    return written


#: Reference values, predicted ones and the group of each: [points] all three.
Points = tuple[NDArray[np.float64], NDArray[np.float64], NDArray[Any]]


def parity_points(evaluation: Evaluation) -> dict[str, Points]:
    """What is known of energies per atom, forces and stress; kinds without labels are left out."""
    every = {
        "energy": _energies(evaluation),
        "forces": _forces(evaluation),
        "stress": _stresses(evaluation),
    }
    found = {}
    for kind, (reference, predicted, group) in every.items():
        known = np.isfinite(reference) & np.isfinite(predicted)
        if known.any():
            found[kind] = reference[known], predicted[known], group[known]
    return found


def _energies(evaluation: Evaluation) -> Points:
    """Per atom, by configuration type."""
    n, types = evaluation.n_atoms, np.array([f.config_type for f in evaluation.frames])
    return evaluation.reference.energy / n, evaluation.predicted.energy / n, types


def _forces(evaluation: Evaluation) -> Points:
    """Components, by element."""
    symbols = np.array(chemical_symbols)[evaluation.atomic_numbers]
    reference, predicted = evaluation.reference.forces, evaluation.predicted.forces
    return reference.ravel(), predicted.ravel(), symbols.repeat(3)


def _stresses(evaluation: Evaluation) -> Points:
    """Components, those on the diagonal apart from the others."""
    reference, predicted = evaluation.reference.stress, evaluation.predicted.stress
    names = np.where(np.eye(3, dtype=bool), "xx, yy, zz", "xy, xz, yz")
    return reference.ravel(), predicted.ravel(), np.tile(names.ravel(), len(reference))


def _draw_parity(
    kind: str, reference: NDArray[np.float64], predicted: NDArray[np.float64],
    group: NDArray[Any], results: dict[str, float | None], out: Path,
) -> None:  # fmt: skip
    """Parity above, errors on their own scale below."""
    unit = VALUE_UNITS[kind]
    begin, end = KINDS[kind]
    errors = MEV_PER_EV * (predicted - reference)
    figure = new_figure(5.6, 6.8)
    upper, lower = figure.subplots(2, sharex=True, gridspec_kw={"height_ratios": [3.2, 1.0]})
    groups = largest_first(group)
    colours = {name: COLOURS[k % len(COLOURS)] for k, name in enumerate(groups)}
    # In a random order no group hides the others.
    order = np.random.default_rng(0).permutation(len(reference))[:MOST_POINTS]
    style = _point_style(len(order)) | {"c": [colours[str(name)] for name in group[order]]}
    upper.scatter(reference[order], predicted[order], **style)
    lower.scatter(reference[order], errors[order], **style)
    ends = [min(reference.min(), predicted.min()), max(reference.max(), predicted.max())]
    upper.plot(ends, ends, color="black", lw=0.8, zorder=3)
    lower.axhline(0.0, color="black", lw=0.8, zorder=3)
    mae, rmse = results[f"{begin}_mae_{end}"], results[f"{begin}_rmse_{end}"]
    title = f"MAE {_number(mae)}, RMSE {_number(rmse)} {ERROR_UNITS[kind]}; {len(reference)} values"
    drawn = f", {len(order)} drawn" if len(order) < len(reference) else ""
    upper.set_title(title + drawn, loc="left", size=10)
    if len(groups) > 1:
        maes = {name: _number(np.abs(errors[group == name]).mean()) for name in groups}
        _legend(upper, {f"{name or 'unnamed'}: MAE {maes[name]}": colours[name] for name in groups})
    label_axes(upper, "", f"predicted {begin} ({unit})")
    label_axes(lower, f"reference {begin} ({unit})", f"error ({ERROR_UNITS[kind]})")
    figure.align_ylabels()
    save_figure(figure, out)


def largest_first(group: NDArray[Any]) -> list[str]:
    """Names by falling number of points."""
    names, counts = np.unique(group, return_counts=True)
    return [str(names[k]) for k in np.argsort(-counts, kind="stable")]


def _point_style(n_points: int) -> dict[str, Any]:
    if n_points <= FEW_POINTS:
        return {"s": 10.0, "alpha": 0.7, "linewidths": 0}
    alpha = max(0.1, 0.7 * (FEW_POINTS / n_points) ** 0.25)
    return {"s": 4.0, "alpha": alpha, "linewidths": 0}


def _legend(axes: "Axes", entries: dict[str, str]) -> None:
    """Names and colours, as discs that can be seen, however faint the points are."""
    for name, colour in list(entries.items())[:MOST_NAMES]:
        axes.plot([], [], ls="", marker="o", ms=5, color=colour, label=name)
    if len(entries) > MOST_NAMES:
        axes.plot([], [], ls="", label=f"and {len(entries) - MOST_NAMES} more")
    axes.legend(loc="lower right", frameon=False, handletextpad=0.2, fontsize=8)


# -- numbers ---------------------------------------------------------------------------------------


def _number(value: float | None) -> str:
    """Three digits that count, without powers of ten."""
    if value is None:
        return "none"
    return f"{value:.3g}" if not value >= 1000 else f"{value:,.0f}"
