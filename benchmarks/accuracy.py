"""What `fastequi train` reaches on small data within hours of one core, as a chemist would run it.

    python -m benchmarks.accuracy ethanol --minutes 98

ethanol: rMD17, 950 + 50 frames, official test file; NequIP's paper has 4.2 meV/Å with l = 2.
acac: acetylacetone at 300 K, 450 + 50 frames, its 300 K test (Batatia et al. 2022, BOTNet).
The training goes to a folder, and is not repeated where its summary is there.
"""

import argparse
import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from benchmarks.common import RESULTS, ROOT, Results, add_common_options, row, say, start
from benchmarks.training_cases import data_folder

#: The curve in the results has at most so many lines.
N_LINES = 120

DATA = {
    "ethanol": """
train = "{data}/rmd17/rmd17_ethanol_train_01.npz"
test = "{data}/rmd17/rmd17_ethanol_test_01.npz"
units = {{ energy = "kcal/mol", length = "angstrom" }}""",
    "acac": """
train = "{data}/acac/train_300K.xyz"
test = "{data}/acac/test_MD_300K.xyz\"""",
}
#: The published number is a mean of absolute values for ethanol, a root mean square for acac.
LOSS = {
    "ethanol": """{ kind = "huber", energy_per_atom = 1.0, forces = 1.0, \
huber_delta = { forces = 0.01 } }""",
    "acac": "{ energy_per_atom = 1.0, forces = 1.0 }",
}
TRAIN_TOML = """[data]{data}
validation = 50
[model]
layers = 4
l_max = 2
channels = [64, 64, 64]
parity = "natural"
cutoff_A = 4.0
radial_hidden = [64, 64]
[training]
batch_size = 5
learning_rate = 0.01
epochs = 100000
max_wall_minutes = {minutes:g}
schedule = "cosine"
minimum_learning_rate = 1e-7
ema_decay = 0.999
loss = {loss}
seed = 1
[output]
directory = "{directory}"
log_every = 5
"""
METRICS = (
    ("force MAE", "meV/Å", "force_mae_meV_per_A"),
    ("force RMSE", "meV/Å", "force_rmse_meV_per_A"),
    ("energy MAE", "meV/atom", "energy_mae_meV_per_atom"),
)


def main(arguments: list[str] | None = None) -> None:
    options = _parser().parse_args(arguments)
    results = start(options)
    for name in options.cases:
        report(results, name, train(name, options))


def train(name: str, options: argparse.Namespace) -> Path:
    """The folder of a finished training."""
    folder = (options.cache / name).absolute()
    if (folder / "summary.json").exists():
        say(f"{name}: done before, in {folder}")
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    source = folder.with_suffix(".toml")
    data = DATA[name].format(data=data_folder().absolute())
    settings = {"minutes": options.minutes, "loss": LOSS[name], "directory": folder}
    source.write_text(TRAIN_TOML.format(data=data, **settings))
    environment = os.environ | {"OMP_NUM_THREADS": str(options.threads), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "fastequi.cli.main", "train", str(source), "--overwrite"]
    subprocess.run(command, env=environment, check=True)
    return folder


def report(results: Results, name: str, folder: Path) -> None:
    """Rows of errors on the test file; the learning curve as a picture and as a table."""
    summary = json.loads((folder / "summary.json").read_text())
    minutes = round(summary["wall_s"] / 60)
    passes = ("passes", "epochs", float(summary["epochs"]))
    errors = [(metric, unit, summary["test"][key]) for metric, unit, key in METRICS]
    for metric, unit, value in (passes, *errors):
        mode = f"{summary['frames']['train']} frames, one core"
        results.add(row(name, "fastequi", mode, metric, unit, minutes, value))
    shutil.copyfile(folder / "learning-curve.png", RESULTS / f"accuracy-{name}.png")
    with (folder / "metrics.csv").open() as file:
        header, *lines = csv.reader(file)
    step = -(-len(lines) // N_LINES)
    with (RESULTS / f"accuracy-{name}.csv").open("w", newline="") as file:
        csv.writer(file).writerows([header, *lines[step - 1 :: step]])


def _parser() -> argparse.ArgumentParser:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("cases", nargs="+", choices=list(DATA), metavar="CASE",
                        help=", ".join(DATA))  # fmt: skip
    parser.add_argument("--minutes", type=float, default=150.0, help="of each training")
    parser.add_argument("--cache", type=Path, default=Path("accuracy-run"))
    add_common_options(parser, RESULTS / "accuracy.jsonl")
    parser.set_defaults(threads=1)
    return parser


if __name__ == "__main__":
    main()
