"""Liquid water from few ab-initio boxes: learning curves, distributions, diffusion.

    python -m benchmarks.water --cache water-run --write
    python -m benchmarks.water --cache water-run --only liquid --runs "100 boxes, 300 K"

curves  trainings with 10 to 300 boxes for l = 0, 1, 2; 100 other boxes judge
liquid  dynamics of a potential of 100 boxes, the bundled `water`, beside the boxes
kelvin  the temperature of the boxes, which their files do not say, from forces and curvature; and
        of that run, to see that it is found

What is done stays in the folder and in results/water.json, and is not repeated; what was stopped
goes on. --write puts the tables into benchmarks/README.md and fastequi/models/water.md. The exit
code is 1 if the peak of O-O or the order of the degrees is not as it should be.
"""

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from benchmarks.common import RESULTS, ROOT, circumstances, write_points
from benchmarks.markdown import errors_table, replace_between
from benchmarks.water import dynamics, report, temperature, trainings
from benchmarks.water.dynamics import Setting
from benchmarks.water.frames import boxes, subset
from benchmarks.water.pictures import draw
from benchmarks.water.structure import structure
from benchmarks.water.trainings import DEGREES, LAYERS, SIZES, STEPS, Point, Recipe
from fastequi import FastEquiCalculator, load_model
from fastequi.importers import BUNDLED
from fastequi.model.file import read_model

Found = dict[str, Any]

PAGE = BUNDLED / "water.md"
#: The potential that moves; the bundled `water` is this one.
MOVING = Recipe(100, 2, steps=1800, layers=3)
#: 330 K is the temperature of the boxes, by which some simulate the room: 30 K more stand for what
#: quantum nuclei do (DiStasio et al., J. Chem. Phys. 141, 084502, 2014).
RUNS = {
    report.JUDGED: Setting(330.0, hydrogen_amu=2.014, timestep_fs=1.0),
    "100 boxes, 300 K": Setting(300.0, hydrogen_amu=1.008, timestep_fs=0.5),
}
#: Frames that a temperature is found from.
N_THERMAL = 100
README = ROOT / "benchmarks" / "README.md"


def main(arguments: list[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    found = json.loads(options.output.read_text()) if options.output.exists() else {}
    for name in options.only:
        found |= SECTIONS[name](options, found)
        found["circumstances"] = circumstances(torch.device("cpu"))
        options.output.write_text(json.dumps(found, ensure_ascii=False) + "\n")
    _show(found, options)
    wrong = report.misses(found)
    print("out of bounds: " + "; ".join(wrong) if wrong else "everything is within bounds")
    return 1 if wrong else 0


def curves(options: argparse.Namespace, found: Found) -> Found:
    """Every training that is asked for."""
    jobs = [(frames, l_max) for frames in options.sizes for l_max in options.degrees]
    recipes = [Recipe(*job, options.steps, LAYERS) for job in jobs]
    points = [trainings.train(options.cache, recipe) for recipe in recipes]
    return {"points": [asdict(p) for p in sorted(points, key=lambda p: (p.l_max, p.frames))]}


def liquid(options: argparse.Namespace, found: Found) -> Found:
    """The boxes, and the runs that are asked for beside those that are known."""
    data, runs = boxes(), dict(found.get("runs", {}))
    for label in options.runs:
        model = trainings.model_of(options.cache, MOVING)
        folder = dynamics.run(_folder(options, label), model, data.held_out[-1], RUNS[label])
        frames = dynamics.frames_of(folder)
        numbers = asdict(dynamics.numbers(folder, frames, RUNS[label]))
        runs[label] = {"numbers": numbers, "structure": structure(frames).as_json()}
        print(label, numbers, runs[label]["structure"]["peaks"], flush=True)
    runs = {label: runs[label] for label in RUNS if label in runs}
    sha256 = read_model(trainings.model_of(options.cache, MOVING)).sha256
    return {"boxes": structure(data.all).as_json(), "runs": runs, "model_sha256": sha256}


def kelvin(options: argparse.Namespace, found: Found) -> Found:
    """Of the boxes, and of a run whose temperature is known, by oxygen and by hydrogen."""
    model = trainings.model_of(options.cache, MOVING)
    calculator = FastEquiCalculator(load_model(str(model), "cpu", "float64"))
    moved = dynamics.frames_of(_folder(options, report.JUDGED))
    sets = {"boxes": boxes().all, report.JUDGED: moved}
    temperatures: Found = {}
    for name, frames in sets.items():
        some = subset(frames, N_THERMAL)
        temperatures[name] = {
            symbol: asdict(temperature.of_configurations(some, calculator, element))
            for symbol, element in (("O", 8), ("H", 1))
        }
        print(name, temperatures[name], flush=True)
    return {"temperatures": temperatures}


SECTIONS: dict[str, Callable[[argparse.Namespace, Found], Found]] = {
    "curves": curves,
    "liquid": liquid,
    "kelvin": kelvin,
}


def _folder(options: argparse.Namespace, label: str) -> Path:
    return options.cache.absolute() / "md" / label.replace(",", "").replace(" ", "-")


def _show(found: Found, options: argparse.Namespace) -> None:
    """The picture, the CSV and, if asked for, the tables of what is known."""
    points = [Point(**point) for point in found.get("points", ())]
    if not points or not found.get("runs"):
        return
    write_points(options.output.with_suffix(".csv"), points)
    shown = {label: run["structure"] for label, run in found["runs"].items()}
    draw(found["boxes"], shown, points, options.output.with_suffix(".png"))
    if options.write:
        replace_between(README, "water curves", report.curves_table(points))
        replace_between(README, "water liquid", report.liquid_table(found))
        replace_between(PAGE, "physics", report.page_table(found))
        summary = json.loads((options.cache / MOVING.name / "summary.json").read_text())
        replace_between(PAGE, "errors", errors_table(summary))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--cache", type=Path, default=Path("water-run"), help="kept files")
    parser.add_argument("--only", nargs="*", choices=SECTIONS, default=list(SECTIONS))
    parser.add_argument("--sizes", type=int, nargs="+", choices=SIZES, default=list(SIZES))
    parser.add_argument("--degrees", type=int, nargs="+", choices=DEGREES, default=list(DEGREES))
    parser.add_argument("--steps", type=int, default=STEPS, help="of every curve's training")
    parser.add_argument("--runs", nargs="*", choices=RUNS, default=list(RUNS))
    parser.add_argument("--output", type=Path, default=RESULTS / "water.json")
    parser.add_argument("--write", action="store_true", help="the tables into README and water.md")
    return parser


if __name__ == "__main__":
    sys.exit(main())
