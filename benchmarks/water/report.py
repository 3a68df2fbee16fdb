"""Tables of the benchmark for benchmarks/README.md, the CSV, and whether the peaks are right."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from benchmarks.markdown import table
from benchmarks.water.pictures import PAIRS
from benchmarks.water.trainings import Point

#: The run whose peak is judged.
JUDGED = "100 boxes, 330 K"
#: How far the O-O peak of 100 training frames may be off that of the boxes: Å, and of its height.
PLACE_A, HEIGHT = 0.05, 0.10


def curves_table(points: Sequence[Point]) -> str:
    """Force errors by frames and degree, MAE / RMSE."""
    sizes = sorted({p.frames for p in points})
    rows = []
    for l_max in sorted({p.l_max for p in points}):
        mine = {p.frames: p for p in points if p.l_max == l_max}
        cells = [
            f"{mine[n].force_mae_meV_per_A:.1f} / {mine[n].force_rmse_meV_per_A:.1f}"
            if n in mine else "" for n in sizes
        ]  # fmt: skip
        rows.append((f"l = {l_max}", f"{next(iter(mine.values())).weights:,}", *cells))
    head = ("force MAE / RMSE, meV/Å", "weights", *(f"{n} frames" for n in sizes))
    return table(head, rows)


def liquid_table(results: Mapping[str, Any]) -> str:
    """Peaks (place in Å; height) of the boxes and of every run, and diffusion."""
    head = ("first peaks, Å; height", *PAIRS.values(), "spread of O-H, Å",
            "frames with ions, %", "K",
            "D of O, 1e-5 cm²/s")  # fmt: skip
    rows = [("ab initio, 400 boxes", *_structure_cells(results["boxes"]), "", "")]
    for label, run in results["runs"].items():
        kelvin, diffusion = (text(run["numbers"]) for _, _, text in (NUMBERS[2], NUMBERS[3]))
        rows.append((label, *_structure_cells(run["structure"]), kelvin, diffusion))
    return table(head, rows)


def _structure_cells(structure: Mapping[str, Any]) -> list[str]:
    peaks = [_peak(structure, pair) for pair in PAIRS]
    return [*peaks, f"{structure['bond_spread_A']:.4f}", _ions(structure)]


def page_table(results: Mapping[str, Any]) -> str:
    """All numbers of the runs beside the boxes, for the page of the potential."""
    runs, boxes = results["runs"], results["boxes"]
    rows = [
        (f"{PAIRS[pair]}, first peak between molecules", "Å; height",
         *(_peak(run["structure"], pair) for run in runs.values()), _peak(boxes, pair))
        for pair in PAIRS
    ]  # fmt: skip
    rows.append(("O-H bond, mean; spread", "Å",
                 *(_bond(run["structure"]) for run in runs.values()), _bond(boxes)))  # fmt: skip
    rows.append(("frames with ions", "%", *(_ions(run["structure"]) for run in runs.values()),
                 _ions(boxes)))  # fmt: skip
    for name, unit, text in NUMBERS:
        rows.append((name, unit, *(text(run["numbers"]) for run in runs.values()), ""))
    sha256, versions = results["model_sha256"], results["circumstances"]["versions"]
    note = (
        f"Weights {sha256[:12]}, by `python -m benchmarks.water` (fastequi {versions['fastequi']})."
    )
    return f"{table(('property', 'unit', *runs, 'ab initio, 400 boxes'), rows)}\n\n{note}"


#: What `Run` knows beside the structure: name, unit, value in words.
NUMBERS: tuple[tuple[str, str, Callable[[Mapping[str, float]], str]], ...] = (
    ("mass of hydrogen", "amu", lambda n: f"{n['hydrogen_amu']:g}"),
    ("time looked at", "ps", lambda n: f"{n['ps']:.0f}"),
    ("temperature, CSVR", "K", lambda n: _with_error(n, "temperature_K", "temperature_error_K")),
    ("diffusion of O in this box", "1e-5 cm²/s", lambda n: _with_error(
        n, "diffusion_cm2_per_s", "diffusion_error_cm2_per_s", 1e5, 2)),
    ("to add for an infinite box, over the viscosity in mPa s", "1e-5 cm²/s",
     lambda n: f"{n['finite_size_cm2_per_s_mPa_s'] * 1e5:.2f}"),
    ("pressure", "GPa", lambda n: _with_error(n, "pressure_GPa", "pressure_error_GPa", 1.0, 2)),
    ("NVE drift", "meV/atom/ps", lambda n: f"{n['drift_meV_per_atom_ps']:.4f}"),
)  # fmt: skip


def _with_error(
    numbers: Mapping[str, float], name: str, error: str, factor: float = 1.0, digits: int = 0
) -> str:
    return f"{numbers[name] * factor:.{digits}f} ± {numbers[error] * factor:.{digits}f}"


def _peak(structure: Mapping[str, Any], pair: str) -> str:
    peak = structure["peaks"][pair]
    return f"{peak['place_A']:.3f}; {peak['height']:.2f} ± {peak['height_error']:.2f}"


def _ions(structure: Mapping[str, Any]) -> str:
    return f"{100 * structure['ions']:.0f}"


def _bond(structure: Mapping[str, Any]) -> str:
    return f"{structure['bond_A']:.4f}; {structure['bond_spread_A']:.4f}"


def misses(results: Mapping[str, Any]) -> list[str]:
    """What is not as it should be, in words: the O-O peak of one run, and the order of degrees."""
    found = []
    if JUDGED in results.get("runs", {}):
        peak = results["runs"][JUDGED]["structure"]["peaks"]["O-O"]
        right = results["boxes"]["peaks"]["O-O"]
        off, ratio = peak["place_A"] - right["place_A"], peak["height"] / right["height"]
        if abs(off) > PLACE_A:
            found.append(f"{JUDGED}: the O-O peak is {off:+.3f} Å off")
        if abs(ratio - 1.0) > HEIGHT:
            found.append(f"{JUDGED}: the O-O peak has {100 * ratio:.0f} % of the height")
    for label, run in results.get("runs", {}).items():
        if run["structure"]["ions"]:
            found.append(f"{label}: {_ions(run['structure'])} % of the frames have ions")
    points = [Point(**p) for p in results.get("points", ())]
    errors = {(p.l_max, p.frames): p.force_rmse_meV_per_A for p in points}
    for (l_max, frames), error in errors.items():
        if l_max and error >= errors.get((0, frames), float("inf")):
            found.append(f"l = {l_max} with {frames} frames is no better than l = 0")
    return found
