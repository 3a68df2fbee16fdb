"""Checkpoints: everything that a run needs to go on as if it had never stopped.

One safetensors file per checkpoint, `step-000000500.safetensors`. Its header holds the step, the
fingerprint of the run, the lengths of log and trajectory at that step, versions, and a SHA-256 over
all of it; a file is written beside its place, synced, and renamed.
"""

import hashlib
import json
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from fastequi._version import __version__
from fastequi.errors import InputError
from fastequi.md.state import State
from fastequi.md.trajectory.appending import write_durably

#: How many checkpoints are kept: one may be lost with a disk block, not two.
KEEP = 2
#: 2 has the extra state of the integrator by name; 1 had `heat`, whatever the ensemble.
FORMAT = 2
_EXTRA = "extra."
_HEADER = "fastequi_checkpoint"
_NAME = re.compile(r"step-(\d{9,})\.safetensors")


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What a checkpoint file holds.

    tensors       fields of State that are tensors, on the CPU; its extra ones as `extra.NAME`
    numbers       the other fields of State, `step` among them
    fingerprint   what must not change between a run and its continuation
    offsets       length of each record file at this step (bytes or frames), by file name
    elapsed_s     wall time and phases up to here, over all sessions of the run
    versions      of fastequi and torch that wrote it
    """

    tensors: dict[str, Tensor]
    numbers: dict[str, Any]
    fingerprint: dict[str, Any]
    offsets: dict[str, int]
    elapsed_s: dict[str, float]
    versions: dict[str, str]

    @property
    def step(self) -> int:
        return self.numbers["step"]

    def state(self) -> State:
        """The state as it was, on the CPU."""
        fields_ = {n: t for n, t in self.tensors.items() if not n.startswith(_EXTRA)}
        extra = {n.removeprefix(_EXTRA): t for n, t in self.tensors.items() if n not in fields_}
        return State(**fields_, **self.numbers, extra=extra)


def checkpoint_of(
    state: State, fingerprint: Mapping[str, Any], elapsed_s: Mapping[str, float]
) -> Checkpoint:
    """Copy a state to the host; the offsets are for the writer to fill in."""
    values = {f.name: getattr(state, f.name) for f in fields(state) if f.name != "extra"}
    values |= {f"{_EXTRA}{name}": tensor for name, tensor in state.extra.items()}
    tensors = {
        name: value.detach().cpu().clone().contiguous()
        for name, value in values.items()
        if isinstance(value, Tensor)
    }
    numbers = {name: value for name, value in values.items() if name not in tensors}
    versions = {"fastequi": __version__, "torch": torch.__version__}
    return Checkpoint(tensors, numbers, dict(fingerprint), {}, dict(elapsed_s), versions)


def write_checkpoint(folder: Path, checkpoint: Checkpoint) -> Path:
    """Write durably, then remove all but the newest `KEEP`. Returns the file."""
    header = {
        "format": FORMAT,
        "numbers": checkpoint.numbers,
        "fingerprint": checkpoint.fingerprint,
        "offsets": checkpoint.offsets,
        "elapsed_s": checkpoint.elapsed_s,
        "versions": checkpoint.versions,
    }
    header["sha256"] = _digest(checkpoint.tensors, header)
    path = folder / f"step-{checkpoint.step:09d}.safetensors"
    write_durably(path, save(checkpoint.tensors, {_HEADER: json.dumps(header)}))
    for old in _checkpoint_files(folder)[:-KEEP]:
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
    written_as = header.pop("format")
    if written_as not in (1, FORMAT):
        raise InputError(f"{path}: written by another version of fastequi ({header['versions']})")
    checkpoint = Checkpoint(tensors=tensors, **header)
    return _from_format_1(checkpoint) if written_as == 1 else checkpoint


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


def _from_format_1(old: Checkpoint) -> Checkpoint:
    """What only Langevin dynamics need was then in every state and in every fingerprint."""
    tensors, fingerprint = dict(old.tensors), dict(old.fingerprint)
    heat = tensors.pop("heat", None)  # the checkpoint of a training has none
    if heat is not None and fingerprint["dynamics.ensemble"] == "nvt-langevin":
        tensors[f"{_EXTRA}heat"] = heat
    else:
        fingerprint.pop("dynamics.friction_per_ps", None)
    return replace(old, tensors=tensors, fingerprint=fingerprint)


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
