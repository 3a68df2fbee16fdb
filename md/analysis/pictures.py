"""Pictures of analyses: curves by element with a legend, a panel for each quantity."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fastequi.md.analysis.analysis import Analysis, Columns, in_digits
from fastequi.md.analysis.thermodynamics import Average
from fastequi.plotting import COLOURS, label_axes, new_figure, save_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: Curves beside which a legend has room.
_MOST_INSIDE = 6
#: Of its highest value, what is next to nothing at the end of a curve.
_NOTHING = 2e-3
#: Share of the first column where a peak may hide all others: a molecule that flies and turns.
_BEGINNING = 0.03
#: Styles that tell curves apart when colours come again.
_STYLES = ("-", "--", ":", "-.")
#: Curves that often lie on each other, so that each has a style of its own.
_AXES = ("a", "b", "c", "alpha", "beta", "gamma")


def draw(analysis: Analysis, columns: Columns, path: Path, averages: Mapping[str, Average]) -> None:
    """A PNG of columns over the first one; averages are drawn where there are any."""
    panels = _panels(analysis, columns)
    height = 4.0 if len(panels) == 1 else 0.6 + 1.5 * len(panels)
    figure = new_figure(7.0, height)
    every = figure.subplots(len(panels), sharex=True, squeeze=False)[:, 0]
    (name, x), *_ = columns.items()
    rows = slice(0, _rows_shown(analysis, columns))
    for axes, (title, names) in zip(every, panels.items(), strict=True):
        curves = _telling({label: columns[column][rows] for column, label in names.items()})
        _draw_curves(axes, x[rows], curves, analysis)
        for column in names:
            if column in averages:
                _draw_average(axes, x, averages[column])
        label_axes(axes, "", title)
    first = analysis.column(name)
    every[-1].set_xlabel(first.title if first else name)
    every[0].set_title(analysis.title, fontsize=11, loc="left")
    figure.align_ylabels()
    save_figure(figure, path)


def _panels(analysis: Analysis, columns: Columns) -> dict[str, dict[str, str]]:
    """Label of an axis -> its columns, with the name of each in the legend."""
    panels: dict[str, dict[str, str]] = {}
    for name in list(columns)[1:]:
        column = analysis.column(name)
        assert column is not None
        title = f"{column.meaning} / first value" if analysis.relative else column.title
        panels.setdefault(title, {})[name] = analysis.elements(name)
    for names in panels.values():
        has_elements = any(names.values())
        for name, label in names.items():
            names[name] = label or ("all" if has_elements else name.split("_")[0])
    return panels


def _rows_shown(analysis: Analysis, columns: Columns) -> int:
    """How many rows are worth looking at."""
    (_, x), *others = columns.items()
    shown = max(2, round(analysis.shown * len(x)))
    if analysis.trimmed:
        size = np.max([np.abs(y) / max(np.abs(y).max(), 1e-300) for _, y in others], axis=0)
        shown = min(shown, int(1.1 * np.flatnonzero(size > _NOTHING)[-1]) + 2)
    return min(shown, len(x))


def _draw_curves(
    axes: "Axes",
    x: NDArray[np.float64],
    curves: Mapping[str, NDArray[np.float64]],
    analysis: Analysis,
) -> None:
    if analysis.level is not None:
        axes.axhline(analysis.level, color="#999999", lw=0.8, zorder=1)
    marker = "o" if len(x) < 3 else ""
    cut = _cut(x, curves) if analysis.peaked else np.inf
    for k, (label, y) in enumerate(curves.items()):
        if analysis.relative and y[0] != 0.0:
            y = y / y[0]
        legend = f"{label} (up to {y.max():.3g})" if y.max() > cut else label
        style = _STYLES[(k if label in _AXES else k // len(COLOURS)) % len(_STYLES)]
        colour = "black" if label == "all" else COLOURS[k % len(COLOURS)]
        axes.plot(x, y, style, color=colour, lw=1.3, marker=marker, ms=3, label=legend)
    axes.ticklabel_format(axis="y", useOffset=False)
    axes.margins(x=0.0)
    lowest = min(float(y.min()) for y in curves.values())
    highest = max(float(y.max()) for y in curves.values())
    if np.isfinite(cut):
        axes.set_ylim(-0.04 * cut, cut)
    elif highest > analysis.highest:
        axes.set_ylim(-0.02 * analysis.highest, analysis.highest)
    elif highest - lowest <= 1e-9 * max(abs(highest), abs(lowest)):  # constant but for rounding
        half = 0.01 * max(abs(highest), 1e-12)
        axes.set_ylim(lowest - half, highest + half)
    if len(curves) > 1 or analysis.columns[-1].name.startswith("*"):
        if len(curves) <= _MOST_INSIDE:
            axes.legend(frameon=False, fontsize=9, loc="best")
        else:
            axes.legend(frameon=False, fontsize=9, loc="upper left", bbox_to_anchor=(1.0, 1.0))


def _telling(curves: dict[str, NDArray[np.float64]]) -> dict[str, NDArray[np.float64]]:
    """Without `all` where there is one element, and without what is zero everywhere."""
    shown = {label: y for label, y in curves.items() if y.any()} or curves
    *_, last = shown.values()
    if len(shown) == 2 and "all" in shown and np.allclose(shown["all"], last):
        del shown["all"]
    return shown


def _cut(x: NDArray[np.float64], curves: Mapping[str, NDArray[np.float64]]) -> float:
    """Where to cut a peak that towers over all other curves, or over all but the beginning."""
    *others, tallest = sorted(float(y.max()) for y in curves.values())
    behind = x > _BEGINNING * x[-1]
    rest = [others[-1]] if others else []
    rest += [max(float(y[behind].max(initial=0.0)) for y in curves.values())]
    second = min(rest)
    return 1.3 * second if tallest > 4.0 * second > 0.0 else np.inf


def _draw_average(axes: "Axes", times: NDArray[np.float64], average: Average) -> None:
    """A line at the mean, a band of its error, and grey over what is left out."""
    mean, error = average.mean.mean, average.mean.error
    axes.axvspan(times[0], average.from_ps, color="#eeeeee", lw=0, zorder=0)
    axes.hlines(mean, average.from_ps, times[-1], color="black", lw=1.0, zorder=3)
    axes.fill_between(
        [average.from_ps, times[-1]], mean - error, mean + error, color="black", alpha=0.2, lw=0
    )
    text = in_digits(mean, error) if average.mean.spread else "constant"
    axes.set_title(text, loc="right", fontsize=8, pad=2.0)
