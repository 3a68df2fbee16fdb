"""What the members of an ensemble reach together: the errors of their mean, as dynamics uses it."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fastequi.engine.committee import Committee
from fastequi.engine.loaded import loaded
from fastequi.md.analysis.document import write_document
from fastequi.model.file import read_model
from fastequi.storage.durable import write_json
from fastequi.training import directory as names
from fastequi.training.evaluate import evaluate_sets
from fastequi.training.member import Count, Member
from fastequi.training.page import evaluation_data


def summarise_mean(
    last: Member, summaries: Sequence[dict[str, Any]], count: Count
) -> dict[str, Any] | None:
    """Evaluate the mean of all members on every set; write it to the ensemble's summary.json.

    last       the member that was trained last; the models of all are in their folders
    summaries  of all members; None is returned where the summary.json is of these models already
    """
    config, data, kernels = last.prepared.config, last.prepared.data, last.prepared.kernels
    directory, n = Path(config.output.directory), len(summaries)
    folders = [names.member_folder(directory, number, n) for number in range(n)]
    members = {f.name: s["model_sha256"] for f, s in zip(folders, summaries, strict=True)}
    if _summarised_members(directory / names.SUMMARY) == members:
        return None
    device = last.trainer.network.device
    committee = Committee([
        loaded(read_model(folder / names.MODEL), folder.name, device, config.model.dtype, kernels)
        for folder in folders
    ])  # fmt: skip
    found = evaluate_sets(committee, data.sets(), count)
    summary = {
        "members": members,
        "frames": {name: len(evaluation.frames) for name, evaluation in found.items()},
        "model_sha256": committee.sha256, "kernels": committee.kernels,
        "dtype": committee.dtype_name, "device": str(device),
        **{name: evaluation.results for name, evaluation in found.items()},
    }  # fmt: skip
    write_json(directory / names.SUMMARY, summary)
    judged = found.get("test", found["validation"])
    page = evaluation_data(directory.name, f"the mean of {n} models", judged)
    write_document(page, directory / names.REPORT)
    return summary


def _summarised_members(path: Path) -> dict[str, str] | None:
    """The members, with the hashes of their models, that a summary is of; None without one."""
    return json.loads(path.read_text(encoding="utf-8"))["members"] if path.is_file() else None
