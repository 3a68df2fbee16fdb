"""An evaluation as files: JSON of all errors, CSV with a row per frame."""

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from fastequi.storage.durable import naming_files
from fastequi.training.evaluate import Evaluation
from fastequi.training.metrics import MEV_PER_EV


def write_json(path: Path, evaluation: Evaluation, facts: dict[str, Any]) -> None:
    """The errors after some facts about where it comes from; null for what is not a number."""
    results = _json_numbers(facts | evaluation.results)
    _write(path, json.dumps(results, indent=2, allow_nan=False) + "\n")


def write_csv(path: Path, evaluation: Evaluation) -> None:
    """A row per frame; empty where it has no such label."""
    rows = list(frame_rows(evaluation))
    text = io.StringIO()
    table = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    table.writeheader()
    table.writerows(rows)
    _write(path, text.getvalue())


def frame_rows(evaluation: Evaluation) -> Iterator[dict[str, Any]]:
    """Energies in eV and errors in meV of each frame; None where it has no such label."""
    predicted, reference = evaluation.predicted, evaluation.reference
    ends = np.cumsum(evaluation.n_atoms)[:-1]
    forces = np.split(np.abs(predicted.forces - reference.forces), ends)
    stress = np.abs(predicted.stress - reference.stress)
    for k, frame in enumerate(evaluation.frames):
        yield {
            "file": frame.file,
            "frame": frame.index,
            "config_type": frame.config_type,
            "atoms": frame.n_atoms,
            "reference_energy_eV": frame.energy,
            "predicted_energy_eV": float(predicted.energy[k]),
            "energy_error_meV_per_atom": _meV(evaluation.energy_errors[k]),
            "force_mae_meV_per_A": _meV(forces[k].mean()),
            "force_rmse_meV_per_A": _meV(np.sqrt(np.square(forces[k]).mean())),
            "largest_force_error_meV_per_A": _meV(forces[k].max()),
            "stress_mae_meV_per_A3": _meV(stress[k].mean()),
        }


def _meV(error_eV: float) -> float | None:
    return None if np.isnan(error_eV) else MEV_PER_EV * float(error_eV)


def _json_numbers(value: Any) -> Any:
    """The same without NaN and infinity, which JSON does not have."""
    if isinstance(value, dict):
        return {key: _json_numbers(item) for key, item in value.items()}
    return None if isinstance(value, float) and not np.isfinite(value) else value


def _write(path: Path, text: str) -> None:
    with naming_files(path):
        path.write_text(text, encoding="utf-8")
