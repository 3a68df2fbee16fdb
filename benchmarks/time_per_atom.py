"""The picture of speed: packages beside fastequi on each processor, and dynamics against size."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

Rows = list[dict[str, Any]]
#: Colours of the bars: another package's, and fastequi's.
THEIRS, OURS = "#9aa5b1", "#1f77b4"


class Pair(NamedTuple):
    """A package and fastequi on one processor, ms per atom (median, and p20 to p80)."""

    label: str
    theirs: dict[str, Any]
    ours: dict[str, Any]
    ratio: float


def draw(peers: Rows, md: Rows, path: Path) -> bool:
    """Both panels into ``path``; whether there was anything to draw."""
    pairs, lines = sorted(_pairs(peers)), _lines(md)
    if not pairs or not lines:
        return False
    import matplotlib

    matplotlib.use("Agg")
    matplotlib.rcParams["svg.hashsalt"] = "fastequi"  # the same picture, the same file
    from matplotlib import pyplot

    figure, (bars, curves) = pyplot.subplots(
        1, 2, figsize=(11, 1.5 + 0.4 * len(pairs)), width_ratios=(5, 4), layout="constrained"
    )
    _draw_pairs(bars, pairs)
    _draw_lines(curves, lines)
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)
    return True


def _pairs(peers: Rows) -> Iterator[Pair]:
    times = {_who(row): row for row in peers if (row["metric"], row["unit"]) == ("time", "ms/atom")}
    for row in peers:
        if row["metric"] == "fastequi is faster":
            theirs = times[_who(row)]
            ours = times[row["kernel"], "fastequi", row["place"]]
            label = f"{row['kernel']}, {row['x']:.0f} atoms\n{row['provider']}, {row['place']}"
            yield Pair(label, theirs, ours, row["p50"])


def _who(row: dict[str, Any]) -> tuple[str, str, str]:
    return row["kernel"], row["provider"], row["place"]


def _lines(md: Rows) -> dict[str, list[tuple[float, float]]]:
    """Name -> points (atoms, ms per atom and step) of dynamics at constant energy."""
    lines: dict[str, list[tuple[float, float]]] = {}
    for row in md:
        if (row["metric"], row["unit"], row["mode"]) == ("time", "us/atom/step", "nve"):
            name = f"{row['kernel']}, {row['place']}"
            lines.setdefault(name, []).append((row["x"], row["p50"] * 1e-3))
    return lines


def _draw_pairs(axes: Any, pairs: list[Pair]) -> None:
    for k, pair in enumerate(reversed(pairs)):
        for row, colour, shift in ((pair.theirs, THEIRS, 0.2), (pair.ours, OURS, -0.2)):
            spread = [[row["p50"] - row["p20"]], [row["p80"] - row["p50"]]]
            axes.barh(k + shift, row["p50"], 0.4, color=colour, xerr=spread, ecolor="#444444")
        axes.annotate(f" {pair.ratio:.0f} x", (pair.ours["p80"], k - 0.2), va="center", size=8)
    axes.set_yticks(range(len(pairs)), [pair.label for pair in reversed(pairs)], size=7)
    axes.set_xscale("log")
    axes.set_xlabel("energy, forces and stress: ms per atom")
    axes.set_title("its own package (grey), fastequi (blue)", size=9)
    axes.grid(axis="x", alpha=0.25)


def _draw_lines(axes: Any, lines: dict[str, list[tuple[float, float]]]) -> None:
    for name, points in sorted(lines.items()):
        x, y = zip(*sorted(points), strict=True)
        axes.loglog(x, y, "o-", markersize=4, label=name)
    axes.set_xlabel("atoms")
    axes.set_ylabel("ms per atom and step")
    axes.set_title("dynamics, constant energy, two threads", size=9)
    axes.grid(which="both", alpha=0.25)
    axes.legend(fontsize="x-small", loc="upper center", bbox_to_anchor=(0.5, -0.15))
