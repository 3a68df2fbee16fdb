"""What generalises from hundreds of frames, as train.toml, and `fastequi train` on it.

Full parity and Huber's loss: `benchmarks.accuracy` has what was tried, and what came of it.
"""

import json
import os
import resource
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from benchmarks.common import ROOT, say

#: In the folder of a training: a line for each session, in seconds.
CPU_TIMES = "cpu_s.txt"
TRAIN_TOML = """[data]
{data}
validation = {validation}
[model]
layers = {layers}
l_max = 2
channels = [{channels}, {channels}, {channels}]
parity = "full"
cutoff_A = 5.0
radial_hidden = {radial_hidden}
[training]
batch_size = 5
learning_rate = 0.01
epochs = 100000
max_wall_minutes = {minutes:g}
schedule = "cosine"
minimum_learning_rate = 1e-7
ema_decay = {ema_decay:g}
loss = {{ kind = "huber", energy_per_atom = 1.0, forces = 1.0, \
huber_delta = {{ forces = 0.01 }} }}
members = {members}
seed = 1
[output]
directory = "{directory}"
log_every = {log_every}
"""


@dataclass(frozen=True)
class Recipe:
    """One training: minutes of it, and how large the network is.

    data        lines of [data]: files, units, frames left out
    validation  frames that choose the weights and are not learnt from
    members     of an ensemble
    """

    data: str
    minutes: float
    validation: int = 50
    layers: int = 4
    channels: int = 64
    radial_hidden: tuple[int, ...] = (128,)
    ema_decay: float = 0.999
    members: int = 1
    log_every: int = 5

    def write(self, folder: Path) -> Path:
        """The train.toml of a training into that folder, beside it."""
        folder.parent.mkdir(parents=True, exist_ok=True)
        source = folder.with_suffix(".toml")
        settings = vars(self) | {"radial_hidden": list(self.radial_hidden), "directory": folder}
        source.write_text(TRAIN_TOML.format(**settings))
        return source


def trained(recipe: Recipe, folder: Path, threads: int = 1) -> Path:
    """The folder of a finished training; one that is done is not repeated, one begun goes on."""
    if is_done(folder):
        say(f"{folder.name}: done before, in {folder}")
    else:
        before = _cpu_s()
        fastequi_train(recipe.write(folder), threads, begun(folder))
        with (folder / CPU_TIMES).open("a") as file:
            file.write(f"{_cpu_s() - before:.1f}\n")
    return folder


def cpu_minutes(folder: Path) -> float:
    """Time that processors have spent on a training: on a busy machine less than its minutes."""
    return sum(float(line) for line in (folder / CPU_TIMES).read_text().split()) / 60.0


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def is_done(folder: Path) -> bool:
    return (folder / "summary.json").exists()


def begun(folder: Path) -> str:
    """The option for a training that may have begun before."""
    return "--resume" if (folder / "checkpoints").exists() else "--overwrite"


def fastequi_train(source: Path, threads: int, *options: str, out: TextIO | None = None) -> None:
    """`fastequi train`, as a user runs it."""
    environment = os.environ | {"OMP_NUM_THREADS": str(threads), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "fastequi.cli.main", "train", str(source), *options]
    subprocess.run(command, env=environment, check=True, stdout=out)


def summary_of(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "summary.json").read_text())
