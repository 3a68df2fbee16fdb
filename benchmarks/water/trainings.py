"""Potentials from few boxes of water: learning curves for l = 0, 1, 2, and one that moves.

In the learning curves every degree and size takes the same steps with the same channels, one frame
per step, and the learning rate falls to zero, so that none is better for having looked longer. A
tenth of the frames chooses the epoch; it counts as training frames, as its labels had to be
computed, too.

The potential that moves has more layers and steps. With 810 steps and 74 meV/Å (RMSE) two oxygens,
for which the boxes have nothing below 2.4 Å, fell onto each other after 0.8 ps. Nuclear repulsion
(ZBL) is no cheap way out: within molecules the network has first to learn its opposite (345 instead
of 105 meV/Å after 270 steps).
"""

import json
from dataclasses import dataclass
from pathlib import Path

from benchmarks.common import run_fastequi
from benchmarks.water.frames import write_sets
from fastequi.training.directory import MODEL

SIZES, DEGREES = (10, 30, 100, 300), (0, 1, 2)
#: Of the learning curves; steps are a multiple of an epoch of the largest size.
STEPS, LAYERS = 810, 2
CHANNELS, CUTOFF_A = 32, 4.0
#: One frame in so many validates.
VALIDATES = 10

TRAIN_TOML = """\
[data]
train = "{train}"
validation = {validation}
test = "{test}"
[model]
layers = {layers}
l_max = {l_max}
channels = {channels}
parity = "natural"
cutoff_A = {cutoff_A}
radial_hidden = [64]
[training]
batch_size = 1
learning_rate = 0.01
epochs = {epochs}
schedule = "cosine"
minimum_learning_rate = 1e-7
ema_decay = 0.99
loss = {{ energy_per_atom = 1.0, forces = 1.0 }}
[output]
directory = "{directory}"
checkpoint_every = {every}
log_every = {every}
"""


@dataclass(frozen=True)
class Recipe:
    """What is trained: so many boxes, a degree, steps, layers."""

    frames: int
    l_max: int
    steps: int
    layers: int

    @property
    def name(self) -> str:
        """Of its files."""
        return f"{self.steps}-{self.frames}-l{self.l_max}-{self.layers}-layers"

    @property
    def validation(self) -> int:
        """Frames that choose the epoch."""
        return self.frames // VALIDATES

    @property
    def epochs(self) -> int:
        return self.steps // (self.frames - self.validation)


@dataclass(frozen=True)
class Point:
    """Errors of one training on the held-out boxes; energies in meV per atom, forces in meV/Å."""

    l_max: int
    frames: int
    steps: int
    weights: int
    energy_mae_meV_per_atom: float
    energy_rmse_meV_per_atom: float
    force_mae_meV_per_A: float
    force_rmse_meV_per_A: float


def train(cache: Path, recipe: Recipe) -> Point:
    """Train unless it was done before; a training that was stopped goes on."""
    folder = cache.absolute() / recipe.name
    if not (folder / "summary.json").exists():
        if not (cache / f"train-{recipe.frames}.extxyz").exists():
            write_sets(cache, SIZES)
        source = cache.absolute() / f"{recipe.name}.toml"
        source.write_text(toml(cache, recipe))
        begun = "--resume" if (folder / "checkpoints").exists() else "--overwrite"
        run_fastequi("train", str(source), begun, log=source.with_suffix(".log"))
    point = point_of(folder, recipe)
    print(f"{recipe.name}: force RMSE {point.force_rmse_meV_per_A:.1f} meV/Å", flush=True)
    return point


def model_of(cache: Path, recipe: Recipe) -> Path:
    """The file of a potential; trains it if there is none."""
    train(cache, recipe)
    return cache.absolute() / recipe.name / MODEL


def point_of(folder: Path, recipe: Recipe) -> Point:
    """What a finished training has reached."""
    summary = json.loads((folder / "summary.json").read_text())
    errors = {key: summary["test"][key] for key in Point.__dataclass_fields__ if "_meV" in key}
    return Point(recipe.l_max, recipe.frames, summary["steps"], summary["parameters"], **errors)


def toml(cache: Path, recipe: Recipe) -> str:
    """The settings of one training."""
    return TRAIN_TOML.format(
        train=cache.absolute() / f"train-{recipe.frames}.extxyz",
        test=cache.absolute() / "test.extxyz",
        validation=recipe.validation,
        layers=recipe.layers,
        l_max=recipe.l_max,
        channels=[CHANNELS] * (recipe.l_max + 1),
        cutoff_A=CUTOFF_A,
        epochs=recipe.epochs,
        directory=cache.absolute() / recipe.name,
        every=max(1, recipe.epochs // 4),
    )
