"""The state of a run as a checkpoint (fastequi/storage/checkpoint.py) keeps it, and back."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

from torch import Tensor

from fastequi.md.host_copies import HostCopies
from fastequi.md.state import State
from fastequi.storage.checkpoint import FORMAT, Checkpoint

#: What is of the integrator; and of [[analysis]] and of an engine that holds more than the state.
_EXTRA, _ANALYSIS, _ENGINE = "extra.", "analysis.", "engine."
_PROGRESS = "progress"


@dataclass(frozen=True)
class Progress:
    """Where a batch is in its run.

    stage    number of the stage, from 0
    begin    step and time in fs at which that stage began
    systems  numbers of the systems that the state has, row by row
    failed   number of a system (as text) -> the last good `step`, and the `error`
    joined   step at which each row began, where not all began together; () where they did
    done     number of a system (as text) that has left -> its `steps`, and the `last` row of its
             log
    room     atoms and systems at once, at most, where others wait for theirs; None: no limit
    """

    stage: int = 0
    begin: tuple[int, float] = (0, 0.0)
    systems: tuple[int, ...] = (0,)
    failed: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    joined: tuple[int, ...] = ()
    done: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    room: tuple[int | None, int] | None = None


def checkpoint_of(
    state: State,
    fingerprint: Mapping[str, Any],
    elapsed_s: Mapping[str, float],
    progress: Progress = Progress(),
    engine: Mapping[str, Tensor] | None = None,
) -> Checkpoint:
    """Copy a state to the host; the offsets are for the writer to fill in.

    Tensors are the fields of State, its extra ones as `extra.NAME`, those of the engine as
    `engine.NAME`; numbers are its other fields, and the progress.
    """
    return sent_checkpoint(state, fingerprint, elapsed_s, progress, engine)()


def sent_checkpoint(
    state: State,
    fingerprint: Mapping[str, Any],
    elapsed_s: Mapping[str, float],
    progress: Progress = Progress(),
    engine: Mapping[str, Tensor] | None = None,
) -> Callable[[], Checkpoint]:
    """`checkpoint_of` this step, for whoever asks later: it is on its way."""
    kept = [f.name for f in fields(state) if f.name not in ("extra", "names")]
    values = {name: getattr(state, name) for name in kept}
    values |= {f"{_EXTRA}{name}": tensor for name, tensor in state.extra.items()}
    values |= {f"{_ENGINE}{name}": tensor for name, tensor in (engine or {}).items()}
    tensors = {name: value for name, value in values.items() if isinstance(value, Tensor)}
    numbers = {n: v for n, v in values.items() if n not in tensors and v is not None}
    numbers[_PROGRESS] = asdict(progress)
    copies, then_s = HostCopies(tensors), dict(elapsed_s)
    return lambda: Checkpoint(copies.arrived(), numbers, dict(fingerprint), {}, then_s)


def state_of(checkpoint: Checkpoint) -> State:
    """The state as it was, on the CPU."""
    tensors = checkpoint.tensors
    extra = {n.removeprefix(_EXTRA): t for n, t in tensors.items() if n.startswith(_EXTRA)}
    others = (_EXTRA, _ANALYSIS, _ENGINE)
    own = {name: tensor for name, tensor in tensors.items() if not name.startswith(others)}
    numbers = {name: value for name, value in checkpoint.numbers.items() if name != _PROGRESS}
    return State(**own, **numbers, extra=extra)


def engine_state_of(checkpoint: Checkpoint) -> dict[str, Tensor]:
    """What `Simulation.engine_state` had."""
    tensors = checkpoint.tensors.items()
    return {n.removeprefix(_ENGINE): t for n, t in tensors if n.startswith(_ENGINE)}


def progress_of(checkpoint: Checkpoint) -> Progress:
    """Where the run was; at the only stage of its only system before format 3."""
    found = checkpoint.numbers.get(_PROGRESS)
    if found is None:
        return Progress()
    tuples = ("begin", "systems", "joined", "room")
    return Progress(**found | {k: tuple(found[k]) for k in tuples if found.get(k) is not None})


def in_present_format(old: Checkpoint) -> Checkpoint:
    """A run's checkpoint of an earlier version, as this one would have written it.

    In format 1, what only Langevin dynamics need was in every state and in every fingerprint.
    """
    tensors, fingerprint = dict(old.tensors), dict(old.fingerprint)
    if old.format == 1:
        heat = tensors.pop("heat")
        if fingerprint["dynamics.ensemble"] == "nvt-langevin":
            tensors[f"{_EXTRA}heat"] = heat
        else:
            fingerprint.pop("dynamics.friction_per_ps", None)
    return replace(old, tensors=tensors, fingerprint=fingerprint, format=FORMAT)
