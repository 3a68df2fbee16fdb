"""What must be true of frames before anything is trained on them; every problem is named at once.

Nothing is dropped or mended silently: frames that are wrong are refused by file and number, and the
message holds the `ignore` list that leaves them out.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from fastequi.data.baseline import Baseline, fit_baseline
from fastequi.data.frame_checks import CHECKS, not_finite, wrong_shapes
from fastequi.data.frames import Frame, frame_key
from fastequi.data.ignore import entries
from fastequi.data.scales import implausible_scales
from fastequi.errors import InputError

#: Forces above this are taken for an error unless the user allows them.
MAX_FORCE_eV_PER_A = 300.0

#: An energy is absurd if it is so many robust deviations, plus so many eV per atom, off the rest.
ABSURD_DEVIATIONS, ABSURD_eV = 20.0, 5.0

#: The mean force on the atoms of a frame above which a warning is given (eV/Å).
NET_FORCE_eV_PER_A = 0.1

#: Frames that a message names for each kind of problem, and entries of the list to leave them out.
NAMED_AT_MOST, ENTRIES_AT_MOST = 4, 60

#: Kinds of problems that wrong units make.
_LARGE = "forces above"
_ABSURD = "energies absurdly far from what the training set suggests"
#: The share of a file's frames that is all of them: a few may lie near by chance.
_WHOLE_FILE = 0.8

#: Kind of problem, the frame, and what is particular about it.
Finding = tuple[str, Frame, str]


def check_frames(
    train: Sequence[Frame],
    held_out: Mapping[str, Sequence[Frame]] | None = None,
    max_force_eV_per_A: float = MAX_FORCE_eV_PER_A,
) -> list[str]:
    """Warnings about these frames, for the user to read.

    held_out  other sets by their names, for example validation and test; a structure may occur
              only once in all sets

    Raises InputError that names every kind of problem with its frames.
    """
    sets = {"train": train, **(held_out or {})}
    frames = [frame for several in sets.values() for frame in several]
    findings = [(kind, f, what) for f in frames for kind, what in wrong_shapes(f)]
    if not findings:
        findings = [(kind, f, what) for f in frames for kind, what in not_finite(f)]
    if not findings:  # what follows needs numbers of the right shape
        findings = [
            (kind, frame, what)
            for frame in frames
            for check in CHECKS
            for kind, what in check(frame)
        ]
        findings += _large_forces(frames, max_force_eV_per_A)
        findings += _repeated(sets)
        findings += _absurd_energies(train, frames)
    if findings:
        raise InputError(_message(findings, frames))
    return [
        *_unread_labels(frames), *implausible_scales(frames), *_unused_stress(frames),
        *_net_forces(frames),
    ]  # fmt: skip


def _message(findings: Sequence[Finding], frames: Sequence[Frame]) -> str:
    kinds: dict[str, list[tuple[Frame, str]]] = {}
    for kind, frame, what in findings:
        kinds.setdefault(kind, []).append((frame, what))
    wrong = {id(frame): frame for _, frame, _ in findings}
    lines = [f"{len(wrong)} of {len(frames)} frames cannot be used:"]
    for kind, cases in kinds.items():
        named = [f.source + (f" ({what})" if what else "") for f, what in cases[:NAMED_AT_MOST]]
        more = f"; and {len(cases) - len(named)} more" if len(cases) > len(named) else ""
        lines.append(f"  {kind}: {'; '.join(named)}{more}")
    suspected = list(_suspected_units(findings, frames))
    if suspected:
        return "\n".join([*lines, *suspected])
    ignored = entries(wrong.values())
    quoted = ", ".join(f'"{entry}"' for entry in ignored[:ENTRIES_AT_MOST])
    more = ", ..." if len(ignored) > ENTRIES_AT_MOST else ""
    lines.append(f"mend the data, or leave these frames out: ignore = [{quoted}{more}]")
    return "\n".join(lines)


def _suspected_units(findings: Sequence[Finding], frames: Sequence[Frame]) -> Iterator[str]:
    """Where labels of whole files are found too large, or far from the rest, and nothing else.

    Then which frames stand apart only says of which there are more: the units are in doubt.
    """
    if not all(kind.startswith((_ABSURD, _LARGE)) for kind, _, _ in findings):
        return
    wrong = Counter(frame.file for frame in {id(f): f for _, f, _ in findings}.values())
    there = Counter(frame.file for frame in frames)
    whole = [file for file, n in wrong.items() if n >= _WHOLE_FILE * there[file]]
    if not whole or there[whole[0]] < 2:
        return
    names = ", ".join(Path(file).name for file in whole)
    others = ", ".join(Path(file).name for file in there if file not in whole)
    beside = f" beside those of {others}" if others else ""
    yield (
        f"so stand all frames of {names}{beside}: units are suspected, not the frames. Are the "
        "energies and forces of every file in what data.units say (which hold for all files), and "
        "from one kind of calculation?"
    )
    yield from (f"  {line}" for line in implausible_scales(frames))


def _large_forces(frames: Sequence[Frame], limit: float) -> Iterator[Finding]:
    for frame in frames:
        if frame.forces is None:
            continue
        sizes = np.linalg.norm(frame.forces, axis=1)
        if sizes.max() > limit:
            kind = f"{_LARGE} {limit:g} eV/Å (max_force_eV_per_A)"
            yield kind, frame, f"{sizes.max():.4g} eV/Å on atom {sizes.argmax()}"


def _repeated(sets: Mapping[str, Sequence[Frame]]) -> Iterator[Finding]:
    """A structure that occurs again, in its own set or (so that errors mean nothing) in another."""
    seen: dict[bytes, tuple[str, Frame]] = {}
    for name, frames in sets.items():
        for frame in frames:
            key = frame_key(frame)
            if key not in seen:
                seen[key] = name, frame
                continue
            earlier_set, earlier = seen[key]
            kind = "the same structure again"
            if earlier_set != name:
                kind = f"in the {name} set although in the {earlier_set} set"
            differs = earlier.energy != frame.energy
            yield kind, frame, f"as {earlier.source}{', with another energy' if differs else ''}"


def _absurd_energies(train: Sequence[Frame], frames: Sequence[Frame]) -> Iterator[Finding]:
    """Energies far from the baseline of the training frames.

    Single atoms are not looked at: they are unbound, which is no error. Nor is a composition of
    which the training frames say nothing, or anything where there are too few of them.
    """
    baseline = fit_baseline([f for f in train if f.n_atoms > 1], robust=True)
    if baseline is None or baseline.n_frames < 4 * len(baseline.species):
        return
    off = [deviation for _, deviation, _ in _deviations(train, baseline)]
    robust_sigma = 1.4826 * float(np.median(np.abs(off)))
    for frame, deviation, leverage in _deviations(frames, baseline):
        sigma = robust_sigma * (1.0 + leverage) ** 0.5
        if abs(deviation) > ABSURD_DEVIATIONS * sigma + ABSURD_eV:
            yield _ABSURD, frame, f"{deviation:+.4g} eV/atom"


def _deviations(
    frames: Sequence[Frame], baseline: Baseline
) -> Iterator[tuple[Frame, float, float]]:
    """Frames, what their energy per atom is above the baseline, and their leverage on it."""
    for frame in frames:
        if frame.energy is None or frame.n_atoms == 1:
            continue
        if (expected := baseline.per_atom(frame)) is not None:
            yield frame, frame.energy / frame.n_atoms - expected[0], expected[1]


def _unread_labels(frames: Sequence[Frame]) -> Iterator[str]:
    """Files that lack a kind of label and have something that sounds like it."""
    for file in dict.fromkeys(frame.file for frame in frames):
        mine = [frame for frame in frames if frame.file == file]
        for kind, word in (("energy", "energy"), ("forces", "force"), ("stress", "stress")):
            if any(getattr(frame, kind) is not None for frame in mine):
                continue
            names = dict.fromkeys(n for f in mine for n in f.unread if word in n.lower())
            if names:
                yield (
                    f"{Path(file).name}: no label {kind} was read, though the file has "
                    f"{', '.join(names)}; if that is it: keys = {{ {kind} = "
                    f'"{next(iter(names))}" }}'
                )


def _unused_stress(frames: Sequence[Frame]) -> Iterator[str]:
    unused = [frame for frame in frames if frame.stress is not None and frame.volume == 0.0]
    if unused:
        yield (
            f"the stress of {len(unused)} frame(s) is not used: a cell without volume has none "
            f"(first: {unused[0].source})"
        )


def _net_forces(frames: Sequence[Frame]) -> Iterator[str]:
    means = [
        (float(np.linalg.norm(frame.forces.mean(axis=0))), frame)
        for frame in frames
        if frame.forces is not None
    ]
    large = [(mean, frame) for mean, frame in means if mean > NET_FORCE_eV_PER_A]
    if large:
        worst, frame = max(large, key=lambda pair: pair[0])
        yield (
            f"the forces of {len(large)} frame(s) do not sum to zero (worst: {frame.source}, "
            f"{worst:.3g} eV/Å per atom), which no potential of this kind can reproduce"
        )
