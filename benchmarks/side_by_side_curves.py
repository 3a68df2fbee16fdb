"""Validation errors against minutes of training, of both sides of side_by_side.py.

fastequi writes the minutes of every epoch; NequIP's log has none, and its steps are taken to be
equally long.
"""

import csv
from dataclasses import astuple, dataclass, fields
from pathlib import Path

#: Who -> its log in the folder of a molecule, the name of the error there, meV/Å per unit of it.
LOGS = {
    "nequip": ("nequip/log/metrics.csv", "val0_epoch/forces_mae", 1e3),
    "fastequi": ("fastequi/metrics.csv", "validation_force_mae_meV_per_A", 1.0),
}


@dataclass(frozen=True, slots=True)
class Point:
    """The force error of the validation frames after an epoch; a line of the CSV."""

    molecule: str
    who: str
    minutes: float
    validation_force_mae_meV_per_A: float


def read_all(cache: Path, minutes: float) -> list[Point]:
    """The curves of every molecule that both have trained on for so long, in this run or before."""
    ending = f"-{minutes:g}min"
    return [
        point
        for folder in sorted(cache.glob(f"*{ending}"))
        if all((folder / log).is_file() for log, *_ in LOGS.values())
        for point in read(folder, folder.name.removesuffix(ending), minutes)
    ]


def read(folder: Path, molecule: str, minutes: float) -> list[Point]:
    """The curves of a molecule whose trainings took so many minutes each."""
    found = []
    for who, (log, error, meV) in LOGS.items():
        with (folder / log).open() as file:
            lines = list(csv.DictReader(file))
        last = max(float(line["step"]) for line in lines)
        for line in lines:
            if line[error]:
                share = float(line["step"]) / last
                taken = float(line["wall_s"]) / 60 if "wall_s" in line else share * minutes
                force = meV * float(line[error])
                found.append(Point(molecule, who, round(taken, 2), round(force, 3)))
    return found


def write(points: list[Point], stem: Path) -> None:
    """STEM.csv and STEM.png."""
    with stem.with_suffix(".csv").open("w", newline="") as file:
        lines = csv.writer(file, lineterminator="\n")
        lines.writerow([field.name for field in fields(Point)])
        lines.writerows(astuple(point) for point in points)
    _draw(points, stem.with_suffix(".png"))


def _draw(points: list[Point], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot
    from matplotlib.ticker import NullFormatter, ScalarFormatter

    molecules = list(dict.fromkeys(point.molecule for point in points))
    size = (4.5 * len(molecules), 3.8)
    figure, row = pyplot.subplots(1, len(molecules), figsize=size, layout="constrained")
    for axis, molecule in zip([row] if len(molecules) == 1 else row, molecules, strict=True):
        mine = [point for point in points if point.molecule == molecule]
        for who in LOGS:
            curve = [p for p in mine if p.who == who and p.minutes > 0]
            errors = [p.validation_force_mae_meV_per_A for p in curve]
            axis.semilogy([p.minutes for p in curve], errors, label=who)
        every = [p.validation_force_mae_meV_per_A for p in mine]
        axis.set_yticks([t for t in (2, 5, 10, 20, 50, 100, 200, 500) if min(every) / 2 < t])
        axis.set_ylim(0.8 * min(every), 200)
        axis.yaxis.set_major_formatter(ScalarFormatter())
        axis.yaxis.set_minor_formatter(NullFormatter())
        axis.set_title(f"rMD17 {molecule}", fontsize="medium")
        axis.set_xlabel("minutes of training")
        axis.set_ylabel("validation force MAE (meV/Å)")
        axis.grid(True, alpha=0.25)
        axis.legend()
    figure.savefig(path, dpi=150)
    pyplot.close(figure)
