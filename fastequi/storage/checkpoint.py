"""Checkpoints: everything that a run or a training needs to go on as if it had never stopped.

One safetensors file per checkpoint, `step-000000500.safetensors`. Its header holds the step, the
fingerprint, the lengths of the files that grow (log, trajectory, metrics) at that step, versions,
and a SHA-256 over all of it; a file is written beside its place, synced, and renamed.
"""

import hashlib
import json
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from fastequi._version import __version__
from fastequi.errors import InputError
from fastequi.storage.durable import write_durably

#: How many checkpoints are kept unless asked: one may be lost with a disk block, not two.
KEEP = 2
#: 3 has where a run is in its stages; 2 has the extra state of an integrator by name. Earlier ones
#: are brought up to it by md/trajectory.
FORMAT, _READABLE = 3, (1, 2, 3)
_HEADER = "fastequi_checkpoint"
_NAME = re.compile(r"step-(\d{9,})\.safetensors")
_OWN_NAME = re.compile(r"step-\d+\.safetensors(\.damaged|\.tmp)?")


def _versions() -> dict[str, str]:
    return {"fastequi": __version__, "torch": torch.__version__}


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What a checkpoint file holds.

    tensors       by name, on the CPU
    numbers       what else JSON can hold, `step` among it
    fingerprint   what must not change between a run and its continuation
    offsets       length of each record file at this step (bytes or frames), by file name
    elapsed_s     wall time and phases up to here, over all sessions
    versions      of fastequi and torch that wrote it
    format        of the file that it was read from
    """

    tensors: dict[str, Tensor]
    numbers: dict[str, Any]
    fingerprint: dict[str, Any]
    offsets: dict[str, int]
    elapsed_s: dict[str, float]
    versions: dict[str, str] = field(default_factory=_versions)
    format: int = FORMAT

    @property
    def step(self) -> int:
        return self.numbers["step"]


def on_host(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Copies on the CPU, as a checkpoint keeps them."""
    return {name: t.detach().cpu().clone().contiguous() for name, t in tensors.items()}


def write_checkpoint(folder: Path, checkpoint: Checkpoint, keep: int = KEEP) -> Path:
    """Write durably, then remove all but the newest `keep`. Returns the file."""
    header = {f.name: getattr(checkpoint, f.name) for f in fields(checkpoint)}
    del header["tensors"]
    header["sha256"] = _digest(checkpoint.tensors, header)
    path = folder / f"step-{checkpoint.step:09d}.safetensors"
    write_durably(path, save(checkpoint.tensors, {_HEADER: json.dumps(header)}))
    for old in _checkpoint_files(folder)[:-keep]:
        old.unlink()
    return path


def read_checkpoint(path: Path) -> Checkpoint:
    """Read one file; InputError if it is damaged, cut short or not a checkpoint."""
    try:
        with safe_open(path, framework="pt") as file:
            header = json.loads((file.metadata() or {})[_HEADER])
            tensors = {name: file.get_tensor(name) for name in file.keys()}
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        raise InputError(f"{path}: damaged or not a checkpoint ({error})") from error
    digest = header.pop("sha256", None)
    if digest != _digest(tensors, header):
        raise InputError(f"{path}: damaged (its checksum does not fit its contents)")
    if header["format"] not in _READABLE:
        raise InputError(f"{path}: written by another version of fastequi ({header['versions']})")
    return Checkpoint(tensors=tensors, **header)


def latest_checkpoint(folder: Path) -> Checkpoint | None:
    """The valid checkpoint with the highest step stored inside, or None.

    Damaged files are skipped with a warning that names them.
    """
    found = []
    for path in _checkpoint_files(folder):
        try:
            found.append(read_checkpoint(path))
        except InputError as error:
            warnings.warn(f"skipped a checkpoint: {error}", stacklevel=2)
    return max(found, key=lambda checkpoint: checkpoint.step, default=None)


def newest_step(folder: Path) -> int | None:
    """Step of the newest checkpoint by its name; None where there is none."""
    files = _checkpoint_files(folder)
    return _step_in_name(files[-1]) if files else None


def own_checkpoints(folder: Path) -> list[Path]:
    """The files in a folder that are checkpoints, or what is left of one."""
    paths = folder.iterdir() if folder.is_dir() else []
    return sorted(path for path in paths if _OWN_NAME.fullmatch(path.name))


def set_aside_later(folder: Path, step: int) -> None:
    """Rename files that claim a later step: damaged ones must not crowd out the coming ones."""
    for path in _checkpoint_files(folder):
        if _step_in_name(path) > step:
            path.rename(path.with_name(path.name + ".damaged"))


def check_fingerprint(then: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Raise InputError with a table of what differs between a checkpoint and this run."""
    rows = [
        f"  {key}: {_short(then.get(key))} -> {_short(now.get(key))}"
        for key in sorted({*then, *now})
        if then.get(key) != now.get(key)
    ]
    if rows:
        raise InputError(
            "cannot resume, this is not the run that wrote the checkpoint (then -> now):\n"
            + "\n".join(rows)
            + "\nundo these changes, or start anew with --overwrite or another output directory"
        )


def _digest(tensors: Mapping[str, Tensor], header: Mapping[str, Any]) -> str:
    digest = hashlib.sha256(json.dumps(header, sort_keys=True).encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _checkpoint_files(folder: Path) -> list[Path]:
    paths = [p for p in folder.iterdir() if _NAME.fullmatch(p.name)] if folder.is_dir() else []
    return sorted(paths, key=_step_in_name)


def _step_in_name(path: Path) -> int:
    match = _NAME.fullmatch(path.name)
    assert match is not None
    return int(match[1])


def _short(value: Any) -> str:
    text = str(value)
    return text[:12] + "..." if re.fullmatch(r"[0-9a-f]{40,}", text) else text
