"""What all pictures share: paper, labels, colours, and what to say where none can be made.

matplotlib is imported when a picture is made, and drawn on directly: no window, no global state.
"""

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from fastequi.storage.durable import naming_files

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Paul Tol's bright scheme: seven colours that the colour-blind can tell apart.
COLOURS = ("#4477aa", "#ee6677", "#228833", "#ccbb44", "#66ccee", "#aa3377", "#888888")

_DPI = 150


def why_no_plots() -> str:
    """What to tell the user where no picture can be made; '' where one can."""
    if find_spec("matplotlib"):
        return ""
    return "plots were skipped: they need matplotlib (pip install 'fastequi[plot]')"


def new_figure(width: float, height: float) -> "Figure":
    """An empty sheet, of so many inches."""
    from matplotlib.figure import Figure

    figure = Figure((width, height), dpi=_DPI, layout="constrained")
    figure.get_layout_engine().set(w_pad=0.12, h_pad=0.06)  # type: ignore[union-attr]
    return figure


def label_axes(axes: "Axes", x: str, y: str) -> None:
    """Names of both axes, with their units; a grid behind the data."""
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.grid(True, which="major", color="#dddddd", lw=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def save_figure(figure: "Figure", path: Path) -> None:
    """Write a PNG; InputError if it cannot be written."""
    with naming_files(path):
        figure.savefig(path)
