"""The bias of a run: what [plumed] asks for, and which runs can have it."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fastequi.errors import InputError
from fastequi.integrations.plumed import Plumed
from fastequi.md.config import Config
from fastequi.md.integrators.integrator import parameters
from fastequi.md.trajectory.directory import PLUMED
from fastequi.running.systems import System, integrator_of


def bias_of(config: Config, systems: Sequence[System], restart: bool) -> Plumed | None:
    """PLUMED in a folder of the output directory; None without [plumed].

    Raises InputError where it is not installed, and for several systems, stages that minimise, and
    stages with another timestep: PLUMED has one system and one clock.
    """
    if config.plumed is None:
        return None
    if len(systems) > 1:
        raise InputError(
            f"plumed: biases one system, these are {len(systems)}; write an md.toml for each, and "
            "name them all to fastequi run"
        )
    integrators = [integrator_of(stage.dynamics, systems) for stage in config.stages]
    for stage, integrator in zip(config.stages, integrators, strict=True):
        if not integrator.is_dynamics:
            raise InputError(
                f"plumed: biases dynamics, and {stage.name or 'this run'} minimises; minimise in a "
                "run of its own, and begin with its final.extxyz"
            )
    if len({integrator.timestep_fs for integrator in integrators}) > 1:
        raise InputError("plumed: has one clock; give all stages the same timestep_fs")
    found = {
        stage.dynamics.temperature_K
        for stage, integrator in zip(config.stages, integrators, strict=True)
        if "temperature_K" in parameters(type(integrator))
    }
    held = next(iter(found)) if len(found) == 1 else None
    return Plumed(
        config.plumed.input,
        directory=Path(config.output.directory) / PLUMED,
        temperature_K=held if isinstance(held, float) else None,
        restart=restart,
    )


def fingerprint_of_bias(config: Config) -> dict[str, Any]:
    """What a continuation must have: the same text."""
    if config.plumed is None:
        return {}
    text = Path(config.plumed.input).read_bytes()
    return {"plumed.input": hashlib.sha256(text).hexdigest()}
