"""The state of a run as a checkpoint (fastequi/storage/checkpoint.py) keeps it, and back."""

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

from torch import Tensor

from fastequi.md.state import State
from fastequi.storage.checkpoint import FORMAT, Checkpoint, on_host

_EXTRA = "extra."


def checkpoint_of(
    state: State, fingerprint: Mapping[str, Any], elapsed_s: Mapping[str, float]
) -> Checkpoint:
    """Copy a state to the host; the offsets are for the writer to fill in.

    Tensors are the fields of State, its extra ones as `extra.NAME`; numbers are its other fields.
    """
    values = {f.name: getattr(state, f.name) for f in fields(state) if f.name != "extra"}
    values |= {f"{_EXTRA}{name}": tensor for name, tensor in state.extra.items()}
    tensors = on_host({name: value for name, value in values.items() if isinstance(value, Tensor)})
    numbers = {n: v for n, v in values.items() if n not in tensors and v is not None}
    return Checkpoint(tensors, numbers, dict(fingerprint), {}, dict(elapsed_s))


def state_of(checkpoint: Checkpoint) -> State:
    """The state as it was, on the CPU."""
    tensors = checkpoint.tensors
    own = {name: tensor for name, tensor in tensors.items() if not name.startswith(_EXTRA)}
    extra = {n.removeprefix(_EXTRA): tensor for n, tensor in tensors.items() if n not in own}
    return State(**own, **checkpoint.numbers, extra=extra)


def in_present_format(old: Checkpoint) -> Checkpoint:
    """A run's checkpoint of an earlier version, as this one would have written it.

    In format 1, what only Langevin dynamics need was in every state and in every fingerprint.
    """
    if old.format == FORMAT:
        return old
    tensors, fingerprint = dict(old.tensors), dict(old.fingerprint)
    heat = tensors.pop("heat")
    if fingerprint["dynamics.ensemble"] == "nvt-langevin":
        tensors[f"{_EXTRA}heat"] = heat
    else:
        fingerprint.pop("dynamics.friction_per_ps", None)
    return replace(old, tensors=tensors, fingerprint=fingerprint, format=FORMAT)
