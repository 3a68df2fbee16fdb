"""What a picture of an analysis shows: panels of curves, for paper and for the page alike."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fastequi.md.analysis.analysis import Analysis, Columns

#: Of its highest value, what is next to nothing at the end of a curve.
_NOTHING = 2e-3
#: Share of the first column where a peak may hide all others: a molecule that flies and turns.
_BEGINNING = 0.03


@dataclass(frozen=True)
class Panel:
    """Curves on one pair of axes.

    x_title, y_title  with units
    x                 [points]
    curves            by their names in a legend: [points] each
    columns           the column that each is of
    top               where the panel ends if a curve goes beyond; infinity: nowhere
    """

    x_title: str
    y_title: str
    x: NDArray[np.float64]
    curves: Mapping[str, NDArray[np.float64]]
    columns: Mapping[str, str]
    top: float


def panels_of(analysis: Analysis, columns: Columns) -> list[Panel]:
    """A panel for each quantity; a curve for each element or pair, those that tell something."""
    name, x = next(iter(columns.items()))
    first = analysis.column(name)
    rows = slice(0, _rows_shown(analysis, columns))
    found = []
    for title, labels in _labels(analysis, columns).items():
        curves = {label: columns[column][rows] for column, label in labels.items()}
        if analysis.relative:
            curves = {label: y / y[0] if y[0] else y for label, y in curves.items()}
        curves = _telling(curves)
        top = _cut(x[rows], curves) if analysis.peaked else np.inf
        if max(float(y.max()) for y in curves.values()) > analysis.highest:
            top = analysis.highest
        places = {label: column for column, label in labels.items() if label in curves}
        found.append(Panel(first.title if first else name, title, x[rows], curves, places, top))
    return found


def _labels(analysis: Analysis, columns: Columns) -> dict[str, dict[str, str]]:
    """Title of an axis -> its columns, with the name of each in the legend."""
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
