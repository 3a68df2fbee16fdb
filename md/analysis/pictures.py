"""Pictures of analyses: curves by element with a legend, a panel for each quantity."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fastequi.md.analysis.analysis import Analysis, Columns, in_digits
from fastequi.md.analysis.panels import Panel, panels_of
from fastequi.md.analysis.thermodynamics import Average
from fastequi.plotting import COLOURS, label_axes, new_figure, save_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: Curves beside which a legend has room.
_MOST_INSIDE = 6
#: Styles that tell curves apart when colours come again.
_STYLES = ("-", "--", ":", "-.")
#: Curves that often lie on each other, so that each has a style of its own.
_AXES = ("a", "b", "c", "alpha", "beta", "gamma")


def draw(analysis: Analysis, columns: Columns, path: Path, averages: Mapping[str, Average]) -> None:
    """A PNG of columns over the first one; averages are drawn where there are any."""
    panels = panels_of(analysis, columns)
    height = 4.0 if len(panels) == 1 else 0.6 + 1.5 * len(panels)
    figure = new_figure(7.0, height)
    every = figure.subplots(len(panels), sharex=True, squeeze=False)[:, 0]
    for axes, panel in zip(every, panels, strict=True):
        if analysis.level is not None:
            axes.axhline(analysis.level, color="#999999", lw=0.8, zorder=1)
        _draw_curves(axes, panel)
        _limit(axes, panel)
        _draw_legend(axes, panel, analysis)
        for column in panel.columns.values():
            if column in averages:
                _draw_average(axes, panel.x, averages[column])
        label_axes(axes, "", panel.y_title)
    every[-1].set_xlabel(panels[0].x_title)
    every[0].set_title(analysis.title, fontsize=11, loc="left")
    figure.align_ylabels()
    save_figure(figure, path)


def _draw_curves(axes: "Axes", panel: Panel) -> None:
    marker = "o" if len(panel.x) < 3 else ""
    for k, (label, y) in enumerate(panel.curves.items()):
        legend = f"{label} (up to {y.max():.3g})" if y.max() > panel.top else label
        style = _STYLES[(k if label in _AXES else k // len(COLOURS)) % len(_STYLES)]
        colour = "black" if label == "all" else COLOURS[k % len(COLOURS)]
        axes.plot(panel.x, y, style, color=colour, lw=1.3, marker=marker, ms=3, label=legend)
    axes.ticklabel_format(axis="y", useOffset=False)
    axes.margins(x=0.0)


def _limit(axes: "Axes", panel: Panel) -> None:
    """Cut what towers, and give a constant an axis that has numbers."""
    lowest = min(float(y.min()) for y in panel.curves.values())
    highest = max(float(y.max()) for y in panel.curves.values())
    if np.isfinite(panel.top):
        axes.set_ylim(-0.04 * panel.top, panel.top)
    elif highest - lowest <= 1e-9 * max(abs(highest), abs(lowest)):  # constant but for rounding
        half = 0.01 * max(abs(highest), 1e-12)
        axes.set_ylim(lowest - half, highest + half)


def _draw_legend(axes: "Axes", panel: Panel, analysis: Analysis) -> None:
    if len(panel.curves) == 1 and not analysis.columns[-1].name.startswith("*"):
        return
    if len(panel.curves) <= _MOST_INSIDE:
        axes.legend(frameon=False, fontsize=9, loc="best")
    else:
        axes.legend(frameon=False, fontsize=9, loc="upper left", bbox_to_anchor=(1.0, 1.0))


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
