"""The output directory of a training: which names in it are fastequi's."""

from pathlib import Path

from fastequi.errors import InputError

RESOLVED_CONFIG = "train.resolved.toml"
METRICS = "metrics.csv"
MODEL = "model.safetensors"
SUMMARY = "summary.json"
CHECKPOINTS = "checkpoints"
LEARNING_CURVE = "learning-curve.png"

_FILES = (RESOLVED_CONFIG, METRICS, MODEL, SUMMARY, LEARNING_CURVE)


def check_is_training(directory: Path) -> None:
    """Raise InputError if a folder holds files but none that marks it as a training."""
    if directory.is_dir() and any(directory.iterdir()):
        if not (directory / RESOLVED_CONFIG).is_file():
            raise InputError(
                f"{directory}: does not look like a training of fastequi (it has no "
                f"{RESOLVED_CONFIG}), so nothing in it is touched; choose another output.directory"
            )


def empty_training_directory(directory: Path) -> None:
    """Remove what an earlier training wrote; all other files stay."""
    check_is_training(directory)
    directory.mkdir(parents=True, exist_ok=True)
    for folder in [*sorted(directory.glob("member-*")), directory]:
        # The mark of a training goes last: killed half-way, it can still be overwritten.
        named = [folder / f"{name}{end}" for name in reversed(_FILES) for end in ("", ".tmp")]
        for path in [*_checkpoints(folder), *sorted(folder.glob("parity-*.png")), *named]:
            path.unlink(missing_ok=True)


def _checkpoints(directory: Path) -> list[Path]:
    return sorted((directory / CHECKPOINTS).glob("step-*.safetensors*"))
