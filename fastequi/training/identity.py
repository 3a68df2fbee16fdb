"""What makes a training this one and no other, and what its model file says of it."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fastequi._version import __version__
from fastequi.data import Dataset, Frame
from fastequi.model.facts import KEY
from fastequi.training.config import TrainConfig
from fastequi.training.facts import facts_of

#: Settings that a continuation may change: how long it goes on, and with what it computes.
_FREE = {
    "model": {"kernels", "start_from"},
    "training": {"epochs", "max_wall_minutes", "early_stopping_patience", "device", "members",
                 "member"},
}  # fmt: skip


def fingerprint_of(
    config: TrainConfig, sets: Mapping[str, Dataset], start_sha256: str | None, seed: int
) -> dict[str, Any]:
    """Facts that a checkpoint and its continuation must share.

    Frames and the start model count by their contents: files may be moved.
    """
    facts: dict[str, Any] = {f"data.{name}": _digest(every.frames) for name, every in sets.items()}
    for section, free in _FREE.items():
        values = config.model_dump(mode="json", include={section})[section]
        facts |= {f"{section}.{key}": v for key, v in values.items() if key not in free}
    return facts | {"model.start_from": start_sha256, "training.seed": seed}


def provenance_of(config: TrainConfig, sets: Mapping[str, Dataset], seed: int) -> dict[str, str]:
    """Facts for the model file."""
    files = ", ".join(Path(name).name for name in config.data.train)
    facts = {
        "trained on": f"{files}: {len(sets['train'])} frames",
        "validated on": f"{len(sets['validation'])} frames",
        "training seed": str(seed),
        "trained with": f"fastequi {__version__}",
        KEY: facts_of(sets["train"]).to_json(),
    }
    if config.model.start_from:
        facts["started from"] = Path(config.model.start_from).name
    return facts


def _digest(frames: Sequence[Frame]) -> str:
    digest = hashlib.sha256()
    for f in frames:
        for label in (f.positions, f.atomic_numbers, f.cell, f.pbc, f.forces, f.stress):
            digest.update(b"none" if label is None else label.tobytes())
        digest.update(repr((f.energy, f.weight, f.config_type)).encode())
    return digest.hexdigest()
