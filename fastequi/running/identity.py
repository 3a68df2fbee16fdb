"""What makes a run this run and no other: what a continuation must have, and what it may change."""

import hashlib
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from ase import Atoms

from fastequi.dispersion import Corrected
from fastequi.md.config import Config
from fastequi.md.constraints.from_ase import fixed_atoms, fixes_centre_of_mass
from fastequi.md.ramps import has_ramp
from fastequi.md.stage_keys import SHARED
from fastequi.md.trajectory.checkpoint import progress_of
from fastequi.potential import Potential
from fastequi.storage.checkpoint import Checkpoint, check_fingerprint


class LoadedModel(Potential, Protocol):
    """A potential that knows where it came from, as `fastequi.load_model` returns it."""

    @property
    def name(self) -> str: ...
    @property
    def sha256(self) -> str: ...
    @property
    def dtype_name(self) -> str: ...
    @property
    def kernels(self) -> str: ...
    @property
    def kernels_reason(self) -> str: ...


def fingerprint_of(
    config: Config, atoms: Atoms | Sequence[Atoms], potential: LoadedModel
) -> dict[str, Any]:
    """What makes a run this run and no other: a continuation must have the same."""
    digest = hashlib.sha256()
    for system in [atoms] if isinstance(atoms, Atoms) else atoms:
        for array in (system.numbers, system.positions, system.cell.array, system.pbc,
                      system.get_masses(), system.get_momenta()):  # fmt: skip
            digest.update(array.tobytes())
        if system.constraints:
            fixed = np.append(fixed_atoms(system), fixes_centre_of_mass(system))
            digest.update(fixed.tobytes())
    found = {
        "model.sha256": potential.sha256,
        "model.dtype": potential.dtype_name,
        "model.modality": config.model.modality,
        **dispersion_of(potential, "model.dispersion"),
        "system.atoms": digest.hexdigest(),
        "output.trajectory_format": config.output.trajectory_format,
    }
    default = type(config.output).model_fields["trajectory_columns"].default
    if config.output.trajectory_columns != default:
        found["output.trajectory_columns"] = list(config.output.trajectory_columns)
    if config.analysis:
        found["analysis"] = [section.model_dump() for section in config.analysis]
    if not config.stage:
        free = {"steps", *SHARED}
        if any(map(has_ramp, dict(config.dynamics).values())):
            free.remove("steps")  # a ramp over more steps is another ramp
        dynamics = config.dynamics.model_dump(exclude=free, exclude_none=True)
        return found | {f"dynamics.{name}": value for name, value in dynamics.items()}
    for k, stage in enumerate(config.stage):
        values = stage.model_dump(exclude=set(SHARED), exclude_none=True)
        values["has_ramp"] = any(map(has_ramp, dict(stage).values()))
        found |= {f"stage.{k}.{name}": value for name, value in values.items()}
    return found


def dispersion_of(potential: LoadedModel, key: str) -> dict[str, str]:
    """What is added to the model, with its parameters; nothing where nothing is."""
    return {key: potential.damping.description} if isinstance(potential, Corrected) else {}


def check_goes_on(checkpoint: Checkpoint, fingerprint: dict[str, Any]) -> None:
    """Raise InputError, key by key, unless a run goes on as a checkpoint says.

    What a later moment may still decide is free: more steps of the present stage and of later
    ones, and stages after the last. Of a stage with a ramp, steps are free until it begins.
    """
    then, now = dict(checkpoint.fingerprint), dict(fingerprint)
    progress = progress_of(checkpoint)
    stages = [int(key.split(".")[1]) for key in then if key.startswith("stage.")]
    for key in list(now):
        section, *rest = key.split(".")
        if section != "stage" or not stages:
            continue
        k, name = int(rest[0]), rest[1]
        if k > max(stages):
            del now[key]
        elif name == "steps" and k >= progress.stage and key in then:
            done = checkpoint.step - progress.begin[0] if k == progress.stage else 0
            ramp = then[f"stage.{k}.has_ramp"] and k == progress.stage
            if now[key] >= done and not ramp:
                then[key] = now[key]
    check_fingerprint(then, now)
