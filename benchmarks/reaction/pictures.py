"""One picture: energies along two paths, and force errors against temperature."""

from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.reaction.paths import COORDINATES
from benchmarks.reaction.published import NEQUIP
from fastequi.plotting import COLOURS, label_axes, new_figure, save_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Rows = list[dict[str, str]]


def draw(table: Rows, paths: Rows, path: Path) -> None:
    """A PNG of what `benchmarks.reaction` has found so far."""
    figure = new_figure(12.5, 3.9)
    *of_paths, of_errors = figure.subplots(1, 3)
    for axes, name in zip(of_paths, COORDINATES, strict=True):
        _draw_path(axes, name, [one for one in paths if one["path"] == name])
    _draw_errors(of_errors, table)
    save_figure(figure, path)


def _draw_path(axes: "Axes", name: str, rows: Rows) -> None:
    x, reference, predicted = (
        [float(one[key]) for one in rows] for key in ("x", "reference_meV", "predicted_meV")
    )
    axes.plot(x, reference, "o", color="black", ms=4, mfc="none", label="PBE-D3")
    axes.plot(x, predicted, "-", color=COLOURS[0], lw=1.8, label="fastequi, trained at 300 K")
    label_axes(axes, COORDINATES[name][1], "energy (meV)")
    axes.legend(frameon=False, fontsize=9)


def _draw_errors(axes: "Axes", table: Rows) -> None:
    for colour, case in zip(COLOURS, ("acac", "3bpa"), strict=False):
        rows = [one for one in table if one["case"] == case]
        if rows:
            kelvin = [_kelvin(one["tested_at"]) for one in rows]
            errors = [float(one["force_rmse_meV_per_A"]) for one in rows]
            label = f"{case}, fastequi, {float(rows[0]['cpu_minutes']):.0f} min of one core"
            axes.plot(kelvin, errors, "o-", color=colour, label=label)
        if case in NEQUIP:
            published = {_kelvin(name): forces for name, (_, forces) in NEQUIP[case].items()}
            axes.plot(list(published), list(published.values()), "x--", color=colour, lw=1.0,
                      label=f"{case}, NequIP, published")  # fmt: skip
    label_axes(axes, "temperature of the test (K); trained at 300 K", "force RMSE (meV/Å)")
    axes.set_ylim(bottom=0.0)
    axes.set_xticks([300, 600, 1200])
    axes.legend(frameon=False, fontsize=9)


def _kelvin(name: str) -> float:
    return float(name.split()[0])
