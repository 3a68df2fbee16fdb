"""Acetylacetone's hydrogen transfer, and molecules hotter than what a potential has learnt from.

    python -m benchmarks.reaction acac 3bpa 3bpa-mixed --minutes 120

acac: trained at 300 K; tested at 300 K, at 600 K, along the transfer of the hydrogen between the
oxygens (images of an elastic band) and along a dihedral scan. Published models are tested at 600 K
on a file of its own, test_MD_600K.xyz; here the frames of train_600K.xyz are the test, which
nothing is trained on. 3bpa: trained at 300 K, tested on the frames of 300, 600 and 1200 K in
train_mixedT.xyz; 3bpa-mixed: trained on these, tested on train_300K.xyz. Published models have
test_300K.xyz and so on. Frames that a test shares with the training are left out of the test.

The training goes to a folder; one that was stopped goes on, one that is done is not repeated.
"""

import argparse
import csv
from pathlib import Path

import fastequi
from benchmarks.common import RESULTS, Results, add_common_options, row, start
from benchmarks.reaction.cases import CASES
from benchmarks.reaction.paths import EnergyPath, energy_path
from benchmarks.reaction.pictures import draw
from benchmarks.recipe import Recipe, cpu_minutes, summary_of, trained
from benchmarks.training_cases import data_folder
from fastequi import FastEquiCalculator
from fastequi.data import Dataset
from fastequi.training.evaluate import evaluate

TABLE, PATHS = RESULTS / "reaction.csv", RESULTS / "reaction-paths.csv"


def main(arguments: list[str] | None = None) -> None:
    options = _parser().parse_args(arguments)
    results = start(options)
    table, paths = _read(TABLE), _read(PATHS)
    for name in options.cases:
        model = trained(_recipe(name, options), (options.cache / name).absolute(), options.threads)
        table = [one for one in table if one["case"] != name] + tested(results, name, model)
        for path in along_paths(results, name, model):
            paths = [one for one in paths if (one["case"], one["path"]) != (name, path.name)]
            paths += _path_rows(name, path)
    order = list(CASES)
    table.sort(key=lambda one: order.index(one["case"]))
    _write(TABLE, table)
    _write(PATHS, paths)
    draw(table, paths, RESULTS / "reaction.png")
    print(f"wrote {TABLE}, {PATHS.name} and reaction.png")


def _recipe(name: str, options: argparse.Namespace) -> Recipe:
    train = data_folder().absolute() / CASES[name].train.file
    return Recipe(
        f'train = "{train}"', options.minutes, layers=options.layers, channels=options.channels
    )


def tested(results: Results, name: str, folder: Path) -> list[dict[str, str]]:
    """Errors at each temperature, as rows; energies of the molecule, as published ones are."""
    case, summary = CASES[name], summary_of(folder)
    potential = fastequi.load_model(str(folder / "model.safetensors"))
    minutes = cpu_minutes(folder)
    mode = f"trained at {case.trained_at}, {summary['frames']['train']} frames, minutes of one core"
    found = []
    for temperature in case.tests:
        frames = case.held_out(temperature, data_folder())
        errors = evaluate(potential, Dataset(frames, potential.cutoff)).results
        energy = errors["energy_rmse_meV_per_atom"] * frames[0].n_atoms
        force = errors["force_rmse_meV_per_A"]
        title = f"{case.molecule}, tested at {temperature}"
        size = round(minutes)
        results.add(row(title, "fastequi", mode, "energy RMSE", "meV", size, energy))
        results.add(row(title, "fastequi", mode, "force RMSE", "meV/Å", size, force))
        found.append({
            "case": name, "trained_at": case.trained_at, "tested_at": temperature,
            "frames": str(len(frames)), "cpu_minutes": f"{minutes:.3g}",
            "epochs": str(summary["epochs"]),
            "energy_rmse_meV": f"{energy:.4g}", "force_rmse_meV_per_A": f"{force:.4g}",
        })  # fmt: skip
    return found


def along_paths(results: Results, name: str, folder: Path) -> list[EnergyPath]:
    """Energies along each path, and how far off they are at most, as rows."""
    case = CASES[name]
    calculator = FastEquiCalculator(str(folder / "model.safetensors"), dtype="float64")
    minutes, found = round(cpu_minutes(folder)), []
    for kind, file in case.paths.items():
        path = energy_path(kind, data_folder() / file, calculator)
        title, mode = (
            f"{case.molecule}, {kind}",
            f"trained at {case.trained_at}, minutes of one core",
        )
        reference, predicted = path.highest_meV
        results.add(row(title, "reference", mode, "highest energy", "meV", 0, reference))
        results.add(row(title, "fastequi", mode, "highest energy", "meV", minutes, predicted))
        error = path.largest_error_meV
        results.add(row(title, "fastequi", mode, "largest error", "meV", minutes, error))
        found.append(path)
    return found


def _path_rows(name: str, path: EnergyPath) -> list[dict[str, str]]:
    columns = zip(path.x, path.reference_meV, path.predicted_meV, strict=True)
    return [
        {"case": name, "path": path.name, "x": f"{x:.4f}", "reference_meV": f"{reference:.3f}",
         "predicted_meV": f"{predicted:.3f}"}
        for x, reference, predicted in columns
    ]  # fmt: skip


def _read(path: Path) -> list[dict[str, str]]:
    """Rows of earlier runs: a case that is not run again keeps its own."""
    if not path.exists():
        return []
    with path.open() as file:
        return list(csv.DictReader(file))


def _write(path: Path, rows: list[dict[str, str]]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def _parser() -> argparse.ArgumentParser:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("cases", nargs="+", choices=list(CASES), metavar="CASE",
                        help=", ".join(CASES))  # fmt: skip
    parser.add_argument("--minutes", type=float, default=120.0, help="of each training")
    parser.add_argument("--layers", type=int, default=3)
    parser.add_argument("--channels", type=int, default=32)
    parser.add_argument("--cache", type=Path, default=Path("reaction-run"))
    add_common_options(parser, RESULTS / "reaction.jsonl")
    parser.set_defaults(threads=1)
    return parser


if __name__ == "__main__":
    main()
