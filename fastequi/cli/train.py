"""`fastequi train`: trains what a train.toml describes."""

import sys
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from fastequi._version import __version__
from fastequi.cli.progress import duration
from fastequi.cli.train_progress import TrainingProgress
from fastequi.errors import InputError, Stopped
from fastequi.training.config import load_train_config
from fastequi.training.session import folder_of
from fastequi.training.session import train as run_training
from fastequi.training.setup import Prepared
from fastequi.training.trainer import Trainer


def train(
    config: Path,
    /,
    *,
    resume: bool = False,
    overwrite: bool = False,
    device: str | None = None,
) -> int:
    """Train a potential from labelled structures.

    Parameters
    ----------
    config
        a train.toml; `fastequi init molecule` writes an example
    resume
        go on from the newest checkpoint, up to the total of training.epochs
    overwrite
        start anew, removing what an earlier training wrote to the output directory
    device
        auto, cpu, cuda or cuda:N, instead of training.device
    """
    if resume and overwrite:
        raise InputError("--resume goes on with a training, --overwrite removes it: choose one")
    settings = load_train_config(config, "allow" if resume or overwrite else "refuse", device)
    progress = TrainingProgress(settings.output.log_every)

    def on_start(prepared: Prepared, trainer: Trainer, member: int) -> None:
        _print_plan(prepared, trainer, member)
        progress.watch(trainer)

    try:
        with progress:
            summaries = run_training(settings, resume, on_start)
    except Stopped as stopped:
        raise Stopped(f"{stopped}; to go on: fastequi train {config} --resume") from None
    for member, summary in enumerate(summaries):
        _print_result(summary, folder_of(settings, member))
    return 0


def _print_plan(prepared: Prepared, trainer: Trainer, member: int) -> None:
    config, data = prepared.config, prepared.data
    frames = ", ".join(f"{len(dataset)} {name}" for name, dataset in data.sets().items())
    known, spec = data.statistics, prepared.network.spec
    start = f"from step {trainer.step}" if trainer.step else "new"
    lines = {
        "data": f"{frames}; {known.n_neighbors:.1f} neighbours per atom within {spec.cutoff_A:g} Å",
        "forces": f"{known.force_rms:.3f} eV/Å (root mean square)",
        "model": f"{len(spec.layers)} layers, {spec.layers[0].irreps}, "
        f"{sum(t.numel() for t in trainer.tensors):,} weights, {config.model.dtype}",
        "kernels": f"{prepared.kernels[0]} ({prepared.kernels[1]})",
        "output": f"{folder_of(config, member)} ({start})",
    }
    title = f"fastequi {__version__}: training"
    if config.training.members > 1:
        title += f", member {member + 1} of {config.training.members}"
    print(title)
    for name, text in lines.items():
        print(f"  {name:<8} {text}")
    for warning in data.warnings if member == 0 else []:
        print(f"warning: {warning}", file=sys.stderr)


def _print_result(summary: dict[str, Any], folder: Path) -> None:
    print(
        f"{summary['why_done']}: {summary['epochs']} epochs, {summary['steps']} steps in "
        f"{duration(summary['wall_s'])}; the best was epoch {summary['best_epoch']}"
    )
    table = Table("", "energy MAE", "energy RMSE", "force MAE", "force RMSE", "stress MAE")
    table.add_row("", "meV/atom", "meV/atom", "meV/Å", "meV/Å", "meV/Å³")
    columns = ("energy_mae_meV_per_atom", "energy_rmse_meV_per_atom", "force_mae_meV_per_A",
               "force_rmse_meV_per_A", "stress_mae_meV_per_A3")  # fmt: skip
    for name in summary["frames"]:
        values = [summary[name][column] for column in columns]
        table.add_row(name, *("-" if v is None else f"{v:.3g}" for v in values))
    Console().print(table)
    print(f"wrote {folder}: model.safetensors, metrics.csv, summary.json, learning-curve.png")
