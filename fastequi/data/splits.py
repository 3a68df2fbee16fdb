"""Training, validation and test sets.

Frames are split by what they are, not by where they stand: those with the lowest hashes of the seed
and the structure are held out. So the split does not depend on the order of frames or files, nor
on the version of a random generator, and with more frames it changes as little as it can.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from fastequi.data.checks import MAX_FORCE_eV_PER_A, check_frames
from fastequi.data.frames import Frame, frame_key
from fastequi.data.ignore import check_ignore, leave_out
from fastequi.data.labels import Keys
from fastequi.data.readers import read_frames
from fastequi.errors import InputError

Files = str | Path | Sequence[str | Path]


@dataclass(frozen=True, slots=True)
class Sets:
    """Checked frames of each set (test may be empty), and warnings for the user to read."""

    train: list[Frame]
    validation: list[Frame]
    test: list[Frame]
    warnings: list[str]


def read_sets(
    train: Files,
    validation: int | float | Files,
    test: Files = (),
    *,
    seed: int = 0,
    units: Mapping[str, str] | None = None,
    keys: Keys | None = None,
    ignore: Sequence[str] = (),
    max_force_eV_per_A: float = MAX_FORCE_eV_PER_A,
) -> Sets:
    """Read, thin out, check and split what the [data] section names.

    validation  a number of frames or a fraction, split off the training files by the seed, or files

    Raises InputError for anything that is wrong with the files, the frames or the split.
    """
    sizes_only = isinstance(validation, int | float)
    files = {"train": train, "validation": () if sizes_only else validation, "test": test}
    sets = {name: read_frames(paths, units, keys) for name, paths in files.items()}
    check_ignore([frame for frames in sets.values() for frame in frames], ignore)
    sets = {name: leave_out(frames, ignore) for name, frames in sets.items()}
    learnt = sets.pop("train")
    if not learnt:
        raise InputError("no training frames are left: ignore names all of them")
    warnings = check_frames(learnt, sets, max_force_eV_per_A)
    held = sets["validation"]
    if isinstance(validation, int | float):
        learnt, held = split_frames(learnt, validation, seed)
    return Sets(learnt, held, sets["test"], warnings)


def split_frames(
    frames: Sequence[Frame], validation: int | float, seed: int
) -> tuple[list[Frame], list[Frame]]:
    """(training, validation) frames, both in the order they came in.

    Raises InputError unless both sets get a frame.
    """
    n_held = validation if isinstance(validation, int) else round(validation * len(frames))
    if isinstance(validation, float) and not 0.0 < validation < 1.0:
        raise InputError(
            f"validation: got {validation}; allowed: a whole number of frames, a fraction between "
            "0 and 1, or a file"
        )
    if not 0 < n_held < len(frames):
        raise InputError(
            f"validation: got {validation}, which is {n_held} of {len(frames)} frames; "
            f"allowed: 1 to {len(frames) - 1} frames, a fraction, or a file"
        )
    salt = f"{seed} ".encode()
    ranks = [hashlib.sha256(salt + frame_key(frame)).digest() for frame in frames]
    held = set(sorted(range(len(frames)), key=ranks.__getitem__)[:n_held])
    return (
        [frame for k, frame in enumerate(frames) if k not in held],
        [frame for k, frame in enumerate(frames) if k in held],
    )
