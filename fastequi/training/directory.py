"""The output directory of a training: which names in it are fastequi's."""

import re
from pathlib import Path

from fastequi.errors import InputError
from fastequi.storage.checkpoint import own_checkpoints

RESOLVED_CONFIG = "train.resolved.toml"
METRICS = "metrics.csv"
MODEL = "model.safetensors"
SUMMARY = "summary.json"
CHECKPOINTS = "checkpoints"
LEARNING_CURVE = "learning-curve.png"
REPORT = "report.html"

_FILES = (RESOLVED_CONFIG, MODEL, METRICS, SUMMARY, LEARNING_CURVE, REPORT)
_MEMBER = re.compile(r"member-\d+")


def member_folder(directory: Path, member: int, members: int) -> Path:
    """Where a member's files go: the directory itself unless there are several members."""
    return directory if members == 1 else directory / f"member-{member + 1}"


def own_files(directory: Path) -> list[Path]:
    """The files in a training's directory that fastequi wrote; the mark of a training first."""
    folders = [directory, *member_folders(directory)]
    return [path for folder in folders for path in _own_files_of(folder)]


def check_is_training(directory: Path) -> None:
    """Raise InputError if a folder holds files but nothing that marks it as a training.

    The mark may be that of a member in it, or of the ensemble that it is a member of.
    """
    if directory.is_dir() and any(directory.iterdir()):
        folders = [directory, *member_folders(directory)]
        if _MEMBER.fullmatch(directory.name):
            folders.append(directory.parent)
        if not any((folder / RESOLVED_CONFIG).is_file() for folder in folders):
            raise InputError(
                f"{directory}: does not look like a training of fastequi (it has no "
                f"{RESOLVED_CONFIG}), so nothing in it is touched; choose another output.directory"
            )


def check_members(directory: Path, members: int) -> None:
    """Raise InputError if a folder holds one model where several are wanted, or the reverse."""
    alone, several = (directory / CHECKPOINTS).is_dir(), bool(member_folders(directory))
    if (alone and members > 1) or (several and members == 1):
        raise InputError(
            f"{directory}: cannot resume, it holds {'one model' if alone else 'an ensemble'}, but "
            f"training.members = {members}; choose another output.directory, or start anew with "
            "--overwrite"
        )


def empty_training_directory(directory: Path) -> None:
    """Remove what an earlier training wrote; all other files stay."""
    check_is_training(directory)
    # The mark of a training goes last: killed half-way, the folder can still be overwritten.
    for path in reversed(own_files(directory)):
        path.unlink()
    members = member_folders(directory)
    for folder in [directory / CHECKPOINTS, *(m / CHECKPOINTS for m in members), *members]:
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()


def member_folders(directory: Path) -> list[Path]:
    """The folders of members that there are."""
    found = directory.iterdir() if directory.is_dir() else []
    return sorted(path for path in found if _MEMBER.fullmatch(path.name) and path.is_dir())


def _own_files_of(folder: Path) -> list[Path]:
    named = [folder / f"{name}{end}" for name in _FILES for end in ("", ".tmp", ".partial")]
    return [
        *(path for path in named if path.is_file()),
        *sorted(folder.glob("parity-*.png")),
        *own_checkpoints(folder / CHECKPOINTS),
    ]
