"""Whether the frames have the labels that the loss and the choice of the best model ask for."""

from collections.abc import Iterator, Sequence

from fastequi.data import Frame
from fastequi.errors import InputError
from fastequi.training.config import TrainingConfig

#: Term of the loss -> what its labels are called, and their keys in [data].
_LABELS = {
    "energy_per_atom": ("energy", "data.keys.energy"),
    "forces": ("forces", "data.keys.forces"),
    "stress": ("stress", "data.keys.stress or data.keys.virial"),
}
_SELECTED_BY = {"energy": "energy_per_atom", "forces": "forces"}


def check_labels(
    config: TrainingConfig, train: Sequence[Frame], validation: Sequence[Frame]
) -> Iterator[str]:
    """Warnings about labels that some frames lack.

    Raises InputError where nothing could be learnt, or no model be called the best.
    """
    weights = config.loss.model_dump(include=set(_LABELS))
    wanted = [term for term, weight in weights.items() if weight > 0]
    learnt = [term for term in wanted if _count(train, term)]
    for term in wanted:
        label, keys = _LABELS[term]
        if term == "stress" and term not in learnt:
            raise InputError(
                f"training.loss.stress: got {weights[term]:g}, but no training frame has a stress; "
                f"set it to 0, or name the labels by {keys}"
            )
        lacking = len(train) - _count(train, term)
        if lacking:
            which = "no training frame has" if term not in learnt else (
                f"{lacking} of {len(train)} training frames have no"
            )  # fmt: skip
            yield f"{which} {label}: they count for nothing in that term of the loss"
    if not learnt:
        raise InputError(
            "data.train: no frame has any label that training.loss weighs "
            f"({', '.join(_LABELS[term][0] for term in wanted)}); where they have other names, "
            f"give them: {', '.join(_LABELS[term][1] for term in wanted)}"
        )
    _check_validation(config, validation, learnt)


def _check_validation(
    config: TrainingConfig, validation: Sequence[Frame], learnt: Sequence[str]
) -> None:
    by = _SELECTED_BY.get(config.select_by)
    if by and not _count(validation, by):
        raise InputError(
            f'training.select_by: got "{config.select_by}", but no validation frame has '
            f"{_LABELS[by][0]}"
        )
    if not any(_count(validation, term) for term in learnt):
        raise InputError(
            f"data.validation: no frame has {' or '.join(_LABELS[t][0] for t in learnt)}, which "
            "the loss is made of; so no model could be called the best"
        )


def _count(frames: Sequence[Frame], term: str) -> int:
    """Frames with a label; a stress counts only where the cell has a volume."""
    if term == "energy_per_atom":
        return sum(frame.energy is not None for frame in frames)
    if term == "forces":
        return sum(frame.forces is not None for frame in frames)
    return sum(frame.stress is not None and frame.volume > 0 for frame in frames)
