"""`fastequi train`: trains what a train.toml describes."""

import logging
import warnings
from pathlib import Path

from fastequi.cli.threads import respect_quota
from fastequi.cli.train_progress import TrainingProgress
from fastequi.cli.train_report import print_result
from fastequi.errors import FastEquiError, InputError, Stopped
from fastequi.training.config import TrainConfig, load_train_config
from fastequi.training.parallel import follows
from fastequi.training.session import train as run_training


def train(
    config: Path,
    /,
    *,
    resume: bool = False,
    overwrite: bool = False,
    device: str | None = None,
    member: int | None = None,
) -> int:
    """Train a potential from labelled structures.

    Ctrl-C or SIGTERM finishes the step, writes a checkpoint and exits with 75; --resume goes on.
    On several GPUs: torchrun --nproc-per-node N -m fastequi.cli.main train train.toml
    The members of an ensemble side by side, on cores, GPUs or machines: one --member each.

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
    member
        train this one of training.members alone, counted from 1, in a folder of its own
    """
    respect_quota()
    if resume and overwrite:
        raise InputError("--resume goes on with a training, --overwrite removes it: choose one")
    if follows():
        return _follow(config, resume, device, member)
    existing = "allow" if resume or overwrite else "refuse"
    settings = load_train_config(config, existing, device, member)
    progress = TrainingProgress(settings.output.log_every)
    try:
        with progress:
            trained = run_training(settings, resume, progress)
    except InputError as error:
        raise error if str(config) in str(error) else InputError(f"{config}: {error}") from error
    except Stopped as stopped:
        same = f" --member {member}" if member else ""
        raise Stopped(f"{stopped}; to go on: fastequi train {config}{same} --resume") from None
    if not progress.members_started and trained.mean is None:
        _print_nothing_to_do(settings, str(trained.members[0]["why_done"]))
        return 0
    print_result(trained, settings)
    return 0


def _print_nothing_to_do(settings: TrainConfig, why: str) -> None:
    print(
        f"nothing to do: {settings.output.directory}: {why}; raise training.epochs (or what else "
        "ended it: max_wall_minutes, early_stopping_patience) to go on"
    )


def _follow(config: Path, resume: bool, device: str | None, member: int | None) -> int:
    """Take part in a training that another process leads, without a word: it says the same."""
    logging.getLogger("fastequi").setLevel(logging.ERROR)
    warnings.simplefilter("ignore")
    try:
        run_training(load_train_config(config, "allow", device, member), resume)
    except FastEquiError as error:
        return error.exit_code
    return 0
