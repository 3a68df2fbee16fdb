"""One training from its first weights to its summary: a model, or one member of an ensemble."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from fastequi.device import peak_memory_MB
from fastequi.engine.loaded import loaded
from fastequi.errors import InputError, Stopped
from fastequi.kernels.backend import BACKENDS
from fastequi.model.facts import KEY, training_facts
from fastequi.model.file import ModelData, save_model
from fastequi.plotting import why_no_plots
from fastequi.process import reproducible, stopping_on_signals
from fastequi.storage.checkpoint import Checkpoint, check_fingerprint, latest_checkpoint
from fastequi.storage.durable import write_json
from fastequi.training import directory as names
from fastequi.training.evaluate import Evaluation, evaluate_sets
from fastequi.training.facts import with_errors
from fastequi.training.page import write_training_page
from fastequi.training.parallel import Team
from fastequi.training.plots import plot_parity
from fastequi.training.records import Records
from fastequi.training.remarks import remarks_on
from fastequi.training.setup import Prepared
from fastequi.training.trainer import Trainer
from fastequi.training.trainer_state import restore_

#: Called with (what is counted, how many are done, how many there are).
Count = Callable[[str, int, int], None]


class Member:
    """A prepared training, its trainer, and where its files go."""

    def __init__(
        self, prepared: Prepared, number: int, team: Team, folder: Path, resume: bool
    ) -> None:
        """Make the trainer, and take it back to the newest checkpoint if asked; writes nothing."""
        self.prepared, self.number, self.team, self.folder = prepared, number, team, folder
        data, model = prepared.data, prepared.config.model
        self.trainer = Trainer(
            prepared.network, prepared.kernels[0], data.train, data.validation,
            prepared.training, train_scales=model.train_scales,
            validate_start=model.start_from is not None, team=team,
        )  # fmt: skip
        self.found = self._newest_checkpoint() if resume else None

    def _newest_checkpoint(self) -> Checkpoint | None:
        found = latest_checkpoint(self.folder / names.CHECKPOINTS)
        if found:
            check_fingerprint(found.fingerprint, self.prepared.fingerprint)
            restore_(self.trainer, found.tensors, found.numbers, found.elapsed_s["wall"])
        if len(set(self.team.gather(found.step if found else -1))) > 1:
            raise InputError(
                f"{self.folder}: not every process sees the same checkpoints; output.directory "
                "must be on a disk that all machines share"
            )
        return found

    @property
    def is_finished(self) -> bool:
        """Whether there is nothing left to do, in a folder that has all its files."""
        files = [self.folder / name for name in (names.MODEL, names.SUMMARY)]
        return bool(self.found and self.trainer.why_done) and all(map(Path.is_file, files))

    def old_summary(self) -> dict[str, Any]:
        """The summary of a finished training, as it was written."""
        return json.loads((self.folder / names.SUMMARY).read_text(encoding="utf-8"))

    def run(self, count: Count) -> dict[str, Any]:
        """Train to the end, write every file; returns the summary (empty if another one leads).

        Raises Stopped (after a checkpoint) where a stop was requested.
        """
        trainer, records = self.trainer, self._open_records()
        try:
            with stopping_on_signals(trainer.request_stop):
                with reproducible(trainer.network.device):
                    trainer.run()
                if records:
                    records.checkpoint()
                if not trainer.why_done:
                    raise Stopped(
                        f"stopped in epoch {trainer.epoch + 1} after writing a checkpoint"
                    )
                return self._finish(records, count) if records else {}
        finally:
            if records:
                records.close()

    def _open_records(self) -> Records | None:
        """The leader's files. What the end needs is compiled now, not when all is told."""
        if not self.team.leads:
            return None
        p = self.prepared
        backend = BACKENDS[p.kernels[0]]
        if not backend.is_reference:
            layers = [layer.shapes.instructions for layer in p.network.interactions()]
            scaled = p.network.spec.pair_cutoffs
            backend.prepare(layers, p.network.dtype, training=False, has_cutoff_scale=scaled)
        every = p.config.output.checkpoint_every
        return Records(self.folder, self.trainer, p.fingerprint, p.provenance, every, self.found)

    def _finish(self, records: Records, count: Count) -> dict[str, Any]:
        """Errors of the best model on every set, by the engine that dynamics uses; pictures."""
        model, config = records.best_model(), self.prepared.config
        device, dtype = self.trainer.network.device, config.model.dtype
        potential = loaded(model, names.MODEL, device, dtype, self.prepared.kernels)
        found = evaluate_sets(potential, self.prepared.data.sets(), count)
        facts = training_facts(model.provenance)
        assert facts is not None
        facts = with_errors(facts, {n: e.results for n, e in found.items()})
        told = model.provenance | {KEY: facts.to_json()}
        save_model(self.folder / names.MODEL, replace(model, provenance=told))
        if not why_no_plots():
            records.draw_learning_curve()
            plot_parity(found.get("test", found["validation"]), self.folder)
        summary = self._summary(model, found)
        write_json(self.folder / names.SUMMARY, summary)
        write_training_page(self.folder, found)
        return summary

    def _summary(self, model: ModelData, found: dict[str, Evaluation]) -> dict[str, Any]:
        trainer, config = self.trainer, self.prepared.config
        return {
            "why_done": trainer.why_done,
            "epochs": trainer.epoch, "best_epoch": trainer.best.epoch, "steps": trainer.step,
            "wall_s": trainer.wall_s,
            "frames": {name: len(evaluation.frames) for name, evaluation in found.items()},
            "parameters": sum(t.numel() for t in trainer.tensors),
            "model_sha256": model.sha256, "kernels": self.prepared.kernels[0],
            "dtype": config.model.dtype, "device": str(trainer.network.device),
            "peak_memory_MB": peak_memory_MB(trainer.network.device),
            "processes": self.team.size,
            "remarks": list(remarks_on(found, self._was_learning())),
            **{name: evaluation.results for name, evaluation in found.items()},
        }  # fmt: skip

    def _was_learning(self) -> bool:
        """Whether the last epochs were the best ones; at the end of a cosine that means nothing."""
        epoch, best = self.trainer.epoch, self.trainer.best.epoch or 0
        is_cosine = self.prepared.training.schedule == "cosine"
        return not is_cosine and epoch > 1 and best >= 0.98 * epoch
