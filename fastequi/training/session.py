"""A training from its TOML to its files: metrics, checkpoints, the model, the summary."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from fastequi._version import __version__
from fastequi.errors import Stopped
from fastequi.importers import choose_device
from fastequi.md.trajectory.appending import AppendFile, write_durably
from fastequi.md.trajectory.checkpoint import (
    Checkpoint,
    check_fingerprint,
    latest_checkpoint,
    set_aside_later,
    write_checkpoint,
)
from fastequi.md.trajectory.directory import only_writer
from fastequi.model.file import ModelData, save_model
from fastequi.model.loaded import loaded
from fastequi.process import naming_files, peak_memory_MB, reproducible, stopping_on_signals
from fastequi.training import directory as names
from fastequi.training.config import TrainConfig, to_toml
from fastequi.training.evaluate import evaluate
from fastequi.training.parallel import Team, join_team
from fastequi.training.setup import Prepared, prepare, read_data, schedule_of, settings_of
from fastequi.training.trainer import Trainer

#: Called with (prepared, trainer, member) when a training is about to start.
OnStart = Callable[[Prepared, Trainer, int], None]


def train(
    config: TrainConfig, resume: bool = False, on_start: OnStart | None = None
) -> list[dict[str, Any]]:
    """Train every member to the end and write all files; returns the summary of each.

    Raises Stopped (after a checkpoint) on SIGTERM or SIGINT, PhysicsError when a loss is not
    finite, InputError for what the input or the disk is to blame for.
    """
    directory = Path(config.output.directory)
    with join_team(choose_device(config.training.device)) as team:
        data = read_data(config)
        summaries = []
        with naming_files(directory), _lead(team, config, resume):
            for member in range(config.training.members):
                prepared = prepare(config, member, data)
                session = _Session(prepared, member, team, resume)
                summaries.append(session.run(on_start))
        return summaries


@contextmanager
def _lead(team: Team, config: TrainConfig, resume: bool) -> Iterator[None]:
    """The leader of the team holds the directory, and empties it for a new training."""
    directory = Path(config.output.directory)
    if not team.leads:
        yield
        return
    with only_writer(directory):
        if resume:
            names.check_is_training(directory)
        else:
            names.empty_training_directory(directory)
        write_durably(directory / names.RESOLVED_CONFIG, to_toml(config).encode())
        yield


def folder_of(config: TrainConfig, member: int) -> Path:
    """Where a member's files go: the directory itself unless there are several members."""
    directory = Path(config.output.directory)
    return directory if config.training.members == 1 else directory / f"member-{member + 1}"


class _Session:
    """One member: its trainer and its files."""

    def __init__(self, prepared: Prepared, member: int, team: Team, resume: bool) -> None:
        config = prepared.config
        self.prepared, self.member, self.team = prepared, member, team
        self.folder = folder_of(config, member)
        self.trainer = Trainer(
            prepared.network, prepared.kernels[0], prepared.data.train, prepared.data.validation,
            schedule_of(config), settings_of(config, member), team,
        )  # fmt: skip
        found = latest_checkpoint(self.folder / names.CHECKPOINTS) if resume else None
        if found:
            check_fingerprint(found.fingerprint, prepared.fingerprint)
            self.trainer.restore(found.tensors, found.numbers, found.elapsed_s["wall"])
        self.metrics: AppendFile | None = None
        if team.leads:
            (self.folder / names.CHECKPOINTS).mkdir(parents=True, exist_ok=True)
            set_aside_later(self.folder / names.CHECKPOINTS, self.trainer.step)
            offset = found.offsets[names.METRICS] if found else None
            self.metrics = AppendFile(self.folder / names.METRICS, offset)
        self.trainer.on_epoch.append(self._after_epoch)

    def run(self, on_start: OnStart | None) -> dict[str, Any]:
        trainer = self.trainer
        if on_start:
            on_start(self.prepared, trainer, self.member)
        with stopping_on_signals(trainer.request_stop), reproducible(trainer.network.device):
            trainer.run()
        if not trainer.why_done:
            self._checkpoint()
            raise Stopped(f"stopped in epoch {trainer.epoch + 1} after writing a checkpoint")
        self._checkpoint()
        return self._finish()

    def _after_epoch(self, trainer: Trainer, row: dict[str, Any]) -> None:
        if self.metrics is None:
            return
        cells = ["" if v is None else f"{v:.8g}" if isinstance(v, float) else str(v)
                 for v in row.values()]  # fmt: skip
        header = ",".join(row) + "\n" if trainer.epoch == 1 else ""
        self.metrics.write(f"{header}{','.join(cells)}\n".encode())
        if trainer.best.epoch == trainer.epoch:
            self._save_best()
        if trainer.epoch % self.prepared.config.output.checkpoint_every == 0:
            self._checkpoint()

    def _checkpoint(self) -> None:
        trainer, metrics = self.trainer, self.metrics
        if metrics is None:
            return
        checkpoint = Checkpoint(
            trainer.tensors_to_keep(), trainer.numbers_to_keep(), self.prepared.fingerprint,
            {names.METRICS: metrics.sync()}, {"wall": trainer.wall_s},
            {"fastequi": __version__, "torch": torch.__version__},
        )  # fmt: skip
        write_checkpoint(self.folder / names.CHECKPOINTS, checkpoint)

    def _best_model(self) -> ModelData:
        trainer = self.trainer
        facts = self.prepared.provenance | {"best epoch": str(trainer.best.epoch)}
        return ModelData(trainer.network.spec, trainer.best.tensors, facts)

    def _save_best(self) -> None:
        save_model(self.folder / names.MODEL, self._best_model())

    def _finish(self) -> dict[str, Any]:
        """Errors of the best model on every set, through the engine that dynamics uses."""
        trainer, model = self.trainer, self._best_model()
        potential = loaded(
            model, names.MODEL, trainer.network.device, self.prepared.config.model.dtype,
            self.prepared.kernels,
        )  # fmt: skip
        sets = self.prepared.data.sets() if self.metrics else {}
        errors = {name: evaluate(potential, dataset).results for name, dataset in sets.items()}
        summary = {
            "why_done": trainer.why_done,
            "epochs": trainer.epoch, "best_epoch": trainer.best.epoch, "steps": trainer.step,
            "wall_s": trainer.wall_s, "frames": {name: len(dataset) for name, dataset
                                                 in self.prepared.data.sets().items()},
            "parameters": sum(t.numel() for t in trainer.tensors),
            "model_sha256": model.sha256, "kernels": self.prepared.kernels[0],
            "dtype": self.prepared.config.model.dtype, "device": str(trainer.network.device),
            "peak_memory_MB": peak_memory_MB(trainer.network.device),
            "processes": self.team.size, **errors,
        }  # fmt: skip
        if self.metrics:
            text = json.dumps(summary, indent=2) + "\n"
            write_durably(self.folder / names.SUMMARY, text.encode())
            self.metrics.close()
        return summary
