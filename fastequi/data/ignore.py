"""Frames that the user leaves out knowingly: ignore = ["train.extxyz:12", "train.extxyz:40-45"]."""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from fastequi.data.frames import Frame
from fastequi.errors import InputError

_ENTRY = re.compile(r"(?P<file>.+):(?P<first>\d+)(-(?P<last>\d+))?")


def leave_out(frames: Sequence[Frame], ignore: Sequence[str]) -> list[Frame]:
    """The frames that no entry names.

    An entry is a file, by as much of the end of its path as it takes, and a frame or a range with
    both ends in it, counted from 0. An entry may name frames of another set: `check_ignore` says
    whether it names any at all.
    """
    ranges = [_parse(entry) for entry in ignore]
    return [f for f in frames if not any(_names(one, f) for one in ranges)]


def check_ignore(frames: Sequence[Frame], ignore: Sequence[str]) -> None:
    """Raise InputError for an entry that names no frame, or frames of several files."""
    for entry in ignore:
        files = {frame.file for frame in frames if _names(_parse(entry), frame)}
        if not files:
            known = ", ".join(sorted({Path(frame.file).name for frame in frames}))
            raise InputError(f'ignore: "{entry}" names no frame; the files are {known}')
        if len(files) > 1:
            several = ", ".join(sorted(files))
            raise InputError(f'ignore: "{entry}" may be {several}; write more of the path')


def entries(frames: Iterable[Frame]) -> list[str]:
    """The shortest list of entries that leaves these frames out."""
    by_file: dict[str, set[int]] = {}
    for frame in frames:
        by_file.setdefault(Path(frame.file).name, set()).add(frame.index)
    found = []
    for file, indices in by_file.items():
        for first in sorted(k for k in indices if k - 1 not in indices):
            last = first
            while last + 1 in indices:
                last += 1
            found.append(f"{file}:{first}" if first == last else f"{file}:{first}-{last}")
    return found


def _parse(entry: str) -> tuple[tuple[str, ...], int, int]:
    match = _ENTRY.fullmatch(entry)
    if match is None:
        raise InputError(
            f'ignore: got "{entry}"; allowed: "FILE:FRAME" or "FILE:FIRST-LAST", frames from 0'
        )
    first = int(match["first"])
    return Path(match["file"]).parts, first, int(match["last"] or first)


def _names(entry: tuple[tuple[str, ...], int, int], frame: Frame) -> bool:
    parts, first, last = entry
    return first <= frame.index <= last and Path(frame.file).parts[-len(parts) :] == parts
