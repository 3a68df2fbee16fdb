"""The picture of `npt.py` and its tables, from its rows."""

from pathlib import Path
from typing import Any

from benchmarks.markdown import replace_between, table
from benchmarks.tables import read
from fastequi.md.analysis.analysis import in_digits
from fastequi.plotting import COLOURS, label_axes, new_figure, save_figure


def draw(rows: Path, path: Path) -> None:
    """Silicon's lattice constants with both barostats, and how sodium chloride expands."""
    every = read(rows.parent, rows.stem)
    figure = new_figure(9.0, 3.8)
    left, right = figure.subplots(1, 2)
    _silicon([r for r in every if r["kernel"] == "silicon"], left)
    _nacl([r for r in every if r["kernel"] == "nacl" and r["metric"] == "a"], right)
    save_figure(figure, path)


def write(rows: Path, page: Path) -> None:
    """Put the tables into the page, between the marks `npt`."""
    every = read(rows.parent, rows.stem)
    silicon = [r for r in every if r["kernel"] == "silicon" and r["provider"].startswith("npt")]
    nacl = [r for r in every if r["kernel"] == "nacl"]
    metrics = list(dict.fromkeys(f"{r['metric']}, {r['unit']}" for r in silicon))
    cubic = table(("silicon", *metrics), _rows(silicon, metrics, "metric"))
    modes = [r["mode"] for r in nacl if r["mode"].startswith(("300", "600"))]
    expanding = table(
        ("NaCl", *dict.fromkeys(modes)), _rows(nacl, list(dict.fromkeys(modes)), "mode")
    )
    replace_between(page, "npt", f"{cubic}\n\n{expanding}")


def _rows(rows: list[dict[str, Any]], columns: list[str], key: str) -> list[list[str]]:
    """A row for each provider; what is not there is empty."""
    found: dict[str, dict[str, str]] = {}
    for r in rows:
        name = f"{r['metric']}, {r['unit']}" if key == "metric" else r["mode"]
        unit = "" if key == "metric" else f" {r['unit']}"
        found.setdefault(r["provider"], {})[name] = _number(r) + unit
    return [[who, *(cells.get(c, "") for c in columns)] for who, cells in found.items()]


def _number(r: dict[str, Any]) -> str:
    value, error = r.get("mean", r["p50"]), r["error"]
    return in_digits(value, error) if error else f"{value:.4f}"[:6]


def _silicon(rows: list[dict[str, Any]], axes: Any) -> None:
    label_axes(axes, "", "lattice constant (Å)")
    axes.set_title("silicon, 300 K, 0 GPa, flexible", fontsize="medium")
    for k, name in enumerate(("npt-mtk", "npt-scr")):
        mine = [r for r in rows if r["provider"] == name and r["unit"] == "Å"]
        x = [n + 0.15 * (2 * k - 1) for n in range(len(mine))]
        means, errors = ([r[key] for r in mine] for key in ("mean", "error"))
        axes.errorbar(x, means, errors, fmt="o", color=COLOURS[k], capsize=3, label=name)
        axes.set_xticks(range(len(mine)), [r["metric"] for r in mine])
    for at_rest in (r for r in rows if r["provider"] == "at rest"):
        axes.axhline(at_rest["mean"], color=COLOURS[6], lw=1, ls="--", label="at rest")
    if rows:
        axes.legend(frameon=False, fontsize="small")


def _nacl(rows: list[dict[str, Any]], axes: Any) -> None:
    label_axes(axes, "temperature (K)", "lattice constant (Å)")
    axes.set_title("NaCl with SevenNet-0, 0 GPa", fontsize="medium")
    for k, name in enumerate(dict.fromkeys(r["provider"] for r in rows)):
        mine = sorted((float(r["mode"].split()[0]), r["mean"], r["error"])
                      for r in rows if r["provider"] == name)  # fmt: skip
        x, means, errors = zip(*mine, strict=True)
        if any(errors):
            axes.errorbar(
                x, means, errors, fmt="os"[k % 2], color=COLOURS[k], capsize=3, label=name
            )
        else:
            axes.plot(x, means, color=COLOURS[k], label=name)
    if rows:
        axes.legend(frameon=False, fontsize="small")
