"""The same time to learn: `nequip-train` and `fastequi train` on one molecule of rMD17 each.

    python -m benchmarks.side_by_side --minutes 30

needs an environment with nequip (pip install 'fastequi[peers]') and rMD17 (training_cases.py).
Both learn from the same 950 frames, look at the same 50 to choose their best weights, with one
recipe (nequip_recipe.py), one after the other, for the same wall time of training; loading data
and testing do not count. Then both are tested on the official test file: NequIP by its own test
run, and both by `fastequi evaluate`, which reads NequIP's averaged weights from its checkpoint.
"""

import argparse
import csv
import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import ase.io
import yaml
from ase.data import chemical_symbols

from benchmarks import nequip_recipe as recipe
from benchmarks import side_by_side_curves
from benchmarks.common import RESULTS, ROOT, Results, add_common_options, row, say, start
from benchmarks.training_cases import RMD17_UNITS, atoms_of, data_folder
from fastequi.data import read_frames

N_TRAIN, N_VALIDATION = 950, 50
TRAIN_TOML = """# The same recipe as NequIP's beside it.
[data]
train = "train.extxyz"
validation = "validation.extxyz"
test = "test.extxyz"
[model]
layers = 4
l_max = 2
channels = [64, 64, 64]
parity = "full"
cutoff_A = {cutoff}
energy_shift = "mean"
[training]
batch_size = {batch}
learning_rate = {rate}
epochs = 100000
max_wall_minutes = {minutes}
schedule = "{schedule}"
plateau_patience = {patience}
plateau_factor = {factor}
minimum_learning_rate = {minimum}
loss = {{ energy_per_atom = 1.0, forces = 1.0 }}
ema_decay = {ema}
seed = {seed}
[output]
directory = "fastequi"
checkpoint_every = 1000
"""


def main(arguments: list[str] | None = None) -> None:
    options = _parser().parse_args(arguments)
    if find_spec("nequip") is None:
        say("nothing is trained: nequip is not installed: pip install 'fastequi[peers]'")
        return
    results = start(options)
    for molecule in options.molecules:
        missing = [p for p in _sources(molecule).values() if not p.is_file()]
        if missing:
            say(f"{molecule} is skipped: no {missing[0]}; FASTEQUI_DATA names the folder of data")
            continue
        folder = (options.cache / f"{molecule}-{options.minutes:g}min").absolute()
        race(results, molecule, folder, options)
    points = side_by_side_curves.read_all(options.cache, options.minutes)
    if points:
        side_by_side_curves.write(points, options.output.with_name("side-by-side"))


def race(results: Results, molecule: str, folder: Path, options: argparse.Namespace) -> None:
    """Both trainings, one after the other, and their errors."""
    elements = write_data(folder, molecule)
    for who, train in {"nequip": train_nequip, "fastequi": train_fastequi}.items():
        steps, found = train(folder, elements, options)
        for metric, unit, value in (
            ("passes", "epochs", steps * recipe.BATCH / N_TRAIN),
            ("force MAE", "meV/Å", found["force_mae_meV_per_A"]),
            ("energy MAE", "meV/atom", found["energy_mae_meV_per_atom"]),
        ):
            mode = f"{N_TRAIN} frames, {options.minutes:g} min, {options.threads} threads"
            results.add(row(molecule, who, mode, metric, unit, options.minutes, value))


def write_data(folder: Path, molecule: str) -> list[str]:
    """train, validation and test.extxyz, which both read; the elements."""
    folder.mkdir(parents=True, exist_ok=True)
    sources = _sources(molecule)
    known = read_frames(sources["train"], RMD17_UNITS)
    sets = {
        "train": known[:N_TRAIN],
        "validation": known[N_TRAIN : N_TRAIN + N_VALIDATION],
        "test": read_frames(sources["test"], RMD17_UNITS),
    }
    for name, frames in sets.items():
        ase.io.write(folder / f"{name}.extxyz", [atoms_of(f) for f in frames], format="extxyz")
    return [chemical_symbols[z] for z in sorted(set(known[0].atomic_numbers.tolist()))]


def train_nequip(
    folder: Path, elements: list[str], options: argparse.Namespace
) -> tuple[float, dict[str, float]]:
    """Steps, and the errors of NequIP's best weights; its own test run must agree with them."""
    settings = recipe.config(folder, elements, options.minutes, options.seed)
    (folder / "nequip.yaml").write_text(yaml.safe_dump(settings, sort_keys=False))
    (folder / "nequip" / "best.ckpt").unlink(missing_ok=True)
    output = f"hydra.run.dir={folder / 'nequip'}"
    program = Path(sys.executable).parent / "nequip-train"
    run(folder, "nequip", options.threads, program, "-cp", folder, "-cn", "nequip", output)
    with (folder / "nequip" / "log" / "metrics.csv").open() as file:
        logged = list(csv.DictReader(file))
    tested = next(line for line in reversed(logged) if line.get("test0_epoch/forces_mae"))
    found = evaluate(folder, "nequip", folder / "nequip" / "best.ckpt", options.threads)
    own = 1e3 * float(tested["test0_epoch/forces_mae"])
    if abs(own / found["force_mae_meV_per_A"] - 1) > 1e-3:
        say(f"NequIP's own test says {own:.3f} meV/Å, its file read by fastequi {found}")
    return int(tested["step"]), found


def train_fastequi(
    folder: Path, elements: list[str], options: argparse.Namespace
) -> tuple[float, dict[str, float]]:
    """Steps, and the errors of fastequi's best weights."""
    text = TRAIN_TOML.format(
        cutoff=recipe.CUTOFF_A, batch=recipe.BATCH, rate=recipe.LEARNING_RATE,
        minutes=options.minutes, schedule=options.schedule, ema=recipe.EMA_DECAY,
        seed=options.seed, **recipe.PLATEAU,
    )  # fmt: skip
    (folder / "train.toml").write_text(text)
    command = (sys.executable, "-m", "fastequi.cli.main", "train", folder / "train.toml")
    run(folder, "fastequi", options.threads, *command, "--overwrite")
    summary = json.loads((folder / "fastequi" / "summary.json").read_text())
    model = folder / "fastequi" / "model.safetensors"
    return summary["steps"], evaluate(folder, "fastequi", model, options.threads)


def evaluate(folder: Path, who: str, model: Path, threads: int) -> dict[str, float]:
    """Errors on test.extxyz by `fastequi evaluate`, with float64 arithmetic."""
    out = folder / f"{who}-test.json"
    command = (sys.executable, "-m", "fastequi.cli.main", "evaluate", model)
    data = (folder / "test.extxyz", "--json", out, "--dtype", "float64")
    run(folder, f"{who}-evaluate", threads, *command, *data)
    return json.loads(out.read_text())


def run(folder: Path, name: str, threads: int, *command: object) -> None:
    """Run a command, its output to NAME.log. Raises RuntimeError when it fails."""
    environment = os.environ | {"OMP_NUM_THREADS": str(threads), "PYTHONPATH": str(ROOT)}
    log = folder / f"{name}.log"
    with log.open("w") as out:
        words = [str(word) for word in command]
        code = subprocess.run(
            words, env=environment, cwd=folder, stdout=out, stderr=subprocess.STDOUT, check=False
        ).returncode
    if code:
        raise RuntimeError(f"{words[0]} failed with {code}; its output is in {log}")


def _sources(molecule: str) -> dict[str, Path]:
    folder = data_folder() / "rmd17"
    return {part: folder / f"rmd17_{molecule}_{part}_01.npz" for part in ("train", "test")}


def _parser() -> argparse.ArgumentParser:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("--molecules", nargs="+", default=["ethanol", "aspirin"])
    parser.add_argument("--minutes", type=float, default=30.0, help="of each training")
    parser.add_argument("--schedule", choices=["plateau", "cosine"], default="plateau",
                        help="fastequi's; NequIP's is plateau")  # fmt: skip
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--cache", type=Path, default=Path("side-by-side-run"))
    add_common_options(parser, RESULTS / "side_by_side.jsonl")
    return parser


if __name__ == "__main__":
    main()
