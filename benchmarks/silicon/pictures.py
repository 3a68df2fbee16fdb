"""Pictures of a check: E(V), phonons, NVE energy, radial distribution."""

from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fastequi.properties.equation_of_state import birch_murnaghan

#: Neutron scattering at Γ, X and L (Nilsson and Nelin, Phys. Rev. B 6, 3777, 1972), in THz, from
#: memory: to be drawn beside the lines, not to be cited.
NEUTRONS = {"Γ": (15.53,), "X": (4.49, 12.32, 13.90), "L": (3.43, 11.35, 12.60, 14.68)}


def draw(curves: dict[str, dict[str, Any]], title: str, path: Path) -> None:
    """One figure with a panel for every curve that there is."""
    matplotlib.use("Agg")
    panels = {name: panel for name, panel in PANELS.items() if name in curves}
    figure = Figure(
        figsize=(5 * min(2, len(panels)), 3.8 * -(-len(panels) // 2)), layout="constrained"
    )
    rows = -(-len(panels) // 2)
    for place, (name, panel) in enumerate(panels.items(), start=1):
        panel(figure.add_subplot(rows, min(2, len(panels)), place), curves[name])
    figure.suptitle(title)
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None, dpi=120)


def _energy_of_volume(axes: Axes, curves: dict[str, Any]) -> None:
    volume, energy, fit = (np.array(curves[key]) for key in ("volume", "energy", "fit"))
    dense = np.linspace(volume.min(), volume.max(), 200)
    axes.plot(dense, (birch_murnaghan(dense, *fit) - fit[0]) * 1e3, label="Birch and Murnaghan")
    axes.plot(volume, (energy - fit[0]) * 1e3, "o", markersize=4, label="potential")
    axes.set(xlabel="volume in Å³/atom", ylabel="energy in meV/atom")
    axes.legend()


def _phonons(axes: Axes, curves: dict[str, Any]) -> None:
    axes.plot(curves["x"], curves["THz"], color="C0", linewidth=1.2)
    for tick, label in zip(curves["ticks"], curves["labels"], strict=True):
        axes.axvline(tick, color="0.8", linewidth=0.8, zorder=0)
        found = NEUTRONS.get(label, ())
        axes.plot([tick] * len(found), found, "k.", markersize=6)
    axes.axhline(0.0, color="0.8", linewidth=0.8, zorder=0)
    axes.set_xticks(curves["ticks"], curves["labels"])
    axes.set(ylabel="frequency in THz", xlim=(min(curves["x"]), max(curves["x"])))
    axes.set_title("phonons; dots: neutrons", fontsize="medium")


def _nve(axes: Axes, curves: dict[str, Any]) -> None:
    axes.plot(curves["time"], np.array(curves["energy"]) * 1e3, linewidth=0.5)
    axes.set(xlabel="time in ps", ylabel="total energy in µeV/atom")
    axes.set_title("NVE, less its mean", fontsize="medium")


def _melt(axes: Axes, curves: dict[str, Any]) -> None:
    axes.plot(curves["r"], curves["melt"], label="melt, 3000 K")
    axes.plot(curves["r"], curves["quenched"], label="quenched, 300 K")
    axes.set(xlabel="r in Å", ylabel="g(r)")
    axes.legend()


PANELS = {"crystal": _energy_of_volume, "phonons": _phonons, "nve": _nve, "melt": _melt}
