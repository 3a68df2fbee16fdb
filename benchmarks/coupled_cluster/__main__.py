"""Errors against CCSD(T) after training on few frames of it.

    python -m benchmarks.coupled_cluster                    # trains on methanol.extxyz beside this
    python -m benchmarks.coupled_cluster --label methanol.extxyz --frames 240   # needs PySCF

Canonical CCSD(T) costs seconds to hours a frame, so what counts is how few frames suffice. A third
of the frames is held out: no training sees it, not even to choose weights. That is every third one
(between the others in time, as frames of MD17 are chosen at random) or, harder, the last third of
the dynamics. A training on N frames takes them evenly spaced from the rest; a fifth of them
validates. `labels.py` says how the frames were made.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.io import read, write

from benchmarks.common import RESULTS, Results, add_common_options, row, start, write_points
from benchmarks.coupled_cluster.labels import label
from benchmarks.recipe import Recipe, cpu_minutes, summary_of, trained
from fastequi.plotting import COLOURS, label_axes, new_figure, save_figure

DATA = Path(__file__).with_name("methanol.extxyz")
SIZES = (10, 20, 40)
#: Which frames are held out: every third of the dynamics, or the last third of it.
HOW = ("between", "later")
#: One in so many frames is held out.
HELD_OUT = 3
#: Frames that validate, of those that a training is given.
VALIDATION = 1 / 5
METRICS = (
    ("force MAE", "meV/Å", "force_mae_meV_per_A"),
    ("force RMSE", "meV/Å", "force_rmse_meV_per_A"),
    ("energy MAE", "meV/atom", "energy_mae_meV_per_atom"),
)


@dataclass(frozen=True)
class Point:
    """Errors on the frames held out after a training; energies are those of a molecule.

    tested_on    frames between those that may be learnt from, or later ones
    frames       that were labelled for it, those that validate among them
    cpu_minutes  that it took
    """

    tested_on: str
    frames: int
    cpu_minutes: float
    epochs: int
    force_mae_meV_per_A: float
    force_rmse_meV_per_A: float
    energy_mae_meV: float
    energy_rmse_meV: float


def main(arguments: list[str] | None = None) -> None:
    options = _parser().parse_args(arguments)
    if options.label:
        label(options.label, options.molecule, options.frames)
        return
    results = start(options)
    frames = read_frames(options.data)
    points = [
        point(results, options, frames, size, which)
        for which in HOW for size in sorted(options.sizes)
    ]  # fmt: skip
    table = RESULTS / "coupled-cluster.csv"
    write_points(table, points)
    draw(points, frames, table.with_suffix(".png"))
    print(f"wrote {table} and {table.with_suffix('.png').name}")


def read_frames(path: Path) -> list[Atoms]:
    """The labelled frames, in the order in which they were drawn."""
    frames = read(path, index=":")
    assert isinstance(frames, list)
    return frames


def split(frames: list[Atoms], size: int, which: str) -> tuple[list[Atoms], list[Atoms]]:
    """So many frames to learn from, and those that are held out from all trainings."""
    numbers, number = np.arange(len(frames)), round(len(frames) / HELD_OUT)
    held_out = numbers % HELD_OUT == 1 if which == "between" else numbers >= len(frames) - number
    pool = numbers[~held_out]
    if size > len(pool):
        raise SystemExit(
            f"--sizes: got {size}; of {len(frames)} frames {len(pool)} may be learnt from"
        )
    chosen = pool[np.linspace(0, len(pool) - 1, size).round().astype(int)]
    return [frames[k] for k in chosen], [frames[k] for k in numbers[held_out]]


def point(
    results: Results, options: argparse.Namespace, frames: list[Atoms], size: int, which: str
) -> Point:
    """Train on so many frames, and the errors as rows."""
    folder = (options.cache / f"{size}-frames-{which}").absolute()
    folder.parent.mkdir(parents=True, exist_ok=True)
    names = [folder.with_name(f"{folder.name}-{part}.extxyz") for part in ("train", "test")]
    for name, part in zip(names, split(frames, size, which), strict=True):
        write(name, part)
    recipe = Recipe(
        f'train = "{names[0]}"\ntest = "{names[1]}"', options.minutes,
        validation=round(VALIDATION * size), layers=options.layers, channels=options.channels,
        ema_decay=0.999, log_every=50,
    )  # fmt: skip
    summary = summary_of(trained(recipe, folder, options.threads))
    minutes = cpu_minutes(folder)
    mode = f"{size} frames, {minutes:.1f} min of one core, tested on frames {which}"
    for metric, unit, key in METRICS:
        title = f"{frames[0].get_chemical_formula()}, CCSD(T)"
        results.add(row(title, "fastequi", mode, metric, unit, size, summary["test"][key]))
    errors, atoms = summary["test"], len(frames[0])
    return Point(
        which, size, minutes, summary["epochs"],
        errors["force_mae_meV_per_A"], errors["force_rmse_meV_per_A"],
        errors["energy_mae_meV_per_atom"] * atoms, errors["energy_rmse_meV_per_atom"] * atoms,
    )  # fmt: skip


def draw(points: list[Point], frames: list[Atoms], path: Path) -> None:
    """Errors against frames, and how large what is to be learnt is."""
    forces = 1e3 * np.abs([frame.get_forces() for frame in frames]).mean()
    energies = 1e3 * np.array([frame.get_potential_energy() for frame in frames])
    spread = np.abs(energies - energies.mean()).mean()
    figure = new_figure(8.5, 3.9)
    shown = (
        ("force_mae_meV_per_A", "force MAE (meV/Å)", f"mean force {forces:.0f}"),
        ("energy_mae_meV", "energy MAE (meV per molecule)", f"energies spread by {spread:.0f}"),
    )
    for axes, (name, title, size) in zip(figure.subplots(1, 2), shown, strict=True):
        for colour, which in zip(COLOURS, HOW, strict=False):
            mine = [one for one in points if one.tested_on == which]
            number, errors = [one.frames for one in mine], [getattr(one, name) for one in mine]
            axes.plot(number, errors, "o-", color=colour, label=f"tested on frames {which}")
            for x, error in zip(number, errors, strict=True):
                axes.annotate(f"{error:.3g}", (x, error), (0, 7), ha="center",
                              textcoords="offset points", fontsize=9)  # fmt: skip
        label_axes(axes, "frames of CCSD(T), validation included", title)
        axes.set_title(size, fontsize=9, loc="right")
        axes.set_ylim(0.0, 1.15 * max(getattr(one, name) for one in points))
        axes.set_xticks(sorted({one.frames for one in points}))
        axes.margins(x=0.1)
        axes.legend(frameon=False, fontsize=9)
    save_figure(figure, path)


def _parser() -> argparse.ArgumentParser:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("--data", type=Path, default=DATA, help="labelled frames")
    parser.add_argument("--sizes", type=int, nargs="+", default=list(SIZES), help="of trainings")
    parser.add_argument("--minutes", type=float, default=30.0, help="of each training")
    parser.add_argument("--layers", type=int, default=3)
    parser.add_argument("--channels", type=int, default=32)
    parser.add_argument("--cache", type=Path, default=Path("coupled-cluster-run"))
    parser.add_argument("--label", type=Path, metavar="FILE", help="append labelled frames to this")
    parser.add_argument("--molecule", default="CH3OH", help="a name that ASE has a geometry for")
    parser.add_argument("--frames", type=int, default=240, help="that the file shall have")
    add_common_options(parser, RESULTS / "coupled_cluster.jsonl")
    parser.set_defaults(threads=1)
    return parser


if __name__ == "__main__":
    main()
