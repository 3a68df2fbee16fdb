"""The picture of the benchmark: distributions beside the ab-initio boxes, and learning curves."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter, ScalarFormatter

from benchmarks.water.trainings import Point

PAIRS = {"O-O": "O-O", "H-O": "O-H", "H-H": "H-H"}
#: The bond within a molecule is ten times as high: the axes end here.
TOPS = {"O-O": 3.4, "H-O": 1.9, "H-H": 1.9}
TRIPLETS = {"O-O-O": "O-O-O, neighbours within 3.4 Å", "H-O-H": "H-O-H of a molecule"}
BOXES = {"color": "0.25", "linewidth": 3.5, "alpha": 0.35}


def draw(
    boxes: Mapping[str, Any],
    runs: Mapping[str, Mapping[str, Any]],
    points: Sequence[Point],
    path: Path,
) -> None:
    """boxes, runs: as `Structure.as_json` has them, the runs by their labels."""
    figure = Figure(figsize=(12, 6.8), layout="constrained")
    axes = figure.subplots(2, 3)
    for panel, (pair, name) in zip(axes[0], PAIRS.items(), strict=True):
        _curves(panel, boxes, runs, "g", "r_A", pair)
        panel.set(xlabel="r (Å)", ylabel=f"g(r) of {name}", xlim=(0.8, 6.2), ylim=(0, TOPS[pair]))
    axes[0][0].legend(fontsize="small")
    for panel, (triplet, name) in zip(axes[1], TRIPLETS.items(), strict=False):
        _curves(panel, boxes, runs, "angles", "angle_deg", triplet)
        panel.set(xlabel="angle (°)", ylabel="density (1/°)", title=name, ylim=(0, None))
    axes[1][1].set_xlim(75, 135)
    _learning(axes[1][2], points)
    figure.savefig(path, dpi=130)


def _curves(
    panel: Axes,
    boxes: Mapping[str, Any],
    runs: Mapping[str, Mapping[str, Any]],
    kind: str,
    x: str,
    name: str,
) -> None:
    panel.plot(boxes[kind][x], boxes[kind][name], label="ab initio, 400 boxes", **BOXES)
    for (label, run), style in zip(runs.items(), ("-", "--", ":"), strict=False):
        panel.plot(run[kind][x], run[kind][name], style, linewidth=1.2, label=label)


def _learning(panel: Axes, points: Sequence[Point]) -> None:
    for l_max in sorted({p.l_max for p in points}):
        mine = sorted((p for p in points if p.l_max == l_max), key=lambda p: p.frames)
        panel.loglog([p.frames for p in mine], [p.force_rmse_meV_per_A for p in mine], "o-",
                     label=f"l = {l_max}")  # fmt: skip
    panel.set_xticks(sorted({p.frames for p in points}))
    errors = [p.force_rmse_meV_per_A for p in points]
    marks = (10, 20, 30, 50, 70, 100, 150, 200, 300, 500, 700, 1000)
    panel.set_yticks([m for m in marks if min(errors) / 1.2 <= m <= 1.2 * max(errors)])
    for side in (panel.xaxis, panel.yaxis):
        side.set_major_formatter(ScalarFormatter())
        side.set_minor_formatter(NullFormatter())
    panel.set(xlabel="training frames", ylabel="force RMSE on held-out boxes (meV/Å)")
    panel.grid(True, alpha=0.25)
    panel.legend()
