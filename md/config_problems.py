"""What is said of a wrong md.toml beyond what every TOML shares: its words, its files."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from fastequi.errors import InputError
from fastequi.md.structure import read_structure
from fastequi.settings_problems import Vocabulary, directory_problem, model_problem, value_at

_ALIASES = {
    "dt": "timestep_fs",
    "dt_fs": "timestep_fs",
    "temp": "temperature_K",
    "temperature_k": "temperature_K",
    "t": "temperature_K",
    "gamma": "friction_per_ps",
    "n_steps": "steps",
    "nsteps": "steps",
    "file": "structure",
    "struct": "structure",
    "path": "name",
    "model": "name",
    "precision": "dtype",
    "thermostat": "ensemble",
    "integrator": "ensemble",
    "outdir": "directory",
    "skin": "skin_A",
    "format": "trajectory_format",
    "traj_every": "trajectory_every",
    "restart_every": "checkpoint_every",
}

_NOT_OFFERED = {
    "model.kernels": ("cpu", "triton"),
    "dynamics.ensemble": (
        "nvt-nose-hoover", "nvt-csvr", "nvt-berendsen", "npt-mttk", "npt-csvr", "npt-berendsen",
        "npt-langevin", "nph", "minimize", "nvt", "npt",
    ),
}  # fmt: skip

VOCABULARY = Vocabulary(
    aliases=_ALIASES,
    not_offered=_NOT_OFFERED,
    expected={"system.supercell": "three whole numbers above 0, for example [2, 2, 2]"},
)


def file_problems(raw: dict[str, Any], existing: str, model_names: Sequence[str]) -> Iterator[str]:
    """Problems with what a raw md.toml (absolute paths) points to: structure, model, output.

    Works on any keys that have a sensible type, so that they are reported with all the rest.
    """
    yield from _structure_problem(raw)
    name, directory = value_at(raw, ("model", "name")), value_at(raw, ("output", "directory"))
    if isinstance(name, str):
        yield from model_problem("model.name", name, model_names)
    if isinstance(directory, str):
        yield from directory_problem(Path(directory), existing)


def _structure_problem(raw: dict[str, Any]) -> Iterator[str]:
    structure, index = value_at(raw, ("system", "structure")), value_at(raw, ("system", "index"))
    if isinstance(structure, str):
        try:
            read_structure(structure, index if type(index) is int else -1)
        except InputError as error:
            yield f"system.structure: {error}"
