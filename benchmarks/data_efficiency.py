"""Data efficiency (Batzner et al. 2022, figure 7): errors against training frames, l = 0, 1, 2.

    python -m benchmarks.data_efficiency ../shared/data/rmd17 --molecule ethanol

All degrees take the same number of steps, of the same batch size, with the learning rate falling
to zero, so that none is better for having looked longer: so many epochs, and with few frames at
least so many steps. Errors are those of the official test file. Finished trainings are kept in a
folder and not repeated; several may run side by side.
"""

import argparse
import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from benchmarks.common import RESULTS, run_fastequi, write_points

SIZES = (10, 30, 100, 300, 950)
DEGREES = (0, 1, 2)
#: At most so many validation frames (as many as training frames, where these are few).
N_VALIDATION, N_FRAMES = 50, 1000
CHANNELS, BATCH = 32, 5

TRAIN_TOML = """
[data]
train = "{train}"
validation = {n_validation}
test = "{test}"
units = {{ energy = "kcal/mol", length = "angstrom" }}
{ignore}
[model]
layers = 3
l_max = {l}
channels = {channels}
parity = "full"
cutoff_A = 5.0
radial_hidden = [64]
[training]
batch_size = {batch}
epochs = {epochs}
schedule = "cosine"
minimum_learning_rate = 1e-7
ema_decay = 0.999
loss = {{ energy_per_atom = 1.0, forces = 1.0 }}
[output]
directory = "."
checkpoint_every = 1000000
log_every = {log_every}
"""


@dataclass(frozen=True)
class Point:
    """Errors of one training; energies in meV per atom, forces in meV/Å."""

    molecule: str
    l_max: int
    frames: int
    steps: int
    weights: int
    energy_mae_meV_per_atom: float
    energy_rmse_meV_per_atom: float
    force_mae_meV_per_A: float
    force_rmse_meV_per_A: float


def main(arguments: list[str] | None = None) -> None:
    options = _parser().parse_args(arguments)
    jobs = [(n, degree) for n in sorted(options.sizes) for degree in options.degrees]
    with ThreadPoolExecutor(options.jobs) as pool:
        points = list(pool.map(lambda job: train(options, *job), jobs))
    points.sort(key=lambda p: (p.l_max, p.frames))
    table = RESULTS / f"data-efficiency-{options.molecule}.csv"
    write_points(table, points)
    plot(points, table.with_suffix(".png"))
    for l_max in sorted({p.l_max for p in points}):
        mine = [p for p in points if p.l_max == l_max]
        print(f"l = {l_max}: force error ~ frames^{slope(mine):.2f}")
    print(f"wrote {table} and {table.with_suffix('.png').name}")


def train(options: argparse.Namespace, n_frames: int, l_max: int) -> Point:
    """Train with `fastequi train`, one thread, unless it was done before."""
    name = f"{options.molecule}-{n_steps(options, n_frames)}-{n_frames}-l{l_max}"
    folder = options.cache.absolute() / name
    if not (folder / "summary.json").exists():
        folder.mkdir(parents=True, exist_ok=True)
        source = folder.with_suffix(".toml")
        source.write_text(toml(options, n_frames, l_max).replace('"."', f'"{folder}"'))
        again = ["--overwrite"] if any(folder.iterdir()) else []
        run_fastequi("train", str(source), *again, log=folder.with_suffix(".log"))
    summary = json.loads((folder / "summary.json").read_text())
    names = [name for name in Point.__dataclass_fields__ if "mae" in name or "rmse" in name]
    errors = {name: summary["test"][name] for name in names}
    point = Point(
        options.molecule, l_max, n_frames, summary["steps"], summary["parameters"], **errors
    )
    print(f"l = {l_max}, {n_frames} frames: {point.force_mae_meV_per_A:.1f} meV/Å", flush=True)
    return point


def n_steps(options: argparse.Namespace, n_frames: int) -> int:
    """How many steps a training of so many frames takes, whatever its degree."""
    return max(options.steps, options.epochs * -(-n_frames // BATCH))


def toml(options: argparse.Namespace, n_frames: int, l_max: int) -> str:
    """The settings of one training; the frames that are not learnt from are left out by number."""
    name = f"rmd17_{options.molecule}_{{}}_01.npz"
    n_validation = min(n_frames, N_VALIDATION)
    first_left_out = n_frames + n_validation
    left_out = f"{name.format('train')}:{first_left_out}-{N_FRAMES - 1}"
    epochs = n_steps(options, n_frames) // -(-n_frames // BATCH)
    return TRAIN_TOML.format(
        train=(options.data / name.format("train")).absolute(),
        test=(options.data / name.format("test")).absolute(),
        n_validation=n_validation,
        ignore=f'ignore = ["{left_out}"]' if first_left_out < N_FRAMES else "",
        l=l_max,
        channels=[CHANNELS] * (l_max + 1),
        batch=BATCH,
        epochs=epochs,
        log_every=max(epochs // 20, 1),
    )


def slope(points: list[Point]) -> float:
    """The exponent of force error ~ frames^slope, by least squares of logarithms."""
    import numpy as np

    frames = np.log([p.frames for p in points])
    errors = np.log([p.force_mae_meV_per_A for p in points])
    return float(np.polyfit(frames, errors, 1)[0])


def plot(points: list[Point], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot
    from matplotlib.ticker import NullFormatter, ScalarFormatter

    figure, axes = pyplot.subplots(1, 2, figsize=(9, 3.8), layout="constrained")
    labels = ("force MAE (meV/Å)", "energy MAE (meV/atom)")
    for axis, of, label in zip(
        axes, ("force_mae_meV_per_A", "energy_mae_meV_per_atom"), labels, strict=True
    ):
        for l_max in sorted({p.l_max for p in points}):
            mine = [p for p in points if p.l_max == l_max]
            exponent = f": error ~ N^{slope(mine):.2f}" if axis is axes[0] else ""
            axis.loglog([p.frames for p in mine], [getattr(p, of) for p in mine], "o-",
                        label=f"l = {l_max}{exponent}")  # fmt: skip
        axis.set_xlabel("N, training frames")
        axis.set_ylabel(label)
        axis.set_xticks(sorted({p.frames for p in points}))
        errors = [getattr(p, of) for p in points]
        ticks = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500)
        axis.set_yticks([t for t in ticks if min(errors) / 1.1 <= t <= 1.1 * max(errors)])
        for side in (axis.xaxis, axis.yaxis):
            side.set_major_formatter(ScalarFormatter())
            side.set_minor_formatter(NullFormatter())
        axis.grid(True, alpha=0.25)
    axes[0].legend(title=f"rMD17 {points[0].molecule}, test set")
    figure.savefig(path, dpi=150)
    pyplot.close(figure)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("data", type=Path, help="folder of rmd17_*_train_01.npz and _test_01.npz")
    parser.add_argument("--molecule", default="ethanol")
    parser.add_argument("--sizes", type=int, nargs="+", default=list(SIZES))
    parser.add_argument("--degrees", type=int, nargs="+", default=list(DEGREES))
    parser.add_argument("--epochs", type=int, default=400, help="of every training, at least")
    parser.add_argument("--steps", type=int, default=8_000, help="of every training, at least")
    parser.add_argument("--jobs", type=int, default=1, help="trainings side by side")
    parser.add_argument("--cache", type=Path, default=Path("data-efficiency-run"))
    return parser


if __name__ == "__main__":
    main()
