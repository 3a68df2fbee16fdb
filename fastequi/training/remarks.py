"""What a person should know of a finished training: sentences, each with a way out."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from fastequi.training.evaluate import Evaluation
from fastequi.training.metrics import MEV_PER_EV

#: Errors of forces, as a share of the forces themselves, with which dynamics go wrong.
LARGE_SHARE = 0.2
#: Of what is learnt from, errors elsewhere may be so many times larger.
_OVERFITTED, _UNLIKE = 3.0, 2.0
_MAE, _RMSE = "force_mae_meV_per_A", "force_rmse_meV_per_A"


def force_share(evaluation: Evaluation) -> float | None:
    """Errors of forces over the forces, root mean squares; None without forces."""
    reference = evaluation.reference.forces
    known = np.isfinite(reference)
    size = float(np.sqrt(np.square(reference[known]).mean())) if known.any() else 0.0
    rmse = evaluation.results[_RMSE]
    return None if not size or rmse is None else rmse / MEV_PER_EV / size


def remarks_on(found: Mapping[str, Evaluation], was_learning: bool = False) -> Iterator[str]:
    """Of evaluations of train, validation and perhaps test, and whether it learnt to the end."""
    judged = found.get("test", found["validation"])
    share, rmse = force_share(judged), judged.results[_RMSE]
    if share is not None and share > LARGE_SHARE:
        yield (
            f"forces are off by {rmse:.3g} meV/Å, {100 * share:.0f} % of their size: dynamics with "
            "this potential will not be right. What may help: more epochs, more frames, a larger "
            "model; and are units and labels what data.units and data.keys say?"
        )
    if was_learning:
        yield "the last epochs were the best, so it was still learning: raise epochs and --resume"
    maes = {name: evaluation.results[_MAE] for name, evaluation in found.items()}
    if _is_times(maes, "validation", "train", _OVERFITTED):
        yield (
            f"forces of validation frames are off by {maes['validation']:.3g} meV/Å, those it "
            f"learnt from by {maes['train']:.3g}: more frames would help more than more epochs"
        )
    if _is_times(maes, "test", "validation", _UNLIKE):
        yield (
            f"forces of test frames are off by {maes['test']:.3g} meV/Å, of validation frames by "
            f"{maes['validation']:.3g}: the test frames are unlike what it was trained on"
        )


def _is_times(maes: Mapping[str, Any], one: str, other: str, factor: float) -> bool:
    """Whether an error is so many times another one, where both are known."""
    a, b = maes.get(one), maes.get(other)
    return a is not None and b is not None and a > factor * b
